"""Scanning source tables: every form of file, and every file that is none."""

import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from holdfast.errors import ConfigError, DataError, RunError
from training.source_config import DownloadConfig, SourceConfig
from training.sources import count_rows, file_states, local_files, polars_reasons, scan, scan_sources

TABLE = pl.DataFrame({"id": ["a", "b"], "n": [1, 2]})


def source(path: Path | str, form: str, **keys: object) -> SourceConfig:
    """Return a source."""
    return SourceConfig(path=str(path), format=form, **keys)


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """Return a small Parquet file."""
    TABLE.write_parquet(tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def test_reads_parquet_file_folder_and_glob_alike(tmp_path: Path) -> None:
    """One file, a folder of files and a pattern are all one table."""
    (tmp_path / "parts").mkdir()
    TABLE[:1].write_parquet(tmp_path / "parts" / "1.parquet")
    TABLE[1:].write_parquet(tmp_path / "parts" / "2.parquet")
    for path in (tmp_path / "parts", tmp_path / "parts" / "*.parquet", tmp_path / "**" / "*.parquet"):
        assert_frame_equal(scan("t", source(path, "parquet")).collect(), TABLE)


def test_marks_and_checksums_in_a_folder_are_no_tables(tmp_path: Path) -> None:
    """A folder that Spark wrote is read as it lies: subfolders, an empty _SUCCESS, hidden checksums."""
    (tmp_path / "day=1").mkdir()
    TABLE.write_parquet(tmp_path / "day=1" / "part-0.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "day=1" / ".part-0.parquet.crc").write_bytes(b"crc")
    assert scan("t", source(tmp_path, "parquet")).select("id", "n").collect().equals(TABLE)


def test_csv_types_can_be_given_by_name(tmp_path: Path) -> None:
    """Ids with leading zeros survive where the file's types are declared."""
    (tmp_path / "t.csv").write_text("id;n\n007;1\n008;2\n")
    options = {"separator": ";", "schema_overrides": {"id": "String"}}
    frame = scan("t", source(tmp_path / "t.csv", "csv", options=options)).collect()
    assert frame.rows() == [("007", 1), ("008", 2)]


def test_lines_are_one_column(tmp_path: Path) -> None:
    """A fixed-width file is given line by line, its header and empty lines included."""
    (tmp_path / "t.txt").write_bytes(b" id n\r\n 01 5\r\n\r\n")
    frame = scan("t", source(tmp_path / "t.txt", "lines")).collect()
    assert [line.rstrip("\r") for line in frame["line"]] == [" id n", " 01 5", ""]


def test_counts_rows_of_every_table(tmp_path: Path, parquet: Path) -> None:
    """Rows are counted per table."""
    (tmp_path / "t.csv").write_text("id,n\na,1\nb,2\nc,3\n")
    sources = {"p": source(parquet, "parquet"), "c": source(tmp_path / "t.csv", "csv")}
    assert count_rows(scan_sources(sources), sources) == {"p": 2, "c": 3}


def test_a_missing_file_is_named_with_its_source(tmp_path: Path) -> None:
    """A path that does not exist says which source wanted it."""
    with pytest.raises(DataError, match="no such file lies there") as caught:
        scan("lines", source(tmp_path / "none.parquet", "parquet"))
    assert caught.value.field == "data.sources.lines.path"
    assert "none.parquet" in caught.value.value


def test_a_missing_file_that_can_be_fetched_says_so(tmp_path: Path) -> None:
    """Where an address is known, the message names the command that fetches the file."""
    wanted = source(tmp_path / "x", "parquet", download=DownloadConfig(url="https://example.org/x"))
    with pytest.raises(DataError, match=r"python -m training\.download"):
        scan("lines", wanted)


@pytest.mark.parametrize("path", ["none/*.parquet", "empty"])
def test_a_pattern_or_folder_without_files_is_missing(tmp_path: Path, path: str) -> None:
    """A pattern that matches nothing and an empty folder are no empty tables."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no such file lies there"):
        scan("t", source(tmp_path / path, "parquet"))


@pytest.mark.parametrize("form", ["parquet", "csv", "lines"])
def test_an_empty_file_is_named(tmp_path: Path, form: str) -> None:
    """A file of zero bytes is refused in every form."""
    (tmp_path / "t").touch()
    with pytest.raises(DataError, match="the file is empty"):
        scan("t", source(tmp_path / "t", form))


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    """Polars' reason comes in one line, behind source and path."""
    (tmp_path / "t.parquet").write_text("id,n\na,1\n")
    with pytest.raises(DataError, match="it cannot be read as parquet") as caught:
        scan("lines", source(tmp_path / "t.parquet", "parquet"))
    assert caught.value.field == "data.sources.lines.path"
    assert "\n" not in str(caught.value)


def test_a_truncated_parquet_file_is_named(parquet: Path) -> None:
    """A file that was cut off on its way is refused when it is opened, not in the middle of a run."""
    parquet.write_bytes(parquet.read_bytes()[:-20])
    with pytest.raises(DataError, match="it cannot be read as parquet"):
        scan("t", source(parquet, "parquet"))


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ("csv", b"id,n\na,1\nb,2,3\n"),
        ("csv", b"n\n" + b"1\n" * 20_000 + b"x\n"),
        ("lines", bytes(range(256))),
    ],
)
def test_a_file_that_breaks_its_form_later_on_is_named(tmp_path: Path, form: str, content: bytes) -> None:
    """A row with too many fields, of another type, or of no text is refused, whatever a query reads of it."""
    (tmp_path / "t").write_bytes(content)
    sources = {"t": source(tmp_path / "t", form)}
    with pytest.raises(DataError, match="cannot be read") as caught:
        count_rows(scan_sources(sources), sources)
    assert caught.value.field.startswith("data.sources.t")


def test_an_unknown_option_is_named(parquet: Path) -> None:
    """An option that the reader does not have is refused by the key of the source."""
    with pytest.raises(ConfigError, match="colour") as caught:
        scan("t", source(parquet, "parquet", options={"colour": "red"}))
    assert caught.value.field == "data.sources.t.options"


@pytest.mark.parametrize(
    "options",
    [
        {"encoding": "latin-1"},
        {"separator": ";;"},
        {"null_values": 5},
        {"skip_rows": -1},
        {"storage_options": 3},
    ],
)
def test_an_option_of_no_use_is_named(tmp_path: Path, options: dict[str, object]) -> None:
    """Whichever error the reader has for a value that it cannot use, it becomes one line with the key."""
    (tmp_path / "t.csv").write_text("n\n1\n")
    with pytest.raises(ConfigError, match="the reader of csv refuses them") as caught:
        scan("t", source(tmp_path / "t.csv", "csv", options=options))
    assert caught.value.field == "data.sources.t.options"


def test_text_that_is_not_utf8_is_refused_with_a_way_out(tmp_path: Path) -> None:
    """What a spreadsheet of western Europe wrote is named, and how to make text of it that can be read."""
    (tmp_path / "t.csv").write_bytes("town\nKöln\n".encode("latin-1"))
    sources = {"t": source(tmp_path / "t.csv", "csv")}
    with pytest.raises(DataError, match=r"iconv .*utf8-lossy"):
        count_rows(scan_sources(sources), sources)


@pytest.mark.parametrize("types", [{"n": "Integer"}, {"n": 3}, {"n": "read_csv"}, "Int64"])
def test_a_type_that_polars_does_not_have_is_named(tmp_path: Path, types: object) -> None:
    """Types are named as Polars names them; nothing else of Polars can be named."""
    (tmp_path / "t.csv").write_text("n\n1\n")
    with pytest.raises(ConfigError) as caught:
        scan("t", source(tmp_path / "t.csv", "csv", options={"schema_overrides": types}))
    assert caught.value.field.startswith("data.sources.t.options.schema_overrides")


def test_a_database_without_driver_says_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing driver is no traceback, and the password of the address stays out of the message."""
    for package in ("connectorx", "adbc_driver_manager"):
        monkeypatch.setitem(sys.modules, package, None)
    wanted = source("postgresql://shop:secret@db/shop", "database", query="SELECT 1")
    with pytest.raises(RunError, match="no driver for postgresql://… is installed") as caught:
        scan("orders", wanted)
    assert "data.sources.orders" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_database_that_refuses_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the driver raises becomes one line; the address in it is cut."""

    def refuse(query: str, uri: str, **_: object) -> pl.DataFrame:
        raise RuntimeError(f"cannot connect to {uri}")

    monkeypatch.setattr(pl, "read_database_uri", refuse)
    wanted = source("postgresql://shop:secret@db/shop", "database", query="SELECT 1")
    with pytest.raises(DataError, match="cannot connect to postgresql://…") as caught:
        scan("orders", wanted)
    assert "secret" not in str(caught.value)


def test_a_database_gives_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows of the query are a table like any other; options reach the driver."""
    seen: dict[str, object] = {}

    def read(query: str, uri: str, **options: object) -> pl.DataFrame:
        seen.update(options, query=query, uri=uri)
        return TABLE

    monkeypatch.setattr(pl, "read_database_uri", read)
    wanted = source("sqlite:///shop.db", "database", query="SELECT * FROM t", options={"engine": "adbc"})
    assert_frame_equal(scan("orders", wanted).collect(), TABLE)
    assert seen == {"query": "SELECT * FROM t", "uri": "sqlite:///shop.db", "engine": "adbc"}


def test_the_state_of_files_changes_with_their_content(parquet: Path) -> None:
    """Another size is another state, and what lies elsewhere has none."""
    sources = {
        "t": source(parquet, "parquet"),
        "db": source("sqlite://x", "database", query="SELECT 1"),
        "far": source("s3://bucket/key.parquet", "parquet"),
    }
    before = file_states(sources)
    assert before["db"] == before["far"] == []
    TABLE.vstack(TABLE).write_parquet(parquet)
    assert file_states(sources)["t"] != before["t"]


def test_files_of_a_pattern_come_sorted_and_without_folders(tmp_path: Path) -> None:
    """A folder whose name fits the pattern is no file."""
    for name in ("b", "a"):
        (tmp_path / name).touch()
    (tmp_path / "c").mkdir()
    assert [file.name for file in local_files(str(tmp_path / "*"))] == ["a", "b"]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (pl.exceptions.ComputeError("no way\n\nResolved plan until failure:"), DataError),
        (pl.exceptions.PanicException("no way"), DataError),
        (OSError(28, "no way"), RunError),
    ],
)
def test_whatever_polars_raises_becomes_one_line(failure: BaseException, kind: type[Exception]) -> None:
    """Errors, panics (which are no exceptions) and refusals of the system are all named with their place."""

    def fail() -> None:
        raise failure

    with (
        pytest.raises(kind, match=r"the query fails: .*no way") as caught,
        polars_reasons("a.b", 1, what="the query fails"),
    ):
        fail()
    assert str(caught.value).startswith("a.b: ")
    assert "\n" not in str(caught.value)
