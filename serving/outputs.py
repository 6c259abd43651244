"""What the graph gave about some customers, brought together when it is looked at.

It deliberately copies nothing before: most callers want few of the outputs, and those are the short ones.
"""

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Int64, Shaped
from numpy import ndarray


class Outputs(Mapping[str, ndarray]):
    """Outputs by name, the first axis the customer; which there are is known without a look."""

    __slots__ = ("_names",)

    def __init__(self, names: Collection[str]) -> None:
        """Keep the names."""
        self._names = names

    @abstractmethod
    def __getitem__(self, name: str) -> Shaped[ndarray, "customer ..."]:
        """Return an output."""

    def __contains__(self, name: object) -> bool:
        """Say whether there is an output of this name."""
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        """Yield the outputs' names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return the number of outputs."""
        return len(self._names)


class RowOf(Outputs):
    """One customer's part of a run's outputs.

    Attributes:
        run: The outputs of all customers of the run.
        row: The customer's row there.
    """

    __slots__ = ("row", "run")

    def __init__(self, run: Mapping[str, ndarray], row: int) -> None:
        """Point at a row."""
        super().__init__(run)
        self.run, self.row = run, row

    def __getitem__(self, name: str) -> ndarray:
        """Return an output; the first axis has one row."""
        return self.run[name][self.row : self.row + 1]


class RowsOf(Outputs):
    """Some customers' part of the outputs of several runs."""

    __slots__ = ("_places", "_runs")

    def __init__(
        self, runs: Sequence[Mapping[str, Shaped[ndarray, "_ ..."]]], places: Int64[ndarray, " customer"]
    ) -> None:
        """Point at rows.

        Args:
            runs: The outputs of every run, at least one.
            places: Where in them, laid one behind the other, each customer stands.
        """
        super().__init__(runs[0])
        self._runs, self._places = runs, places

    def __getitem__(self, name: str) -> Shaped[ndarray, "customer ..."]:
        """Return an output of them all."""
        found: ndarray = np.concatenate([run[name] for run in self._runs]).take(self._places, axis=0)
        return found


class OfParts(Outputs):
    """The outputs of several parts of a request, one behind the other.

    A part in which everybody is at fault has no outputs: its rows are zeros, and never looked at.
    """

    __slots__ = ("_parts",)

    def __init__(self, parts: Sequence[tuple[Mapping[str, ndarray], int]]) -> None:
        """Keep the outputs of every part, and how many customers it has."""
        super().__init__(next((outputs for outputs, _ in parts if outputs), {}))
        self._parts = parts

    def __getitem__(self, name: str) -> ndarray:
        """Return an output of them all."""
        found = [outputs[name] if outputs else None for outputs, _ in self._parts]
        like = next(values for values in found if values is not None)
        return np.concatenate(
            [
                np.zeros((num, *like.shape[1:]), dtype=like.dtype) if values is None else values
                for values, (_, num) in zip(found, self._parts, strict=True)
            ]
        )
