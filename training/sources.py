"""Scans source tables lazily: Parquet, CSV, lines of text, a database's rows.

It deliberately does not know what the columns mean: the SQL of :mod:`training.canonical` does.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import polars as pl

from holdfast.errors import ConfigError, DataError, HoldfastError, RunError
from training.source_config import SourceConfig

_SCANNERS: Mapping[str, Callable[..., pl.LazyFrame]] = {
    "parquet": pl.scan_parquet,
    "csv": pl.scan_csv,
    "lines": pl.scan_lines,
}
ENCODING_HINT = (
    "; text must be UTF-8, which iconv makes of another encoding; options.encoding: utf8-lossy reads on and"
    " spoils every letter outside ASCII"
)
_TYPE_OPTIONS = ("schema", "schema_overrides")


@contextmanager
def polars_reasons(field: str, value: object, *, what: str) -> Iterator[None]:
    """Turn any failure of Polars into one line that names the place.

    Args:
        field: The configuration key at fault.
        value: Its value.
        what: What should have worked, as the beginning of a sentence.

    Raises:
        DataError: In place of Polars' error.
        RunError: The disk is full or a file cannot be read or written.
    """
    try:
        yield
    except pl.exceptions.PolarsError as error:
        reason = first_line(error)
        if "invalid utf-8" in reason.lower():
            reason += ENCODING_HINT
        raise DataError(field, value, f"{what}: {reason}") from error
    except OSError as error:
        raise RunError(f"{field}: {what}: {first_line(error)}") from error
    except pl.exceptions.PanicException as error:
        # A panic is no Exception, so nothing else on the way up would catch it.
        raise DataError(field, value, f"{what}: Polars failed inside: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text: Polars' reason without its query plan."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def scan_sources(sources: Mapping[str, SourceConfig]) -> dict[str, pl.LazyFrame]:
    """Return every source table as a lazy frame whose columns are known.

    Args:
        sources: By table name.

    Raises:
        ConfigError: An option that its reader does not know.
        DataError: A file is missing, empty or of another format; the message names source and path.
        RunError: A database whose driver is not installed.
    """
    return {name: scan(name, source) for name, source in sources.items()}


def scan(name: str, source: SourceConfig) -> pl.LazyFrame:
    """Return one source table as a lazy frame whose columns are known; see :func:`scan_sources`."""
    where = f"data.sources.{name}"
    if source.format == "database":
        return _read_database(where, source)
    if not is_remote(source.path):
        check_files(name, source)
    options = _with_types(f"{where}.options", source.options)
    if source.format == "csv":
        options.setdefault("infer_schema_length", 10_000)
    try:
        with polars_reasons(f"{where}.path", source.path, what=f"it cannot be read as {source.format}"):
            frame = _SCANNERS[source.format](_pattern(source), **options)
            frame.collect_schema()
    except HoldfastError:
        raise
    except (TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError) as error:
        # Whatever the reader and its bindings make of an option that is of no use to them.
        limit = f"the reader of {source.format} refuses them: {first_line(error)}"
        raise ConfigError(f"{where}.options", dict(source.options), limit) from error
    return frame


def check_files(name: str, source: SourceConfig) -> list[Path]:
    """Return the local files of a source, sorted by path.

    Raises:
        DataError: There is none, or one is empty.
    """
    where = f"data.sources.{name}.path"
    files = local_files(_pattern(source))
    if not files:
        limit = "no such file lies there"
        if source.download is not None:
            limit += "; python -m training.download fetches it"
        raise DataError(where, source.path, limit)
    empty = [str(file) for file in files if file.stat().st_size == 0]
    if empty:
        raise DataError(where, empty[0], "the file is empty")
    return files


def _pattern(source: SourceConfig) -> str:
    """Return what a folder means: its files of the format, not the marks and checksums beside them."""
    is_folder = not is_remote(source.path) and not has_magic(source.path) and Path(source.path).is_dir()
    if is_folder and source.format in ("parquet", "csv"):
        return str(Path(source.path) / "**" / f"*.{source.format}")
    return source.path


def local_files(path: str) -> list[Path]:
    """Return the files that a path, folder or glob stands for, sorted."""
    if has_magic(path):
        found = glob(path, recursive=True)  # noqa: PTH207 (Path.glob refuses absolute patterns)
        return sorted(file for file in map(Path, found) if file.is_file())
    root = Path(path)
    if root.is_dir():
        return sorted(file for file in root.rglob("*") if file.is_file())
    return [root] if root.is_file() else []


def file_states(sources: Mapping[str, SourceConfig]) -> dict[str, list[list[Any]]]:
    """Return path, size and time of change of every local file, by source.

    What lies elsewhere (an object store, a database) has no state that can be seen from here: a
    change there asks for ``force=true``.
    """
    states: dict[str, list[list[Any]]] = {}
    for name, source in sources.items():
        is_local = source.format != "database" and not is_remote(source.path)
        files = check_files(name, source) if is_local else []
        stats = [(str(file.resolve()), file.stat()) for file in files]
        states[name] = [[path, stat.st_size, stat.st_mtime_ns] for path, stat in stats]
    return states


def count_rows(frames: Mapping[str, pl.LazyFrame], sources: Mapping[str, SourceConfig]) -> dict[str, int]:
    """Return the number of rows of every source table: a look at metadata for Parquet.

    Args:
        frames: The scanned tables.
        sources: What they were scanned from.

    Raises:
        DataError: A table breaks off or has rows of another form.
    """
    counts = {}
    for name, frame in frames.items():
        # A row of CSV with too many fields is noticed only where every column is read; a query
        # that needs some of them would take values of shifted columns without a word.
        is_text = sources[name].format in ("csv", "lines")
        every_column = [pl.all().null_count().name.prefix("_")] if is_text else []
        with polars_reasons(f"data.sources.{name}", sources[name].path, what="its rows cannot be read"):
            counted = frame.select(pl.len().alias("_rows"), *every_column).collect(engine="streaming")
        counts[name] = int(counted["_rows"][0])
    return counts


def is_remote(path: str) -> bool:
    """Return whether a path is an address such as ``s3://bucket/key``."""
    return "://" in path


def _with_types(where: str, options: Mapping[str, Any]) -> dict[str, Any]:
    resolved = dict(options)
    for key in _TYPE_OPTIONS:
        if key in resolved:
            named = resolved[key]
            if not isinstance(named, Mapping):
                raise ConfigError(f"{where}.{key}", named, "it must map columns to the names of Polars types")
            resolved[key] = {column: _type(f"{where}.{key}.{column}", text) for column, text in named.items()}
    return resolved


def _type(where: str, name: Any) -> Any:
    found = getattr(pl.datatypes, name, None) if isinstance(name, str) else None
    if not (isinstance(found, type) and issubclass(found, pl.DataType)):
        raise ConfigError(where, name, "it must be the name of a Polars type, such as String or Int64")
    return found


def _read_database(where: str, source: SourceConfig) -> pl.LazyFrame:
    # The URI may carry a password, so that it is kept out of every message.
    address = source.path.split("://", 1)[0] + "://…"
    try:
        with polars_reasons(f"{where}.query", source.query, what=f"the database {address} refuses it"):
            return pl.read_database_uri(source.query or "", source.path, **source.options).lazy()
    except ModuleNotFoundError as error:
        needed = "connectorx, or adbc-driver-manager with the driver of the database and options.engine: adbc"
        raise RunError(f"{where}: no driver for {address} is installed; it needs {needed}") from error
    except (RuntimeError, ValueError, TypeError) as error:
        reason = first_line(error).replace(source.path, address)
        raise DataError(
            f"{where}.query", source.query, f"the database {address} refuses it: {reason}"
        ) from error
