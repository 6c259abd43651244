"""How many rows of a table cannot be used, and when they are too many.

It deliberately does not know how the rows were read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from holdfast.errors import DataError
from training.canonical import CanonicalTable
from training.times import FORM_HINT, UNREADABLE_TIME


class Counted(Protocol):
    """A table that was read."""

    @property
    def table(self) -> CanonicalTable:
        """The table."""

    def count_reasons(self) -> tuple[int, dict[str, int]]:
        """Return the number of rows, and how many of them cannot be used by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many rows were read, and left out by reason; see :class:`StoreIndex`."""

    table_rows: Mapping[str, int]
    excluded: Mapping[str, Mapping[str, int]]
    examples: Mapping[str, str]

    def __or__(self, other: "Tally") -> "Tally":
        """Return what was counted in the tables of both."""
        return Tally(
            table_rows={**self.table_rows, **other.table_rows},
            excluded={**self.excluded, **other.excluded},
            examples={**self.examples, **other.examples},
        )


def count_excluded(tables: Sequence[Counted], *, max_share: float) -> Tally:
    """Count the rows that cannot be used.

    Raises:
        DataError: They are more than ``max_share`` of their table, or all of it; the message names
            every reason with its share.
    """
    rows: dict[str, int] = {}
    excluded: dict[str, dict[str, int]] = {}
    examples: dict[str, str] = {}
    for read in tables:
        name = read.table.name
        rows[name], counts = read.count_reasons()
        excluded[name] = counts
        if rows[name] == 0 and name == "events":
            raise DataError(f"data.{name}.sql", 0, "the query must give at least one row")
        # "no customer" and the like have no value that would tell anything.
        told = [reason for reason in counts if not reason.split(": ")[-1].startswith("no ")]
        examples.update({f"{name}: {reason}": read.table.example(reason) for reason in told})
        num_excluded = sum(counts.values())
        if num_excluded > max_share * rows[name] or 0 < num_excluded == rows[name]:
            reasons = "; ".join(
                _reason(name, reason, counts[reason], rows[name], examples) for reason in counts
            )
            if any(reason.endswith(UNREADABLE_TIME) for reason in counts):
                reasons += f"; {FORM_HINT}"
            share = f"{num_excluded / rows[name]:.2%} of {rows[name]:,} rows unusable"
            limit = f"limits.max_excluded_share allows {max_share:.2%}, and one row at least must be usable"
            raise DataError(f"data.{name}", share, f"{limit}: {reasons}")
    return Tally(table_rows=rows, excluded=excluded, examples=examples)


def _reason(table: str, reason: str, count: int, num_rows: int, examples: Mapping[str, str]) -> str:
    example = examples.get(f"{table}: {reason}")
    return f"{reason} {count / num_rows:.2%}" + (f" (first: {example})" if example else "")
