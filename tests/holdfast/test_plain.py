"""JSON becomes dataclasses strictly, with the path of what is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytest

from holdfast.errors import ConfigError
from holdfast.plain import from_plain, to_plain


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A part."""

    size: float
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True, kw_only=True)
class Outer:
    """A whole."""

    parts: tuple[Inner, ...]
    named: Mapping[str, Inner]
    note: str | None = None
    is_open: bool = False


GOOD = {"parts": [{"size": 1}], "named": {"x": {"size": 0.1, "kind": "b"}}}


def test_a_tree_survives_the_round_trip() -> None:
    """Whole numbers become floats where floats are declared; defaults fill what is left out."""
    built = from_plain(Outer, GOOD)
    assert built == Outer(parts=(Inner(size=1.0),), named={"x": Inner(size=0.1, kind="b")})
    assert from_plain(Outer, to_plain(built)) == built


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({**GOOD, "colour": 1}, r"Outer\.colour.*known keys"),
        ({"parts": []}, r"Outer\.named.*needed"),
        ({**GOOD, "parts": [{"size": "1"}]}, r"Outer\.parts\[0\]\.size.*type float"),
        ({**GOOD, "parts": [{"size": True}]}, r"Outer\.parts\[0\]\.size"),
        ({**GOOD, "parts": {"size": 1}}, r"Outer\.parts.*a list"),
        ({**GOOD, "named": []}, r"Outer\.named.*a mapping"),
        ({**GOOD, "named": {"x": {"size": 1, "kind": "c"}}}, r"Outer\.named\.x\.kind.*one of"),
        ({**GOOD, "is_open": 1}, r"Outer\.is_open.*type bool"),
        ({**GOOD, "note": 3}, r"Outer\.note.*type str"),
        (None, r"Outer.*a mapping"),
    ],
)
def test_what_is_unknown_missing_or_mistyped_is_named_by_its_path(data: object, message: str) -> None:
    """A manifest of another release is never half read."""
    with pytest.raises(ConfigError, match=message):
        from_plain(Outer, data)


def test_a_path_may_begin_with_the_key_itself() -> None:
    """As a person types it who sets a key at the top."""
    with pytest.raises(ConfigError, match=r"^is_open: got 1"):
        from_plain(Outer, {**GOOD, "is_open": 1}, where="")
