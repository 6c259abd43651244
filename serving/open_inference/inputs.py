"""Input tensors to histories: which ones there are, and how they fit together.

It deliberately checks form alone; values are checked by :mod:`holdfast.faults` like those of
every other way in. Fields and attributes carry a prefix, so that no declared name can be taken.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from holdfast.errors import HistoryError, RequestError
from holdfast.faults import TIME_LIMIT, is_plausible
from holdfast.histories import ALWAYS_US, AttributeVersions, CodedColumn, Histories
from holdfast.inference import open_inference_pb2 as pb
from holdfast.schema import Schema
from holdfast.vocabulary import MISSING_CODE, Dictionary
from holdfast.wire import Limits
from serving.open_inference.tensors import Tensor, named_tensors, read_numbers, read_texts

OFFSETS = "event_offsets"
TIMES = "occurred_at_us"
TYPES = "event_type"
AS_OF = "as_of_us"
VERSION_OFFSETS = "version_offsets"
VALID_FROM = "valid_from_us"
FIELD = "fields."
ATTRIBUTE = "attributes."
_FAULT = re.compile(r"^(fields|attributes)\[(\w+)\]\.(?:values|codes)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request asks about.

    Attributes:
        histories: Customers whose columns fit together; their values may be anything.
        as_of_us: One cutoff for each of them, within the range that is taken.
        positions: Where they stand in the request.
        errors: Why the others cannot be asked about, by position in the request.
        num_customers: Of the request.
    """

    histories: Histories
    as_of_us: Int64[ndarray, " customer"]
    positions: Int64[ndarray, " customer"]
    errors: Mapping[int, HistoryError]
    num_customers: int


def input_datatypes(schema: Schema) -> Mapping[str, str]:
    """Return the datatype of every input tensor that a model of this schema takes, by name."""
    datatypes = {OFFSETS: "INT64", TIMES: "INT64", TYPES: "BYTES"}
    datatypes |= {FIELD + f.name: "BYTES" if f.kind == "categorical" else "FP32" for f in schema.fields}
    datatypes |= {
        ATTRIBUTE + a.name: "BYTES" if a.kind == "categorical" else "FP32" for a in schema.attributes
    }
    return datatypes | {VERSION_OFFSETS: "INT64", VALID_FROM: "INT64", AS_OF: "INT64"}


def tensor_fault(error: HistoryError) -> str:
    """Return a customer's fault in one line that names the tensor; rows count from the customer's first."""
    field = _FAULT.sub(lambda found: f"{found[1]}.{found[2]}", error.field)
    return f"{field}: got {error.value}, but {error.limit}"


def read_inputs(request: pb.ModelInferRequest, schema: Schema, *, limits: Limits) -> Asked:
    """Check the inputs of a request and return its histories.

    Args:
        request: As it came.
        schema: What the model expects.
        limits: What this server takes.

    Raises:
        RequestError: The tensors do not fit the model or one another; the message names the tensor.
    """
    tensors = named_tensors(request, input_datatypes(schema))
    for name in (OFFSETS, TIMES, TYPES, AS_OF):
        if name not in tensors:
            raise RequestError(name, None, "this input is needed")
    num = tensors[OFFSETS].size - 1
    if num > limits.max_customers:
        limit = f"at most {limits.max_customers} customers are taken"
        raise RequestError(f"{OFFSETS}.shape", [num + 1], limit)
    if tensors[TIMES].size > limits.max_events:
        limit = f"all customers of a request together may have at most {limits.max_events} events"
        raise RequestError(f"{TIMES}.shape", [tensors[TIMES].size], limit)
    offsets = _offsets(tensors[OFFSETS], ends_at=tensors[TIMES])
    errors: dict[int, HistoryError] = {}
    as_of_us = _as_of_us(tensors[AS_OF], num, errors)
    _check_lengths(offsets, limits, errors)
    events = _Rows(tensors, offsets, sized_by=TIMES, num_rows=tensors[TIMES].size, errors=errors)
    times_us = read_numbers(tensors[TIMES], datatypes=("INT64",))
    types = events.coded(TYPES, may_miss=False)
    categorical = {name: events.coded(FIELD + name) for name in schema.categorical_fields}
    numeric = {name: events.numbers(FIELD + name) for name in schema.numeric_fields}
    histories = Histories(
        offsets=offsets,
        occurred_at_us=times_us,
        event_type=types,
        categorical=categorical,
        numeric=numeric,
        attributes=_versions(tensors, schema, num, errors),
    )
    kept = np.setdiff1d(np.arange(num), np.fromiter(errors, dtype=np.int64, count=len(errors)))
    return Asked(
        histories=histories.take(kept) if errors else histories,
        as_of_us=as_of_us[kept],
        positions=kept,
        errors=errors,
        num_customers=num,
    )


class _Rows:
    """Reads columns of one length, and finds the customers whose text is none."""

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        offsets: Int64[ndarray, " customer_plus_1"],
        *,
        sized_by: str,
        num_rows: int,
        errors: dict[int, HistoryError],
    ) -> None:
        self._tensors, self._offsets, self._errors = tensors, offsets, errors
        self._sized_by, self._num_rows = sized_by, num_rows

    def coded(self, name: str, *, may_miss: bool = True) -> CodedColumn:
        """Return a column of texts; missing throughout where there is no such tensor."""
        tensor = self._tensor(name)
        if tensor is None:
            missing = np.full(self._num_rows, MISSING_CODE, dtype=np.int32)
            return CodedColumn(codes=missing, dictionary=Dictionary(()))
        texts = read_texts(tensor, may_miss=may_miss)
        rows = np.flatnonzero(texts.codes < MISSING_CODE)
        customers = np.searchsorted(self._offsets, rows, side="right") - 1
        for customer, first in zip(*np.unique(customers, return_index=True), strict=True):
            field = f"{name}[{rows[first] - self._offsets[customer]}]"
            value = texts.unreadable[MISSING_CODE - 1 - texts.codes[rows[first]]]
            error = HistoryError(field, value, "it must be text in UTF-8")
            self._errors.setdefault(int(customer), error)
        return CodedColumn(codes=texts.codes, dictionary=texts.dictionary)

    def numbers(self, name: str) -> Float32[ndarray, " row"]:
        """Return a column of numbers; missing throughout where there is no such tensor."""
        tensor = self._tensor(name)
        if tensor is None:
            return np.full(self._num_rows, np.nan, dtype=np.float32)
        values = read_numbers(tensor, datatypes=("FP32", "FP64"))
        # What overflows float32 becomes infinite here and is refused with its customer later.
        with np.errstate(over="ignore", invalid="ignore"):
            return values.astype(np.float32, copy=False)

    def _tensor(self, name: str) -> Tensor | None:
        tensor = self._tensors.get(name)
        if tensor is not None and tensor.size != self._num_rows:
            limit = f"{self._sized_by} says that there are {self._num_rows} rows"
            raise RequestError(f"{name}.shape", [tensor.size], limit)
        return tensor


def _offsets(tensor: Tensor, *, ends_at: Tensor) -> Int64[ndarray, " customer_plus_1"]:
    offsets = read_numbers(tensor, datatypes=("INT64",))
    if not len(offsets) or offsets[0] != 0:
        raise RequestError(f"{tensor.name}[0]", offsets[:1].tolist(), "it must be there, and 0")
    # Compared, not subtracted: the difference of two wild numbers wraps around.
    is_bad = offsets[1:] < offsets[:-1]
    if is_bad.any():
        row = int(np.argmax(is_bad)) + 1
        raise RequestError(f"{tensor.name}[{row}]", int(offsets[row]), "offsets must not descend")
    if offsets[-1] != ends_at.size:
        limit = f"the last offset must be the number of rows, and {ends_at.name} has {ends_at.size}"
        raise RequestError(f"{tensor.name}[{len(offsets) - 1}]", int(offsets[-1]), limit)
    return offsets


def _as_of_us(tensor: Tensor, num: int, errors: dict[int, HistoryError]) -> Int64[ndarray, " customer"]:
    """Return one cutoff per customer; one for all that is out of range spoils the request."""
    if tensor.size not in {1, num}:
        raise RequestError(f"{AS_OF}.shape", [tensor.size], f"it must be [1] or [{num}]")
    as_of_us = read_numbers(tensor, datatypes=("INT64",))
    bad = np.flatnonzero(~is_plausible(as_of_us))
    if len(bad) and len(as_of_us) != num:
        raise RequestError(f"{AS_OF}[0]", int(as_of_us[0]), TIME_LIMIT)
    for row in bad.tolist():
        errors[row] = HistoryError(f"{AS_OF}[{row}]", int(as_of_us[row]), TIME_LIMIT)
    return as_of_us if len(as_of_us) == num else np.repeat(as_of_us, num)


def _check_lengths(offsets: ndarray, limits: Limits, errors: dict[int, HistoryError]) -> None:
    lengths = np.diff(offsets)
    for row in np.flatnonzero(lengths > limits.max_events_per_customer).tolist():
        limit = f"a customer may have at most {limits.max_events_per_customer} events"
        errors.setdefault(row, HistoryError(TIMES, int(lengths[row]), limit))


def _versions(
    tensors: Mapping[str, Tensor], schema: Schema, num: int, errors: dict[int, HistoryError]
) -> AttributeVersions:
    for one, other in ((VERSION_OFFSETS, VALID_FROM), (VALID_FROM, VERSION_OFFSETS)):
        if one in tensors and other not in tensors:
            raise RequestError(other, None, f"it is needed beside {one}")
    if VERSION_OFFSETS in tensors:
        if tensors[VERSION_OFFSETS].size != num + 1:
            limit = f"there are {num} customers, so it must be [{num + 1}]"
            raise RequestError(f"{VERSION_OFFSETS}.shape", [tensors[VERSION_OFFSETS].size], limit)
        offsets = _offsets(tensors[VERSION_OFFSETS], ends_at=tensors[VALID_FROM])
        valid_from_us = read_numbers(tensors[VALID_FROM], datatypes=("INT64",))
        sized_by = VALID_FROM
    else:
        has_any = any(ATTRIBUTE + attribute.name in tensors for attribute in schema.attributes)
        offsets = np.arange(num + 1, dtype=np.int64) * has_any
        valid_from_us, sized_by = np.full(num * has_any, ALWAYS_US, dtype=np.int64), OFFSETS
    rows = _Rows(tensors, offsets, sized_by=sized_by, num_rows=len(valid_from_us), errors=errors)
    return AttributeVersions(
        offsets=offsets,
        valid_from_us=valid_from_us,
        categorical={name: rows.coded(ATTRIBUTE + name) for name in schema.categorical_attributes},
        numeric={name: rows.numbers(ATTRIBUTE + name) for name in schema.numeric_attributes},
    )
