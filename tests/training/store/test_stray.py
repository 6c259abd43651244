"""Mistyped dates are told, breaks in a business and quiet days are not."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from data_set_builder import DAY_US, days_later, shop_config

from training.prepare import prepare
from training.store import HistoryStore
from training.store.stray import EventDays
from training.times import EARLIEST_US, LATEST_US

START_US = 20_000 * DAY_US


def said(*days: int, is_start_given: bool = False, is_end_given: bool = False) -> list[tuple[str, int]]:
    """Return what is said of events on some days, without what follows from it."""
    counted = EventDays()
    # In two parts, as a store is written.
    for part in np.array_split(np.array(days, dtype=np.int64), 2):
        counted.add(START_US + part * DAY_US + 7)
    found = counted.notices(is_start_given=is_start_given, is_end_given=is_end_given)
    return [(text.split(":")[0], num) for text, num in found.items()]


YEAR = [*range(365), *range(365)]


def test_what_lies_far_behind_or_before_all_others_is_told_with_its_date() -> None:
    """2024-10-04 is day 20,000; several stray days count together, from the first gap that is long enough."""
    assert said(*YEAR, 365 + 40) == [("events from 2025-11-13 on, 41 days after the others", 1)]
    assert said(*YEAR, 5_000, 9_000, 9_000) == [("events from 2038-06-13 on, 4,636 days after the others", 3)]
    assert said(*YEAR, -100) == [("events up to 2024-06-26, 100 days before the others", 1)]
    assert len(said(*YEAR, -100, 5_000)) == 2


def test_the_first_and_the_last_day_there_are_can_be_counted() -> None:
    """Every time that is taken for one has its place."""
    counted = EventDays()
    counted.add(START_US + np.array(YEAR) * DAY_US)
    counted.add(np.array([EARLIEST_US, LATEST_US - 1]))
    texts = [*counted.notices(is_start_given=False, is_end_given=False)]
    assert [text.split(",")[0] for text in texts] == ["events up to 1900-01-01", "events from 2199-12-31 on"]


@pytest.mark.parametrize(
    "days",
    [
        YEAR,
        # A gap that a month's quiet makes, and one like others before it.
        [*YEAR, 365 + 28],
        [*YEAR[:40], *(day + 60 for day in YEAR), 365 + 60 + 40],
        # More than a few: a shop that opened again.
        [*YEAR, *(365 + 200 + day for day in range(4))],
        # Too few events to say what is far away.
        [*range(50), 5_000],
        [],
    ],
    ids=["none", "short", "like others", "many", "few events", "no event"],
)
def test_what_may_well_be_so_is_not_told(days: list[int]) -> None:
    """Nobody reads notices that are mostly wrong."""
    assert said(*days) == []


def test_of_many_events_a_thousandth_may_be_stray() -> None:
    """One source of wrong dates makes more than three of them."""
    many = [*range(1_000)] * 10
    assert said(*many, *[3_000] * 10) == [("events from 2032-12-21 on, 2,001 days after the others", 10)]
    assert said(*many, *[3_000] * 12) == []


@pytest.mark.parametrize("given", [{}, {"observed_until": "2031-01-01"}], ids=["found", "given"])
def test_a_store_tells_of_them_unless_its_end_is_given(tmp_path: Path, given: dict[str, Any]) -> None:
    """Then nothing follows from a mistyped date but a history that ends late."""
    days = days_later(*range(200), 9_000)
    events = pl.DataFrame(
        {
            "customer_id": ["al"] * len(days),
            "occurred_at": days,
            "event_type": ["purchase"] * len(days),
            "amount": [1.0] * len(days),
            "channel": ["web"] * len(days),
        }
    )
    prepare(shop_config(tmp_path / "data", {"events": events}, **given), store_dir=tmp_path / "store")
    index = HistoryStore.open(tmp_path / "store").index
    assert index.num_events == len(days)
    stray = [text for text in index.notices if "observed_until" in text]
    assert [index.notices[text] for text in stray] == ([] if given else [1])
