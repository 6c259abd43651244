"""A file of events becomes a file of scores: the server's numbers, in the server's order."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from artifact_builder import AS_OF_US, running_server
from offline_files import AS_OF, customers_table, events_table, flags, score

from holdfast.client import ScoringClient
from holdfast.results import OBSERVED_NAMES, to_columns
from serving.artifact import Artifact
from serving.offline import main, score_file


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
