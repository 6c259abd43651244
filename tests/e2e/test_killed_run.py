"""A run that is killed, or meets a full disk, in the middle goes on to the very bits it would have had."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
import torch
from commands import NO_LOGS, QUIET, run_command

import training.train
from training.checkpoints import CHECKPOINT_NAME
from training.module import TrainingModule
from training.publishing import training_curve

# Importing an entry point makes beartype look at the bases of Hydra's DictConfig, which it finds deprecated.
pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")]

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 120
NUM_STEPS = 12
COMMAND = (
    "data=simulated",
    "data.simulate.num_customers=150",
    "data.simulate.num_rollouts=2",
    "model=tiny",
    f"optimiser.num_steps={NUM_STEPS}",
    "optimiser.warmup_steps=2",
    "optimiser.validations=4",
    "optimiser.checkpoint_every_steps=2",
    "batching.pool_customers=32",
    "evaluation.baselines=[]",
    "evaluation.num_bootstrap=2",
    "resume=auto",
)
"""The same for the first start and every restart; where the shop lies is added to it."""
KILLED_IN_FINISH = """
import os, runpy, signal, sys
from training import fitting

finish, number = fitting.finish, int(sys.argv.pop(1))

def killing(*args, **options):
    global number
    number -= 1
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return finish(*args, **options)

fitting.finish = killing
runpy.run_module("training.train", run_name="__main__", alter_sys=True)
"""
"""Python that trains and is killed behind the last step of the fit of a number, before there is a model."""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Return the command, with one place for the shop, which is simulated by the first run alone."""
    return (*COMMAND, f"simulated_root={tmp_path_factory.mktemp('simulations')}")


def wait_for(marker: Path, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a file is there; not for ever, and not for a process that has ended."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not marker.exists():
        assert process.poll() is None, f"the run ended early: {process.communicate()[0].decode()[-2000:]}"
        assert time.monotonic() < deadline, "the run did not get as far as it should"
        time.sleep(0.01)


def killed_run(folder: Path, command: tuple[str, ...]) -> Path:
    """Start a run, kill it between two steps, and return its folder."""
    marker = folder / "stands_still"
    pause = ("_target_=pausing_logger.PausingLogger", "step=5", f"marker={marker}")
    loggers = [f"+logger.pause.{setting}" for setting in pause]
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    process = subprocess.Popen(
        [sys.executable, "-m", "training.train", *command, *QUIET, *NO_LOGS, *loggers],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        wait_for(marker, process)
    finally:
        process.kill()
        process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == -signal.SIGKILL
    (run,) = (folder / "outputs" / "simulated").iterdir()
    return run


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Return the weights that a finished run left."""
    content: dict[str, dict[str, torch.Tensor]] = torch.load(run / "model.pt", weights_only=True)
    return content["weights"]


@pytest.fixture
def steps_taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with every optimiser step; reports and artifacts are left out."""
    taken: list[int] = []
    step = TrainingModule.training_step

    def counted(self: TrainingModule, pool: list, number: int) -> None:
        taken.append(self.global_step)
        step(self, pool, number)

    monkeypatch.setattr(TrainingModule, "training_step", counted)
    # An export takes ten seconds and comes after what is compared here.
    monkeypatch.setattr(training.train, "publish", lambda *_, **__: None)
    return taken


def test_a_killed_run_ends_with_the_bits_of_an_uninterrupted_one(
    tmp_path: Path, command: tuple[str, ...], steps_taken: list[int]
) -> None:
    """The same command goes on from the last checkpoint, takes the steps that are left, and no other."""
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    killed = killed_run(tmp_path / "killed", command)
    checkpoint = torch.load(killed / "checkpoints" / CHECKPOINT_NAME, weights_only=True)
    done = checkpoint["global_step"]
    assert 0 < done < NUM_STEPS
    assert not (killed / "model.pt").exists()
    with chdir(tmp_path / "killed"):
        run_command("training.train", *command)
    assert steps_taken == list(range(done, NUM_STEPS))
    with chdir(tmp_path / "whole"):
        run_command("training.train", *command)
    (whole,) = (tmp_path / "whole" / "outputs" / "simulated").iterdir()
    assert steps_taken[NUM_STEPS - done :] == list(range(NUM_STEPS))
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(killed)[name]), name
    # The log of the steps before the kill is still there, and tells the same story.
    curve = training_curve(whole)
    assert len(curve["validation loss"]) > 2
    assert training_curve(killed) == curve


@pytest.mark.parametrize("number", [1, 2])
def test_a_run_killed_behind_the_last_step_of_a_fit_ends_with_the_same_bits(
    tmp_path: Path, command: tuple[str, ...], steps_taken: list[int], number: int
) -> None:
    """In either of two fits, though the number of steps is a multiple of those between checkpoints."""
    command = (*command, "++data.cutoffs.fit_on=both")
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    killing = [sys.executable, "-c", KILLED_IN_FINISH, str(number), *command, *QUIET, *NO_LOGS]
    ended = subprocess.run(
        killing,
        check=False,
        capture_output=True,
        cwd=tmp_path / "killed",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
    with chdir(tmp_path / "killed"):
        run_command("training.train", *command)
    last, all_steps = [NUM_STEPS - 2, NUM_STEPS - 1], list(range(NUM_STEPS))
    assert steps_taken == last + all_steps * (2 - number)
    with chdir(tmp_path / "whole"):
        run_command("training.train", *command)
    # Of the second start nothing is left but Hydra's folder.
    (killed,) = tmp_path.glob("killed/outputs/simulated/*/model.pt")
    (whole,) = tmp_path.glob("whole/outputs/simulated/*/model.pt")
    for name, weight in weights(whole.parent).items():
        assert torch.equal(weight, weights(killed.parent)[name]), name


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no file grow beyond what logs need, from a step on: the system refuses every larger one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    step = TrainingModule.training_step

    def filling(self: TrainingModule, pool: list, number: int) -> None:
        if self.global_step == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        step(self, pool, number)

    monkeypatch.setattr(TrainingModule, "training_step", filling)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_one_line_and_the_run_goes_on_afterwards(
    tmp_path: Path,
    command: tuple[str, ...],
    steps_taken: list[int],
    full_disk: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The last complete checkpoint stays, and the same command takes the steps that are left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    command = (*command, "evaluation.num_bootstrap=3", "logger=none")
    with chdir(tmp_path), pytest.raises(SystemExit) as ended:
        run_command("training.train", *command)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "checkpoints/last.ckpt cannot be written: File too large" in line
    (run,) = (tmp_path / "outputs" / "simulated").iterdir()
    assert torch.load(run / "checkpoints" / CHECKPOINT_NAME, weights_only=True)["global_step"] == 4
    steps_taken.clear()
    with pytest.MonkeyPatch.context() as patch, chdir(tmp_path):
        patch.setattr(resource, "setrlimit", lambda *_: None)
        run_command("training.train", *command)
    assert steps_taken == list(range(4, NUM_STEPS))
    assert (run / "model.pt").exists()
