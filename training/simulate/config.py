"""What to simulate: one frozen configuration, checked before anything is drawn or written.

It deliberately does not know where the result goes, nor Hydra.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from holdfast.errors import ConfigError
from holdfast.plain import from_plain
from training.simulate.parameters import (
    Kind,
    Parameters,
    RetailerParameters,
    SubscriptionParameters,
    default_parameters,
    draw_parameters,
)

MAX_CUSTOMERS = 100_000_000
MAX_DAYS = 10_000
MAX_ROLLOUTS = 100_000
MIDNIGHT = datetime.time(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationConfig:
    """A business, a span of days, and the cutoffs at which the truth is wanted.

    Attributes:
        kind: ``retailer`` or ``subscription``.
        num_customers: How many customers arrive over the span.
        seed: Seed of everything that is drawn about customers.
        start_date: First day (UTC), as ``YYYY-MM-DD``.
        num_days: Length of the span.
        cutoffs: ISO times of midnights (UTC) within the span, ascending; may be empty.
        horizons_days: Ascending horizons of the truth; each window must end within the span.
        lookback_days: The truth is written for customers with activity within this many days.
        num_rollouts: Paths per customer and cutoff; the standard error falls with its root.
        parameters_seed: Draw another business from this seed; none is the standard business.
        parameters: The business itself, in place of a drawn or the standard one.
        blocks_per_part: Blocks of customers per Parquet file; changes no row.
    """

    kind: Kind
    num_customers: int
    seed: int
    start_date: str = "2023-03-01"
    num_days: int = 915
    cutoffs: tuple[str, ...] = ("2025-03-01T00:00:00Z", "2025-06-01T00:00:00Z")
    horizons_days: tuple[int, ...] = (30, 60, 90)
    lookback_days: int = 180
    num_rollouts: int = 64
    parameters_seed: int | None = None
    parameters: RetailerParameters | SubscriptionParameters | None = None
    blocks_per_part: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated.

        Raises:
            ConfigError: Naming the argument, its value and the limit.
        """
        if self.kind not in ("retailer", "subscription"):
            raise ConfigError("simulate.kind", self.kind, "it must be retailer or subscription")
        _check_range("num_customers", self.num_customers, 1, MAX_CUSTOMERS)
        _check_range("seed", self.seed, 0, 2**63 - 1)
        _check_range("num_days", self.num_days, 1, MAX_DAYS)
        _check_range("lookback_days", self.lookback_days, 1, MAX_DAYS)
        _check_range("num_rollouts", self.num_rollouts, 2, MAX_ROLLOUTS)
        _check_range("blocks_per_part", self.blocks_per_part, 1, 1_000)
        if self.parameters_seed is not None:
            _check_range("parameters_seed", self.parameters_seed, 0, 2**63 - 1)
            if self.parameters is not None:
                raise ConfigError(
                    "simulate.parameters_seed", self.parameters_seed, "parameters are given as well"
                )
        wanted = RetailerParameters if self.kind == "retailer" else SubscriptionParameters
        if self.parameters is not None and not isinstance(self.parameters, wanted):
            raise ConfigError(
                "simulate.parameters", type(self.parameters).__name__, f"a {self.kind} is asked for"
            )
        if list(self.horizons_days) != sorted(set(self.horizons_days)) or not self.horizons_days:
            raise ConfigError(
                "simulate.horizons_days", self.horizons_days, "it must be ascending and not empty"
            )
        _check_range("horizons_days[0]", self.horizons_days[0], 1, MAX_DAYS)
        self._check_cutoffs()

    @property
    def start(self) -> datetime.date:
        """The first day.

        Raises:
            ConfigError: ``start_date`` is no date.
        """
        try:
            return datetime.date.fromisoformat(self.start_date)
        except (TypeError, ValueError):
            raise ConfigError(
                "simulate.start_date", self.start_date, "it must be written YYYY-MM-DD"
            ) from None

    @property
    def cutoff_days(self) -> tuple[int, ...]:
        """The cutoffs as days since the start: day ``d`` is the first of the label window."""
        return tuple((_midnight(text) - self.start).days for text in self.cutoffs)

    def business(self) -> Parameters:
        """Return the parameters: given, drawn or standard."""
        if self.parameters is not None:
            return self.parameters
        if self.parameters_seed is not None:
            return draw_parameters(self.parameters_seed, self.kind)
        return default_parameters(self.kind)

    def _check_cutoffs(self) -> None:
        end = self.start + datetime.timedelta(days=self.num_days)
        days = self.cutoff_days
        if list(days) != sorted(set(days)):
            raise ConfigError("simulate.cutoffs", self.cutoffs, "they must be ascending")
        for text, day in zip(self.cutoffs, days, strict=True):
            if not 0 < day <= self.num_days:
                raise ConfigError(
                    "simulate.cutoffs",
                    text,
                    f"it must lie between {self.start} and {end}, later than the first",
                )
            if day + self.horizons_days[-1] > self.num_days:
                limit = f"from cutoff {text} the horizon must end by {end}, {self.num_days - day} days later"
                raise ConfigError("simulate.horizons_days", self.horizons_days[-1], limit)


def simulation_config(values: Mapping[str, Any]) -> SimulationConfig:
    """Build a configuration from plain values, such as the ``simulate`` part of ``conf/data``.

    Args:
        values: Keys of :class:`SimulationConfig`; a value of None means the default.

    Returns:
        The checked configuration.

    Raises:
        ConfigError: A key is unknown, missing, mistyped or out of range; the message names it.
    """
    given = {key: value for key, value in values.items() if value is not None}
    parameters = given.pop("parameters", None)
    config = from_plain(SimulationConfig, given, where="simulate")
    if not parameters:
        return config
    where = "simulate.parameters"
    if config.kind == "retailer":
        return replace(config, parameters=from_plain(RetailerParameters, parameters, where=where))
    return replace(config, parameters=from_plain(SubscriptionParameters, parameters, where=where))


def _midnight(text: str) -> datetime.date:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ConfigError(
            "simulate.cutoffs", text, "it must be an ISO time such as 2025-06-01T00:00:00Z"
        ) from None
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    moment = zoned.astimezone(datetime.UTC)
    if moment.time() != MIDNIGHT:
        raise ConfigError("simulate.cutoffs", text, "the truth is known at midnight UTC only")
    return moment.date()


def _check_range(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"simulate.{name}", value, f"it must be a whole number from {low} to {high}")
