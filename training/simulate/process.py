"""What a simulated business must be able to do: the seam between the businesses and the rest.

It deliberately names no business.
"""

from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from training.simulate.columns import Columns, EventSink, People
from training.simulate.event_log import Names
from training.simulate.parameters import CauseParameters

StateT = TypeVar("StateT", bound=Columns)


@runtime_checkable
class Process(Names, Protocol[StateT]):
    """A business: who its customers are, and how they live from day to day."""

    @property
    def parameters(self) -> CauseParameters:
        """What the business is like."""

    def draw_customers(self, rng: np.random.Generator, num: int) -> tuple[StateT, People]:
        """Draw customers to whom nothing has happened yet."""

    def arrive(
        self, state: StateT, rows: ndarray, day: int, rng: np.random.Generator, sink: EventSink
    ) -> None:
        """Let customers arrive on ``day``: their first event."""

    def without_gone(self, state: StateT) -> StateT:
        """Return the state without (most of) the customers who are gone for good."""

    def is_eligible(self, state: StateT, day: int, *, lookback_days: int) -> ndarray:
        """Return whose truth can be asked for at the start of ``day``."""

    def hazard(self, state: StateT, day: int) -> Float32[ndarray, " customer"]:
        """Return every customer's probability, on ``day``, of the event that decides churn."""

    def step(
        self, state: StateT, day: int, rng: np.random.Generator, sink: EventSink, *, spare: bool = False
    ) -> Float32[ndarray, " customer"]:
        """Live one day; return the hazard of the event that decides churn."""

    def roll_out(
        self, state: StateT, day: int, horizons: tuple[int, ...], rng: np.random.Generator
    ) -> tuple[Float64[ndarray, "horizon customer"], Float64[ndarray, "horizon customer"]]:
        """Return unbiased estimates of churn probability and spend along one path per customer."""
