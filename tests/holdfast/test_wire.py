"""What is written into a request is what is read from it, and whatever else stands there is refused."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import START_US, histories_of_lengths, random_histories, small_schema
from holdfast.errors import DataError, RequestError
from holdfast.histories import ALWAYS_US, CodedColumn, Histories
from holdfast.v1 import scoring_pb2 as pb
from holdfast.vocabulary import Dictionary
from holdfast.wire import Limits, Received, read_as_of_us, read_customers, write_request

SCHEMA = small_schema()


def write(histories: Histories, *, as_of_us: int = START_US) -> pb.ScoreRequest:
    """Write and send: through bytes, as the server gets it."""
    ids = [str(index) for index in range(histories.num_customers)]
    request = write_request(histories, ids, as_of_us=as_of_us, schema=SCHEMA)
    return pb.ScoreRequest.FromString(request.SerializeToString())


def read(request: pb.ScoreRequest, **limits: int) -> Received:
    """Read with the small schema."""
    return read_customers(request, SCHEMA, limits=Limits(**limits))


def texts(column: CodedColumn) -> list[str | None]:
    """Return what a coded column says."""
    return [column.dictionary.values[code] if code >= 0 else None for code in column.codes]


def assert_same(left: Histories, right: Histories) -> None:
    """Compare every value; dictionaries may differ as long as they say the same."""
    np.testing.assert_array_equal(left.offsets, right.offsets)
    np.testing.assert_array_equal(left.occurred_at_us, right.occurred_at_us)
    np.testing.assert_array_equal(left.attributes.offsets, right.attributes.offsets)
    np.testing.assert_array_equal(left.attributes.valid_from_us, right.attributes.valid_from_us)
    assert texts(left.event_type) == texts(right.event_type)
    for one, other in ((left, right), (left.attributes, right.attributes)):
        for name, column in one.categorical.items():
            assert texts(column) == texts(other.categorical[name])
        for name, values in one.numeric.items():
            assert values.tobytes() == other.numeric[name].tobytes()


def one_customer(num: int = 3) -> pb.ScoreRequest:
    """Return a request of one sound customer between two others."""
    return write(histories_of_lengths(np.random.default_rng(2), np.array([2, num, 2])))


@given(seed=st.integers(0, 2**32 - 1))
def test_histories_come_back_as_they_were_sent(seed: int) -> None:
    """Times, texts, NaN and versions survive the way, for customers without events too."""
    histories = random_histories(np.random.default_rng(seed), 8, max_length=12)
    received = read(write(histories))
    assert received.errors == {}
    assert received.positions.tolist() == list(range(8))
    assert_same(received.histories, histories)


def test_a_request_without_customers_is_empty() -> None:
    """Nobody asked about is nobody answered, not an error."""
    received = read(pb.ScoreRequest())
    assert (received.histories.num_customers, received.histories.num_events) == (0, 0)
    assert received.positions.dtype == np.int64


@pytest.mark.parametrize("text", ["", "a\x00", "\U0001f6d2", "e\u0301", "\u202egnp", "\uffff", "x" * 10_000])
def test_every_kind_of_text_is_sent(text: str) -> None:
    """Any Unicode that is valid goes through as it is."""
    histories = histories_of_lengths(np.random.default_rng(0), np.array([1]))
    column = CodedColumn(codes=np.zeros(1, dtype=np.int32), dictionary=Dictionary((text,)))
    histories = replace(histories, event_type=column, categorical={"channel": column})
    assert texts(read(write(histories)).histories.categorical["channel"]) == [text]


def test_lone_surrogates_are_refused_by_the_sender() -> None:
    """What UTF-8 cannot carry is named before it is sent."""
    histories = histories_of_lengths(np.random.default_rng(0), np.array([1]))
    column = CodedColumn(codes=np.zeros(1, dtype=np.int32), dictionary=Dictionary(("\ud800",)))
    with pytest.raises(DataError, match="surrogates"):
        write(replace(histories, event_type=column))


def test_a_request_carries_only_the_texts_that_it_uses() -> None:
    """A batch of many requests does not repeat a large dictionary in each of them."""
    histories = histories_of_lengths(np.random.default_rng(0), np.array([3]))
    many = Dictionary(f"product {index}" for index in range(10_000))
    codes = np.array([9_999, -1, 17], dtype=np.int32)
    histories = replace(histories, categorical={"channel": CodedColumn(codes=codes, dictionary=many)})
    request = write(histories)
    assert list(request.field_dictionaries["channel"].values) == ["product 17", "product 9999"]
    assert texts(read(request).histories.categorical["channel"]) == ["product 9999", None, "product 17"]


def test_a_declared_column_may_be_left_out() -> None:
    """What a caller does not have is missing for every event, which training knows too."""
    request = one_customer()
    for customer in request.customers:
        del customer.fields[:]
        del customer.attributes[:]
        del customer.valid_from_us[:]
    request.field_dictionaries.clear()
    received = read(request)
    assert received.errors == {}
    assert np.isnan(received.histories.numeric["amount"]).all()
    assert (received.histories.categorical["channel"].codes == -1).all()
    assert len(received.histories.attributes.valid_from_us) == 0


def test_attributes_without_valid_from_have_always_held() -> None:
    """The common case of one unchanging version needs no time."""
    customer = pb.Customer(attributes=[pb.Column(name="age", values=[33])])
    versions = read(pb.ScoreRequest(customers=[customer])).histories.attributes
    assert versions.valid_from_us.tolist() == [ALWAYS_US]
    assert versions.numeric["age"].tolist() == [33]
    assert texts(versions.categorical["region"]) == [None]


Change = Callable[[pb.Customer], object]


def column(customer: pb.Customer, name: str) -> pb.Column:
    """Return a customer's column by name."""
    return next(found for found in (*customer.fields, *customer.attributes) if found.name == name)


BAD: dict[str, tuple[Change, str]] = {
    "a type too few": (lambda c: c.event_type.pop(), "event_type"),
    "a type too many": (lambda c: c.event_type.append(0), "event_type"),
    "a time too few": (lambda c: c.occurred_at_us.pop(), "event_type"),
    "a value too few": (lambda c: column(c, "amount").values.pop(), "fields[amount].values"),
    "a code too many": (lambda c: column(c, "channel").codes.append(0), "fields[channel].codes"),
    "an empty column": (lambda c: column(c, "amount").ClearField("values"), "fields[amount].values"),
    "an unknown field": (lambda c: c.fields.add(name="amonut", values=[1, 2, 3]), "fields"),
    "an unknown attribute": (lambda c: c.attributes.add(name="plan", codes=[0]), "attributes"),
    "a column twice": (lambda c: c.fields.add(name="amount", values=[1, 2, 3]), "fields"),
    "values of a text": (lambda c: column(c, "channel").values.extend([1, 2, 3]), "fields[channel].values"),
    "codes of a number": (lambda c: column(c, "amount").codes.extend([0, 0, 0]), "fields[amount].codes"),
    "a type outside": (lambda c: c.event_type.__setitem__(1, 99), "event_type[1]"),
    "a type beyond int32": (lambda c: c.event_type.__setitem__(1, 2**32 - 1), "event_type[1]"),
    "a code outside": (lambda c: column(c, "channel").codes.__setitem__(2, 99), "fields[channel].codes[2]"),
    "a code below missing": (
        lambda c: column(c, "channel").codes.__setitem__(0, -2),
        "fields[channel].codes[0]",
    ),
    "times that step back": (lambda c: c.occurred_at_us.__setitem__(0, 4 * 10**15), "occurred_at_us[1]"),
    "a time in seconds": (lambda c: c.occurred_at_us.__setitem__(0, 1_700_000_000), "occurred_at_us[0]"),
    "an infinite amount": (
        lambda c: column(c, "amount").values.__setitem__(1, float("inf")),
        "fields[amount].values[1]",
    ),
    "versions of unequal length": (
        lambda c: c.valid_from_us.extend([START_US] * 9),
        "attributes[region].codes",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_one_bad_customer_is_refused_and_its_neighbours_are_not_touched(case: str) -> None:
    """The error names the value at fault; the others' histories are exactly what they are without it."""
    request = one_customer()
    for customer in request.customers:
        del customer.valid_from_us[:]
        del customer.attributes[:]
        customer.attributes.add(name="region", codes=[-1])
    alone = read(request).histories.take(np.array([0, 2]))
    change, field = BAD[case]
    change(request.customers[1])
    received = read(request)
    assert list(received.errors) == [1]
    assert received.errors[1].field == field
    assert received.positions.tolist() == [0, 2]
    assert_same(received.histories, alone)


def test_declared_names_are_shown_for_an_unknown_one() -> None:
    """Whoever misspells a field learns the names that there are."""
    request = one_customer()
    request.customers[1].fields.add(name="amonut", values=[1, 2, 3])
    error = read(request).errors[1]
    assert error.value == "'amonut'"
    assert error.limit == "the model declares ['amount', 'channel', 'quantity']"


def test_a_customer_with_too_many_events_is_refused_alone() -> None:
    """The limit counts all events, used or not."""
    received = read(one_customer(5), max_events_per_customer=4)
    assert list(received.errors) == [1]
    assert received.errors[1].limit == "a customer may have at most 4 events"
    assert read(one_customer(4), max_events_per_customer=4).errors == {}


def test_all_customers_may_be_bad() -> None:
    """A batch without one sound customer is still answered."""
    request = one_customer()
    for customer in request.customers:
        customer.event_type.append(0)
    received = read(request)
    assert list(received.errors) == [0, 1, 2]
    assert received.histories.num_customers == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda r: r.field_dictionaries["amonut"].values.append("x"), "field_dictionaries"),
        (lambda r: r.field_dictionaries["amount"].values.append("x"), "field_dictionaries"),
        (lambda r: r.attribute_dictionaries["age"].values.append("x"), "attribute_dictionaries"),
        (lambda r: r.customers.extend([pb.Customer()] * 3), "customers"),
    ],
)
def test_a_malformed_request_is_refused_as_a_whole(
    change: Callable[[pb.ScoreRequest], object], field: str
) -> None:
    """What concerns every customer is said once."""
    request = one_customer()
    change(request)
    with pytest.raises(RequestError) as caught:
        read(request, max_customers=5)
    assert caught.value.field == field


@given(st.integers(31_536_000_000_000, 7_258_118_399_999_999))
def test_a_point_in_time_is_exact_to_the_microsecond(as_of_us: int) -> None:
    """What a client says is what the server reads, over the whole range."""
    empty = histories_of_lengths(np.random.default_rng(0), np.array([], dtype=np.int64))
    assert read_as_of_us(write(empty, as_of_us=as_of_us)) == as_of_us


def test_nanoseconds_are_rounded_down() -> None:
    """An event of the next microsecond is never history."""
    request = pb.ScoreRequest()
    request.as_of.seconds, request.as_of.nanos = 1_700_000_000, 1_999
    assert read_as_of_us(request) == 1_700_000_000_000_001


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [(0, 0), (2**62, 0), (-(2**62), 0), (1_700_000_000_000, 0), (1_700_000_000, -1), (1_700_000_000, 10**9)],
)
def test_an_implausible_point_in_time_is_refused(seconds: int, nanos: int) -> None:
    """Milliseconds given for seconds, and what no clock says, are refused."""
    request = pb.ScoreRequest()
    request.as_of.seconds, request.as_of.nanos = seconds, nanos
    with pytest.raises(RequestError, match="as_of"):
        read_as_of_us(request)


def test_a_request_must_name_its_point_in_time() -> None:
    """Nobody falls back on the server's clock."""
    with pytest.raises(RequestError, match="as_of: got None"):
        read_as_of_us(pb.ScoreRequest())
