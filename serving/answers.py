"""Predictions to the bytes of an answer, one entry per customer and in order.

It deliberately does no arithmetic on them: what the graph gave is what is sent. All predictions of
an answer have the same form, and so the same bytes but for the numbers. A form is laid out once,
and NumPy puts the numbers of all customers into their places: messages for every customer and
target would cost a tenth of the time in which a small graph computes them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from holdfast.description import write_target
from holdfast.errors import HistoryError
from holdfast.manifest import Manifest
from holdfast.v1 import scoring_pb2 as pb
from serving.predictor import Predictions

_LENGTH_DELIMITED, _FIXED32 = 2, 5
"""Wire types of protobuf: a message, a text or a packed column; a float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Numbers:
    """A place for the numbers of one output, as many as there are per customer."""

    output: str
    num: int

    def __len__(self) -> int:
        """Return the bytes that they take."""
        return 4 * self.num


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """The bytes of every prediction of a kind of answer.

    Attributes:
        pieces: Bytes, and places for numbers between them.
        blank: The same as one row, with zeros for the numbers.
        places: Where in it the numbers of each output begin.
    """

    pieces: Sequence[bytes | _Numbers]
    blank: UInt8[ndarray, " byte"]
    places: Sequence[tuple[int, _Numbers]]

    def filled(self, outputs: Mapping[str, ndarray]) -> Iterator[bytes]:
        """Yield the bytes of every customer's prediction."""
        num = len(next(iter(outputs.values())))
        if num == 1:
            # The commonest answer: putting its pieces together costs less than laying out a table.
            yield b"".join(p if isinstance(p, bytes) else outputs[p.output].tobytes() for p in self.pieces)
            return
        rows = np.repeat(self.blank[None], num, axis=0)
        for start, numbers in self.places:
            values = np.ascontiguousarray(outputs[numbers.output], dtype="<f4").reshape(num, numbers.num)
            rows[:, start : start + len(numbers)] = values.view(np.uint8)
        joined, size = rows.tobytes(), len(self.blank)
        for start in range(0, num * size, size):
            yield joined[start : start + size]


class AnswerWriter:
    """Writes the answers of one model."""

    def __init__(self, manifest: Manifest) -> None:
        """Write what every answer says."""
        head = pb.ScoreResponse(model=manifest.name, version=manifest.version)
        head.targets.extend(write_target(target, form) for target, form in manifest.answered_targets())
        self._head = head.SerializeToString()
        self._targets = manifest.schema.targets
        self._forms: dict[tuple[bool, bool], _Form] = {}

    def write(
        self,
        customer_ids: Sequence[str],
        predictions: Predictions,
        faults: Mapping[int, HistoryError],
        *,
        include_survival: bool,
        include_embedding: bool,
    ) -> bytes:
        """Return the bytes of a ScoreResponse.

        Args:
            customer_ids: Who was asked about.
            predictions: One row per customer; that of one at fault is not looked at.
            faults: Why customers could not be scored, by row.
            include_survival: Whether survival curves are wanted.
            include_embedding: Whether embeddings are wanted.
        """
        written: Iterator[bytes] = iter(())
        if len(faults) < len(customer_ids):
            key = (include_survival, include_embedding)
            form = self._forms.get(key)
            if form is None:
                form = self._forms[key] = self._form(
                    predictions.outputs,
                    include_survival=include_survival,
                    include_embedding=include_embedding,
                )
            written = form.filled(predictions.outputs)
        seen = zip(
            predictions.num_used.tolist(),
            predictions.num_truncated.tolist(),
            predictions.num_after.tolist(),
            predictions.num_unknown.tolist(),
            strict=True,
        )
        parts = [self._head]
        for row, (customer_id, counts) in enumerate(zip(customer_ids, seen, strict=True)):
            prediction = next(written, b"")
            named = customer_id.encode()
            entry = (_prefix(_ID, len(named)), named) if named else ()
            if row in faults:
                entry = (*entry, _error(faults[row]))
            else:
                entry = (*entry, prediction, _observed(*counts))
            parts += (_prefix(_CUSTOMERS, sum(map(len, entry))), *entry)
        return b"".join(parts)

    def _form(
        self, outputs: Mapping[str, ndarray], *, include_survival: bool, include_embedding: bool
    ) -> _Form:
        def numbers(output: str) -> _Numbers:
            return _Numbers(output=output, num=int(np.prod(outputs[output].shape[1:], dtype=np.int64)))

        pieces: list[bytes | _Numbers] = []
        for target in self._targets:
            if target.kind == "time_to_event":
                kind = _framed(pb.TimeToEventPrediction, "probability", numbers(f"{target.name}_probability"))
                if include_survival:
                    kind += _framed(pb.TimeToEventPrediction, "survival", numbers(f"{target.name}_survival"))
            elif target.kind == "amount":
                kind = _framed(pb.AmountPrediction, "expected", numbers(f"{target.name}_expected"))
                kind += _framed(pb.AmountPrediction, "quantiles", numbers(f"{target.name}_quantiles"))
            else:
                kind = _framed(pb.CountPrediction, "expected", numbers(f"{target.name}_expected"))
            pieces += _framed(pb.Prediction, "targets", *_framed(pb.TargetPrediction, target.kind, *kind))
        if include_embedding:
            pieces += _framed(pb.Prediction, "embedding", numbers("embedding"))
        return _laid_out(_framed(pb.CustomerResult, "prediction", *pieces))


def _framed(kind: type, field: str, *pieces: bytes | _Numbers) -> list[bytes | _Numbers]:
    """Return what stands in front of a field, and the field."""
    # Generated classes have a descriptor that their stubs' base type does not show.
    descriptor = kind.DESCRIPTOR.fields_by_name[field]  # type: ignore[attr-defined]
    if descriptor.type == descriptor.TYPE_FLOAT and not descriptor.is_repeated:
        return [_varint(descriptor.number << 3 | _FIXED32), *pieces]
    return [_prefix(descriptor.number, sum(map(len, pieces))), *pieces]


def _laid_out(pieces: Sequence[bytes | _Numbers]) -> _Form:
    places, start = [], 0
    for piece in pieces:
        if isinstance(piece, _Numbers):
            places.append((start, piece))
        start += len(piece)
    blank = b"".join(bytes(len(piece)) if isinstance(piece, _Numbers) else piece for piece in pieces)
    return _Form(pieces=tuple(pieces), blank=np.frombuffer(blank, dtype=np.uint8), places=tuple(places))


@lru_cache(maxsize=16_384)
def _prefix(number: int, size: int) -> bytes:
    """Return what stands in front of a field of so many bytes."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(size)


def _varint(number: int) -> bytes:
    groups = []
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes((*groups, number))


@lru_cache(maxsize=16_384)
def _observed(num_used: int, num_truncated: int, num_after: int, num_unknown: int) -> bytes:
    """Return the field that says what was noticed; most customers share it with many others."""
    observed = pb.Observed(
        num_used=num_used, num_truncated=num_truncated, num_after=num_after, num_unknown=num_unknown
    )
    return pb.CustomerResult(observed=observed).SerializeToString()


def _error(error: HistoryError) -> bytes:
    said = pb.CustomerError(field=error.field, value=error.value, limit=error.limit)
    return pb.CustomerResult(error=said).SerializeToString()


_ID = pb.CustomerResult.DESCRIPTOR.fields_by_name["customer_id"].number
_CUSTOMERS = pb.ScoreResponse.DESCRIPTOR.fields_by_name["customers"].number
