"""A run is gone on with only if it is the same one, not finished, and not at work elsewhere."""

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch

import training.run_folder
from holdfast.errors import ArtifactError, ConfigError, RunError
from training.checkpoints import checkpoint_of
from training.fitted import FILE_NAME
from training.fitting import WEIGHED_FOLDER
from training.run_folder import (
    EARLIER_FOLDER,
    FINGERPRINT_NAME,
    FINISHED_NAME,
    RunFolder,
    check_run,
    open_run,
    read_settings,
)

CONFIG = {"seed": 1, "model": {"width": 8}, "run_dir": "a", "resume": None}


def opened(
    config: dict[str, Any], run_dir: Path, *, resume: object = None, data: str = "d1"
) -> AbstractContextManager[RunFolder]:
    """Open a folder on the data that every test has unless it says otherwise."""
    return open_run(config, data=data, run_dir=run_dir, resume=resume)


def resumed(run_dir: Path, *, resume: object = "auto", data: str = "d1") -> tuple[Path, bool]:
    """Return where a start of the usual configuration works, and whether it goes on."""
    with opened(CONFIG, run_dir, resume=resume, data=data) as run:
        return run.path, run.is_resumed


def killed_run(parent: Path, name: str, config: dict[str, Any], *, is_finished: bool = False) -> Path:
    """Leave what a killed run leaves: a folder, its fingerprint, a checkpoint."""
    with opened(config, parent / name) as run:
        checkpoint_of(run.path).parent.mkdir()
        torch.save({"global_step": 4}, checkpoint_of(run.path))
        if is_finished:
            run.finish()
    return run.path


def test_auto_goes_on_with_the_first_of_two_fits(tmp_path: Path) -> None:
    """A run that was killed before its second fit has a checkpoint of the first one only."""
    run = killed_run(tmp_path, "run", CONFIG)
    (run / WEIGHED_FOLDER).mkdir()
    (run / "checkpoints").rename(run / WEIGHED_FOLDER / "checkpoints")
    assert resumed(tmp_path / "new") == (run, True)


@pytest.mark.parametrize("place", [".", WEIGHED_FOLDER])
def test_auto_goes_on_with_a_model_that_never_had_a_checkpoint(tmp_path: Path, place: str) -> None:
    """A fit of fewer steps than lie between two checkpoints; it was killed while it was judged, say."""
    with opened(CONFIG, tmp_path / "run") as run:
        (run.path / place).mkdir(exist_ok=True)
        (run.path / place / FILE_NAME).touch()
    assert resumed(tmp_path / "new") == (run.path, True)


def test_auto_goes_on_with_the_newest_unfinished_run_of_this_configuration(tmp_path: Path) -> None:
    """Not with a finished one, nor with one of another seed; where and how it is shown does not matter."""
    older = killed_run(tmp_path, "older", CONFIG)
    newest = killed_run(tmp_path, "newest", CONFIG | {"run_dir": "b", "resume": "auto"})
    os.utime(checkpoint_of(older), ns=(0, 0))
    killed_run(tmp_path, "finished", CONFIG, is_finished=True)
    killed_run(tmp_path, "other", CONFIG | {"seed": 2})
    assert resumed(tmp_path / "new") == (newest, True)


def test_auto_goes_on_with_the_unfinished_run_in_its_own_folder(tmp_path: Path) -> None:
    """Whoever gives run_dir means that folder, though another one be newer."""
    own = killed_run(tmp_path, "own", CONFIG)
    os.utime(checkpoint_of(own), ns=(0, 0))
    killed_run(tmp_path, "newer", CONFIG)
    assert resumed(own) == (own, True)


def test_auto_starts_anew_where_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    """The same command serves the first start and every restart."""
    assert resumed(tmp_path / "new") == (tmp_path / "new", False)


def test_a_run_on_other_data_is_another_one(tmp_path: Path) -> None:
    """Weights that saw other rows are not gone on with; who names such a run is told so."""
    run = killed_run(tmp_path, "run", CONFIG)
    assert resumed(tmp_path / "new", data="d2") == (tmp_path / "new", False)
    with pytest.raises(ConfigError, match=r"^resume: got .*very data.*have changed since"):
        resumed(tmp_path / "new", resume=str(run), data="d2")


def test_a_run_from_before_a_change_of_form_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its model could not be read."""
    run = killed_run(tmp_path, "run", CONFIG)
    monkeypatch.setattr(training.run_folder, "FORM", 999)
    assert resumed(tmp_path / "new") == (tmp_path / "new", False)
    with pytest.raises(ConfigError, match=r"^resume: got .*release whose model\.pt"):
        check_run(CONFIG, run_dir=tmp_path / "new", resume=str(run))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"64 hex digits of an earlier release\n"])
def test_a_fingerprint_that_says_nothing_is_no_run_of_ours(tmp_path: Path, content: bytes) -> None:
    """Whatever bytes lie there, the runs beside it are found."""
    damaged = killed_run(tmp_path, "damaged", CONFIG)
    (damaged / FINGERPRINT_NAME).write_bytes(content)
    run = killed_run(tmp_path, "run", CONFIG)
    assert resumed(tmp_path / "new") == (run, True)
    with pytest.raises(ConfigError, match="this very configuration"):
        resumed(tmp_path / "new", resume=str(damaged))


def test_a_new_run_sets_aside_what_another_one_left(tmp_path: Path) -> None:
    """No model, figure or log of another configuration passes for its own; an artifact may be in use."""
    run = killed_run(tmp_path, "run", CONFIG | {"seed": 2}, is_finished=True)
    for name in (
        FILE_NAME,
        "result.json",
        "report.html",
        "csv",
        "csv.1",
        "process_1.log",
        "notes",
        "artifact",
    ):
        (run / name).touch()
    (run / WEIGHED_FOLDER).mkdir()
    assert resumed(run) == (run, False)
    kept = {"settings.json", FINGERPRINT_NAME, "run.lock", "notes", "artifact", EARLIER_FOLDER}
    assert {path.name for path in run.iterdir()} == kept
    assert read_settings(run)["seed"] == 1
    assert read_settings(run / EARLIER_FOLDER)["seed"] == 2
    assert {"csv", "csv.1", FILE_NAME, WEIGHED_FOLDER} <= {
        path.name for path in (run / EARLIER_FOLDER).iterdir()
    }


def test_setting_aside_is_taken_up_where_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had been moved by then is still there in the end."""
    run = killed_run(tmp_path, "run", CONFIG | {"seed": 2})
    (run / FILE_NAME).touch()
    replace = Path.replace

    def killing(self: Path, target: Path) -> Path:
        if self.name == "checkpoints":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killing)
    with pytest.raises(KeyboardInterrupt):
        resumed(run)
    monkeypatch.undo()
    assert resumed(run) == (run, False)
    assert (run / EARLIER_FOLDER / FILE_NAME).is_file()
    assert checkpoint_of(run / EARLIER_FOLDER).is_file()


def test_what_had_not_begun_is_not_worth_setting_aside(tmp_path: Path) -> None:
    """A start that was killed at once does not take the place of the run before it."""
    run = killed_run(tmp_path, "run", CONFIG | {"seed": 2})
    for seed in (3, 4):
        with opened(CONFIG | {"seed": seed}, run):
            (run / "csv").mkdir()
    assert resumed(run) == (run, False)
    assert not (run / "csv").exists()
    assert read_settings(run / EARLIER_FOLDER)["seed"] == 2


def test_a_run_that_is_alive_elsewhere_is_left_alone(tmp_path: Path) -> None:
    """Auto passes it over, its name or folder is refused in one line; killed, it is gone on with."""
    run = killed_run(tmp_path, "run", CONFIG)
    program = (
        "import sys; from pathlib import Path; from training.run_folder import open_run\n"
        f"with open_run({CONFIG!r}, data='d1', run_dir=Path(sys.argv[1]), resume='auto') as run:\n"
        "    print(run.path, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline().strip() == str(run)
            assert resumed(tmp_path / "new") == (tmp_path / "new", False)
            with pytest.raises(ConfigError, match=r"^resume: got .*another process"):
                resumed(tmp_path / "new", resume=str(run))
            with pytest.raises(RunError, match=rf"another process is at work on the run in {run}"):
                resumed(run)
        finally:
            other.kill()
    assert resumed(tmp_path / "new") == (run, True)


def test_a_run_that_ends_while_it_is_looked_at_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was unfinished when it was found, and is finished when it is free."""
    run = killed_run(tmp_path, "run", CONFIG)
    found = training.run_folder._unfinished

    def finding(*where: Any) -> list[Path]:
        paths = found(*where)
        (run / FINISHED_NAME).touch()
        return paths

    monkeypatch.setattr(training.run_folder, "_unfinished", finding)
    assert resumed(tmp_path / "new") == (tmp_path / "new", False)


@pytest.mark.parametrize("place", [".", WEIGHED_FOLDER])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 truncated"])
def test_a_damaged_checkpoint_of_a_named_run_is_named(tmp_path: Path, place: str, content: bytes) -> None:
    """With auto the fit says so in the log and begins anew: see the tests of fits."""
    run = killed_run(tmp_path, "run", CONFIG)
    (run / place / "checkpoints").mkdir(parents=True, exist_ok=True)
    checkpoint_of(run / place).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{checkpoint_of(run / place)}: it cannot be read"):
        resumed(tmp_path / "new", resume=str(run))
    assert resumed(tmp_path / "new") == (run, True)


def test_a_damaged_model_of_a_named_run_is_named(tmp_path: Path) -> None:
    """It would be judged, whatever checkpoints lie beside it."""
    run = killed_run(tmp_path, "run", CONFIG)
    (run / FILE_NAME).write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(ArtifactError, match=FILE_NAME):
        resumed(tmp_path / "new", resume=str(run))


def test_settings_of_something_else_are_refused(tmp_path: Path) -> None:
    """Whatever JSON lies there."""
    (tmp_path / "settings.json").write_text("[1]")
    with pytest.raises(ArtifactError, match=r"what a run of training\.train left"):
        read_settings(tmp_path)


def test_a_folder_may_be_called_by_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra reads resume=2024 as a number."""
    monkeypatch.chdir(tmp_path)
    killed_run(Path(), "2024", CONFIG)
    assert resumed(Path("other"), resume=2024) == (Path("2024"), True)


def test_what_names_no_run_is_refused(tmp_path: Path) -> None:
    """A truth value is what Hydra makes of resume=true."""
    with pytest.raises(ConfigError, match=r"^resume: got True, .* auto"):
        check_run({"seed": 1}, run_dir=tmp_path / "run", resume=True)


def test_a_named_run_must_be_of_this_very_configuration(tmp_path: Path) -> None:
    """Weights of another model are never gone on with, and nothing is prepared before that is said."""
    path = killed_run(tmp_path, "named", CONFIG)
    assert resumed(tmp_path / "new", resume=str(path)) == (path, True)
    with pytest.raises(ConfigError, match=r"resume.*this very configuration"):
        check_run(CONFIG | {"seed": 2}, run_dir=tmp_path / "new", resume=str(path))
    with pytest.raises(ConfigError, match=r"resume.*earlier run"):
        check_run(CONFIG, run_dir=tmp_path / "new", resume=str(tmp_path / "nowhere"))


def test_an_unwritable_place_gives_one_clear_line(tmp_path: Path) -> None:
    """A file where the folder should be, or a folder where a file should be: the message names it."""
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"run folder .*file/run cannot be written"):
        check_run(CONFIG, run_dir=tmp_path / "file" / "run", resume=None)
    (tmp_path / "run" / "run.lock").mkdir(parents=True)
    with pytest.raises(RunError, match=r"run folder .*run cannot be written"):
        resumed(tmp_path / "run")
    other = killed_run(tmp_path, "other", CONFIG)
    (other / EARLIER_FOLDER).touch()
    with pytest.raises(RunError, match=rf"run folder {other} cannot be written"):
        resumed(other, resume=None)
