"""What cannot be scored offline is one line, and leaves the old result as it was."""

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from offline_files import events_table, flags, score

from builders import START_US
from holdfast.errors import ConfigError, DataError
from serving.artifact import Artifact
from serving.finished import Finished
from serving.offline import main

ROOT = Path(__file__).parents[3]


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
        ({"out": os.devnull}, "it must be a file, and a device lies there"),
        ({"as_of": "9999-12-31T23:59:59-05:00"}, "it must lie between 1971 and 2200"),
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


def test_there_must_be_a_worker(
    artifact_folder: Path, files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A number that means nothing is refused like every flag."""
    assert main([*flags(artifact_folder, files), "--workers=0"]) == 2
    assert "workers: got 0, but it must be at least 1" in capsys.readouterr().err
