"""Trains pytorch-lifestream on a table of events, and says how fast; runs in its own environment.

It reads one JSON object a line and answers each with one. It imports nothing of this project.
"""

import json
import logging
import sys
import time
import warnings
from functools import partial
from importlib.metadata import version
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from ptls.data_load.datasets import MemoryMapDataset
from ptls.frames import PtlsDataModule
from ptls.frames.supervised import SeqToTargetDataset, SequenceToTarget
from ptls.nn import RnnSeqEncoder, TransformerSeqEncoder, TrxEncoder
from ptls.preprocessing import PandasDataPreprocessor

CATEGORIES = ("event_type", "channel", "detail")
NUMBERS = ("amount", "quantity")
EMBEDDING = 16
NUM_HEADS, MULTIPLE, DROPOUT = 4, 4, 0.15
NUM_LAYERS = {"gru": 1, "transformer": 2}
"""The same shape as conf/model/gru.yaml and transformer.yaml."""


class Clock(pl.Callback):
    """Times a run from a step on, and ends it after so many seconds."""

    def __init__(self, *, warm_up_steps: int, seconds: float) -> None:
        """Set the clock."""
        self.left, self.seconds = warm_up_steps, seconds
        self.num_events = self.num_labels = 0
        self.began = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, _: int) -> None:
        """Count what the batch held."""
        del module, outputs
        if self.left > 0:
            self.left -= 1
            self.began = time.perf_counter()
            return
        self.num_events += int(batch[0].seq_lens.sum())
        self.num_labels += len(batch[0].seq_lens)
        self.elapsed = time.perf_counter() - self.began
        trainer.should_stop = self.elapsed >= self.seconds


def prepared(path: str, first_items: list[str]) -> tuple[list[dict[str, Any]], int]:
    """Return its own form of the events of a table, and how many there are."""
    table = pd.read_parquet(path, columns=["customer_id", "occurred_at", *CATEGORIES, *NUMBERS, *first_items])
    # It takes times without a zone, and has no missing numbers.
    table["occurred_at"] = table["occurred_at"].dt.tz_localize(None)
    table[list(NUMBERS)] = table[list(NUMBERS)].fillna(0.0)
    preprocessor = PandasDataPreprocessor(
        col_id="customer_id",
        col_event_time="occurred_at",
        event_time_transformation="dt_to_timestamp",
        cols_category=list(CATEGORIES),
        cols_numerical=list(NUMBERS),
        cols_first_item=first_items,
        return_records=True,
    )
    return preprocessor.fit_transform(table), len(table)


def network(data: list[dict[str, Any]], *, encoder: str, width: int) -> torch.nn.Module:
    """Return its encoder over embeddings of all fields, projected to the width."""
    sizes = {name: 1 + max(int(row[name].max()) for row in data) for name in CATEGORIES}
    fields = TrxEncoder(
        embeddings={name: {"in": size, "out": EMBEDDING} for name, size in sizes.items()},
        numeric_values=dict.fromkeys(NUMBERS, "log"),
        linear_projection_size=width,
    )
    if encoder == "gru":
        recurrent: torch.nn.Module = RnnSeqEncoder(
            fields, input_size=width, hidden_size=width, type="gru", num_layers=NUM_LAYERS["gru"]
        )
        return recurrent
    attentive: torch.nn.Module = TransformerSeqEncoder(
        fields,
        input_size=width,
        n_heads=NUM_HEADS,
        dim_hidden=MULTIPLE * width,
        dropout=DROPOUT,
        n_layers=NUM_LAYERS["transformer"],
        is_reduce_sequence=True,
    )
    return attentive


def train(data: list[dict[str, Any]], asked: dict[str, Any]) -> dict[str, float]:
    """Fit for a while, supervised, one label a sequence; return events, labels and seconds."""
    torch.manual_seed(7)
    head = torch.nn.Sequential(
        torch.nn.Linear(asked["width"], 1), torch.nn.Sigmoid(), torch.nn.Flatten(start_dim=0)
    )
    module = SequenceToTarget(
        seq_encoder=network(data, encoder=asked["encoder"], width=asked["width"]),
        head=head,
        loss=torch.nn.BCELoss(),
        metric_list=[],
        optimizer_partial=partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.02, fused=True),
        lr_scheduler_partial=partial(torch.optim.lr_scheduler.StepLR, step_size=1000),
    )
    pools = PtlsDataModule(
        train_data=SeqToTargetDataset(
            MemoryMapDataset(data), target_col_name="churned", target_dtype=torch.float32
        ),
        train_batch_size=asked["customers"],
        train_num_workers=0,
        train_drop_last=True,
    )
    clock = Clock(warm_up_steps=asked["warm_up_steps"], seconds=asked["seconds"])
    pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
    ).fit(module, pools)
    return {"events": clock.num_events, "labels": clock.num_labels, "seconds": clock.elapsed}


def main() -> None:
    """Answer until the input ends."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    # What libraries print must not stand between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    data: list[dict[str, Any]] = []
    for line in sys.stdin:
        asked = json.loads(line)
        if "threads" in asked:
            torch.set_num_threads(asked["threads"])
            answer: dict[str, Any] = {"version": f"pytorch-lifestream {version('pytorch-lifestream')}"}
        elif "prepare" in asked:
            began = time.perf_counter()
            data, num_events = prepared(asked["prepare"], asked["first_items"])
            answer = {"events": num_events, "seconds": time.perf_counter() - began}
        else:
            answer = train(data, asked)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
