"""A compiled step gives the losses of a plain one, from graphs that are all made before the first."""

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tasks import tiny_config
from torch import Tensor, nn

from holdfast.errors import ConfigError, RunError
from training.batches import BatchingConfig, MicroBatch
from training.compiled import CompiledLosses, segment_sizes, shapes_of
from training.labels import Labels
from training.losses import LabelTensors

TESTS = Path(__file__).parents[1]


@pytest.mark.long
def test_training_meets_no_shape_that_was_not_compiled_before(tmp_path: Path) -> None:
    """Over several epochs of random pools; losses and gradients are those of the plain step.

    The model is the whole one, and its step is one graph without a break.
    """
    command = [sys.executable, str(TESTS / "compiled_step.py"), "transformer", "eager", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout)
    assert figures["epochs"] > 2
    assert len({tuple(shape) for shape in figures["shapes"]}) > 8
    assert figures["graphs"][0] == figures["graphs"][1] < len(figures["made_for"])
    assert figures["warnings"] == []
    assert figures["difference"] < 1e-5


def losses(
    inputs: dict[str, Tensor], labels: LabelTensors, weights: Tensor, *, factor: nn.Parameter
) -> dict[str, Tensor]:
    """Return something of everything: small enough to be compiled in no time."""
    days = inputs["event_days"].sum(dim=1, keepdim=True) + inputs["readout_days"]
    return {"some": (weights * (days + labels.values["amount"]) * factor).sum()}


def batch(num_segments: int, length: int, num_readouts: int) -> MicroBatch:
    """Return a batch of random numbers."""
    rng = torch.Generator().manual_seed(num_segments)
    amounts = np.arange(num_segments * num_readouts, dtype=np.float32)
    return MicroBatch(
        inputs={
            "event_days": torch.rand(num_segments, length, generator=rng),
            "readout_days": torch.rand(num_segments, num_readouts, generator=rng),
        },
        labels=Labels(lower={}, upper={}, values={"amount": amounts}),
        weights=torch.rand(num_segments, num_readouts, generator=rng),
        num_readouts=num_segments * num_readouts,
        num_events=num_segments * length,
        num_padded=num_segments * length,
    )


def compiled(backend: str = "eager") -> CompiledLosses:
    """Return the losses, to be compiled for up to 8 events and 3 cutoffs in a segment."""
    batching = BatchingConfig(event_budget=64, readouts_per_customer=3)
    return CompiledLosses(losses, backend=backend, longest=7, batching=batching)


def test_padding_to_a_shape_of_the_set_changes_no_loss() -> None:
    """More segments and more room for cutoffs count nothing, and no gradient comes from them."""
    made, factors = compiled(), [nn.Parameter(torch.ones(())) for _ in range(2)]
    for shape in ((1, 4, 1), (1, 8, 3), (5, 8, 2), (16, 4, 3), (11, 4, 1)):
        given = batch(*shape)
        labels = LabelTensors.of(given.labels, like=given.weights)
        mine = made(given, factor=factors[0])["some"]
        other = losses(dict(given.inputs), labels, given.weights, factor=factors[1])["some"]
        for loss, factor in zip((mine, other), factors, strict=True):
            factor.grad = None
            loss.backward()
        torch.testing.assert_close(mine, other)
        torch.testing.assert_close(factors[0].grad, factors[1].grad)


def test_a_shape_outside_the_set_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Such a step waits for its graph: the run goes on and says which shape it was."""
    made, factor = compiled(), nn.Parameter(torch.ones(()))
    with caplog.at_level(logging.WARNING, logger="training.compiled"):
        made(batch(3, 8, 2), factor=factor)
        assert not caplog.messages
        made(batch(3, 12, 2), factor=factor)
    assert caplog.messages == [
        "compile: a step waited for a new graph, for 3 segments of 12 events and 2 cutoffs"
    ]


def test_the_set_of_shapes_holds_every_micro_batch() -> None:
    """Every length up to the longest segment's, and every number of segments within the budget."""
    shapes = shapes_of(longest=9, event_budget=100)
    assert {length for _, length in shapes} == {4, 8, 12}
    assert [num for num, length in shapes if length == 12] == [8, 7, 6, 5, 4, 3, 2]
    assert [*segment_sizes(0)] == [*segment_sizes(1)] == [2]
    assert [*segment_sizes(11)] == [2, 3, 4, 5, 6, 7, 8, 10, 11]


def test_a_missing_compiler_is_one_line() -> None:
    """It names the setting and what helps, before any step is taken."""
    missing = torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True})
    line = r"compile=inductor: PyTorch cannot compile .* compile=null"
    with missing, pytest.raises(RunError, match=line) as caught:
        compiled("inductor")(batch(3, 8, 2), factor=nn.Parameter(torch.ones(())))
    assert "\n" not in str(caught.value)


def test_a_backward_pass_without_code_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler makes it when it is first asked for, after the forward pass has succeeded."""

    def fail(_: Tensor) -> None:
        raise RuntimeError("C++ compile error\nwith many lines")

    monkeypatch.setattr(Tensor, "backward", fail)
    with pytest.raises(
        RunError, match=r"compile=eager: .* here: C\+\+ compile error; compile=null"
    ) as caught:
        compiled()(batch(3, 8, 2), factor=nn.Parameter(torch.ones(())))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("backend", "encoder"), [("inductor", "gru"), ("fastest", "transformer")])
def test_what_cannot_be_compiled_is_refused(backend: str, encoder: str) -> None:
    """The recurrent encoder is a loop and no graph; an unknown backend is named."""
    config = tiny_config(encoder=encoder)
    with pytest.raises(ConfigError, match="compile"):
        replace(config, compile=backend)
