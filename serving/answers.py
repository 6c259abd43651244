"""Predictions to the bytes of an answer, one entry per customer and in order.

It deliberately does no arithmetic on them: what the graph gave is what is sent. All predictions of
an answer have the same form, and so the same bytes but for the numbers. A form is laid out once,
and NumPy puts the numbers of all customers into their places: messages for every customer and
target would cost a tenth of the time in which a small graph computes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import Any, Self, TypeVar

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from holdfast.description import write_target
from holdfast.errors import HistoryError, RequestError
from holdfast.manifest import Manifest, TargetForm
from holdfast.results import OBSERVED_NAMES
from holdfast.schema import Target
from holdfast.v1 import scoring_pb2 as pb
from serving import entry_loops as loops
from serving.outputs import RowOf
from serving.predictor import Predictions
from serving.wire_loops import FIXED32, LENGTH_DELIMITED

T = TypeVar("T")

MOST_HORIZONS = 1_024
"""That one request may name: more than any model has."""

_MAX_FORMS = 256
"""Kinds of answer whose layout is kept; callers choose from a handful."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a request wants to know about every customer.

    Attributes:
        include_survival: Survival curves.
        include_embedding: Embeddings.
        include_quantiles: Quantiles of amounts.
        horizons_days: Ascending; empty for all of them.
    """

    include_survival: bool = False
    include_embedding: bool = False
    include_quantiles: bool = True
    horizons_days: tuple[int, ...] = ()

    @classmethod
    def of(cls, request: Any, targets: Sequence[Target]) -> Self:
        """Return what a ScoreRequest, or a view of one, asks for.

        Raises:
            RequestError: No target has a horizon that is asked for, or there are far too many of them.
        """
        horizons_days = request.horizons_days
        if len(horizons_days) > MOST_HORIZONS:
            limit = f"at most {MOST_HORIZONS} can be asked for"
            raise RequestError("horizons_days", f"{len(horizons_days)} of them", limit)
        if horizons_days:
            timed = [target for target in targets if target.kind == "time_to_event"]
            declared = {days for target in timed for days in target.horizons_days}
            for index, days in enumerate(horizons_days):
                if days not in declared:
                    raise RequestError(
                        f"horizons_days[{index}]", days, f"the model answers {sorted(declared)}"
                    )
        return cls(
            include_survival=request.include_survival,
            include_embedding=request.include_embedding,
            include_quantiles=not request.omit_quantiles,
            horizons_days=tuple(sorted(set(horizons_days))),
        )

    def answered(self, target: Target, form: TargetForm) -> tuple[Target, TargetForm]:
        """Return a target and its form with no more than what is wanted."""
        if target.kind == "time_to_event" and self.horizons_days:
            kept = tuple(days for days in target.horizons_days if days in self.horizons_days)
            return replace(target, horizons_days=kept), form
        if target.kind == "amount" and not self.include_quantiles:
            return target, replace(form, quantile_levels=())
        return target, form


@dataclass(frozen=True, slots=True, kw_only=True)
class _Numbers:
    """A place for the numbers of one output, as many as there are per customer.

    Attributes:
        output: Its name.
        num: Numbers per customer.
        columns: Which of the output's columns are taken; None for all of them.
    """

    output: str
    num: int
    columns: tuple[int, ...] | None = None

    def __len__(self) -> int:
        """Return the bytes that they take."""
        return 4 * self.num

    def of(self, outputs: Mapping[str, ndarray]) -> ndarray:
        """Return the numbers of all customers as they are on the wire."""
        found = outputs[self.output]
        if self.columns is not None:
            found = found[:, self.columns]
        return found.astype("<f4", copy=False)

    def of_row(self, outputs: Mapping[str, ndarray], row: int) -> bytes:
        """Return the numbers of one customer."""
        found = outputs[self.output][row]
        if self.columns is not None:
            found = found.take(self.columns)
        numbers: bytes = found.astype("<f4", copy=False).tobytes()
        return numbers


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

    def one(self, outputs: RowOf) -> bytes:
        """Return the bytes of one customer's prediction: quicker put together than laid out as a table."""
        run, row = outputs.run, outputs.row
        return b"".join(
            piece if isinstance(piece, bytes) else piece.of_row(run, row) for piece in self.pieces
        )

    def table(self, outputs: Mapping[str, ndarray], num: int) -> UInt8[ndarray, "customer byte"]:
        """Return the bytes of every customer's prediction."""
        rows = np.repeat(self.blank[None], num, axis=0)
        for start, numbers in self.places:
            values = np.ascontiguousarray(numbers.of(outputs)).reshape(num, numbers.num)
            rows[:, start : start + len(numbers)] = values.view(np.uint8)
        return rows


class AnswerWriter:
    """Writes the answers of one model."""

    def __init__(self, manifest: Manifest) -> None:
        """Write nothing yet; what answers of a kind share is written with the first of them."""
        self._manifest = manifest
        self._heads: dict[Wanted, bytes] = {}
        self._forms: dict[Wanted, _Form] = {}

    def write(
        self,
        customer_ids: Sequence[bytes],
        predictions: Predictions,
        faults: Mapping[int, HistoryError],
        *,
        wanted: Wanted,
    ) -> bytes:
        """Return the bytes of a ScoreResponse.

        Args:
            customer_ids: Who was asked about, in UTF-8.
            predictions: One row per customer; that of one at fault is not looked at.
            faults: Why customers could not be scored, by row.
            wanted: What is answered.
        """
        head = self._heads.get(wanted)
        if head is None:
            head = _kept(self._heads, wanted, self._head(wanted))
        if len(faults) == len(customer_ids):
            entries = (_field_of(_ID, named) + _error(faults[row]) for row, named in enumerate(customer_ids))
            return b"".join([head, *(_field_of(_CUSTOMERS, entry) for entry in entries)])
        form = self._forms.get(wanted)
        if form is None:
            form = _kept(self._forms, wanted, self._form(predictions.outputs, wanted))
        if isinstance(predictions.outputs, RowOf):
            counts = (getattr(predictions, name).item() for name in OBSERVED_NAMES)
            entry = _field_of(_ID, customer_ids[0]) + form.one(predictions.outputs) + _observed(*counts)
            return head + _field_of(_CUSTOMERS, entry)
        table = form.table(predictions.outputs, len(customer_ids))
        observed = np.array([getattr(predictions, name) for name in OBSERVED_NAMES], dtype=np.int64)
        if not faults:
            return head + _entries(customer_ids, table, observed)
        # One at a time, those at fault between the others.
        pieces = [head]
        for row, named in enumerate(customer_ids):
            if row in faults:
                pieces.append(_field_of(_CUSTOMERS, _field_of(_ID, named) + _error(faults[row])))
            else:
                pieces.append(_entries([named], table[row : row + 1], observed[:, row : row + 1].copy()))
        return b"".join(pieces)

    def _head(self, wanted: Wanted) -> bytes:
        head = pb.ScoreResponse(model=self._manifest.name, version=self._manifest.version)
        for target, form in self._manifest.answered_targets():
            head.targets.append(write_target(*wanted.answered(target, form)))
        return head.SerializeToString()

    def _form(self, outputs: Mapping[str, ndarray], wanted: Wanted) -> _Form:
        def numbers(output: str) -> _Numbers:
            return _Numbers(output=output, num=int(np.prod(outputs[output].shape[1:], dtype=np.int64)))

        pieces: list[bytes | _Numbers] = []
        for target in self._manifest.schema.targets:
            if target.kind == "time_to_event":
                chosen = _chosen(numbers(f"{target.name}_probability"), target, wanted)
                kind = _framed(pb.TimeToEventPrediction, "probability", chosen)
                if wanted.include_survival:
                    kind += _framed(pb.TimeToEventPrediction, "survival", numbers(f"{target.name}_survival"))
            elif target.kind == "amount":
                kind = _framed(pb.AmountPrediction, "expected", numbers(f"{target.name}_expected"))
                if wanted.include_quantiles:
                    kind += _framed(pb.AmountPrediction, "quantiles", numbers(f"{target.name}_quantiles"))
            else:
                kind = _framed(pb.CountPrediction, "expected", numbers(f"{target.name}_expected"))
            pieces += _framed(pb.Prediction, "targets", *_framed(pb.TargetPrediction, target.kind, *kind))
        if wanted.include_embedding:
            pieces += _framed(pb.Prediction, "embedding", numbers("embedding"))
        return _laid_out(_framed(pb.CustomerResult, "prediction", *pieces))


def _kept(known: dict[Wanted, T], wanted: Wanted, made: T) -> T:
    """Remember what answers of a kind share."""
    if len(known) >= _MAX_FORMS:
        known.clear()
    known[wanted] = made
    return made


def _chosen(numbers: _Numbers, target: Target, wanted: Wanted) -> _Numbers:
    """Return the place of the wanted horizons alone."""
    if not wanted.horizons_days:
        return numbers
    days = target.horizons_days
    columns = tuple(column for column in range(len(days)) if days[column] in wanted.horizons_days)
    return replace(numbers, num=len(columns), columns=columns)


def _framed(kind: type, field: str, *pieces: bytes | _Numbers) -> list[bytes | _Numbers]:
    """Return what stands in front of a field, and the field."""
    # Generated classes have a descriptor that their stubs' base type does not show.
    descriptor = kind.DESCRIPTOR.fields_by_name[field]  # type: ignore[attr-defined]
    if descriptor.type == descriptor.TYPE_FLOAT and not descriptor.is_repeated:
        return [_varint(descriptor.number << 3 | FIXED32), *pieces]
    return [_prefix(descriptor.number, sum(map(len, pieces))), *pieces]


def _laid_out(pieces: Sequence[bytes | _Numbers]) -> _Form:
    places, start = [], 0
    for piece in pieces:
        if isinstance(piece, _Numbers):
            places.append((start, piece))
        start += len(piece)
    blank = b"".join(bytes(len(piece)) if isinstance(piece, _Numbers) else piece for piece in pieces)
    return _Form(pieces=tuple(pieces), blank=np.frombuffer(blank, dtype=np.uint8), places=tuple(places))


def _field_of(number: int, field: bytes) -> bytes:
    """Return a field with what stands in front of it; nothing of an empty one."""
    return _prefix(number, len(field)) + field if field else b""


def _entries(
    customer_ids: Sequence[bytes],
    predicted: UInt8[ndarray, "customer byte"],
    observed: Int64[ndarray, "number customer"],
) -> bytes:
    """Return the entries of customers who have all been scored."""
    ids = b"".join(customer_ids)
    ends = np.array([*accumulate(map(len, customer_ids))], dtype=np.int64)
    most = len(ids) + len(ends) * (predicted.shape[1] + loops.MOST_BYTES_BESIDE)
    written, size = np.empty(most, dtype=np.uint8), np.empty(1, dtype=np.int64)
    loops.write_entries(
        np.frombuffer(ids, dtype=np.uint8), ends, predicted, observed, loops.OBSERVED_TAGS, written, size
    )
    return written[: size.item()].tobytes()


@lru_cache(maxsize=16_384)
def _prefix(number: int, size: int) -> bytes:
    """Return what stands in front of a field of so many bytes."""
    return _varint(number << 3 | LENGTH_DELIMITED) + _varint(size)


def _varint(number: int) -> bytes:
    groups = []
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes((*groups, number))


@lru_cache(maxsize=16_384)
def _observed(
    num_used: int,
    num_truncated: int,
    num_after: int,
    num_unknown: int,
    is_eligible: bool,  # noqa: FBT001 (one of the numbers)
) -> bytes:
    """Return the field that says what was noticed; most customers share it with many others."""
    observed = pb.Observed(
        num_used=num_used,
        num_truncated=num_truncated,
        num_after=num_after,
        num_unknown=num_unknown,
        is_eligible=is_eligible,
    )
    return pb.CustomerResult(observed=observed).SerializeToString()


def _error(error: HistoryError) -> bytes:
    said = pb.CustomerError(field=error.field, value=error.value, limit=error.limit)
    return pb.CustomerResult(error=said).SerializeToString()


_ID = pb.CustomerResult.DESCRIPTOR.fields_by_name["customer_id"].number
_CUSTOMERS = pb.ScoreResponse.DESCRIPTOR.fields_by_name["customers"].number
