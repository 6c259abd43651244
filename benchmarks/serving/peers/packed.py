"""Arrays of several customers as one piece of bytes, and back.

It deliberately needs NumPy alone: the environments of other servers have none of our packages.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_SIZE = struct.Struct("<I")
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What another server is asked.

    Attributes:
        is_padded: Whether to run all customers at once, padded to the longest; else one by one.
        lengths: Events of each customer.
        events: Arrays ``[event, ...]``, customer after customer, by input name.
        customers: Arrays ``[customer, ...]``, by input name.
    """

    is_padded: bool
    lengths: Sequence[int]
    events: Mapping[str, Array]
    customers: Mapping[str, Array]


def pack(arrays: Mapping[str, Array], **header: Any) -> bytes:
    """Return arrays and a header as bytes."""
    forms = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    head = json.dumps({"arrays": forms, **header}, separators=(",", ":")).encode("ascii")
    body = (np.ascontiguousarray(array).tobytes() for array in arrays.values())
    return b"".join((_SIZE.pack(len(head)), head, *body))


def unpack(data: bytes) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return what :func:`pack` was given."""
    (size,) = _SIZE.unpack_from(data)
    position = _SIZE.size + size
    header = json.loads(data[_SIZE.size : position])
    arrays = {}
    for name, dtype, shape in header.pop("arrays"):
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(data, dtype, count, position).reshape(shape)
        position += arrays[name].nbytes
    return arrays, header


def pack_request(request: Request) -> bytes:
    """Return a request as bytes."""
    return pack(
        {**request.events, **request.customers},
        is_padded=request.is_padded,
        lengths=list(request.lengths),
        events=list(request.events),
    )


def unpack_request(data: bytes) -> Request:
    """Return the request that :func:`pack_request` was given."""
    arrays, header = unpack(data)
    return Request(
        is_padded=header["is_padded"],
        lengths=header["lengths"],
        events={name: arrays.pop(name) for name in header["events"]},
        customers=arrays,
    )
