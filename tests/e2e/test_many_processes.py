"""Two processes train as one does: the same losses and weights; only the first leaves more than a log."""

import os
import subprocess
import sys
import time
from contextlib import chdir
from pathlib import Path

import polars as pl
import pytest
import torch
from commands import NO_LOGS, QUIET, run_command

import training.train
from training.publishing import CSV_FOLDER

# Importing an entry point makes beartype look at the bases of Hydra's DictConfig, which it finds deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")

NUM_STEPS = 24
WAIT_SECONDS = 300
ROOT = Path(__file__).parents[2]
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


def killed_run(folder: Path, command: tuple[str, ...]) -> tuple[Path, list[int]]:
    """Start a run, kill the process that leads between two steps; return its folder and the others."""
    marker = folder / "stands_still"
    pause = ("_target_=pausing_logger.PausingLogger", "step=9", f"marker={marker}")
    loggers = [f"+logger.pause.{setting}" for setting in pause]
    process = subprocess.Popen(
        [sys.executable, "-m", "training.train", *command, *QUIET, *NO_LOGS, *loggers],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while not marker.exists():
            assert process.poll() is None, "the run ended early"
            assert time.monotonic() < deadline, "the run did not get as far as it should"
            time.sleep(0.01)
        others = [
            int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        ]
    finally:
        process.kill()
        process.wait()
    (run,) = (folder / "outputs" / "simulated").iterdir()
    return run, others


def is_running(pid: int) -> bool:
    """Return whether a process is there and more than an entry that nobody has read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


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


@pytest.mark.long
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """The same loss at every step, the same validation loss and the same weights, to 1e-4."""
    with chdir(tmp_path):
        run_command("training.train", *COMMAND, "run_dir=one")
        run_command("training.train", *COMMAND, "trainer=ddp", *TWO, "run_dir=two")
    same_run(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize(
    "trainer", [pytest.param("ddp", marks=pytest.mark.slow), pytest.param("fsdp", marks=pytest.mark.long)]
)
def test_every_fit_has_processes_of_its_own(tmp_path: Path, trainer: str) -> None:
    """A run that fits twice, on the training cutoffs and on every window; of them logs are left."""
    own = ("data.cutoffs.fit_on=both",)
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


@pytest.mark.slow
def test_a_killed_run_leaves_no_process_behind_and_goes_on(tmp_path: Path) -> None:
    """The others end with the one that was killed; the same command ends with the bits of a whole run."""
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    several = ("trainer=ddp", *TWO, "optimiser.checkpoint_every_steps=2", "resume=auto")
    run, others = killed_run(tmp_path / "killed", (*COMMAND, *several))
    assert len(others) == 1
    deadline = time.monotonic() + WAIT_SECONDS
    while any(is_running(pid) for pid in others):
        assert time.monotonic() < deadline, "a process outlived the run"
        time.sleep(0.01)
    for folder in ("killed", "whole"):
        with chdir(tmp_path / folder):
            run_command("training.train", *COMMAND, *several)
    (whole,) = (tmp_path / "whole" / "outputs" / "simulated").iterdir()
    weights = [torch.load(path / "model.pt", weights_only=True)["weights"] for path in (run, whole)]
    for name, value in weights[0].items():
        assert torch.equal(weights[1][name], value), name
