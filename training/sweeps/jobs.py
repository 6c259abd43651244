"""One job of a multirun: kept apart from the others while it runs, read back from its folder after.

It deliberately reads folders and not return values: whatever launcher ran the jobs, and wherever
they were stopped, their folders say what came of them.
"""

import json
import time
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from holdfast.errors import HoldfastError
from training.entry import say_error
from training.publishing import RESULT_NAME
from training.sweeps.figures import joined, main_figures
from training.sweeps.result import FORM, FigureColumn, Mean, Row, SweepResult

JOB_NAME = "job.json"
"""What a job of a multirun says of its own end."""

SEED = "seed"

P = ParamSpec("P")


def kept_apart(main: Callable[P, None]) -> Callable[P, None]:
    """Decorate an entry point so that a job of a multirun that fails does not take the others with it.

    A failure is told at once and written into the job's folder; outside of a multirun nothing changes.
    """

    @wraps(main)
    def job(*args: P.args, **kwargs: P.kwargs) -> None:
        hydra = HydraConfig.get()
        if hydra.mode != RunMode.MULTIRUN:
            main(*args, **kwargs)
            return
        folder, begin, reason = Path(hydra.runtime.output_dir), time.perf_counter(), None
        try:
            main(*args, **kwargs)
        except HoldfastError as error:
            reason = " ".join(str(error).split())
            say_error(f"job {folder.name} failed: {reason}")
        except Exception as error:  # noqa: BLE001 - a defect or a full memory ends this job, not the night's work
            traceback.print_exc()
            reason = reason_of(error)
        state = "finished" if reason is None else "failed"
        ended = {"state": state, "seconds": round(time.perf_counter() - begin, 1), "reason": reason}
        (folder / JOB_NAME).write_text(json.dumps(ended) + "\n", encoding="utf-8")

    return job


def reason_of(error: BaseException) -> str:
    """Return one line about an error that nobody raised on purpose."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__


def multirun_result(folder: Path) -> SweepResult | None:
    """Read what the jobs of a multirun left.

    Args:
        folder: Of the multirun: every job has a folder in it.

    Returns:
        The table, or None where no job ended in the way of :func:`kept_apart`.
    """
    jobs = sorted((path.parents[1] for path in folder.glob("*/.hydra/overrides.yaml")), key=_order)
    if not any((job / JOB_NAME).is_file() for job in jobs):
        return None
    given = [_overrides(job) for job in jobs]
    shared = [
        key for key in (given[0] if given else {}) if len({overrides.get(key) for overrides in given}) == 1
    ]
    rows, columns, named = [], list[FigureColumn](), {"data": "", "split": ""}
    for place, (job, overrides) in enumerate(zip(jobs, given, strict=True)):
        number = int(job.name) if job.name.isdigit() else place
        own = {key: value for key, value in overrides.items() if key not in shared}
        row, found, about = _row(number, job, own)
        rows.append(row)
        columns += found
        named |= about
    columns = joined(columns)
    return SweepResult(
        form=FORM,
        data=named["data"],
        split=named["split"],
        shared=[f"{key}={given[0][key]}" for key in shared],
        columns=columns,
        rows=rows,
        means=means_over_seeds(rows, columns),
    )


def means_over_seeds(rows: list[Row], columns: list[FigureColumn]) -> list[Mean]:
    """Return mean and standard deviation of finished runs that differ in their seed alone."""
    together: dict[tuple[tuple[str, str], ...], list[Row]] = {}
    for row in rows:
        if SEED in row["overrides"] and row["state"] == "finished":
            key = tuple((name, value) for name, value in row["overrides"].items() if name != SEED)
            together.setdefault(key, []).append(row)
    found = []
    for key, same in together.items():
        values = {c["name"]: [row["figures"].get(c["name"]) for row in same] for c in columns}
        known = {name: np.array(v, dtype=np.float64) for name, v in values.items() if None not in v}
        if len(same) > 1:
            found.append(
                Mean(
                    overrides=dict(key),
                    numbers=[row["number"] for row in same],
                    means={name: float(v.mean()) for name, v in known.items()},
                    spreads={name: float(v.std(ddof=1)) for name, v in known.items()},
                )
            )
    return found


def _row(number: int, job: Path, overrides: dict[str, str]) -> tuple[Row, list[FigureColumn], dict[str, str]]:
    ended: dict[str, Any] = {"state": "unfinished", "seconds": None, "reason": "it was stopped"}
    if (job / JOB_NAME).is_file():
        ended = json.loads((job / JOB_NAME).read_text(encoding="utf-8"))
    figures: list[tuple[FigureColumn, float | None]] = []
    about: dict[str, str] = {}
    if ended["state"] == "finished":
        result = json.loads((job / RESULT_NAME).read_text(encoding="utf-8"))
        figures = main_figures(result)
        config = OmegaConf.load(job / ".hydra" / "config.yaml")
        about = {"data": str(config.data.name), "split": result["split"]}
    row = Row(
        number=number,
        state=ended["state"],
        overrides=overrides,
        figures={column["name"]: value for column, value in figures},
        seconds=ended["seconds"],
        folder=str(job),
        reason=ended["reason"],
    )
    return row, [column for column, _ in figures], about


def _overrides(job: Path) -> dict[str, str]:
    given = OmegaConf.to_container(OmegaConf.load(job / ".hydra" / "overrides.yaml"))
    assert isinstance(given, list)
    parts = (str(override).partition("=") for override in given)
    return {key.lstrip("+"): value for key, _, value in parts}


def _order(job: Path) -> tuple[int, str]:
    return (int(job.name) if job.name.isdigit() else -1, job.name)
