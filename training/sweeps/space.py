"""What a search may choose from, as checked values (``conf/sweep/*.yaml``).

It deliberately does not know how values are chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from holdfast.errors import ConfigError
from holdfast.plain import from_plain

Value = str | int | float | bool | None
"""What a parameter may be set to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One key of the configuration, and what it may be.

    Attributes:
        kind: ``choice``: one of ``choices``; ``whole`` and ``real``: a number from ``low`` to
            ``high``, both included.
        choices: Strings, numbers, booleans or null.
        low: Least value.
        high: Greatest value.
        scale: ``log`` looks as closely at small values as at large ones.
        step: ``whole`` and ``real`` on a linear scale: distance of the values.
        only_with: The parameter is set only where others have one of these values; elsewhere the
            configuration's own value stays.
    """

    kind: Literal["choice", "whole", "real"]
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    scale: Literal["linear", "log"] = "linear"
    step: float | None = None
    only_with: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def check(self, where: str) -> None:
        """Refuse what cannot be chosen from.

        Raises:
            ConfigError: Naming the key.
        """
        if self.kind == "choice":
            self._check_choices(where)
            return
        if self.choices:
            raise ConfigError(f"{where}.choices", self.choices, f"kind {self.kind} has low and high instead")
        if self.low is None or self.high is None or not self.low < self.high:
            raise ConfigError(where, [self.low, self.high], "low and high are needed, low below high")
        if self.scale == "log" and self.low <= 0:
            raise ConfigError(f"{where}.low", self.low, "on the scale log it must be positive")
        if self.step is not None and (self.scale == "log" or self.step <= 0):
            raise ConfigError(f"{where}.step", self.step, "it must be positive, on the scale linear")
        if self.kind == "whole":
            for name in ("low", "high", "step"):
                value = getattr(self, name)
                if value is not None and not float(value).is_integer():
                    raise ConfigError(f"{where}.{name}", value, "it must be a whole number")

    def _check_choices(self, where: str) -> None:
        if len(self.choices) < 2 or len(set(map(repr, self.choices))) < len(self.choices):
            raise ConfigError(f"{where}.choices", self.choices, "at least two are needed, each once")
        for choice in self.choices:
            if choice is not None and not isinstance(choice, str | int | float | bool):
                limit = "it must be a string, number, boolean or null"
                raise ConfigError(f"{where}.choices", choice, limit)
        if (self.low, self.high, self.step) != (None, None, None):
            raise ConfigError(where, [self.low, self.high, self.step], "kind choice has choices alone")

    def holds(self, value: Any) -> bool:
        """Return whether a value is among those that may be chosen."""
        if self.kind == "choice":
            return any(type(value) is type(choice) and value == choice for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None
        assert self.high is not None
        if self.kind == "whole" and not isinstance(value, int):
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return self.low <= value <= self.high and abs(steps - round(steps)) < 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """All parameters of a search by key, in the order in which they are chosen."""

    parameters: Mapping[str, Parameter]

    @classmethod
    def from_plain(cls, values: Any) -> "Space":
        """Read and check a space.

        Raises:
            ConfigError: A key is unknown, missing, of another type or out of range.
        """
        if not isinstance(values, Mapping) or not values:
            raise ConfigError("sweep.space", values, "it must name at least one parameter")
        space = cls(
            parameters={
                str(key): from_plain(Parameter, value, where=f"sweep.space.{key}")
                for key, value in values.items()
            }
        )
        seen: dict[str, Parameter] = {}
        for key, parameter in space.parameters.items():
            where = f"sweep.space.{key}"
            parameter.check(where)
            for other, wanted in parameter.only_with.items():
                if other not in seen or not all(seen[other].holds(value) for value in wanted):
                    limit = f"it must name values of parameters before this one: {list(seen)}"
                    raise ConfigError(f"{where}.only_with.{other}", list(wanted), limit)
            seen[key] = parameter
        return space

    def is_asked(self, key: str, chosen: Mapping[str, Value]) -> bool:
        """Return whether a parameter is set, given what was chosen before it."""
        conditions = self.parameters[key].only_with
        return all(other in chosen and chosen[other] in wanted for other, wanted in conditions.items())


def override(key: str, value: Value) -> str:
    """Return an override as a command line has it; real numbers with three digits."""
    return f"{key}={text_of(value)}"


def text_of(value: Value) -> str:
    """Return a value as Hydra reads it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)
