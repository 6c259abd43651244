"""How inputs and answers of the model were distributed when it was judged, and how far others lie from that.

It deliberately does not know whose customers it is compared with: values come in, numbers go out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Shaped
from numpy import ndarray

from holdfast.encoding.readouts import feature_names
from holdfast.encoding.spec import EncodingSpec
from holdfast.errors import ConfigError

NUM_BINS = 10
FEATURES = ("recency_days", "tenure_days", "events_per_day")
"""What is looked at of what a cutoff is told, as far as the encoding tells it."""

FEATURES_TENSOR = "readout_values"
EVENTS_TENSOR = "readout_visible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One number per customer that goes into the graph or comes out of it.

    Attributes:
        name: Such as ``recency_days`` or ``churn_90d``.
        tensor: Input or output of the graph.
        column: Of the tensor's second axis; None where it has none.
    """

    name: str
    tensor: str
    column: int | None = None

    def of(self, tensors: Mapping[str, Shaped[ndarray, "customer ..."]]) -> Shaped[ndarray, " customer"]:
        """Return the number of every customer."""
        values = tensors[self.tensor]
        return values if self.column is None else values[:, self.column]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """How a quantity was distributed over the cutoffs that the model was judged at.

    Attributes:
        quantity: Which one.
        edges: Ascending; a value lies in the bin of the first edge that it does not exceed, else in the last.
        shares: Of every bin: one more than there are edges.
    """

    quantity: Quantity
    edges: tuple[float, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what is no distribution.

        Raises:
            ConfigError: Naming the quantity.
        """
        where = f"reference of {self.quantity.name}"
        if any(left >= right for left, right in zip(self.edges, self.edges[1:], strict=False)):
            raise ConfigError(f"{where}: edges", self.edges, "they must ascend")
        if len(self.shares) != len(self.edges) + 1 or min(self.shares) < 0:
            limit = "there must be one more than edges, none below 0"
            raise ConfigError(f"{where}: shares", self.shares, limit)
        if not abs(sum(self.shares) - 1) < 1e-6:
            raise ConfigError(f"{where}: shares", self.shares, "they must add up to 1")

    @classmethod
    def of(cls, quantity: Quantity, values: Shaped[ndarray, " customer"]) -> "Reference":
        """Return the distribution of some values in tenths, fewer where many are the same.

        Args:
            quantity: What they are.
            values: At least one, all finite.
        """
        levels = np.arange(1, NUM_BINS) / NUM_BINS
        edges = np.unique(np.quantile(values.astype(np.float64), levels, method="inverted_cdf"))
        # Beyond the largest value there would be nobody.
        edges = edges[edges < values.max()]
        counts = _counts(values, edges)
        return cls(
            quantity=quantity, edges=tuple(edges.tolist()), shares=tuple((counts / counts.sum()).tolist())
        )

    def counts(self, values: Shaped[ndarray, " customer"]) -> Int64[ndarray, " bin"]:
        """Return how many of some values lie in each bin."""
        return _counts(values, np.array(self.edges))


def quantities_of(spec: EncodingSpec) -> Iterator[Quantity]:
    """Yield what is compared: events that are used, some readout features, and every target's main answer."""
    yield Quantity(name="num_events", tensor=EVENTS_TENSOR)
    names = feature_names(spec)
    for name in FEATURES:
        if name in names:
            yield Quantity(name=name, tensor=FEATURES_TENSOR, column=names.index(name))
    for target in spec.schema.targets:
        longest = len(target.horizons_days) - 1
        name = f"{target.name}_{target.horizons_days[-1]}d"
        if target.kind == "time_to_event":
            yield Quantity(name=name, tensor=f"{target.name}_probability", column=longest)
        else:
            yield Quantity(name=name, tensor=f"{target.name}_expected")


def stability_index(
    shares: Sequence[float] | Float64[ndarray, " bin"], counts: Float64[ndarray, " bin"]
) -> float:
    """Return the population stability index of counts against reference shares.

    The sum of ``(q - p) ln(q / p)`` over the bins, which is Jeffreys' divergence (N. Siddiqi, Credit Risk
    Scorecards, 2006). Half a customer is added to every bin on either side, so that none is empty.

    Args:
        shares: What was there before; they add up to 1.
        counts: How many there are in each bin now; at least one in all.

    Returns:
        0 where nothing differs. By custom less than .1 is no shift, and more than .25 a large one. Chance
        alone makes it about one less than there are bins, divided by the number of customers.
    """
    total, half = float(np.sum(counts)), 0.5
    now = (np.asarray(counts) + half) / (total + half * len(shares))
    before = (np.asarray(shares) * total + half) / (total + half * len(shares))
    return float(np.sum((now - before) * np.log(now / before)))


def _counts(values: ndarray, edges: ndarray) -> ndarray:
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
