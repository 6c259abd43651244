"""Two processes train as one does: the same losses and weights; only the first leaves more than a log."""

from contextlib import chdir
from pathlib import Path

import polars as pl
import pytest
import torch
from commands import run_command

import training.train
from training.publishing import CSV_FOLDER

# Importing an entry point makes beartype look at the bases of Hydra's DictConfig, which it finds deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")

NUM_STEPS = 24
TOLERANCE = 1e-4
"""Of every logged loss; sums in another order differ in the last digits of float32."""

COMMAND = (
    "data=simulated",
    "data.simulate.num_customers=150",
    "data.simulate.num_rollouts=2",
    "simulated_root=simulations",
    "model=tiny",
    # Masks are drawn per process: with dropout the two are equal in distribution only.
    "model.dropout=0",
    f"optimiser.num_steps={NUM_STEPS}",
    "optimiser.warmup_steps=2",
    "optimiser.validations=4",
    # A pool of an odd number, and at the end of every epoch one that is smaller.
    "batching.pool_customers=31",
    "blend=none",
    "evaluation.baselines=[]",
    "evaluation.num_bootstrap=2",
    "logger=none",
    "+logger.csv._target_=pytorch_lightning.loggers.CSVLogger",
    "+logger.csv.save_dir=${run_dir}",
    "+logger.csv.name=null",
    "+logger.csv.version=csv",
)
TWO = ("trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true")


@pytest.fixture(autouse=True)
def without_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes ten seconds and comes after what is compared here."""
    monkeypatch.setattr(training.train, "publish", lambda *_, **__: None)


def losses(run: Path) -> pl.DataFrame:
    """Return every loss that a run logged, by step; those of two fits one after the other."""
    table = pl.read_csv(run / CSV_FOLDER / "metrics.csv", infer_schema_length=None)
    named = sorted(name for name in table.columns if name.startswith(("train/", "validation/")))
    return table.select("step", *named)


def same_run(one: Path, other: Path) -> None:
    """Compare logs and weights of two runs."""
    mine, theirs = losses(one), losses(other)
    assert mine.columns == theirs.columns
    assert mine["validation/loss"].drop_nulls().len() == 4
    assert mine["step"].equals(theirs["step"])
    for name in mine.columns:
        assert mine[name].is_null().equals(theirs[name].is_null()), name
        assert ((mine[name] - theirs[name]).abs().max() or 0.0) < TOLERANCE, name
    weights = [torch.load(run / "model.pt", weights_only=True)["weights"] for run in (one, other)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=TOLERANCE, rtol=0, msg=name)


@pytest.mark.parametrize("trainer", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_processes_train_as_one(tmp_path: Path, trainer: str) -> None:
    """Twice, because every fit has followers of its own: on the training cutoffs, then on every window."""
    own = ("+data.cutoffs.fit_on=both",)
    if trainer == "fsdp":
        own = (*own, "optimiser.ema_decay=0", "model.encoder=transformer")
    with chdir(tmp_path):
        run_command("training.train", *COMMAND, *own, "run_dir=one")
        run_command("training.train", *COMMAND, *own, f"trainer={trainer}", *TWO, "run_dir=two")
    same_run(tmp_path / "one", tmp_path / "two")
    left = [
        {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
        for run in (tmp_path / "one", tmp_path / "two")
    ]
    assert left[1] - left[0] == {"process_1.log", "weighed/process_1.log"}
    assert left[0] <= left[1]
    assert "Traceback" not in (tmp_path / "two" / "process_1.log").read_text()


def test_averages_of_sharded_weights_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line says which setting, instead of weights that are something else than was asked for."""
    with chdir(tmp_path), pytest.raises(SystemExit) as ended:
        run_command("training.train", *COMMAND, "trainer=fsdp", *TWO)
    assert ended.value.code == 2
    assert "optimiser.ema_decay: got 0.99, but it must be 0 with trainer=fsdp" in capsys.readouterr().err
