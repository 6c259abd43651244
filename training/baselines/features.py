"""The readout features of some cutoffs as a matrix with names.

It deliberately does not know how they were computed or scaled.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Integer
from numpy import ndarray

from holdfast.errors import ConfigError

SMALLEST_CATEGORY = 50
"""Training readouts that hold an id, at least, for it to have a column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMatrix:
    """What a baseline is told about every cutoff.

    Attributes:
        values: Finite numbers.
        names: One per column of ``values``.
        ids: Categories as small integers, such as the last event types.
        weights: How much each readout counts in fitting; None where all count alike.
    """

    values: Float32[ndarray, "readout feature"]
    names: tuple[str, ...]
    ids: Integer[ndarray, "readout column"]
    weights: Float32[ndarray, " readout"] | None = None

    def __post_init__(self) -> None:
        """Refuse columns without a name.

        Raises:
            ConfigError: There are more or fewer names than columns.
        """
        if len(self.names) != self.values.shape[1]:
            limit = f"there are {self.values.shape[1]} columns"
            raise ConfigError("features.names", len(self.names), limit)

    def __len__(self) -> int:
        """Return the number of readouts."""
        return len(self.values)

    def take(self, rows: ndarray) -> "FeatureMatrix":
        """Return some readouts (positions or a mask); itself where a mask leaves nobody out."""
        if rows.dtype == np.bool_ and rows.all():
            # Of 200,000 readouts a copy takes a tenth of a gigabyte.
            return self
        weights = None if self.weights is None else self.weights[rows]
        return FeatureMatrix(values=self.values[rows], names=self.names, ids=self.ids[rows], weights=weights)

    def relative_weights(self) -> Float32[ndarray, " readout"] | None:
        """Return the weights over their mean, so that penalties keep their meaning."""
        return None if self.weights is None else self.weights / self.weights.mean()

    def column(self, name: str) -> Float32[ndarray, " readout"]:
        """Return one column of ``values``.

        Raises:
            ConfigError: There is none of that name.
        """
        if name not in self.names:
            raise ConfigError("features", name, f"the features are {list(self.names)}")
        return self.values[:, self.names.index(name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Categories:
    """Which ids have a column of their own, 1 where a readout holds the id.

    Attributes:
        common: Per id column, the ids that were common in training.
    """

    common: tuple[tuple[int, ...], ...]

    @classmethod
    def fit(cls, features: FeatureMatrix) -> "Categories":
        """Take the ids that many training readouts hold."""
        found = []
        for column in features.ids.T:
            ids, counts = np.unique(column, return_counts=True)
            found.append(tuple(int(i) for i in ids[counts >= SMALLEST_CATEGORY]))
        return cls(common=tuple(found))

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The id column and the id of every column."""
        return tuple((column, i) for column, ids in enumerate(self.common) for i in ids)

    def columns(self, features: FeatureMatrix) -> Float32[ndarray, "readout category"]:
        """Return the columns of some readouts."""
        held = np.empty((len(features), len(self.pairs)), dtype=np.float32)
        for position, (column, category) in enumerate(self.pairs):
            held[:, position] = features.ids[:, column] == category
        return held


def sampled_rows(num: int, *, most: int, seed: int) -> Bool[ndarray, " row"]:
    """Return which rows to take: all, or ``most`` of them at random."""
    is_taken = np.ones(num, dtype=bool)
    if num > most:
        is_taken[:] = False
        is_taken[np.random.default_rng(seed).choice(num, most, replace=False)] = True
    return is_taken
