"""A profile on request: figures by hook or function, or a trace of some steps with their phases named."""

import json
from pathlib import Path

import pytest
from tasks import quiet_trainer, small_task, tiny_config
from torch.profiler import ProfilerAction

from holdfast.errors import ConfigError
from training.fitting import fit
from training.profiling import FOLDER, TABLE_NAME, TRACE_NAME, action_at, profiling

PHASES = {"draw", "encode", "split", "forward", "backward", "Optimizer.step#AdamW.step"}


def test_a_trace_names_the_phases_of_a_step(tmp_path: Path) -> None:
    """Valid JSON that a browser opens, of the steps behind the first one alone."""
    _, callbacks = profiling("pytorch", tmp_path)
    trainer, config = quiet_trainer(tmp_path, extra=tuple(callbacks)), tiny_config(num_steps=3, experts=())
    fit(small_task(num_customers=60), config, trainer=trainer, folder=tmp_path)
    trace = json.loads((tmp_path / FOLDER / TRACE_NAME).read_text())
    names = [event.get("name") for event in trace["traceEvents"]]
    assert set(names) >= PHASES
    assert names.count("Optimizer.step#AdamW.step") == 2
    assert "backward" in (tmp_path / FOLDER / TABLE_NAME).read_text()


@pytest.mark.parametrize(
    ("num_left", "actions"),
    [
        (1, "save"),
        (2, "warm save"),
        (4, "warm rec rec save"),
        (8, "none none warm rec rec rec rec save"),
        (30, " ".join(["none"] * 10 + ["warm"] + ["rec"] * 4 + ["save"] + ["none"] * 14)),
    ],
)
def test_a_few_steps_behind_the_first_ones_are_traced(num_left: int, actions: str) -> None:
    """A trace of a whole run would be too large to open; a run of one step has one too."""
    names = {
        ProfilerAction.NONE: "none",
        ProfilerAction.WARMUP: "warm",
        ProfilerAction.RECORD: "rec",
        ProfilerAction.RECORD_AND_SAVE: "save",
    }
    assert [names[action_at(num_left, step)] for step in range(num_left)] == actions.split()


@pytest.mark.parametrize("kind", ["simple", "advanced"])
def test_a_simple_profile_is_a_text_in_the_run(tmp_path: Path, kind: str) -> None:
    """Lightning's own profilers, with their files where all else lies."""
    profiler, callbacks = profiling(kind, tmp_path)
    assert profiler is not None
    assert not callbacks
    with profiler.profile("step"):
        pass
    profiler.describe()
    (text,) = (tmp_path / FOLDER).glob(f"*{kind}*.txt")
    assert "step" in text.read_text() or kind == "advanced"
    profiler.teardown(None)


def test_no_profile_is_the_default_and_another_kind_is_refused(tmp_path: Path) -> None:
    """Nothing is made, and nothing is written."""
    assert profiling(None, tmp_path) == (None, [])
    with pytest.raises(ConfigError, match=r"trainer\.profiler.*'nvtx'.*simple"):
        profiling("nvtx", tmp_path)
    assert not (tmp_path / FOLDER).exists()
