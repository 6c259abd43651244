"""A run is gone on with only if it is the same one and not finished."""

from pathlib import Path

import pytest

from holdfast.errors import ArtifactError, ConfigError, RunError
from training.checkpoints import CHECKPOINT_NAME
from training.fitting import WEIGHED_FOLDER
from training.run_folder import open_run, read_settings

CONFIG = {"seed": 1, "model": {"width": 8}, "run_dir": "a", "resume": None}


def killed_run(parent: Path, name: str, config: dict[str, object], *, is_finished: bool = False) -> Path:
    """Leave what a killed run leaves: a folder, its fingerprint, a checkpoint."""
    run = open_run(config, run_dir=parent / name, resume=None)
    (run.path / "checkpoints").mkdir()
    (run.path / "checkpoints" / CHECKPOINT_NAME).touch()
    if is_finished:
        run.finish()
    return run.path


def test_auto_goes_on_with_the_first_of_two_fits(tmp_path: Path) -> None:
    """A run that was killed before its second fit has a checkpoint of the first one only."""
    run = killed_run(tmp_path, "run", CONFIG)
    (run / WEIGHED_FOLDER).mkdir()
    (run / "checkpoints").rename(run / WEIGHED_FOLDER / "checkpoints")
    assert open_run(CONFIG, run_dir=tmp_path / "new", resume="auto").path == run


def test_auto_goes_on_with_the_newest_unfinished_run_of_this_configuration(tmp_path: Path) -> None:
    """Not with a finished one, nor with one of another seed; where and how it is shown does not matter."""
    killed_run(tmp_path, "older", CONFIG)
    newest = killed_run(tmp_path, "newest", CONFIG | {"run_dir": "b", "resume": "auto"})
    killed_run(tmp_path, "finished", CONFIG, is_finished=True)
    killed_run(tmp_path, "other", CONFIG | {"seed": 2})
    run = open_run(CONFIG, run_dir=tmp_path / "new", resume="auto")
    assert (run.path, run.is_resumed) == (newest, True)


def test_auto_starts_anew_where_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    """The same command serves the first start and every restart."""
    run = open_run(CONFIG, run_dir=tmp_path / "new", resume="auto")
    assert (run.path, run.is_resumed) == (tmp_path / "new", False)


def test_settings_of_something_else_are_refused(tmp_path: Path) -> None:
    """Whatever JSON lies there."""
    (tmp_path / "settings.json").write_text("[1]")
    with pytest.raises(ArtifactError, match=r"what a run of training\.train left"):
        read_settings(tmp_path)


def test_a_folder_may_be_called_by_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra reads resume=2024 as a number."""
    monkeypatch.chdir(tmp_path)
    open_run({"seed": 1}, run_dir=Path("2024"), resume=None)
    assert open_run({"seed": 1}, run_dir=Path("other"), resume=2024).path == Path("2024")


def test_what_names_no_run_is_refused(tmp_path: Path) -> None:
    """A truth value is what Hydra makes of resume=true."""
    with pytest.raises(ConfigError, match=r"^resume: got True, .* auto"):
        open_run({"seed": 1}, run_dir=tmp_path / "run", resume=True)


def test_a_named_run_must_be_of_this_very_configuration(tmp_path: Path) -> None:
    """Weights of another model are never gone on with."""
    path = killed_run(tmp_path, "named", CONFIG)
    assert open_run(CONFIG, run_dir=tmp_path / "new", resume=str(path)).is_resumed
    with pytest.raises(ConfigError, match=r"resume.*this very configuration"):
        open_run(CONFIG | {"seed": 2}, run_dir=tmp_path / "new", resume=str(path))
    with pytest.raises(ConfigError, match=r"resume.*earlier run"):
        open_run(CONFIG, run_dir=tmp_path / "new", resume=str(tmp_path / "nowhere"))


def test_an_unwritable_place_gives_one_clear_line(tmp_path: Path) -> None:
    """A file where the folder should be: the message names it."""
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"run folder .*file/run cannot be written"):
        open_run(CONFIG, run_dir=tmp_path / "file" / "run", resume=None)
