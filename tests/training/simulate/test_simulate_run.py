"""A whole simulation on disk: the same rows in any grouping, complete or absent."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from holdfast.errors import ConfigError, RunError
from training.simulate import SimulationConfig, block, run, simulate
from training.simulate.run import ensure_simulated, read_result

KINDS = ("retailer", "subscription")


def small(kind: str, **values: object) -> SimulationConfig:
    """A simulation of 250 customers over 90 days."""
    given = {"num_customers": 250, "seed": 5, "num_days": 90, "cutoffs": ("2023-05-10T00:00:00Z",)}
    given |= {"horizons_days": (5, 15), "num_rollouts": 4, "lookback_days": 60}
    return SimulationConfig(kind=kind, **{**given, **values})


def tables(out: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The three tables as they lie in the files."""
    return (
        pl.read_parquet(out / "events" / "*.parquet"),
        pl.read_parquet(out / "customers.parquet"),
        pl.read_parquet(out / "truth.parquet"),
    )


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 100 customers, so that three make a small simulation."""
    monkeypatch.setattr(block, "BLOCK_CUSTOMERS", 100)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_configuration_gives_the_same_bytes(kind: str, tmp_path: Path) -> None:
    """Every file of two runs is equal, byte by byte; another seed gives other events."""
    for name in ("one", "two"):
        simulate(small(kind), tmp_path / name)
    simulate(small(kind, seed=6), tmp_path / "other")
    files = sorted(
        path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()
    )
    assert len(files) == 6
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file
    assert not tables(tmp_path / "one")[0].equals(tables(tmp_path / "other")[0])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", KINDS)
def test_rows_do_not_depend_on_how_blocks_are_grouped(kind: str, tmp_path: Path) -> None:
    """One block per file or all in one file: the same rows in the same order."""
    parts = [simulate(small(kind, blocks_per_part=per), tmp_path / str(per)).num_parts for per in (1, 2, 9)]
    assert parts == [3, 2, 1]
    for per in ("2", "9"):
        for one, other in zip(tables(tmp_path / "1"), tables(tmp_path / per), strict=True):
            assert_frame_equal(one, other)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("kind", KINDS)
def test_a_block_needs_no_other_block_and_no_truth(kind: str, tmp_path: Path) -> None:
    """The last block made alone, without any truth asked for, has the events it has in a whole run."""
    simulate(small(kind), tmp_path / "whole")
    alone = block.simulate_block(small(kind, cutoffs=()), 2, progress=lambda _work: None)
    whole = pl.read_parquet(tmp_path / "whole" / "events" / "part-00002.parquet")
    assert_frame_equal(alone.events, whole)
    assert alone.truth.is_empty()


@pytest.mark.usefixtures("small_blocks")
def test_no_more_than_one_part_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a block is made, at most the blocks of the unfinished part are still in memory."""
    alive: list[weakref.ref[pl.DataFrame]] = []
    held: list[int] = []
    make = block.simulate_block

    def watched(config: SimulationConfig, index: int, **rest: object) -> block.Block:
        gc.collect()
        held.append(sum(reference() is not None for reference in alive))
        made = make(config, index, **rest)
        alive.append(weakref.ref(made.events))
        return made

    monkeypatch.setattr(run, "simulate_block", watched)
    simulate(small("retailer", num_customers=800, blocks_per_part=2, cutoffs=()), tmp_path / "out")
    assert held == [0, 1, 0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_progress_ends_with_all_work_done(kind: str, tmp_path: Path) -> None:
    """The work told grows and ends exactly at the total, truth included."""
    told: list[tuple[int, int]] = []
    simulate(small(kind), tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1] == block.work_of(small(kind))


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle: no folder that could be taken for a complete one, no litter."""

    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(small("retailer"), tmp_path / "out", progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RunError, match="no complete simulation"):
        read_result(tmp_path / "out")


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """A kill runs no clean-up; without it every killed simulation would stay for ever."""
    for name in (".out.abc.unfinished", ".out.abc.replaced", ".output.abc.unfinished"):
        (tmp_path / name / "events").mkdir(parents=True)
    simulate(small("retailer"), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"out", ".output.abc.unfinished"}


def test_two_runs_at_once_make_one_simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one waits and takes what is there: to replace it would pull it from under the first."""
    made, original = [], run._simulate
    monkeypatch.setattr(run, "_simulate", lambda *given: made.append(given) or original(*given))
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: ensure_simulated(small("retailer"), tmp_path / "out"), range(2)))
    assert found[0] == found[1]
    assert len(made) == 1


def test_an_interrupted_replacement_keeps_the_earlier_one(tmp_path: Path) -> None:
    """What was complete before is not lost."""
    simulate(small("retailer"), tmp_path / "out")
    before = tables(tmp_path / "out")

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(small("retailer", seed=9), tmp_path / "out", overwrite=True, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    for one, other in zip(before, tables(tmp_path / "out"), strict=True):
        assert_frame_equal(one, other)


def test_only_a_simulation_is_replaced(tmp_path: Path) -> None:
    """A folder of something else stays; an earlier simulation is replaced on request; empty is free."""
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(ConfigError, match="overwrite"):
        simulate(small("retailer"), foreign)
    with pytest.raises(ConfigError, match="only an earlier simulation"):
        simulate(small("retailer"), foreign, overwrite=True)
    assert (foreign / "thesis.txt").read_text() == "irreplaceable"

    (tmp_path / "empty").mkdir()
    simulate(small("retailer"), tmp_path / "empty")
    first = read_result(tmp_path / "empty")
    second = simulate(small("subscription"), tmp_path / "empty", overwrite=True)
    assert first.num_events != second.num_events
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "foreign"]


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    """The parent is a file: an error that names the folder, not a traceback of the file system."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="out"):
        simulate(small("retailer"), tmp_path / "file" / "out")


def test_a_simulation_is_made_once(tmp_path: Path) -> None:
    """It is made when absent, kept while its values stay, and made anew for others or when damaged."""
    out = tmp_path / "out"
    made: list[int] = []

    def ensure(config: SimulationConfig) -> None:
        told: list[int] = []
        ensure_simulated(config, out, progress=lambda done, _total: told.append(done))
        made.append(bool(told))

    ensure(small("retailer"))
    ensure(small("retailer", blocks_per_part=3))
    ensure(small("retailer", seed=6))
    (out / "truth.parquet").unlink()
    ensure(small("retailer", seed=6))
    ensure(small("retailer", seed=6))
    assert made == [True, False, True, True, False]


def test_counts_are_those_of_the_files(tmp_path: Path) -> None:
    """The result says what lies there."""
    result = simulate(small("retailer"), tmp_path / "out")
    events, customers, truth = tables(tmp_path / "out")
    assert (result.num_events, result.num_truths) == (events.height, truth.height)
    assert result.num_customers == customers["customer_id"].n_unique() == 250
