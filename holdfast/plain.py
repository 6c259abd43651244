"""Frozen dataclasses to plain JSON values and back, strictly.

It deliberately does not know which dataclasses: unknown, missing and mistyped keys are
refused with the path of the key, so that a manifest of another release is never half read.
"""

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from holdfast.errors import ConfigError

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Return dicts, lists, strings, numbers, booleans and None for a tree of dataclasses."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value) if f.init}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def from_plain(cls: type[T], data: Any, *, where: str | None = None) -> T:
    """Build ``cls`` (a dataclass) from plain JSON values.

    Args:
        cls: The dataclass to build; nested dataclasses, tuples, dicts, literals and optional
            values are understood.
        data: What ``json.loads`` or a YAML reader gave.
        where: Path of ``data``, for messages: by default the name of the class, empty for none.

    Returns:
        The instance; its own checks have run.

    Raises:
        ConfigError: A key is unknown, missing or of another type; the message names its path.
    """
    built: T = _build(cls, data, cls.__name__ if where is None else where)
    return built


def _build(kind: Any, data: Any, where: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return data
    if is_dataclass(kind):
        return _build_dataclass(kind, data, where)
    if origin in (Union, types.UnionType):
        return _build_union(args, data, where)
    if origin is Literal:
        if data not in args:
            raise ConfigError(where, data, f"it must be one of {list(args)}")
        return data
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise ConfigError(where, data, "it must be a list")
        return tuple(_build(args[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if origin in (dict, Mapping):
        if not isinstance(data, Mapping):
            raise ConfigError(where, data, "it must be a mapping")
        return {str(key): _build(args[1], item, f"{where}.{key}") for key, item in data.items()}
    return _build_scalar(kind, data, where)


def _build_dataclass(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise ConfigError(where, data, "it must be a mapping")
    hints = get_type_hints(kind)
    declared = {f.name: f for f in fields(kind) if f.init}
    prefix = f"{where}." if where else ""
    unknown = sorted(str(key) for key in data if key not in declared)
    if unknown:
        raise ConfigError(f"{prefix}{unknown[0]}", data[unknown[0]], f"known keys are {sorted(declared)}")
    values = {}
    for name, field in declared.items():
        if name in data:
            values[name] = _build(hints[name], data[name], f"{prefix}{name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{prefix}{name}", None, "this key is needed")
    return kind(**values)


def _build_union(options: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in options:
        return None
    wanted = [option for option in options if option is not type(None)]
    errors: list[ConfigError] = []
    for option in wanted:
        try:
            return _build(option, data, where)
        except ConfigError as error:
            errors.append(error)
    raise errors[0]


def _build_scalar(kind: Any, data: Any, where: str) -> Any:
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if isinstance(data, bool) is not (kind is bool) or not isinstance(data, kind):
        raise ConfigError(where, data, f"it must be of type {kind.__name__}")
    return data
