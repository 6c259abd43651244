"""Whether plain values have the form that a TypedDict declares, however deep."""

import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict


def check_form(value: Any, form: Any, where: str = "result") -> None:
    """Fail where a value is not of a declared form, however deep."""
    if is_typeddict(form):
        hints = get_type_hints(form)
        assert isinstance(value, dict), where
        assert set(value) <= set(hints), (where, set(value) - set(hints))
        assert form.__required_keys__ <= set(value), (where, form.__required_keys__ - set(value))
        for key, part in value.items():
            check_form(part, hints[key], f"{where}.{key}")
        return
    origin, parts = get_origin(form), get_args(form)
    if origin is list:
        assert isinstance(value, list), where
        for index, part in enumerate(value):
            check_form(part, parts[0], f"{where}[{index}]")
    elif origin is dict:
        assert isinstance(value, dict), where
        for key, part in value.items():
            check_form(key, parts[0], f"{where} key")
            check_form(part, parts[1], f"{where}.{key}")
    elif origin is Literal:
        assert value in parts, (where, value)
    elif origin in (Union, types.UnionType):
        assert any(isinstance(value, part) for part in parts), (where, value)
    else:
        assert isinstance(value, form), (where, value, form)
