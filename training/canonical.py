"""One SQL query per canonical table, and what a row must satisfy to be used.

It deliberately does not know how rows are sorted and stored: it gives a lazy frame of canonical
columns in which every row carries the reason why it cannot be used, or none.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from holdfast.errors import DataError, shorten
from training.data_config import DataConfig
from training.labels import MAX_ADDEND
from training.sources import polars_reasons
from training.times import NUMBER_HINT, TIME_PROBLEMS, is_time, read_times

REASON = "_reason"
"""0 where the row can be used, else one more than the position in :attr:`CanonicalTable.reasons`."""

LABEL_VALUES = ("churned", "spend")
FLOAT32_MAX = float(np.finfo(np.float32).max)
_TEXT = pl.String | pl.Categorical | pl.Enum


@dataclass(frozen=True, slots=True, kw_only=True)
class CanonicalTable:
    """A canonical table, not yet read.

    Attributes:
        name: ``events``, ``customers`` or ``labels``.
        frame: ``customer_id`` (String), the time column in UTC microseconds (Int64), text columns
            (String), numbers (Float64, null is missing), and :data:`REASON`.
        time: Name of the time column, or None.
        text: Names of the text columns beside ``customer_id``.
        numbers: Names of the number columns.
        reasons: Why a row cannot be used; the first one that holds counts.
        examined: The query's result before any conversion, with :data:`REASON`.
        at_fault: Per reason, the column of ``examined`` to show.
    """

    name: str
    frame: pl.LazyFrame
    time: str | None
    text: tuple[str, ...]
    numbers: tuple[str, ...]
    reasons: tuple[str, ...]
    examined: pl.LazyFrame
    at_fault: tuple[str, ...]

    def example(self, reason: str) -> str:
        """Return the first row that falls under a reason and its value, for people.

        Reads the table again, so it is for the rare reasons whose value tells something.
        """
        number = self.reasons.index(reason)
        column = self.at_fault[number]
        rows = self.examined.with_row_index("_row").filter(pl.col(REASON) == number + 1)
        with polars_reasons(f"data.{self.name}.sql", self.name, what="it cannot be read again"):
            found = rows.select("_row", column).head(1).collect(engine="streaming")
        if found.is_empty():
            return column
        values = found[column]
        value = values.cast(pl.String)[0] if values.dtype.is_temporal() else shorten(values[0])
        return f"{column} = {value} in row {found['_row'][0] + 1:,} of the query's result"


@dataclass(slots=True)
class _Columns:
    """Collects canonical columns and the rules that a row must keep."""

    schema: pl.Schema
    time_zone: str
    where: str
    parsed: list[pl.Expr] = field(default_factory=list)
    canonical: list[pl.Expr] = field(default_factory=list)
    rules: list[tuple[str, str, pl.Expr]] = field(default_factory=list)

    # Any, because the run-time type checker of the tests cannot read Polars' class of types.
    def dtype(self, name: str) -> Any:
        return self.schema[name]

    def refuse(self, name: str, limit: str) -> None:
        raise DataError(f"{self.where}: column {name}", str(self.dtype(name)), limit)

    def add_text(self, name: str, *, missing: str | None = None) -> None:
        """Add a text column; ``missing`` is the reason to refuse rows where it is null or empty."""
        dtype = self.dtype(name)
        if not (isinstance(dtype, _TEXT) or dtype.is_integer() or dtype in (pl.Boolean, pl.Null)):
            self.refuse(name, "it must be text or an integer; CAST(… AS VARCHAR) in the SQL makes it so")
        self.canonical.append(pl.col(name).cast(pl.String))
        if missing is not None:
            text = pl.col(name).cast(pl.String)
            self.rules.append((missing, name, text.is_null() | (text == "")))

    def add_time(self, name: str, *, is_needed: bool) -> None:
        dtype = self.dtype(name)
        if dtype.is_numeric():
            self.refuse(name, NUMBER_HINT)
        if dtype != pl.Null and not is_time(dtype):
            self.refuse(name, "it must be a datetime, a date or ISO 8601 text")
        parsed = f"_{name}"
        self.parsed.append(
            pl.col(name)
            .cast(pl.String if dtype == pl.Null else dtype)
            .map_batches(
                _reader(self.time_zone),
                return_dtype=pl.Struct({"us": pl.Int64, "problem": pl.UInt8}),
                is_elementwise=True,
            )
            .alias(parsed)
        )
        self.canonical.append(pl.col(parsed).struct["us"].alias(name))
        problem = pl.col(parsed).struct["problem"]
        for number, text in enumerate(TIME_PROBLEMS, start=1):
            if number > 1 or is_needed:
                self.rules.append((f"{name}: {text}", name, problem == number))

    def add_number(self, name: str, *, is_summed: bool = False) -> None:
        """Add a number column; one that a target sums must not be larger than a sum can hold."""
        dtype = self.dtype(name)
        if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
            self.refuse(name, "it must be a number; CAST(… AS DOUBLE) in the SQL makes it so")
        value = pl.col(name).cast(pl.Float64)
        self.canonical.append(value.fill_nan(None))
        if dtype.is_float() or dtype.is_decimal() or dtype == pl.Int128:
            rule = value.is_infinite() | (value.is_not_nan() & (value.abs() > FLOAT32_MAX))
            self.rules.append((f"{name}: infinite or beyond float32", name, rule))
        if is_summed:
            rule = value.is_not_nan() & (value.abs() > MAX_ADDEND)
            self.rules.append((f"{name}: too large for sums (over {MAX_ADDEND:.3g})", name, rule))

    def table(self, name: str, raw: pl.LazyFrame, **columns: object) -> CanonicalTable:
        reason = pl.lit(0, dtype=pl.UInt8)
        for number, (_, _, rule) in reversed(list(enumerate(self.rules, start=1))):
            reason = pl.when(rule).then(pl.lit(number, dtype=pl.UInt8)).otherwise(reason)
        examined = raw.with_columns(self.parsed).with_columns(reason.alias(REASON))
        return CanonicalTable(
            name=name,
            frame=examined.select(*self.canonical, REASON),
            reasons=tuple(text for text, _, _ in self.rules),
            examined=examined,
            at_fault=tuple(column for _, column, _ in self.rules),
            **columns,  # type: ignore[arg-type]  # time, text and numbers, spelt out by the three callers
        )


def events_table(config: DataConfig, sources: Mapping[str, pl.LazyFrame]) -> CanonicalTable:
    """Return the canonical events.

    Raises:
        DataError: The SQL fails, a column is missing, undeclared or of a wrong type.
    """
    schema = config.schema
    needed = ("customer_id", "occurred_at", "event_type", *config.events.fields)
    raw, columns = _query(config, sources, "events", config.events.sql, needed=needed)
    columns.add_text("customer_id", missing="no customer")
    columns.add_time("occurred_at", is_needed=True)
    columns.add_text("event_type", missing="no event type")
    summed = {target.field for target in schema.targets if target.field is not None}
    _add_declared(columns, schema.categorical_fields, schema.numeric_fields, summed=summed)
    return columns.table(
        "events",
        raw,
        time="occurred_at",
        text=("event_type", *schema.categorical_fields),
        numbers=schema.numeric_fields,
    )


def customers_table(config: DataConfig, sources: Mapping[str, pl.LazyFrame]) -> CanonicalTable | None:
    """Return the canonical attribute versions, or None if the data set declares none.

    Raises:
        DataError: As for :func:`events_table`.
    """
    if config.customers is None:
        return None
    schema = config.schema
    needed = ("customer_id", *config.customers.attributes)
    optional = ("valid_from",)
    raw, columns = _query(
        config, sources, "customers", config.customers.sql, needed=needed, optional=optional
    )
    columns.add_text("customer_id", missing="no customer")
    has_versions = "valid_from" in columns.schema
    if has_versions:
        columns.add_time("valid_from", is_needed=False)
    _add_declared(columns, schema.categorical_attributes, schema.numeric_attributes)
    return columns.table(
        "customers",
        raw,
        time="valid_from" if has_versions else None,
        text=schema.categorical_attributes,
        numbers=schema.numeric_attributes,
    )


def labels_table(config: DataConfig, sources: Mapping[str, pl.LazyFrame]) -> CanonicalTable | None:
    """Return the company's own labels, or None if the data set has none.

    Raises:
        DataError: As for :func:`events_table`.
    """
    if config.labels is None:
        return None
    needed = ("customer_id", "cutoff")
    raw, columns = _query(config, sources, "labels", config.labels.sql, needed=needed, optional=LABEL_VALUES)
    values = tuple(name for name in LABEL_VALUES if name in columns.schema)
    if not values:
        raise DataError(
            columns.where, config.labels.sql, f"it must give at least one of {list(LABEL_VALUES)}"
        )
    columns.add_text("customer_id", missing="no customer")
    columns.add_time("cutoff", is_needed=True)
    _add_declared(columns, (), values)
    if "churned" in values:
        value = pl.col("churned").cast(pl.Float64)
        rule = value.is_not_nan() & (value != 0.0) & (value != 1.0)
        columns.rules.append(("churned: neither 0 nor 1", "churned", rule))
    return columns.table("labels", raw, time="cutoff", text=(), numbers=values)


def _query(
    config: DataConfig,
    sources: Mapping[str, pl.LazyFrame],
    name: str,
    sql: str,
    *,
    needed: Sequence[str],
    optional: Sequence[str] = (),
) -> tuple[pl.LazyFrame, _Columns]:
    where = f"data.{name}.sql"
    with polars_reasons(where, sql, what="Polars SQL refuses it"):
        # A context of its own: a statement that drops a table must not reach the next query.
        raw = pl.SQLContext(frames=dict(sources)).execute(sql, eager=False)
        schema = raw.collect_schema()
    missing = [column for column in needed if column not in schema]
    if missing:
        limit = f"the query must give these columns; it gives {list(schema)}"
        raise DataError(where, missing, limit)
    undeclared = [column for column in schema if column not in needed and column not in optional]
    if undeclared:
        limit = f"these columns are not declared; known are {[*needed, *optional]}"
        raise DataError(where, undeclared, limit)
    return raw, _Columns(schema=schema, time_zone=config.time_zone, where=where)


def _add_declared(
    columns: _Columns, text: Sequence[str], numbers: Sequence[str], *, summed: Collection[str] = ()
) -> None:
    for name in text:
        columns.add_text(name)
    for name in numbers:
        columns.add_number(name, is_summed=name in summed)


def _reader(time_zone: str) -> Callable[[pl.Series], pl.Series]:
    return lambda column: read_times(column, time_zone=time_zone)
