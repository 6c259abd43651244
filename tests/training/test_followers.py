"""Followers end with the fit, and what one of them says on failing is what the run ends with."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch

import training.followers
from holdfast.errors import ConfigError, RunError
from training.followers import Followers, alone

ENDS = "import os, sys; sys.stdin.readline()"
HANGS = f"{ENDS}; open('started', 'w').write(str(os.getpid())); sys.stdin.read()"
FAILS = f"{ENDS}; print('a warning'); print('error: the disk is full'); sys.exit(2)"
IS_A_DEFECT = f"{ENDS}; 1 / 0"


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work in the test's own folder, and see that nothing of the environment is left behind."""
    monkeypatch.chdir(tmp_path)
    before, threads = environment(), torch.get_num_threads()
    yield
    assert environment() == before
    assert torch.get_num_threads() == threads


def environment() -> dict[str, str]:
    """Return the environment without what pytest keeps there."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


def company(
    monkeypatch: pytest.MonkeyPatch, folder: Path, program: str, *, num_processes: int = 2
) -> AbstractContextManager[None]:
    """Return the company of followers that run a program of the test's own."""
    monkeypatch.setattr(training.followers, "PROGRAM", ("-c", program))
    followers = Followers(settings={}, num_processes=num_processes, threads=1)
    return followers(fit_on="train", folder=folder, checkpoint=None)


def test_a_fit_sees_what_lightning_reads_and_followers_end_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rank, size and port are set for the time of the fit; every follower has its log."""
    with company(monkeypatch, tmp_path, f"{ENDS}; print('rank', os.environ['LOCAL_RANK'])"):
        assert os.environ["LOCAL_RANK"] == "0"
        assert os.environ["WORLD_SIZE"] == "2"
        assert int(os.environ["MASTER_PORT"]) > 0
    assert (tmp_path / "process_1.log").read_text() == "rank 1\n"


@pytest.mark.parametrize(
    ("program", "said"), [(FAILS, "the disk is full"), (IS_A_DEFECT, "ZeroDivisionError: division by zero")]
)
def test_the_words_of_a_failed_follower_are_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, said: str
) -> None:
    """What the leader itself sees of it, a closed connection, says nothing."""
    line = rf"the training process of rank 1 failed: {said} \(see .*process_1\.log\)"
    with pytest.raises(RunError, match=line), company(monkeypatch, tmp_path, program):
        raise RuntimeError("connection closed by peer")


def test_a_follower_that_fails_in_the_end_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fit is done when all have done their part."""
    followers = company(monkeypatch, tmp_path, FAILS, num_processes=3)
    with pytest.raises(RunError, match="of rank 1 failed: the disk is full"), followers:
        pass


def test_followers_end_when_the_leader_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and the leader's own error stays what it was."""
    started = tmp_path / "started"
    os.mkfifo(started)
    pids: list[int] = []

    def fail() -> None:
        with company(monkeypatch, tmp_path, HANGS):
            pids.append(int(started.read_text()))
            raise ConfigError("seed", -1, "it must be at least 0")

    with pytest.raises(ConfigError, match="seed"):
        fail()
    (pid,) = pids
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_leader_that_waits_for_a_lost_follower_ends_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No exception reaches a thread that waits in a collective: the watch ends the process, with the line."""
    ended = training.followers.threading.Event()
    codes: list[int] = []

    def exits(code: int) -> None:
        codes.append(code)
        ended.set()

    monkeypatch.setattr(training.followers, "GRACE_SECONDS", 0.01)
    monkeypatch.setattr(training.followers.os, "_exit", exits)
    with pytest.raises(RunError, match="the disk is full"), company(monkeypatch, tmp_path, FAILS):
        assert ended.wait(60)
    assert codes == [2]
    assert "error: the training process of rank 1 failed: the disk is full" in capsys.readouterr().err


def test_a_folder_that_takes_no_log_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any process is started."""
    (tmp_path / "file").touch()
    followers = company(monkeypatch, tmp_path / "file", ENDS)
    with pytest.raises(RunError, match=r"file/process_1\.log cannot be written: Not a dir"), followers:
        pass


def test_a_trainer_of_one_process_has_no_company() -> None:
    """Nothing is started, nothing is set."""
    before = dict(os.environ)
    with alone(fit_on="train"):
        assert dict(os.environ) == before
