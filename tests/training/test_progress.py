"""A fit tells how it goes: lines in a log, a bar on a terminal, curves for the loggers."""

import io
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from polars import DataFrame, read_csv
from pytorch_lightning.loggers import CSVLogger
from rich.console import Console
from tasks import small_task, tiny_config
from torch import Tensor

from training import fitting
from training.batches import MicroBatch
from training.compiled import CompiledLosses
from training.fitting import fit
from training.losses import LabelTensors
from training.module import weighted_sums
from training.progress import FitProgress, duration, thousands

TASK = small_task(num_customers=60)
CONFIG = tiny_config(experts=())


class Ticking:
    """A clock that goes on by a minute whenever it is asked."""

    now = 0.0

    def __call__(self) -> float:
        """Return the next minute."""
        self.now += 60.0
        return self.now


def shown(folder: Path, *, is_terminal: bool) -> str:
    """Fit with progress on a console and loggers, and return what the console showed."""
    stream = io.StringIO()
    console = Console(file=stream, width=140, force_terminal=is_terminal, force_interactive=False)
    progress = FitProgress(console, clock=Ticking())

    def logging(*, callbacks: list[Any], **limits: Any) -> pl.Trainer:
        log = CSVLogger(folder, name=None, version="csv")
        return pl.Trainer(
            callbacks=[*callbacks, progress],
            logger=log,
            accelerator="cpu",
            enable_progress_bar=False,
            **limits,
        )

    fit(TASK, CONFIG, trainer=logging, folder=folder)
    return stream.getvalue()


def test_a_log_gets_lines_and_early_the_time_of_the_whole_fit(tmp_path: Path) -> None:
    """Every figure stands on a line and in the loggers; no control characters reach a file."""
    text = shown(tmp_path, is_terminal=False)
    assert "\x1b" not in text
    lines = text.splitlines()
    assert any(line.startswith("the fit's 12 steps take about") for line in lines)
    assert sum("validation loss" in line for line in lines) == 2
    (line,) = [line for line in lines if line.startswith("7/12")]
    for part in ("loss ", "events/s", "labels/s", "padding ", "GiB", " left"):
        assert part in line
    check_curves(read_csv(tmp_path / "csv" / "metrics.csv", infer_schema_length=None))


def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    """With the same figures beside it, taken away at the end."""
    text = shown(tmp_path, is_terminal=True)
    assert "events/s" in text
    assert "12/12" in text


class Precompiled(CompiledLosses):
    """The plain losses, as if ten minutes had gone into graphs."""

    def __init__(self) -> None:
        """Compile nothing."""
        self.seconds_preparing = 600.0

    def __call__(self, batch: MicroBatch, **settings: Any) -> dict[str, Tensor]:
        """Return the losses."""
        labels = LabelTensors.of(batch.labels, like=batch.weights)
        return weighted_sums(batch.inputs, labels, batch.weights, **settings)


def test_what_graphs_took_is_no_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made once: no step to come will take that long."""

    def left(folder: Path) -> list[tuple[int, float]]:
        shown(folder, is_terminal=False)
        table = read_csv(folder / "csv" / "metrics.csv", infer_schema_length=None)
        return table.select("step", "progress/seconds_left").drop_nulls().rows()

    plain = left(tmp_path / "plain")
    monkeypatch.setattr(fitting, "compiled_losses", lambda *_: Precompiled())
    for (step, seconds), (_, found) in zip(plain, left(tmp_path / "compiled"), strict=True):
        num_left = CONFIG.optimiser.num_steps - step - 1
        assert found == pytest.approx(seconds - 600.0 / (step + 1) * num_left)


def check_curves(table: DataFrame) -> None:
    """Fail where a figure did not reach the logger."""
    names = "events_per_second labels_per_second padding_share seconds_per_step seconds_left memory_gib"
    for name in (*(f"progress/{name}" for name in names.split()), "train/loss", "progress/learning_rate"):
        values = table[name].drop_nulls()
        assert len(values), name
        assert (values >= 0).all(), name
    assert (table["progress/padding_share"].drop_nulls() < 1).all()


@pytest.mark.parametrize(
    ("rate", "text"), [(9.4, "9"), (950.0, "950"), (12_345.0, "12.3k"), (4.56e6, "4.56M")]
)
def test_rates_have_three_digits(rate: float, text: str) -> None:
    """As many as a shared machine bears."""
    assert thousands(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (7_325, "2 h 02 min")]
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    """Rounded to the second first."""
    assert duration(seconds) == text
