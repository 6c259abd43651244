"""A whole simulation: block after block into a folder that appears only when it is complete.

It deliberately does not know how a block is made. At no time are more rows in memory than one part of
``blocks_per_part`` blocks has.
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from holdfast.errors import ConfigError, RunError
from holdfast.plain import to_plain
from training.simulate.block import Block, num_blocks, simulate_block, work_of
from training.simulate.config import SimulationConfig

PARAMETERS_FILE = "parameters.json"
_UNFINISHED, _REPLACED = ".unfinished", ".replaced"
FORMAT = 1
"""Raised when the same configuration gives other rows than before."""

Progress = Callable[[int, int], None]
"""Told how much of how much is done, in customer-days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationResult:
    """Where a simulation lies and how large it is."""

    path: Path
    num_customers: int
    num_events: int
    num_truths: int
    num_parts: int


def simulate(
    config: SimulationConfig, out: Path, *, overwrite: bool = False, progress: Progress | None = None
) -> SimulationResult:
    """Simulate a business and write its tables.

    ``out`` gets ``events/part-*.parquet``, ``customers.parquet``, ``truth.parquet`` and
    ``parameters.json``. The same configuration gives the same rows in the same order on one version
    of NumPy and one kind of processor, whatever ``blocks_per_part`` is.

    Args:
        config: What to simulate.
        out: Folder to make; it appears under this name only when it is complete.
        overwrite: Replace an earlier simulation at ``out``; other folders are never replaced.
        progress: Told customer-days done and in all.

    Returns:
        Where it lies and how large it is.

    Raises:
        ConfigError: ``out`` exists and may not be replaced.
        RunError: The tables cannot be written.
    """
    out = Path(out)
    _refuse_existing(out, overwrite=overwrite)
    with _only_simulator(out):
        return _simulate(config, out, progress)


def _simulate(config: SimulationConfig, out: Path, progress: Progress | None) -> SimulationResult:
    """Simulate in the place of what lies there; for who holds :func:`_only_simulator`."""
    total, done = work_of(config), 0

    def advance(work: int) -> None:
        nonlocal done
        done += work
        if progress is not None:
            progress(done, total)

    with _complete_or_nothing(out) as folder:
        parts = _Parts(folder, blocks_per_part=config.blocks_per_part)
        for index in range(num_blocks(config)):
            parts.add(simulate_block(config, index, progress=advance))
        counts = parts.finish()
        _write_parameters(folder / PARAMETERS_FILE, config, counts)
    return read_result(out)


def ensure_simulated(
    config: SimulationConfig, out: Path, *, progress: Progress | None = None
) -> SimulationResult:
    """Return the simulation at ``out``; make it if it is absent or was made from other values.

    An interrupted simulation leaves nothing at ``out``, so what lies there is complete; it is made anew
    all the same where a file of it has gone since.

    Raises:
        ConfigError: ``out`` is a folder of something else.
        RunError: The tables cannot be written.
    """
    out = Path(out)
    if _is_simulated(config, out):
        return read_result(out)
    _refuse_existing(out, overwrite=True)
    with _only_simulator(out):
        # Another run may have made it meanwhile, and may be reading it by now.
        return read_result(out) if _is_simulated(config, out) else _simulate(config, out, progress)


def read_result(out: Path) -> SimulationResult:
    """Return what ``parameters.json`` says of a complete simulation.

    Raises:
        RunError: There is none at ``out``.
    """
    try:
        counts = json.loads((out / PARAMETERS_FILE).read_text())["counts"]
        return SimulationResult(path=out, **counts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{out}: no complete simulation lies here ({error})") from error


class _Parts:
    """Writes tables in parts of some blocks, and joins the small ones at the end."""

    def __init__(self, folder: Path, *, blocks_per_part: int) -> None:
        self._folder = folder
        self._blocks_per_part = blocks_per_part
        self._waiting: list[Block] = []
        self._counts = {"num_customers": 0, "num_events": 0, "num_truths": 0, "num_parts": 0}
        for name in ("events", "customers", "truth"):
            (folder / name).mkdir()

    def add(self, block: Block) -> None:
        self._waiting.append(block)
        if len(self._waiting) == self._blocks_per_part:
            self._flush()

    def finish(self) -> dict[str, int]:
        if self._waiting:
            self._flush()
        for name in ("customers", "truth"):
            parts = self._folder / name
            pl.scan_parquet(parts / "*.parquet").sink_parquet(self._folder / f"{name}.parquet")
            shutil.rmtree(parts)
        return self._counts

    def _flush(self) -> None:
        name = f"part-{self._counts['num_parts']:05d}.parquet"
        for table in ("events", "customers", "truth"):
            frame = pl.concat([getattr(block, table) for block in self._waiting])
            frame.write_parquet(self._folder / table / name, compression="zstd", compression_level=1)
            if table == "customers":
                self._counts["num_customers"] += frame["customer_id"].n_unique()
            elif table == "events":
                self._counts["num_events"] += frame.height
            else:
                self._counts["num_truths"] += frame.height
        self._waiting.clear()
        self._counts["num_parts"] += 1


@contextmanager
def _only_simulator(out: Path) -> Iterator[None]:
    """Hold the right to simulate there; wait while another process does, and remove what a killed one left.

    Raises:
        RunError: The folder above cannot be made or opened.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # The folder itself is locked, so that no file has to lie beside the simulation for ever.
        lock = os.open(out.parent, os.O_RDONLY)
    except OSError as error:
        raise RunError(f"{out}: cannot be made ({error})") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in out.parent.iterdir():
            if left.name.startswith(f".{out.name}.") and left.suffix in {_UNFINISHED, _REPLACED}:
                shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(lock)


@contextmanager
def _complete_or_nothing(out: Path) -> Iterator[Path]:
    """Give a folder beside ``out`` that takes its name at the end, and vanishes on an error."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=_UNFINISHED, dir=out.parent))
    except OSError as error:
        raise RunError(f"{out}: cannot be made ({error})") from error
    retired = folder.with_suffix(_REPLACED)
    try:
        folder.chmod(0o755)
        yield folder
        if out.exists():
            out.rename(retired)
        folder.rename(out)
    except OSError as error:
        if retired.exists() and not out.exists():
            retired.rename(out)
        raise RunError(f"{out}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if out.exists():
            shutil.rmtree(retired, ignore_errors=True)


def _refuse_existing(out: Path, *, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise ConfigError("simulate.out", str(out), "it exists; give overwrite=true to replace a simulation")
    if _described(out) is None:
        raise ConfigError(
            "simulate.out", str(out), "only an earlier simulation or an empty folder is replaced"
        )


def _is_simulated(config: SimulationConfig, out: Path) -> bool:
    """Return whether a whole simulation of these very values lies there."""
    return _described(out) == _description(config) and _is_whole(out)


def _is_whole(out: Path) -> bool:
    """Return whether every table that ``parameters.json`` counts is there."""
    num_parts = len(list((out / "events").glob("part-*.parquet")))
    whole = [(out / f"{name}.parquet").is_file() for name in ("customers", "truth")]
    return all(whole) and num_parts == read_result(out).num_parts


def _description(config: SimulationConfig) -> dict[str, Any]:
    """Return what decides the rows of a simulation."""
    plain = to_plain(replace(config, parameters=None, parameters_seed=None, blocks_per_part=1))
    for key in ("parameters", "parameters_seed", "blocks_per_part"):
        del plain[key]
    return {"format": FORMAT, "config": plain, "parameters": to_plain(config.business())}


def _described(out: Path) -> dict[str, Any] | None:
    try:
        written = json.loads((out / PARAMETERS_FILE).read_text())
        return {key: written[key] for key in ("format", "config", "parameters")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_parameters(path: Path, config: SimulationConfig, counts: dict[str, int]) -> None:
    text = json.dumps({**_description(config), "counts": counts}, indent=2, sort_keys=True)
    path.write_text(text + "\n")
