"""Prepares a data set: source tables to history store (``python -m training.prepare data=cdnow``).

It deliberately does not know cutoffs, labels or models.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from holdfast.errors import ArtifactError
from training.canonical import customers_table, events_table, labels_table
from training.data_config import DataConfig
from training.entry import CONFIG_DIR, run_entry
from training.prepare_summary import summary
from training.sources import count_rows, file_states, scan_sources
from training.store import HistoryStore, write_store
from training.store.making import Progress as TellProgress
from training.store.making import Tables
from training.store.place import only_writer
from training.task import Task

_LOG = logging.getLogger(__name__)

USUAL_ROWS_PER_SECOND = 1.5e6
"""Of simulated events on two cores; a guess at any other data and machine, made before anything is read."""

WORTH_ANNOUNCING_SECONDS = 5.0


def prepare(
    config: DataConfig,
    *,
    store_dir: Path,
    force: bool = False,
    progress: TellProgress = lambda *_: None,
    announce: Callable[[int], None] = lambda _: None,
) -> HistoryStore:
    """Return the history store of a data set, made anew only where it is not up to date.

    Args:
        config: The data set.
        store_dir: Where the store lies or shall lie.
        force: Whether a store that is up to date is made anew all the same.
        progress: Told the step at work and the share of it that is done.
        announce: Told before the work how many source rows there are.

    Returns:
        The opened store.

    Raises:
        ConfigError: The data set contradicts itself.
        DataError: A source or a query is at fault, or too many rows cannot be used.
        RunError: The disk is full, a driver is missing, or the folder is not ours to replace.
    """
    store_dir = Path(store_dir)
    ensure_simulated_sources(config, progress=progress)
    fingerprint = config.store_fingerprint(files=file_states(config.sources))
    current = None if force else _current(store_dir, fingerprint)
    if current is not None:
        return current

    def tell_waiting() -> None:
        progress("waiting for another run", 0.0)
        # In a log there is no bar, and the other run may take hours.
        _LOG.info("waiting for another run that makes the store %s", store_dir)

    with only_writer(store_dir, tell_waiting=tell_waiting):
        # Another run may have made it meanwhile, or a killed one have set it aside.
        current = None if force else _current(store_dir, fingerprint)
        return current or _make(config, store_dir, fingerprint, progress, announce)


def _make(
    config: DataConfig,
    store_dir: Path,
    fingerprint: str,
    progress: TellProgress,
    announce: Callable[[int], None],
) -> HistoryStore:
    sources = scan_sources(config.sources)
    tables = Tables(
        events=events_table(config, sources),
        customers=customers_table(config, sources),
        labels=labels_table(config, sources),
    )
    source_rows = count_rows(sources, config.sources)
    announce(sum(source_rows.values()))
    write_store(
        tables,
        config,
        store_dir=store_dir,
        source_rows=source_rows,
        fingerprint=fingerprint,
        progress=progress,
    )
    # Just written: the checksums are those of the very bytes.
    return HistoryStore.open(store_dir, verify=False)


def _current(store_dir: Path, fingerprint: str) -> HistoryStore | None:
    """Return the store that lies there if it is whole and up to date."""
    try:
        store = HistoryStore.open(store_dir)
    except ArtifactError:
        # Whatever is wrong with it, the sources are there to make it anew.
        return None
    return store if store.config_fingerprint == fingerprint else None


def ensure_simulated_sources(config: DataConfig, *, progress: TellProgress) -> None:
    """Simulate the sources of a simulated data set where they are absent or of other values.

    Raises:
        ConfigError: A value of ``data.simulate`` is out of range.
        RunError: The tables cannot be written.
    """
    if config.simulate is None:
        return
    # Here, because a real data set needs no simulator.
    from training.simulate.config import simulation_config
    from training.simulate.run import ensure_simulated

    simulation = simulation_config(config.simulate)
    ensure_simulated(
        simulation,
        simulated_folder(config),
        progress=lambda done, total: progress("simulating", done / max(total, 1)),
    )


def simulated_folder(config: DataConfig) -> Path:
    """Return the folder that a simulation fills: the nearest one above all of its tables."""
    paths = [source.path for source in config.sources.values()]
    if config.truth is not None:
        paths.append(config.truth.path)
    return Path(os.path.commonpath([Path(path).absolute().parent for path in paths]))


@contextmanager
def shown_progress(console: Console) -> Iterator[TellProgress]:
    """Show a progress bar while something is prepared; yields what tells it."""
    elapsed, left = TimeElapsedColumn(), TimeRemainingColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), elapsed, TextColumn("left:"), left)
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=1.0)
        at_work = ""

        def tell(step: str, share: float) -> None:
            nonlocal at_work
            if step != at_work:
                # What is left of a step follows from its own speed.
                bars.reset(task, description=step)
                at_work = step
            bars.update(task, completed=share)

        yield tell


def prepare_shown(
    config: DataConfig, *, store_dir: Path, console: Console, force: bool = False
) -> HistoryStore:
    """Prepare with a progress bar and print what came of it; see :func:`prepare`."""
    steps: set[str] = set()

    def announce(num_rows: int) -> None:
        seconds = num_rows / USUAL_ROWS_PER_SECOND
        if seconds >= WORTH_ANNOUNCING_SECONDS:
            duration = timedelta(seconds=round(seconds))
            console.print(f"preparing {config.name}: {num_rows:,} rows, about {duration}")

    with shown_progress(console) as show:

        def progress(step: str, share: float) -> None:
            steps.add(step)
            show(step, share)

        # Simulated before the clock starts: it is no part of preparing.
        ensure_simulated_sources(config, progress=show)
        begin = time.perf_counter()
        store = prepare(config, store_dir=store_dir, force=force, progress=progress, announce=announce)
        seconds = time.perf_counter() - begin
    console.print(summary(store, seconds=seconds if "reading" in steps else None))
    return store


@hydra.main(version_base=None, config_path=CONFIG_DIR, config_name="prepare")
@run_entry
def main(settings: DictConfig) -> None:
    """Prepare the data set that the command line names and print what came of it.

    Cutoffs are no part of the store, which stands either way; but who writes a data set hears here what
    training would refuse.
    """
    config = DataConfig.from_plain(OmegaConf.to_container(settings.data, resolve=True))
    store = prepare_shown(config, store_dir=Path(settings.store_dir), console=Console(), force=settings.force)
    Task.of(config, store)


if __name__ == "__main__":
    main()
