"""What is read quickly is what is read plainly, and nothing else is read quickly."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from numpy import ndarray

from builders import START_US, histories_of_lengths, random_histories, small_schema
from holdfast.errors import RequestError
from holdfast.histories import CodedColumn, Histories
from holdfast.v1 import scoring_pb2 as pb
from holdfast.vocabulary import Dictionary
from holdfast.wire import Limits, Received, read_customers, write_request
from serving.asking import AskedBytes
from serving.reading import MOST_REMEMBERED, Read, dictionary_of, read_together

SCHEMA = small_schema()
LIMITS = Limits(max_events_per_customer=50, max_events=200)


def message(histories: Histories) -> pb.ScoreRequest:
    """Return a request about everyone."""
    ids = [str(index) for index in range(histories.num_customers)]
    return write_request(histories, ids, as_of_us=START_US, schema=SCHEMA)


def plainly(data: bytes) -> Received:
    """Read as the contract says: number by number."""
    return read_customers(pb.ScoreRequest.FromString(data), SCHEMA, limits=LIMITS)


def read(*requests: bytes) -> Read:
    """Read several requests together."""
    return read_together([AskedBytes.parse(data, limits=LIMITS) for data in requests], SCHEMA, limits=LIMITS)


def quickly(*requests: bytes) -> Read:
    """Read, and fail where that needs the plain way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(AskedBytes, "read")
        return read(*requests)


def assert_plain(found: Read, expected: Received) -> None:
    """Compare with what the plain way says about one request."""
    assert {row: str(error) for row, error in found.faults.items()} == {
        row: str(error) for row, error in expected.errors.items()
    }
    assert found.rows.tolist() == expected.positions.tolist()
    assert_same(found.histories, expected.histories)


def columns_of(histories: Histories) -> dict[str, ndarray | list[str]]:
    """Return every column and dictionary by a name of its own."""
    columns: dict[str, ndarray | list[str]] = {}
    for where, rows in (("events", histories), ("versions", histories.attributes)):
        columns[f"{where}.offsets"] = rows.offsets
        columns |= {f"{where}.{name}": values for name, values in rows.numeric.items()}
        for name, column in rows.categorical.items():
            columns[f"{where}.{name}"] = column.codes
            columns[f"{where}.{name}.words"] = list(column.dictionary.values)
    columns["times"], columns["valid_from"] = histories.occurred_at_us, histories.attributes.valid_from_us
    columns["event_type"] = histories.event_type.codes
    columns["event_type.words"] = list(histories.event_type.dictionary.values)
    return columns


def said(histories: Histories) -> list[object]:
    """Return what the columns say, codes as words."""
    found: list[object] = []
    for rows, coded in (
        (histories, {"event_type": histories.event_type, **histories.categorical}),
        (histories.attributes, histories.attributes.categorical),
    ):
        found += [rows.offsets.tolist(), *(values.tobytes() for values in rows.numeric.values())]
        for column in coded.values():
            words = (*column.dictionary.values, None)
            found.append([words[code] for code in column.codes])
    return [*found, histories.occurred_at_us.tolist(), histories.attributes.valid_from_us.tolist()]


def assert_same(left: Histories, right: Histories) -> None:
    """Compare every column, its type and its bits."""
    found, expected = columns_of(left), columns_of(right)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name, strict=True)


@given(seed=st.integers(0, 2**32 - 1), num=st.integers(0, 6))
def test_a_sound_request_is_read_quickly_and_alike(seed: int, num: int) -> None:
    """All customers at once, those without events or attributes among them."""
    data = message(random_histories(np.random.default_rng(seed), num, max_length=12)).SerializeToString()
    assert_plain(quickly(data), plainly(data))


@pytest.mark.parametrize("left_out", ["fields", "attributes", "both"])
def test_a_model_without_fields_or_attributes_is_read_quickly(left_out: str) -> None:
    """A table of customer, time and kind is enough."""
    histories, schema = random_histories(np.random.default_rng(5), 4, max_length=12), SCHEMA
    if left_out != "attributes":
        schema = replace(schema, fields=(), targets=schema.targets[:1])
        histories = replace(histories, categorical={}, numeric={})
    if left_out != "fields":
        schema = replace(schema, attributes=())
        versions = replace(histories.attributes, categorical={}, numeric={})
        histories = replace(histories, attributes=versions)
    request = write_request(histories, ["a", "b", "c", "d"], as_of_us=START_US, schema=schema)
    data = request.SerializeToString()
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(AskedBytes, "read")
        found = read_together([AskedBytes.parse(data, limits=LIMITS)], schema, limits=LIMITS)
    assert_plain(found, read_customers(pb.ScoreRequest.FromString(data), schema, limits=LIMITS))


@given(seed=st.integers(0, 2**32 - 1), sizes=st.lists(st.integers(0, 3), min_size=1, max_size=5))
def test_requests_read_together_say_what_they_say_alone(seed: int, sizes: list[int]) -> None:
    """Each has dictionaries of its own, in an order of its own; every customer keeps its own words."""
    rng = np.random.default_rng(seed)
    requests = [message(random_histories(rng, size, max_length=12)).SerializeToString() for size in sizes]
    together = quickly(*requests)
    alone = [plainly(data).histories for data in requests]
    assert together.rows.tolist() == list(range(sum(sizes)))
    start = 0
    for histories in alone:
        mine = together.histories.take(np.arange(start, start + histories.num_customers))
        start += histories.num_customers
        assert said(mine) == said(histories)


@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 5), min_size=4, max_size=4))
def test_parts_of_requests_read_together_say_what_they_say_alone(seed: int, cuts: list[int]) -> None:
    """Large requests are cut, and the rest of one shares its reading with the beginning of another."""
    rng = np.random.default_rng(seed)
    data = [message(random_histories(rng, 5, max_length=12)).SerializeToString() for _ in range(2)]
    stretches = [sorted(cuts[:2]), sorted(cuts[2:])]
    parts = [
        AskedBytes.parse(one, limits=LIMITS).part(*cut) for one, cut in zip(data, stretches, strict=True)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(AskedBytes, "read")
        together = read_together(parts, SCHEMA, limits=LIMITS)
    start = 0
    for one, cut in zip(data, stretches, strict=True):
        asked = np.arange(*cut)
        mine = together.histories.take(np.arange(start, start + len(asked)))
        start += len(asked)
        assert said(mine) == said(plainly(one).histories.take(asked))


def test_a_bad_request_is_told_in_its_own_words_and_leaves_its_neighbours_alone() -> None:
    """Faults of values and of form, with the caller's own codes and dictionary in the message."""
    rng = np.random.default_rng(8)
    requests = [message(histories_of_lengths(rng, np.array([3, 2]))) for _ in range(4)]
    requests[1].customers[0].event_type[2] = 77
    requests[2].customers[1].fields[1].values.append(1.0)
    together = read(*(request.SerializeToString() for request in requests))
    assert sorted(together.faults) == [2, 5]
    alone = plainly(requests[1].SerializeToString()).errors[0]
    assert str(together.faults[2]) == str(alone)
    assert together.faults[5].field == "fields[amount].values"
    assert together.rows.tolist() == [0, 1, 3, 4, 6, 7]
    sound = plainly(requests[3].SerializeToString()).histories
    assert said(together.histories.take(np.array([4, 5]))) == said(sound)


def test_a_malformed_request_is_refused_in_company_too() -> None:
    """Whoever reads several hears of it, and reads each alone then."""
    requests = [message(histories_of_lengths(np.random.default_rng(0), np.array([1]))) for _ in range(2)]
    requests[1].field_dictionaries["amonut"].values.append("x")
    with pytest.raises(RequestError, match="amonut"):
        read(*(request.SerializeToString() for request in requests))


def test_codes_of_several_bytes_are_read_quickly() -> None:
    """Large dictionaries have codes beyond one byte on the wire; a missing value stands between them."""
    histories = histories_of_lengths(np.random.default_rng(0), np.array([0, 5, 1, 0, 2]))
    codes = np.array([63, 64, 5_000, -1, 0, 20_000, 8_191, 8_192], dtype=np.int32)
    words = Dictionary(f"word {index}" for index in range(20_001))
    column = CodedColumn(codes=codes, dictionary=words)
    types = CodedColumn(codes=np.abs(codes), dictionary=words)
    request = message(replace(histories, categorical={"channel": column}, event_type=types))
    del request.event_types[:]
    request.event_types.extend(words.values)
    del request.field_dictionaries["channel"].values[:]
    request.field_dictionaries["channel"].values.extend(words.values)
    for customer, (start, end) in zip(
        request.customers, ((0, 0), (0, 5), (5, 6), (6, 6), (6, 8)), strict=True
    ):
        customer.event_type[:] = types.codes[start:end].tolist()
        for found in customer.fields:
            if found.name == "channel":
                found.codes[:] = codes[start:end].tolist()
    data = request.SerializeToString()
    assert_plain(quickly(data), plainly(data))
    assert plainly(data).histories.categorical["channel"].codes.tolist() == codes.tolist()


def test_columns_may_stand_in_any_order_or_be_absent() -> None:
    """Each customer may send other columns; what is not sent is missing."""
    request = message(histories_of_lengths(np.random.default_rng(1), np.array([3, 3, 3, 3])))
    first, second, third, _ = request.customers
    columns = [pb.Column.FromString(column.SerializeToString()) for column in first.fields]
    del first.fields[:], second.fields[:], third.attributes[:], third.valid_from_us[:]
    first.fields.extend(columns[::-1])
    second.fields.extend(columns[1:2])
    data = request.SerializeToString()
    assert_plain(quickly(data), plainly(data))


def unpacked(data: bytes) -> bytes:
    """Append one event in the old form of a repeated number, one tag each."""
    customer = pb.Customer(customer_id="old").SerializeToString()
    customer += b"\x11" + np.int64(START_US).tobytes() + b"\x18\x00"
    return data + b"\x3a" + bytes([len(customer)]) + customer


def in_pieces(data: bytes) -> bytes:
    """Append one customer whose times come in two packed pieces."""
    time = np.int64(START_US).tobytes()
    customer = (b"\x12\x08" + time) * 2 + b"\x1a\x02\x00\x00"
    return data + b"\x3a" + bytes([len(customer)]) + customer


def with_unknown_field(data: bytes) -> bytes:
    """Append a field that a later release may have."""
    return data + b"\xf8\x07\x01"


@pytest.mark.parametrize("change", [unpacked, in_pieces, with_unknown_field])
def test_other_forms_of_the_same_message_say_the_same(change: Callable[[bytes], bytes]) -> None:
    """Protobuf allows more than its own libraries write; nothing of it is lost or misread."""
    data = change(
        message(histories_of_lengths(np.random.default_rng(2), np.array([2, 3]))).SerializeToString()
    )
    expected = plainly(data)
    assert expected.errors == {}
    assert_plain(read(data), expected)


def test_a_column_twice_never_moves_a_neighbours_numbers() -> None:
    """Two customers who each send one column twice and another not are both at fault."""
    request = message(histories_of_lengths(np.random.default_rng(3), np.array([2, 2, 2])))
    for customer, name in zip(request.customers[:2], ("amount", "quantity"), strict=True):
        [column] = [column for column in customer.fields if column.name == name]
        kept = [column for column in customer.fields if column.name not in {"amount", "quantity"}]
        kept = [pb.Column.FromString(c.SerializeToString()) for c in (*kept, column, column)]
        del customer.fields[:]
        customer.fields.extend(kept)
    found = read(request.SerializeToString())
    assert set(found.faults) == {0, 1}
    assert found.rows.tolist() == [2]


def test_a_customer_with_too_many_events_is_at_fault_alone() -> None:
    """The limit of a customer holds here too."""
    data = message(histories_of_lengths(np.random.default_rng(4), np.array([51, 50]))).SerializeToString()
    found = read(data)
    assert "at most 50 events" in str(found.faults[0])
    assert found.rows.tolist() == [1]


@pytest.mark.parametrize("data", [b"\x3a\x03\x12\x01\x00", b"\x3a\x03\x1a\x01\xff"])
def test_columns_that_are_no_numbers_are_refused(data: bytes) -> None:
    """Half a time, a number without an end: the request is none."""
    with pytest.raises(RequestError, match="it must be a ScoreRequest"):
        read(data)


COLUMNS = st.builds(
    pb.Column,
    name=st.sampled_from(["amount", "quantity", "channel", "region", "age", "amonut", ""]),
    values=st.lists(st.floats(width=32), max_size=3),
    codes=st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 200), max_size=3),
)
CUSTOMERS = st.builds(
    pb.Customer,
    occurred_at_us=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
    event_type=st.lists(st.integers(0, 200) | st.integers(0, 2**32 - 1), max_size=3),
    fields=st.lists(COLUMNS, max_size=4),
    valid_from_us=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
    attributes=st.lists(COLUMNS, max_size=3),
)


@given(
    customers=st.lists(CUSTOMERS, max_size=4),
    place=st.integers(0, 10_000),
    byte=st.none() | st.integers(0, 255),
)
def test_whatever_is_sent_is_read_as_the_plain_way_reads_it(
    customers: list[pb.Customer], place: int, byte: int | None
) -> None:
    """Any message, and any message with a byte changed: the same histories, errors and refusals."""
    data = pb.ScoreRequest(customers=customers).SerializeToString()
    if byte is not None and data:
        place %= len(data)
        data = data[:place] + bytes([byte]) + data[place + 1 :]
    expected: Received | None = None
    with suppress(RequestError, DecodeError):
        expected = plainly(data)
    if expected is None:
        with pytest.raises(RequestError):
            read(data)
    else:
        assert_plain(read(data), expected)


def test_words_of_an_earlier_request_are_known_and_very_many_are_not_kept() -> None:
    """Whose ids are known already, need not be looked up; what a caller makes up must not fill the memory."""
    assert dictionary_of(("a", "b")) is dictionary_of(("a", "b"))
    assert dictionary_of(("a", "b")) is not dictionary_of(("b", "a"))
    long = ("x" * MOST_REMEMBERED,)
    many = tuple(str(number) for number in range(MOST_REMEMBERED))
    for words in (long, many):
        assert dictionary_of(words) is not dictionary_of(words)
        assert dictionary_of(words).values == words
