"""Tensors of the protocol to arrays and back, typed and raw.

It deliberately does not know what a tensor means; that a tensor is what its datatype and shape
say is checked here, before memory is spent on it.
"""

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, Shaped
from numpy import ndarray

from holdfast.errors import RequestError
from holdfast.inference import open_inference_pb2 as pb
from holdfast.vocabulary import MISSING_CODE, Dictionary

_NUMBERS: Mapping[str, tuple[str, str]] = {
    "BOOL": ("|b1", "bool_contents"),
    "INT64": ("<i8", "int64_contents"),
    "FP32": ("<f4", "fp32_contents"),
    "FP64": ("<f8", "fp64_contents"),
}
_TEXTS = "bytes_contents"
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A one-dimensional tensor of a request, not yet read.

    Attributes:
        name: Its name.
        datatype: As the request says.
        size: Number of elements, as its shape says.
        raw: Its bytes; None where its values are in ``contents``.
        contents: Its values; empty where there are bytes.
    """

    name: str
    datatype: str
    size: int
    raw: bytes | None
    contents: pb.InferTensorContents


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Elements of BYTES as codes.

    Attributes:
        codes: Positions in the dictionary; -1 for an empty element where that means missing; from -2
            downwards for elements that are not UTF-8.
        dictionary: The distinct texts.
        unreadable: The distinct elements that are none; code -2 is the first.
    """

    codes: Int32[ndarray, " element"]
    dictionary: Dictionary
    unreadable: Sequence[bytes]


def named_tensors(request: pb.ModelInferRequest, known: Collection[str]) -> Mapping[str, Tensor]:
    """Return the inputs of a request by name.

    Args:
        request: As it came.
        known: Names that an input may have.

    Raises:
        RequestError: A name is unknown or stands twice, a shape is not of one dimension, an extension
            is asked for, or values come in both forms.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        limit = f"there must be one for each of the {len(request.inputs)} inputs, or none"
        raise RequestError("raw_input_contents", len(raw), limit)
    found: dict[str, Tensor] = {}
    for index, given in enumerate(request.inputs):
        name = given.name
        if name not in known:
            raise RequestError(f"inputs[{index}].name", name, f"the model takes {sorted(known)}")
        if name in found:
            raise RequestError(f"inputs[{index}].name", name, "every input must stand once")
        if given.parameters:
            limit = "this server knows no parameters of tensors, such as shared memory"
            raise RequestError(f"{name}.parameters", sorted(given.parameters), limit)
        shape = given.shape[:]
        if len(shape) != 1 or shape[0] < 0:
            raise RequestError(f"{name}.shape", shape, "it must be one size, not negative")
        if raw and given.contents.ByteSize():
            limit = "it must be empty, because this request has raw_input_contents"
            raise RequestError(f"{name}.contents", f"{given.contents.ByteSize()} bytes", limit)
        found[name] = Tensor(
            name=name,
            datatype=given.datatype,
            size=shape[0],
            raw=raw[index] if raw else None,
            contents=given.contents,
        )
    return found


def read_numbers(tensor: Tensor, *, datatypes: Sequence[str]) -> Shaped[ndarray, " element"]:
    """Return a tensor of numbers as an array of its datatype.

    Args:
        tensor: As it came.
        datatypes: Which ones are taken here.

    Raises:
        RequestError: Its datatype is another, or its values are more or fewer than its shape says.
    """
    _check_datatype(tensor, datatypes)
    dtype, contents = _NUMBERS[tensor.datatype]
    if tensor.raw is None:
        values = getattr(_only(tensor, contents), contents)
        _check_size(tensor, len(values))
        return np.array(values[:], dtype=np.dtype(dtype).newbyteorder("="))
    item = np.dtype(dtype).itemsize
    if len(tensor.raw) != tensor.size * item:
        limit = f"its shape [{tensor.size}] takes {tensor.size * item}"
        raise RequestError(tensor.name, f"{len(tensor.raw)} bytes", limit)
    return np.frombuffer(tensor.raw, dtype=dtype).astype(np.dtype(dtype).newbyteorder("="), copy=False)


def read_texts(tensor: Tensor, *, may_miss: bool) -> Texts:
    """Return a tensor of BYTES as codes.

    Args:
        tensor: As it came.
        may_miss: Whether an empty element is a missing value, and not the empty text.

    Raises:
        RequestError: Its datatype is another, or its elements are more or fewer than its shape says.
    """
    _check_datatype(tensor, ("BYTES",))
    # An element's position among the distinct ones; a list of the elements would cost more.
    index: dict[bytes, int] = {}
    if tensor.raw is None:
        elements: Iterable[bytes] = getattr(_only(tensor, _TEXTS), _TEXTS)
        positions = [index.setdefault(element, len(index)) for element in elements]
    else:
        positions = [index.setdefault(element, len(index)) for element in _raw_elements(tensor)]
    _check_size(tensor, len(positions))
    texts: list[str] = []
    unreadable: list[bytes] = []
    codes = np.zeros(len(index), dtype=np.int32)
    for element, position in index.items():
        if may_miss and not element:
            codes[position] = MISSING_CODE
            continue
        try:
            texts.append(element.decode())
            codes[position] = len(texts) - 1
        except UnicodeDecodeError:
            unreadable.append(element)
            codes[position] = MISSING_CODE - len(unreadable)
    return Texts(
        codes=codes[np.array(positions, dtype=np.int64)], dictionary=Dictionary(texts), unreadable=unreadable
    )


def write_tensor(
    response: pb.ModelInferResponse, name: str, values: ndarray | Sequence[bytes], *, is_raw: bool
) -> None:
    """Append an output to an answer.

    Args:
        response: What is written to.
        name: Name of the output.
        values: float32, int64, bool, or bytes for BYTES.
        is_raw: Whether to write bytes instead of typed contents; the same for all outputs.
    """
    output = response.outputs.add(name=name)
    if not isinstance(values, ndarray):
        output.datatype = "BYTES"
        output.shape.append(len(values))
        if is_raw:
            parts = (_LENGTH.pack(len(value)) + value for value in values)
            response.raw_output_contents.append(b"".join(parts))
        else:
            output.contents.bytes_contents.extend(values)
        return
    output.datatype = datatype_of(values.dtype.name)
    output.shape.extend(values.shape)
    dtype, contents = _NUMBERS[output.datatype]
    if is_raw:
        response.raw_output_contents.append(values.astype(dtype, copy=False).tobytes())
    else:
        getattr(output.contents, contents).extend(values.ravel().tolist())


def datatype_of(dtype: str) -> str:
    """Return the protocol's name of a NumPy type."""
    return {"bool": "BOOL", "int64": "INT64", "float32": "FP32", "float64": "FP64"}[dtype]


def _raw_elements(tensor: Tensor) -> Iterator[bytes]:
    """Yield elements that follow one another, each after its length."""
    raw, position = tensor.raw or b"", 0
    for element in range(tensor.size):
        start = position + _LENGTH.size
        if start > len(raw):
            limit = f"its shape [{tensor.size}] says that there are more elements"
            raise RequestError(f"{tensor.name}[{element}]", f"{len(raw) - position} bytes left", limit)
        (length,) = _LENGTH.unpack_from(raw, position)
        position = start + length
        if position > len(raw):
            limit = f"only {len(raw) - start} bytes are left"
            raise RequestError(f"{tensor.name}[{element}]", f"{length} bytes", limit)
        yield raw[start:position]
    if position != len(raw):
        limit = f"its shape [{tensor.size}] is filled by the first {position}"
        raise RequestError(tensor.name, f"{len(raw)} bytes", limit)


def _check_datatype(tensor: Tensor, datatypes: Sequence[str]) -> None:
    if tensor.datatype not in datatypes:
        raise RequestError(f"{tensor.name}.datatype", tensor.datatype, f"it must be {' or '.join(datatypes)}")


def _check_size(tensor: Tensor, found: int) -> None:
    if found != tensor.size:
        raise RequestError(tensor.name, f"{found} values", f"its shape is [{tensor.size}]")


def _only(tensor: Tensor, wanted: str) -> pb.InferTensorContents:
    """Return the contents, of which one list alone is used."""
    for field, _ in tensor.contents.ListFields():
        if field.name != wanted:
            limit = f"the values of {tensor.datatype} stand in {wanted}"
            raise RequestError(f"{tensor.name}.contents", field.name, limit)
    return tensor.contents
