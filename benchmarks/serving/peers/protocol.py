"""One tensor of bytes in the messages of the Open Inference Protocol and of ``google.protobuf.BytesValue``.

It deliberately writes the few fields itself, by their published numbers: neither side's generated code is
needed in the other's environment.
"""

import struct

_LENGTH_DELIMITED = 2
_FIXED = {1: 8, 5: 4}


def bytes_value(data: bytes) -> bytes:
    """Return a ``BytesValue``."""
    return _field(1, data)


def infer_request(model: str, data: bytes) -> bytes:
    """Return a ``ModelInferRequest`` with one input of one element of BYTES."""
    contents = _field(8, data)
    tensor = _field(1, b"arrays") + _field(2, b"BYTES") + _field(3, b"\x01") + _field(5, contents)
    return _field(1, model.encode()) + _field(5, tensor)


def read_bytes_value(message: bytes) -> bytes:
    """Return what a ``BytesValue`` holds."""
    return _fields(message, 1)[0]


def read_infer_response(message: bytes) -> bytes:
    """Return the one element of BYTES of a ``ModelInferResponse``."""
    raw = _fields(message, 6)
    if raw:
        (size,) = struct.unpack_from("<I", raw[0])
        return raw[0][4 : 4 + size]
    return _fields(_fields(_fields(message, 5)[0], 5)[0], 8)[0]


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(data)) + data


def _fields(message: bytes, wanted: int) -> list[bytes]:
    """Return the length-delimited fields of one number."""
    found, position = [], 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == _LENGTH_DELIMITED:
            size, position = _read_varint(message, position)
            if number == wanted:
                found.append(message[position : position + size])
            position += size
        elif kind in _FIXED:
            position += _FIXED[kind]
        else:
            _, position = _read_varint(message, position)
    return found


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
