"""Declarations that contradict themselves are refused by name."""

from dataclasses import replace

import pytest

from builders import small_schema
from holdfast.errors import ConfigError
from holdfast.plain import from_plain, to_plain
from holdfast.schema import Field, Schema, Target, horizon_grid_days

CHURN = small_schema().targets[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizons_days": ()}, r"horizons_days.*ascending and not empty"),
        ({"horizons_days": (90, 30)}, r"horizons_days.*ascending"),
        ({"horizons_days": (-30,)}, r"horizons_days.*between 1 and 3650"),
        ({"form": None}, r"churn\.form"),
        ({"field": "amount"}, r"churn\.field"),
        ({"kind": "count", "form": None}, r"exactly one"),
        (
            {"kind": "amount", "form": None, "field": "channel", "horizons_days": (90,)},
            r"one of the numeric fields",
        ),
    ],
)
def test_a_target_that_contradicts_itself_is_refused(change: dict[str, object], message: str) -> None:
    """The message names the target, the key, its value and the limit."""
    with pytest.raises(ConfigError, match=message):
        replace(small_schema(), targets=(replace(CHURN, **change),))


@pytest.mark.parametrize("change", [{"activity": ()}, {"lookback_days": 0}])
def test_eligibility_needs_an_activity_and_a_lookback(change: dict[str, object]) -> None:
    """Without them nobody or everybody would be eligible."""
    with pytest.raises(ConfigError, match=next(iter(change))):
        replace(small_schema(), **change)


def test_names_are_declared_once_and_are_identifiers() -> None:
    """They become columns, tensors and metrics."""
    for name in ("amount", "net amount"):
        with pytest.raises(ConfigError, match=r"schema\.fields"):
            replace(small_schema(), fields=(*small_schema().fields, Field(name=name, kind="money")))


def test_the_fingerprint_changes_with_any_declaration_and_survives_json() -> None:
    """It is how a caller and an artifact find out that they speak of different columns."""
    schema = small_schema()
    assert from_plain(Schema, to_plain(schema)) == schema
    assert replace(schema, currency="USD").fingerprint() != schema.fingerprint()
    assert replace(schema).fingerprint() == schema.fingerprint()


@pytest.mark.parametrize("horizons", [(30, 60, 90), (90,), (1, 365), (7, 30, 181)])
def test_every_horizon_is_the_end_of_a_bin(horizons: tuple[int, ...]) -> None:
    """So that the probabilities asked for are points of the curve."""
    target = Target(name="churn", kind="time_to_event", event_types=(), horizons_days=horizons, form="event")
    grid = horizon_grid_days(target)
    assert set(map(float, horizons)) <= set(grid)
    assert list(grid) == sorted(set(grid))
    assert grid[0] > 0
    assert 8 <= len(grid) <= 16
