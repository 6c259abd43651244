"""What one run leaves for a comparison: every model's predictions, and what came.

It deliberately keeps predictions and not metrics: only from them can one resample of customers
judge all seeds, cutoffs and models alike.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from holdfast.plain import from_plain
from training.outcomes import Outcomes, Predictions

ARRAYS_NAME = "predictions.npz"
FACTS_NAME = "record.json"
FORM = 2
_BAR = "|"
_DAMAGES = (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error)
"""What JSON, a form that is not kept, NumPy and its archive say of a file that is not whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is told about a run beside its arrays.

    Attributes:
        form: Of the record.
        split: The window that was judged.
        main: The model that the run is about.
        models: All that were asked, in the order of tables.
        seconds: Wall time of fitting and asking.
        source: Digest of the code that did it.
    """

    form: int
    split: str
    main: str
    models: tuple[str, ...]
    seconds: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The predictions of one run.

    Attributes:
        facts: About the run.
        customer: Of every readout, a position in the store.
        cutoff_us: Of every readout.
        outcomes: What came.
        predictions: By model.
    """

    facts: Facts
    customer: Int64[ndarray, " readout"]
    cutoff_us: Int64[ndarray, " readout"]
    outcomes: Outcomes
    predictions: Mapping[str, Predictions]

    def save(self, folder: Path) -> None:
        """Write the record; it is complete once ``record.json`` is there."""
        arrays = {"customer": self.customer, "cutoff_us": self.cutoff_us}
        arrays |= {f"happened{_BAR}{name}": column for name, column in self.outcomes.happened.items()}
        arrays |= {f"values{_BAR}{name}": column for name, column in self.outcomes.values.items()}
        for model, said in self.predictions.items():
            for kind in ("probability", "expected", "median", "upper"):
                answers = getattr(said, kind)
                arrays |= {f"{kind}{_BAR}{name}{_BAR}{model}": array for name, array in answers.items()}
        np.savez_compressed(folder / ARRAYS_NAME, **arrays)  # type: ignore[arg-type]  # allow_pickle is not among them
        partial = folder / f"{FACTS_NAME}.partial"
        partial.write_text(json.dumps(asdict(self.facts), indent=1) + "\n", encoding="utf-8")
        partial.replace(folder / FACTS_NAME)

    @classmethod
    def load(cls, folder: Path) -> "Record | None":
        """Read what :meth:`save` wrote; None where it is not there, damaged or of another form."""
        try:
            facts = from_plain(Facts, json.loads((folder / FACTS_NAME).read_text(encoding="utf-8")))
            if facts.form != FORM:
                return None
            # Opened here: NumPy leaves a file open that it cannot read.
            with (folder / ARRAYS_NAME).open("rb") as file, np.load(file) as stored:
                arrays = {name: stored[name] for name in stored.files}
            customer, cutoff_us = arrays["customer"], arrays["cutoff_us"]
        except _DAMAGES:
            return None
        return cls(
            facts=facts,
            customer=customer,
            cutoff_us=cutoff_us,
            outcomes=Outcomes(happened=_parts(arrays, "happened"), values=_parts(arrays, "values")),
            predictions={
                model: Predictions(
                    probability=_parts(arrays, "probability", model),
                    expected=_parts(arrays, "expected", model),
                    median=_parts(arrays, "median", model),
                    upper=_parts(arrays, "upper", model),
                )
                for model in facts.models
            },
        )


def _parts(arrays: Mapping[str, ndarray], kind: str, model: str | None = None) -> dict[str, ndarray]:
    """Return the arrays of a kind, by target."""
    wanted = [kind] if model is None else [kind, model]
    split = {key: key.split(_BAR) for key in arrays}
    return {parts[1]: arrays[key] for key, parts in split.items() if [parts[0], *parts[2:]] == wanted}
