"""A space is checked before anything is tried, and values are written as Hydra reads them."""

from typing import Any

import pytest

from holdfast.errors import ConfigError
from training.sweeps.space import Parameter, Space, override


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ({"kind": "choice", "choices": [1]}, "choices"),
        ({"kind": "choice", "choices": [1, 1]}, "each once"),
        ({"kind": "choice", "choices": [[1], [2]]}, "string, number, boolean or null"),
        ({"kind": "choice", "choices": [1, 2], "low": 1}, "choices alone"),
        ({"kind": "real", "low": 2, "high": 1}, "low below high"),
        ({"kind": "real", "low": 1}, "low and high"),
        ({"kind": "real", "low": 0, "high": 1, "scale": "log"}, "positive"),
        ({"kind": "real", "low": 1, "high": 2, "scale": "log", "step": 1}, "step"),
        ({"kind": "whole", "low": 0.5, "high": 2}, "whole number"),
        ({"kind": "whole", "low": 1, "high": 2, "choices": [1, 2]}, "instead"),
        ({"kind": "real", "low": 0, "high": 1, "only_with": {"later": [1]}}, "before this one"),
        ({"kind": "odd"}, "one of"),
        ({"kind": "real", "low": 0, "hihg": 1}, "hihg"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(parameter: dict[str, Any], said: str) -> None:
    """The key and the limit are named."""
    with pytest.raises(ConfigError, match=r"sweep\.space\.key") as refused:
        Space.from_plain({"key": parameter, "later": {"kind": "choice", "choices": [1, 2]}})
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (0.00234567, "0.00235"),
        (1e-6, "1e-06"),
        ("gru", "gru"),
    ],
)
def test_values_are_written_as_hydra_reads_them(value: Any, written: str) -> None:
    """Short enough for a command line."""
    assert override("a.b", value) == f"a.b={written}"


@pytest.mark.parametrize(
    ("parameter", "inside", "outside"),
    [
        (Parameter(kind="choice", choices=(None, 1, True)), [None, 1, True], [False, "1", 2]),
        (Parameter(kind="whole", low=2, high=8, step=3), [2, 5, 8], [3, 9, 2.5, None, True]),
        (Parameter(kind="real", low=0.0, high=1.0), [0, 0.5, 1.0], [-0.1, None, "0.5"]),
    ],
)
def test_a_default_is_tried_only_where_it_lies_inside(
    parameter: Parameter, inside: list[Any], outside: list[Any]
) -> None:
    """Types count: 1 is no boolean."""
    assert all(parameter.holds(value) for value in inside)
    assert not any(parameter.holds(value) for value in outside)
