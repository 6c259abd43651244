"""Trains with a compiled step in a process of its own, and prints what its graphs were and gave as JSON.

Of its own, because the call checks around every function of the product (tests/conftest.py) are no part
of a graph. Called as ``python tests/compiled_step.py ENCODER BACKEND FOLDER``.
"""

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tasks import quiet_trainer, small_task, tiny_config

from training import fitting
from training.compiled import CompiledLosses
from training.losses import LabelTensors
from training.module import weighted_sums
from training.pools import PoolData


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def main(encoder: str, backend: Any, folder: Path) -> None:
    """Train for several epochs; dropout is off, because its draws would differ."""
    torch.set_num_threads(1)
    warned = _Warnings()
    logging.getLogger("training").addHandler(warned)
    task = small_task(num_customers=100)
    config = tiny_config(
        num_steps=5, encoder=encoder, num_layers=1, dropout=0.0, use_next_event=encoder != "none"
    )
    config = replace(
        config,
        compile=backend,
        encoding=replace(config.encoding, max_events=8),
        batching=replace(config.batching, event_budget=160),
    )
    made: list[CompiledLosses] = []
    make = fitting.compiled_losses
    fitting.compiled_losses = lambda *of: made.append(make(*of)) or made[-1]
    fitted = fitting.fit_weights(task, config, trainer=quiet_trainer(folder), folder=folder, checkpoint=None)
    (compiled,), model = made, fitted.model.train()
    after_training = compiled.num_graphs

    settings: dict[str, Any] = {"model": model, "parts": config.weights, "with_next_event": encoder != "none"}
    pools = PoolData(task, config, model, train=fitted.train, validation=None).pools()
    batches = [batch for step in range(len(pools)) for batch in pools[step]]
    differences = []
    for batch in batches[:8]:
        labels = LabelTensors.of(batch.labels, like=batch.weights)
        results = []
        for sums in (
            compiled(batch, **settings),
            weighted_sums(batch.inputs, labels, batch.weights, **settings),
        ):
            model.zero_grad()
            torch.stack(list(sums.values())).sum().backward()
            gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
            results.append(torch.cat([torch.stack(list(sums.values())).detach(), *gradients]))
        scale = results[1].abs().max()
        differences.append(float((results[0] - results[1]).abs().max() / scale))
    figures = {
        "made_for": list(compiled.shapes),
        "graphs": [after_training, compiled.num_graphs],
        "shapes": sorted({batch.shape for batch in batches}),
        "epochs": len(pools) * config.batching.pool_customers / 100,
        "difference": max(differences),
        "warnings": warned.lines,
    }
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
