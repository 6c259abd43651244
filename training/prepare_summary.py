"""What came of preparing, as a table for the terminal.

It deliberately decides nothing: every figure stands in the store's index.
"""

from datetime import UTC, datetime, timedelta

from rich.console import Group
from rich.table import Table
from rich.text import Text

from training.store import HistoryStore, StoreIndex
from training.times import EPOCH

MAX_SHOWN_TYPES = 12


def summary(store: HistoryStore, *, seconds: float | None) -> Group:
    """Return the summary of a store.

    Args:
        store: The store.
        seconds: How long preparing took; None where the store was up to date already.
    """
    index = store.index
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _facts(store, seconds):
        table.add_row(name, Text(value))
    return Group(table, *([_excluded(index)] if any(index.excluded.values()) else []))


def _facts(store: HistoryStore, seconds: float | None) -> list[tuple[str, str]]:
    index = store.index
    facts = [("data set", index.name)]
    facts += [(f"source {name}", f"{count:,} rows") for name, count in index.source_rows.items()]
    facts += [(f"table {name}", f"{count:,} rows") for name, count in index.table_rows.items()]
    facts += [
        ("customers", f"{index.num_customers:,}"),
        ("events", f"{index.num_events:,}"),
        ("span", f"{_shown(index.first_event_us)} to {_shown(index.last_event_us)}"),
        ("observed", f"{_shown(index.observed_from_us)} to {_shown(index.observed_until_us)}"),
        ("event types", _event_types(index)),
    ]
    if store.labels is not None:
        facts.append(("labels", f"{index.num_labels:,}"))
    facts += [("note", f"{text}: {count:,}") for text, count in index.notices.items()]
    facts.append(("store", str(store.path)))
    if seconds is None:
        facts.append(("time", "up to date already, nothing was done"))
    else:
        facts.append(("time", f"{seconds:.1f} s, {index.num_events / seconds:,.0f} events/s"))
    return facts


def _excluded(index: StoreIndex) -> Table:
    table = Table(title="Rows left out", title_justify="left")
    for heading in ("table", "reason", "rows", "share", "first"):
        table.add_column(
            heading, justify="right" if heading in ("rows", "share") else "left", overflow="fold"
        )
    for name, counts in index.excluded.items():
        for reason, count in counts.items():
            share = f"{count / index.table_rows[name]:.2%}"
            example = index.examples.get(f"{name}: {reason}", "")
            table.add_row(name, reason, f"{count:,}", share, Text(example))
    return table


def _event_types(index: StoreIndex) -> str:
    types = list(index.event_types.items())
    shown = ", ".join(f"{name} {count:,}" for name, count in types[:MAX_SHOWN_TYPES])
    return shown if len(types) <= MAX_SHOWN_TYPES else f"{shown} and {len(types) - MAX_SHOWN_TYPES} more"


def _shown(microseconds: int) -> str:
    moment: datetime = EPOCH + timedelta(microseconds=microseconds)
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
