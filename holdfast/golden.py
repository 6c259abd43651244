"""Golden cases: raw histories with the outputs that the exported model gave, in one npz file.

It deliberately does not know how outputs are computed: training writes them, loading replays
them, and both go through the same encoding, so that a server whose encoding drifted is refused.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Shaped
from numpy import ndarray

from holdfast.errors import ConfigError
from holdfast.histories import AttributeVersions, CodedColumn, Histories
from holdfast.vocabulary import Dictionary

_CATEGORICAL, _NUMERIC = "event.categorical.", "event.numeric."
_ATTRIBUTE_CATEGORICAL, _ATTRIBUTE_NUMERIC = "attribute.categorical.", "attribute.numeric."
_OUTPUT = "output."


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """Cases to replay: case ``i`` is customer ``i`` at ``as_of_us[i]``.

    Attributes:
        histories: Raw histories, before any encoding.
        as_of_us: One cutoff per customer, UTC microseconds.
        outputs: Expected outputs by name; the first axis is the customer.
    """

    histories: Histories
    as_of_us: Int64[ndarray, " customer"]
    outputs: Mapping[str, Shaped[ndarray, "..."]]

    def __post_init__(self) -> None:
        """Refuse cases whose parts differ in number.

        Raises:
            ConfigError: Naming the part.
        """
        num = self.histories.num_customers
        parts = {"as_of_us": self.as_of_us, **{f"outputs.{name}": out for name, out in self.outputs.items()}}
        for name, part in parts.items():
            if len(part) != num:
                raise ConfigError(f"golden.{name}", len(part), f"there are {num} customers")


def write_golden(
    path: Path,
    histories: Histories,
    cutoffs_us: Int64[ndarray, " customer"],
    outputs: Mapping[str, Shaped[ndarray, "..."]],
) -> None:
    """Write golden cases; the same cases give the same bytes.

    Args:
        path: The file to write.
        histories: One customer per case.
        cutoffs_us: One cutoff per case, UTC microseconds.
        outputs: What the exported graph gave for them, by output name.
    """
    golden = Golden(histories=histories, as_of_us=cutoffs_us, outputs=outputs)
    coded = {"event.type": histories.event_type}
    coded |= {_CATEGORICAL + name: column for name, column in histories.categorical.items()}
    versions = histories.attributes
    coded |= {_ATTRIBUTE_CATEGORICAL + name: column for name, column in versions.categorical.items()}
    # JSON in ASCII, since NumPy's text arrays drop trailing NUL characters.
    dictionaries = json.dumps({name: column.dictionary.values for name, column in coded.items()})
    arrays: dict[str, ndarray] = {
        "as_of_us": golden.as_of_us,
        "event.offsets": histories.offsets,
        "event.occurred_at_us": histories.occurred_at_us,
        "attribute.offsets": versions.offsets,
        "attribute.valid_from_us": versions.valid_from_us,
        "dictionaries": np.frombuffer(dictionaries.encode("ascii"), dtype=np.uint8),
        **{name: column.codes for name, column in coded.items()},
        **{_NUMERIC + name: column for name, column in histories.numeric.items()},
        **{_ATTRIBUTE_NUMERIC + name: column for name, column in versions.numeric.items()},
        **{_OUTPUT + name: output for name, output in outputs.items()},
    }
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_golden(data: bytes) -> Golden:
    """Read golden cases.

    Args:
        data: The bytes of ``golden.npz``, already verified.

    Returns:
        The cases.

    Raises:
        ConfigError: The bytes are no golden cases.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = dict(file)
        return _golden_of(arrays)
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile, IndexError) as error:
        raise ConfigError("golden", str(error), "these bytes must be golden cases") from error


def _golden_of(arrays: Mapping[str, ndarray]) -> Golden:
    dictionaries = json.loads(arrays["dictionaries"].tobytes())

    def coded(name: str) -> CodedColumn:
        codes = arrays[name]
        dictionary = Dictionary(dictionaries[name])
        if np.any((codes < -1) | (codes >= len(dictionary))):
            raise ValueError(f"a code of {name} lies outside its dictionary")
        return CodedColumn(codes=codes, dictionary=dictionary)

    def under(prefix: str) -> Mapping[str, ndarray]:
        return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}

    histories = Histories(
        offsets=arrays["event.offsets"],
        occurred_at_us=arrays["event.occurred_at_us"],
        event_type=coded("event.type"),
        categorical={name: coded(_CATEGORICAL + name) for name in under(_CATEGORICAL)},
        numeric=under(_NUMERIC),
        attributes=AttributeVersions(
            offsets=arrays["attribute.offsets"],
            valid_from_us=arrays["attribute.valid_from_us"],
            categorical={
                name: coded(_ATTRIBUTE_CATEGORICAL + name) for name in under(_ATTRIBUTE_CATEGORICAL)
            },
            numeric=under(_ATTRIBUTE_NUMERIC),
        ),
    )
    return Golden(histories=histories, as_of_us=arrays["as_of_us"], outputs=under(_OUTPUT))
