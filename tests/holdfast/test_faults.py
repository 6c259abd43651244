"""Every customer with a fault is found with its first one, and the others are left as they are."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from builders import START_US, histories_of_lengths, random_histories
from holdfast.faults import EARLIEST_US, LATEST_US, find_faults, without
from holdfast.histories import ALWAYS_US, Histories

LENGTHS = np.array([4, 0, 3, 5])


def sound() -> Histories:
    """Return four customers, the second without events, with two versions of attributes each."""
    histories = histories_of_lengths(np.random.default_rng(3), LENGTHS)
    versions = histories.attributes
    num = 8
    valid_from = np.tile([ALWAYS_US, START_US], 4)
    region, age = versions.categorical["region"], versions.numeric["age"]
    return replace(
        histories,
        attributes=replace(
            versions,
            offsets=np.arange(0, num + 1, 2),
            valid_from_us=valid_from,
            categorical={"region": replace(region, codes=np.resize(region.codes, num))},
            numeric={"age": np.resize(age, num)},
        ),
    )


def changed(column: np.ndarray, row: int, value: float) -> np.ndarray:
    """Return a copy with one value changed."""
    column = column.copy()
    column[row] = value
    return column


def at(column: str, row: int, value: float) -> Callable[[Histories], Histories]:
    """Return what changes one value of a flat column."""

    def change(h: Histories) -> Histories:
        versions = h.attributes
        changes: dict[str, Callable[[], Histories]] = {
            "time": lambda: replace(h, occurred_at_us=changed(h.occurred_at_us, row, value)),
            "type": lambda: replace(
                h, event_type=replace(h.event_type, codes=changed(h.event_type.codes, row, value))
            ),
            "channel": lambda: replace(
                h,
                categorical={
                    "channel": replace(
                        h.categorical["channel"], codes=changed(h.categorical["channel"].codes, row, value)
                    )
                },
            ),
            "amount": lambda: replace(
                h, numeric=dict(h.numeric) | {"amount": changed(h.numeric["amount"], row, value)}
            ),
            "valid_from": lambda: replace(
                h, attributes=replace(versions, valid_from_us=changed(versions.valid_from_us, row, value))
            ),
            "region": lambda: replace(
                h,
                attributes=replace(
                    versions,
                    categorical={
                        "region": replace(
                            versions.categorical["region"],
                            codes=changed(versions.categorical["region"].codes, row, value),
                        )
                    },
                ),
            ),
            "age": lambda: replace(
                h,
                attributes=replace(versions, numeric={"age": changed(versions.numeric["age"], row, value)}),
            ),
        }
        return changes[column]()

    return change


def test_sound_histories_have_no_fault() -> None:
    """Missing values, ties, empty histories and versions that always held are no faults."""
    assert find_faults(sound()) == {}
    assert find_faults(random_histories(np.random.default_rng(1), 30)) == {}
    kept, positions = without(sound(), {})
    assert (kept.num_customers, positions.tolist()) == (4, [0, 1, 2, 3])


@pytest.mark.parametrize(
    ("column", "row", "value", "customer", "field"),
    [
        ("time", 0, EARLIEST_US - 1, 0, "occurred_at_us[0]"),
        ("time", 6, LATEST_US, 2, "occurred_at_us[2]"),
        ("time", 11, START_US // 1_000, 3, "occurred_at_us[4]"),
        ("time", 4, np.iinfo(np.int64).min, 2, "occurred_at_us[0]"),
        ("time", 10, EARLIEST_US, 3, "occurred_at_us[3]"),
        ("type", 4, 4, 2, "event_type[0]"),
        ("type", 4, -1, 2, "event_type[0]"),
        ("type", 4, 2**31 - 1, 2, "event_type[0]"),
        ("channel", 3, 3, 0, "fields[channel].codes[3]"),
        ("channel", 3, -2, 0, "fields[channel].codes[3]"),
        ("amount", 7, np.inf, 3, "fields[amount].values[0]"),
        ("amount", 7, -np.inf, 3, "fields[amount].values[0]"),
        ("valid_from", 3, 5, 1, "valid_from_us[1]"),
        ("valid_from", 6, LATEST_US - 1, 3, "valid_from_us[1]"),
        ("region", 5, 2, 2, "attributes[region].codes[1]"),
        ("age", 2, np.inf, 1, "attributes[age].values[0]"),
    ],
)
def test_a_fault_is_found_where_it_stands(
    column: str, row: int, value: float, customer: int, field: str
) -> None:
    """Customer and row within the customer are named, at the first and last rows too."""
    faults = find_faults(at(column, row, value)(sound()))
    assert list(faults) == [customer]
    assert faults[customer].field == field
    assert faults[customer].limit


def test_times_of_the_next_customer_may_be_earlier() -> None:
    """Order is asked within a customer only."""
    histories = sound()
    assert (np.diff(histories.occurred_at_us) < 0).any(), "the case needs a step back between customers"
    assert find_faults(histories) == {}


def test_several_customers_keep_a_fault_each_and_the_first_one() -> None:
    """Time is looked at before values, and one customer's fault hides nobody else's."""
    histories = at("amount", 0, np.inf)(at("time", 2, 5)(at("amount", 5, np.inf)(sound())))
    faults = find_faults(histories)
    assert {customer: error.field for customer, error in faults.items()} == {
        0: "occurred_at_us[2]",
        2: "fields[amount].values[1]",
    }
    kept, positions = without(histories, faults)
    assert positions.tolist() == [1, 3]
    assert kept.num_events == 5
    assert find_faults(kept) == {}


def test_times_are_shown_as_people_read_them() -> None:
    """A time that is merely out of order is shown as a date; an implausible one as the number it is."""
    order = find_faults(at("time", 10, EARLIEST_US)(sound()))[3]
    assert order.value == "'1971-01-01T00:00:00+00:00'"
    assert find_faults(at("time", 0, 12)(sound()))[0].value == "12"
