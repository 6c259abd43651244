"""Scoring a file with one worker and with one per core (``python -m benchmarks.offline``).

It deliberately scores through the command's own function, files and all. Weights do not matter to time, so
the model is not trained.
"""

import argparse
import statistics
import tempfile
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console

from benchmarks.encoding import build
from benchmarks.measuring import interleaved, seconds_of
from benchmarks.results import Figure, report
from holdfast.encoding import EncodingSpec
from holdfast.histories import CodedColumn, Histories
from holdfast.manifest import FORM_VERSION, Manifest, TargetForm, TrainingWindow
from holdfast.schema import Target, horizon_grid_days
from serving.artifact import Artifact
from serving.cores import num_cores
from serving.offline import score_file
from serving.predictor import Predictor, open_session

SPEED_UP_GOAL_PERCENT = 80.0
"""Of the ideal, in which every core adds as much as the first."""
NUM_CUSTOMERS = 10_000


def write_events(path: Path, histories: Histories, *, num_customers: int) -> datetime:
    """Write events of so many customers, the same ones under several names; returns the last event's time."""
    customers = np.arange(num_customers) % histories.num_customers
    taken = histories.take(customers)

    def texts(column: CodedColumn) -> pl.Series:
        words = pl.Series(column.dictionary.values, dtype=pl.String)
        codes = pl.Series(column.codes).cast(pl.Int64)
        return words.gather(codes.set(codes < 0, None))

    columns = {
        "customer_id": pl.Series(np.repeat(np.arange(num_customers), np.diff(taken.offsets))),
        "occurred_at": pl.Series(taken.occurred_at_us),
        "event_type": texts(taken.event_type),
        **{name: texts(column) for name, column in taken.categorical.items()},
        **{name: pl.Series(values) for name, values in taken.numeric.items()},
    }
    pl.DataFrame(columns).write_parquet(path)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(taken.occurred_at_us.max()))


def artifact_of(spec: EncodingSpec, model: bytes) -> Artifact:
    """Return the exported model as offline scoring takes it, without the files of an artifact."""
    session = open_session(model)
    sizes = {tensor.name: tensor.shape for tensor in session.get_outputs()}

    def form(target: Target) -> TargetForm:
        if target.kind == "time_to_event":
            return TargetForm(name=target.name, grid_days=horizon_grid_days(target))
        num = sizes[f"{target.name}_quantiles"][1] if target.kind == "amount" else 0
        return TargetForm(
            name=target.name, quantile_levels=tuple(np.linspace(0, 1, num + 2)[1:-1].tolist()) if num else ()
        )

    manifest = Manifest(
        form_version=FORM_VERSION,
        name="benchmark",
        version="1",
        created_at=datetime.now(UTC).isoformat(),
        encoding=spec,
        targets=tuple(form(target) for target in spec.schema.targets),
        inputs=(),
        outputs=(),
        training_window=TrainingWindow(first_cutoff_us=0, last_cutoff_us=0),
        reference=(),
        metrics={},
        library_versions={},
        source_revision="",
        opset=1,
        tolerance=0.5,
        files={},
    )
    return Artifact(manifest=manifest, predictor=Predictor(session, spec))


def main() -> None:
    """Measure the default model and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gru", help="a configuration of conf/model")
    parser.add_argument("--repeats", type=int, default=5, help="how often the file is scored either way")
    arguments = parser.parse_args()
    Console(stderr=True).print(f"simulating a shop and exporting {arguments.model} ...", style="dim")
    cores = num_cores()
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        folder = Path(name)
        histories, spec, _ = build(arguments.model, folder)
        artifact = artifact_of(spec, (folder / "model.onnx").read_bytes())
        as_of = write_events(folder / "events.parquet", histories, num_customers=NUM_CUSTOMERS)

        events, out = folder / "events.parquet", folder / "scores.parquet"

        def score(workers: int) -> float:
            run = partial(score_file, artifact, events=events, as_of=as_of, out=out, workers=workers)
            return NUM_CUSTOMERS / seconds_of(run)

        runs = {"one": partial(score, 1), "all": partial(score, cores)}
        found = interleaved(runs, repeats=arguments.repeats)
    speed_ups = [100 * every / one / cores for one, every in zip(found["one"], found["all"], strict=True)]
    figures = [
        Figure(
            name=f"{name} worker{'s' * (name != 1)}",
            value=statistics.median(found[key]),
            unit="customers/s",
            goal=None,
            better="higher",
        )
        for key, name in (("one", 1), ("all", cores))
    ]
    figures.append(
        Figure(
            name=f"speed-up on {cores} cores, share of the ideal",
            value=statistics.median(speed_ups),
            unit="%",
            goal=SPEED_UP_GOAL_PERCENT,
            better="higher",
        )
    )
    method = (
        f"medians of {arguments.repeats} runs over a file of {NUM_CUSTOMERS} simulated customers, model "
        f"{arguments.model}, reading and writing included"
    )
    report("offline", figures, method=method)


if __name__ == "__main__":
    main()
