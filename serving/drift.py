"""How the customers of late lie in the model's reference: by bin, the older the less they count.

It deliberately compares nothing: :mod:`serving.exposition` does, when somebody looks. The reference knows
eligible customers alone, so that others do not count here either. To note a run must cost next to nothing,
so that runs are kept as they are and counted some hundred customers at a time.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float64, Shaped
from numpy import ndarray

from holdfast.reference import Reference
from serving.recording import SEPARATOR, Family

HALF_LIFE_CUSTOMERS = 10_000
"""After so many more a customer counts half."""

TOGETHER = 512
"""Customers that are counted in one go."""


class Drift:
    """Counts the customers of one model's runs; whoever calls holds a lock."""

    def __init__(self, references: Sequence[Reference]) -> None:
        """Begin with nobody.

        Args:
            references: Of the manifest.
        """
        self._references = references
        self._tensors = {reference.quantity.tensor for reference in references}
        self._counts: list[Float64[ndarray, " bin"]] = [np.zeros(len(one.shares)) for one in references]
        self._kept: list[Mapping[str, ndarray]] = []
        self._is_eligible: list[Bool[ndarray, " batch"]] = []
        self._num_kept = 0

    def ran(
        self,
        inputs: Mapping[str, Shaped[ndarray, "batch ..."]],
        outputs: Mapping[str, Shaped[ndarray, "batch ..."]],
        is_eligible: Bool[ndarray, " batch"],
    ) -> None:
        """Note a run, and whom of it training would have asked about."""
        self._kept.append({name: inputs[name] if name in inputs else outputs[name] for name in self._tensors})
        self._is_eligible.append(is_eligible)
        self._num_kept += len(is_eligible)
        if self._num_kept >= TOGETHER:
            self._count()

    def states(self) -> Mapping[str, Family]:
        """Return the customers of late and the reference, by quantity and bin."""
        self._count()
        recent: dict[str, float] = {}
        shares: dict[str, float] = {}
        for reference, counts in zip(self._references, self._counts, strict=True):
            for place, (count, share) in enumerate(zip(counts.tolist(), reference.shares, strict=True)):
                labels = f"{reference.quantity.name}{SEPARATOR}{place + 1}"
                recent[labels], shares[labels] = count, share
        return {"recent_customers": recent, "reference_share": shares}

    def _count(self) -> None:
        if not self._num_kept:
            return
        is_eligible = np.concatenate(self._is_eligible)
        fading = 0.5 ** (int(is_eligible.sum()) / HALF_LIFE_CUSTOMERS)
        for place, reference in enumerate(self._references):
            values = np.concatenate([reference.quantity.of(tensors) for tensors in self._kept])
            self._counts[place] = fading * self._counts[place] + reference.counts(values[is_eligible])
        self._kept, self._is_eligible, self._num_kept = [], [], 0
