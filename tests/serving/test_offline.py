"""A file of events becomes a file of scores: the server's numbers, whole or not at all."""

import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from artifact_builder import AS_OF_US, running_server
from polars.testing import assert_frame_equal

from builders import START_US
from holdfast.client import ScoringClient
from holdfast.errors import ConfigError, DataError, RunError
from holdfast.histories import Histories
from holdfast.results import OBSERVED_NAMES, to_columns
from serving.artifact import Artifact
from serving.finished import Finished
from serving.offline import main, score_file

ROOT = Path(__file__).parents[2]
AS_OF = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=AS_OF_US)


def events_table(num_customers: int = 700, num_events: int = 6_000) -> pl.DataFrame:
    """Return unsorted events, some after the point in time, one customer with an infinite amount."""
    rng = np.random.default_rng(3)
    times = START_US + rng.integers(0, 460 * 24, num_events) * 3_600_000_000
    amount = rng.normal(10, 5, num_events)
    amount[17] = np.inf
    return pl.DataFrame(
        {
            "customer_id": pl.Series(rng.integers(0, num_customers, num_events)).cast(pl.String)
            + " \U0001f6d2",
            "occurred_at": pl.Series(times).cast(pl.Datetime("us", "UTC")),
            "event_type": rng.choice(["purchase", "visit", "complaint"], num_events),
            "amount": np.where(rng.random(num_events) < 0.2, np.nan, amount),
            "channel": rng.choice(["web", "phone"], num_events),
        }
    )


def customers_table() -> pl.DataFrame:
    """Return attributes of some customers, one of whom has no events."""
    return pl.DataFrame(
        {"customer_id": ["3 \U0001f6d2", "nobody"], "region": ["north", "south"], "age": [20.0, None]}
    )


@pytest.fixture(scope="module")
def artifact(artifact_folder: Path) -> Artifact:
    """Return the small artifact, loaded."""
    return Artifact.load(artifact_folder)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Return the inputs as Parquet files, and where the output goes."""
    paths = {name: tmp_path / f"{name}.parquet" for name in ("events", "customers", "out")}
    events_table().write_parquet(paths["events"])
    customers_table().write_parquet(paths["customers"])
    return paths


def score(artifact: Artifact, files: dict[str, Path], **options: Any) -> pl.DataFrame:
    """Score the files and read the result."""
    num = score_file(artifact, as_of=AS_OF, **files, **options)
    table = pl.read_parquet(files["out"])
    assert table.height == num
    return table


def test_the_numbers_are_the_servers(
    artifact: Artifact, artifact_folder: Path, files: dict[str, Path]
) -> None:
    """Every prediction, count and fault, in the same order and under the same names."""
    found = score(artifact, files)
    with running_server(artifact_folder) as server, ScoringClient(f"127.0.0.1:{server.port}") as client:
        results = client.score(events_table(), as_of=AS_OF, customers=customers_table())
    expected = to_columns(results)
    assert found.columns == list(expected)
    assert found["customer_id"].to_list() == expected["customer_id"]
    assert found["fault"].to_list() == expected["fault"]
    assert found["fault"].count() == 1
    exact = list(OBSERVED_NAMES)
    assert [found[name].to_list() for name in exact] == [expected[name] for name in exact]
    for name in set(found.columns) - {"customer_id", "fault", *exact}:
        wanted = np.array(expected[name], dtype=np.float64)
        np.testing.assert_allclose(found[name].to_numpy(), wanted, rtol=1e-6, atol=1e-6, err_msg=name)
    assert found.filter(pl.col("fault").is_not_null())["spend_expected"].to_list() == [None]
    assert found.filter(pl.col("customer_id") == "nobody")["num_used"].to_list() == [0]


def test_parts_cover_every_customer_once(artifact: Artifact, files: dict[str, Path]) -> None:
    """A file read in several passes gives the same customers the same answers."""
    whole = score(artifact, files).sort("customer_id")
    parts = score(artifact, files, events_per_part=1_000).sort("customer_id")
    assert parts["customer_id"].to_list() == whole["customer_id"].to_list()
    assert parts["fault"].to_list() == whole["fault"].to_list()
    assert parts["is_eligible"].to_list() == whole["is_eligible"].to_list()
    for name in whole.columns[1:-2]:
        np.testing.assert_allclose(parts[name].to_numpy(), whole[name].to_numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ids", [("one",), (7,), (7, 2**63 + 7)], ids=str)
def test_a_part_without_customers_is_joined_like_any_other(
    artifact: Artifact, tmp_path: Path, ids: tuple[str | int, ...]
) -> None:
    """Few customers with many events leave parts empty, and the ids keep their type."""
    id_type = pl.String() if isinstance(ids[0], str) else pl.UInt64() if len(ids) > 1 else pl.Int64()
    events = events_table(num_events=600).with_columns(
        customer_id=pl.Series([ids[row % len(ids)] for row in range(600)], dtype=id_type)
    )
    files = {name: tmp_path / name for name in ("events", "out")}
    events.filter(pl.col("amount").is_finite() | pl.col("amount").is_nan()).write_parquet(files["events"])
    found = score(artifact, files, events_per_part=50)
    assert sorted(found["customer_id"]) == sorted(ids)
    assert found.schema["customer_id"] == id_type
    assert found["fault"].null_count() == len(ids)


def test_ids_of_different_widths_meet_in_one_part(artifact: Artifact, tmp_path: Path) -> None:
    """The same number as int32 and int64 is the same customer, in whichever part."""
    events = events_table().with_columns(pl.col("customer_id").str.strip_chars(" \U0001f6d2").cast(pl.Int64))
    ids = events["customer_id"].unique()
    files = {name: tmp_path / name for name in ("events", "customers", "out")}
    events.write_parquet(files["events"])
    pl.DataFrame({"customer_id": ids.cast(pl.Int32), "age": np.full(len(ids), 50.0)}).write_parquet(
        files["customers"]
    )
    assert score(artifact, files, events_per_part=500)["customer_id"].n_unique() == len(ids)
    assert pl.read_parquet(files["out"]).height == len(ids)


@pytest.mark.parametrize(
    ("ids", "others", "said"),
    [
        (pl.Series([2**64 - 1], dtype=pl.UInt64), pl.Series([-5], dtype=pl.Int64), "-5.*UInt64"),
        (pl.Series([2**100], dtype=pl.Int128), pl.Series([1], dtype=pl.Int64), f"{2**100}.*Int64"),
    ],
    ids=["unsigned", "wide"],
)
def test_an_id_that_the_result_cannot_hold_is_named(
    artifact: Artifact, files: dict[str, Path], ids: pl.Series, others: pl.Series, said: str
) -> None:
    """Where numbers of several widths have no column in common."""
    events = pl.DataFrame({"customer_id": ids, "occurred_at": [START_US], "event_type": ["visit"]})
    events.write_parquet(files["events"])
    pl.DataFrame({"customer_id": others, "age": [5.0]}).write_parquet(files["customers"])
    with pytest.raises(DataError, match=f"^customer_id: got .*{said}"):
        score(artifact, files)


def test_a_link_that_leads_round_in_a_circle_is_said(artifact: Artifact, files: dict[str, Path]) -> None:
    """As any other place where nothing can be written, or is simply replaced."""
    files["out"].symlink_to(files["out"])
    assert score(artifact, files).height > 0


def test_an_empty_file_gives_an_empty_table_with_all_columns(
    artifact: Artifact, files: dict[str, Path]
) -> None:
    """A day without customers does not break what reads the result."""
    full = score(artifact, files)
    events_table().clear().write_parquet(files["events"])
    customers_table().clear().write_parquet(files["customers"])
    empty = score(artifact, files)
    assert empty.height == 0
    assert empty.schema == full.schema


def test_a_customer_with_a_hundred_thousand_events_is_scored(artifact: Artifact, tmp_path: Path) -> None:
    """One giant among small ones is truncated like at the server."""
    files = {name: tmp_path / name for name in ("events", "out")}
    events = pl.DataFrame(
        {
            "customer_id": np.repeat(["giant", "small"], [100_000, 3]),
            "occurred_at": AS_OF_US - np.arange(100_003) * 60_000_000,
            "event_type": "visit",
        }
    )
    events.write_parquet(files["events"])
    table = score(artifact, files)
    assert table["num_truncated"].to_list() == [99_968, 0]


def flags(folder: Path, files: dict[str, Path], **changes: str) -> list[str]:
    """Return the flags of the command."""
    named = {"artifact": folder, "as-of": AS_OF.isoformat(), **files} | {
        name.replace("_", "-"): value for name, value in changes.items()
    }
    return [f"--{name}={value}" for name, value in named.items()]


def test_the_command_shows_its_progress_and_nothing_on_standard_output(
    artifact_folder: Path, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The bar goes to standard error; zones of the point in time do not matter."""
    assert main(flags(artifact_folder, files)) == 0
    first = files["out"].read_bytes()
    tokyo = (AS_OF + timedelta(hours=9)).replace(tzinfo=None).isoformat() + "+09:00"
    assert main(flags(artifact_folder, files, as_of=tokyo)) == 0
    assert files["out"].read_bytes() == first
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "part 1 of 1" in shown.err


def test_naive_times_need_a_stated_zone(
    artifact_folder: Path, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file without zones is refused, and read when the zone is said."""
    events = pl.read_parquet(files["events"])
    events.with_columns(pl.col("occurred_at").dt.replace_time_zone(None)).write_parquet(files["events"])
    assert main(flags(artifact_folder, files)) == 2
    assert "events.occurred_at: got 'datetime64[us]', but it has no time zone" in capsys.readouterr().err
    assert main(flags(artifact_folder, files, time_zone="UTC")) == 0


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("events", None, "there must be a Parquet file"),
        ("customers", None, "there must be a Parquet file"),
        ("events", b"", "it must be a Parquet file"),
        ("events", b"customer_id,occurred_at\n1,2\n", "it must be a Parquet file"),
        ("events", "truncated", "it must be a Parquet file"),
        ("events", "damaged", "it must be a whole Parquet file"),
        ("events", pl.DataFrame({"occurred_at": [1]}), "events.customer_id"),
        ("events", pl.DataFrame({"customer_id": ["1"], "event_type": ["x"]}), "events.occurred_at"),
        ("customers", pl.DataFrame({"customer_id": ["1"], "plan": ["x"]}), "customers.plan"),
        ("customers", pl.DataFrame({"customer_id": [1]}), "one type in both files"),
    ],
)
def test_bad_input_is_one_line_and_leaves_the_old_result(
    artifact_folder: Path,
    files: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: Any,
    reason: str,
) -> None:
    """What is wrong is named without a traceback, and yesterday's result is still there, whole."""
    files["out"].write_bytes(b"yesterday")
    data = files[name].read_bytes()
    files[name].unlink()
    if isinstance(content, pl.DataFrame):
        content.write_parquet(files[name])
    elif content == "truncated":
        files[name].write_bytes(data[: len(data) // 2])
    elif content == "damaged":
        middle = len(data) // 3
        files[name].write_bytes(data[:middle] + bytes(200) + data[middle + 200 :])
    elif content is not None:
        files[name].write_bytes(content)
    assert main(flags(artifact_folder, files)) == 2
    shown = capsys.readouterr().err.splitlines()
    assert shown[-1].startswith("cannot score: ")
    assert reason in shown[-1]
    assert files["out"].read_bytes() == b"yesterday"
    assert {path.name for path in files["out"].parent.iterdir()} <= {path.name for path in files.values()}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"as_of": "2025-06-01"}, "--as-of: got '2025-06-01', but it has no time zone"),
        ({"as_of": "soon"}, "ISO 8601"),
        ({"as_of": "1960-01-01T00:00:00Z"}, "it must lie between 1971 and 2200"),
        ({"as_of": "2200-01-01T00:00:00Z"}, "it must lie between 1971 and 2200"),
        ({"time_zone": "Mars/Olympus"}, "IANA name"),
        ({"artifact": "nowhere"}, "manifest.json"),
        ({"out": "nowhere/out.parquet"}, "cannot write nowhere/out.parquet"),
        ({"out": str(ROOT)}, "it must be a file, and a folder lies there"),
    ],
)
def test_a_wrong_flag_is_one_line(
    artifact_folder: Path,
    files: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    reason: str,
) -> None:
    """Flags are checked like data."""
    assert main(flags(artifact_folder, files, **changes)) == 2
    assert reason in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", ["events", "customers"])
def test_the_result_never_replaces_what_is_read(
    artifact: Artifact, files: dict[str, Path], tmp_path: Path, name: str
) -> None:
    """The same file under another path is refused too, and stays as it is."""
    (tmp_path / "link.parquet").symlink_to(files[name])
    before = files[name].read_bytes()
    for out in (files[name], tmp_path / "link.parquet"):
        with pytest.raises(ConfigError, match="another file than those that are read"):
            score(artifact, files | {"out": out})
    assert files[name].read_bytes() == before


@pytest.mark.parametrize("missing", [None, ""])
def test_a_row_of_nobody_is_refused_before_anybody_is_scored(
    artifact: Artifact, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, missing: str | None
) -> None:
    """However many passes a file takes, the first one finds it."""
    monkeypatch.setattr(Finished, "write_chunk", lambda *_: pytest.fail("somebody was scored"))
    rows = events_table(num_customers=40, num_events=400)
    last = rows.tail(1).with_columns(customer_id=pl.lit(missing, dtype=pl.String))
    pl.concat([rows, last]).write_parquet(files["events"])
    with pytest.raises(DataError, match=f"customer_id.*got {missing!r}, but it must not be missing or empty"):
        score(artifact, files, events_per_part=50)


def test_a_failure_in_the_middle_leaves_the_old_result(
    artifact: Artifact, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens after half of the customers, nothing half written is seen."""
    files["out"].write_bytes(b"yesterday")
    calls = []
    predict = type(artifact.predictor).predict

    def fail_later(*arguments: Any, **options: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(*arguments, **options)

    monkeypatch.setattr(type(artifact.predictor), "predict", fail_later)
    with pytest.raises(KeyboardInterrupt):
        score(artifact, files, workers=1, customers_per_chunk=100)
    assert files["out"].read_bytes() == b"yesterday"


KILLED_RUN = """
import os, signal, sys
from pathlib import Path

from serving import offline
from serving.finished import Finished

log, num_before_kill = Path(sys.argv[1]), int(sys.argv[2])
write_chunk, end_part = Finished.write_chunk, Finished.end_part
num = 0

def counted(finished, part, chunk, frame):
    global num
    write_chunk(finished, part, chunk, frame)
    with log.open("a") as file:
        file.writelines(f"{customer_id}\\n" for customer_id in frame["customer_id"])
    num += 1
    if num == num_before_kill:
        os.kill(os.getpid(), signal.SIGKILL)

Finished.write_chunk = counted
offline.score_file.__kwdefaults__ |= {"events_per_part": 2_500, "customers_per_chunk": 40}
sys.exit(offline.main(sys.argv[3:]))
"""


def test_a_killed_run_goes_on_where_it_stood(
    artifact: Artifact, artifact_folder: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    """Killed twice, the same command ends with the same rows, and nothing finished is scored again."""
    expected = score(artifact, files, events_per_part=2_500, customers_per_chunk=40)
    files["out"].unlink()
    log = tmp_path / "scored.txt"
    codes, messages = [], []
    for num_before_kill in (3, 11, 10_000):
        command = [sys.executable, "-c", KILLED_RUN, str(log), str(num_before_kill)]
        run = subprocess.run(
            [*command, *flags(artifact_folder, files), "--workers=1"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=ROOT,
        )
        codes.append(run.returncode)
        messages.append(run.stderr)
        assert files["out"].exists() == (run.returncode == 0)
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert "120 customers were scored by an earlier run" in messages[1]
    assert_frame_equal(pl.read_parquet(files["out"]), expected)
    scored = log.read_text(encoding="utf-8").splitlines()
    assert sorted(scored) == sorted(expected["customer_id"].to_list())
    assert {path.name for path in files["out"].parent.iterdir()} == {
        *(path.name for path in files.values()),
        log.name,
    }


@pytest.mark.parametrize("name", ["run[2]/out.parquet", "out*.parquet", "out?.parquet"])
def test_a_name_is_no_pattern(artifact: Artifact, files: dict[str, Path], name: str) -> None:
    """Brackets and stars in a path stand for themselves, not for files of another result."""
    beside = files["out"].with_name(".outx.parquet.finished")
    beside.mkdir()
    pl.DataFrame({"customer_id": ["stranger"]}).write_parquet(beside / "chunk-000000-000000.parquet")
    out = files["out"].parent / name
    out.parent.mkdir(exist_ok=True)
    num = score_file(artifact, as_of=AS_OF, **files | {"out": out})
    assert pl.read_parquet(out, glob=False)["customer_id"].n_unique() == num
    assert num == score(artifact, files).height


@pytest.mark.parametrize("change", ["nothing", "as_of", "events", "half a chunk"])
def test_only_the_same_job_goes_on(
    artifact: Artifact, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Another point in time or another file begins anew; so does a chunk that holds other customers."""
    counted: list[int] = []
    predict = type(artifact.predictor).predict

    def counting(predictor: Any, histories: Histories, *arguments: Any, **options: Any) -> Any:
        if len(counted) == 3:
            raise KeyboardInterrupt
        counted.append(histories.num_customers)
        return predict(predictor, histories, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(type(artifact.predictor), "predict", counting)
        with pytest.raises(KeyboardInterrupt):
            score(artifact, files, workers=1, customers_per_chunk=100)
    (folder,) = (path for path in files["out"].parent.iterdir() if path.is_dir())
    as_of, good = AS_OF, sorted(folder.glob("*.parquet"))
    if change == "half a chunk":
        path = good.pop()
        pl.read_parquet(path).head(50).write_parquet(path)
    elif change == "as_of":
        as_of, good = as_of + timedelta(seconds=1), []
    elif change == "events":
        events_table().write_parquet(files["events"])
        good = []
    num_good = sum(pl.read_parquet(path).height for path in good)
    num_faults = sum(pl.read_parquet(path)["fault"].count() for path in good)
    counted.clear()
    with monkeypatch.context() as patched:
        counted.extend([0] * 4)
        patched.setattr(type(artifact.predictor), "predict", counting)
        num = score_file(artifact, as_of=as_of, **files, workers=1, customers_per_chunk=100)
    # The customer at fault reaches no predictor.
    assert sum(counted) == num - num_good - (1 - num_faults)
    assert (num_good > 0) == (change in {"nothing", "half a chunk"})
    assert not folder.exists()


def test_two_runs_never_write_one_result(artifact: Artifact, files: dict[str, Path]) -> None:
    """The second one says so and harms nothing."""
    with Finished.open(files["out"], {"job": 1}), pytest.raises(RunError, match="another run is writing"):
        score_file(artifact, as_of=AS_OF, **files)
    assert score(artifact, files).height > 0


def test_there_must_be_a_worker(
    artifact_folder: Path, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A number that means nothing is refused like every flag."""
    assert main([*flags(artifact_folder, files), "--workers=0"]) == 2
    assert "workers: got 0, but it must be at least 1" in capsys.readouterr().err
