"""How a store takes its place: interrupted, killed, refused, and two runs at once."""

from pathlib import Path
from threading import Event, Thread

import polars as pl
import pytest
from data_set_builder import shop_config, shop_events

from holdfast.errors import RunError
from training.prepare import prepare
from training.store import HistoryStore, writer
from training.store.place import only_writer


def made(folder: Path, events: pl.DataFrame) -> HistoryStore:
    """Prepare events and return the store."""
    return prepare(shop_config(folder / "data", {"events": events}), store_dir=folder / "store", force=True)


class Killed(BaseException):
    """Stands for a kill in the middle of a run: nothing catches it."""


@pytest.mark.parametrize("step", ["reading", "sorting and writing", "writing"])
def test_an_interrupted_run_leaves_the_old_store(tmp_path: Path, step: str) -> None:
    """Whenever a run ends early, the store that was there stays whole and nothing else is left behind."""
    before = made(tmp_path, shop_events()[:3]).config_fingerprint

    def interrupt(reached: str, share: float) -> None:
        if reached == step:
            raise Killed

    config = shop_config(tmp_path / "data", {"events": shop_events()}, limits={"rows_per_part": 2})
    with pytest.raises(Killed):
        prepare(config, store_dir=tmp_path / "store", progress=interrupt)
    assert HistoryStore.open(tmp_path / "store").config_fingerprint == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".store.lock", "data", "store"]


def test_a_kill_between_the_two_renames_is_healed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the old store was set aside and the new one never came, the next run puts the old one back first."""
    config = shop_config(tmp_path / "data")
    prepare(config, store_dir=tmp_path / "store")
    (tmp_path / "store").rename(tmp_path / ".store-previous")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the old store is up to date: nothing must be written")

    monkeypatch.setattr("training.prepare.write_store", refuse)
    assert prepare(config, store_dir=tmp_path / "store").index.num_events == 7


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """A mistaken store_dir never costs anybody's files."""
    precious = tmp_path / "home" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    with pytest.raises(RunError, match=r"home: something other than a history store .*; remove it or name"):
        prepare(shop_config(tmp_path / "data"), store_dir=precious.parent)
    assert precious.read_text() == "years of work"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Where no store can lie, the message names the place."""
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="the store cannot be written"):
        prepare(shop_config(tmp_path / "data"), store_dir=tmp_path / "file" / "store")


def test_a_full_disk_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses while columns are written is an error of the run; nothing is left behind."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "write_index", full)
    with pytest.raises(RunError, match="No space left on device"):
        prepare(shop_config(tmp_path / "data"), store_dir=tmp_path / "store")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".store.lock", "data"]


def test_what_a_killed_run_had_begun_is_removed(tmp_path: Path) -> None:
    """Half a store beside the place takes no disk for ever, and is never taken for a store."""
    (tmp_path / ".store-partial" / "spill").mkdir(parents=True)
    made(tmp_path, shop_events())
    assert sorted(path.name for path in tmp_path.iterdir()) == [".store.lock", "data", "store"]


def test_two_runs_at_once_make_one_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The second run waits for the first, says so (in a log too), and finds that nothing is left to do."""
    caplog.set_level("INFO", logger="training.prepare")
    config = shop_config(tmp_path / "data")
    waits = Event()
    steps: list[str] = []

    def progress(step: str, share: float) -> None:
        steps.append(step)
        waits.set()

    def second() -> None:
        prepare(config, store_dir=tmp_path / "store", progress=progress)

    thread = Thread(target=second)
    with only_writer(tmp_path / "store", tell_waiting=lambda: None):
        thread.start()
        assert waits.wait(timeout=60)
        # The first run's work, as far as the second can tell.
        prepare(config, store_dir=tmp_path / "first")
        (tmp_path / "first").rename(tmp_path / "store")
    thread.join()
    assert steps == ["waiting for another run"]
    assert f"waiting for another run that makes the store {tmp_path / 'store'}" in caplog.text
    assert HistoryStore.open(tmp_path / "store").index.num_events == 7
