"""Histories to what runs of the graph are given: the one pass that serving takes.

It gives the bits of :func:`holdfast.encoding.encode.encode` and :func:`holdfast.encoding.padding.pad`, but
events are written where a tensor needs them, and no others. It deliberately does not form runs.
"""

from collections.abc import Mapping, Sequence

from jaxtyping import Float32, Float64, Int32, Int64
from numpy import ndarray

from holdfast.encoding.events import blank_events, coded_fields, numeric_fields, write_events
from holdfast.encoding.readouts import NUM_WRITTEN, told_arguments, write_told
from holdfast.encoding.spec import EncodingSpec
from holdfast.encoding.windows import Cutoffs
from holdfast.histories import Histories
from holdfast.native import native


def encode_runs(
    histories: Histories,
    cutoffs: Cutoffs,
    spec: EncodingSpec,
    *,
    widths: Int64[ndarray, " segment"],
    shapes: Sequence[tuple[int, int]],
) -> tuple[Sequence[Mapping[str, ndarray]], Int64[ndarray, " segment"]]:
    """Return the inputs of several runs of the graph.

    Args:
        histories: Flat columns, sorted by time within a customer.
        cutoffs: One per segment, run after run.
        spec: The fitted encoding.
        widths: What the events of each segment are padded to; the same within a run.
        shapes: How many segments every run has, and what their events are padded to.

    Returns:
        What :func:`holdfast.encoding.padding.pad` gives for each run, all of them in the same memory; and how
        many events of every segment, run after run, have a value that training never saw.

    Raises:
        AssertionError: A segment has more events than places.
    """
    numeric = numeric_fields(histories, spec.schema.numeric_fields)
    told = told_arguments(histories, numeric, cutoffs, spec)
    num_places = sum([num * length for num, length in shapes])
    events = blank_events(spec, num_places=num_places, num_stretches=len(widths))
    ids, values, days = events.ids, events.values, events.days
    written = ids, values, days, events.num_unknown
    arguments = (*told, *coded_fields(histories, spec), widths, spec.event_factors, *written)
    _write_runs(*arguments)
    _, counts, readout_ids, _, readout_values, calendar, readout_days = told[-NUM_WRITTEN:]
    visible = counts[0]
    runs, row, place = [], 0, 0
    for num, length in shapes:
        rows, places = slice(row, row + num), slice(place, place + num * length)
        runs.append(
            {
                "event_ids": ids[places].reshape(num, length, -1),
                "event_values": values[places].reshape(num, length, -1),
                "event_days": days[places].reshape(num, length),
                "readout_ids": readout_ids[rows],
                "readout_values": readout_values[rows],
                "readout_calendar": calendar[rows],
                "readout_days": readout_days[rows],
                "readout_visible": visible[rows],
            }
        )
        row, place = rows.stop, places.stop
    return runs, events.num_unknown


@native(
    "segments",
    "counts",
    "readout_ids",
    "raw",
    "scaled",
    "calendar",
    "readout_days",
    "ids",
    "values",
    "days",
    "num_unknown",
)
def _write_runs(
    offsets: Int64[ndarray, " customer_plus_1"],
    event_us: Int64[ndarray, " event"],
    event_types: Int32[ndarray, " event"],
    numeric: Float32[ndarray, "field event"],
    version_offsets: Int64[ndarray, " customer_plus_1"],
    valid_from_us: Int64[ndarray, " version"],
    attribute_codes: Int32[ndarray, "id_attribute version"],
    attribute_values: Float32[ndarray, "attribute version"],
    customers: Int64[ndarray, " segment"],
    segment_offsets: Int64[ndarray, " segment_plus_1"],
    cutoff_us: Int64[ndarray, " readout"],
    spans_days: Int64[ndarray, " window"],
    max_events: int,
    origin_us: int,
    roles: Int64[ndarray, "role code"],
    num_types: int,
    num_last: int,
    tables: Int64[ndarray, " entry"],
    table_ends: Int64[ndarray, " id_attribute"],
    quanta: Float64[ndarray, " field"],
    factors: Float64[ndarray, "2 feature"],
    hours: Float32[ndarray, "hour 2"],
    days_of_cycle: Float32[ndarray, "day 4"],
    segments: Int64[ndarray, "2 segment"],
    counts: Int64[ndarray, "4 readout"],
    readout_ids: Int64[ndarray, "readout readout_id_column"],
    raw: Float64[ndarray, "readout feature"],
    scaled: Float32[ndarray, "readout feature"],
    calendar: Float32[ndarray, "readout 6"],
    readout_days: Float32[ndarray, " readout"],
    codes: Int32[ndarray, "field event"],
    field_tables: Int64[ndarray, " entry"],
    field_table_ends: Int64[ndarray, " id_column"],
    widths: Int64[ndarray, " segment"],
    event_factors: Float64[ndarray, "2 field_plus_1"],
    ids: Int64[ndarray, "place id_column"],
    values: Float32[ndarray, "place value_column"],
    days: Float32[ndarray, " place"],
    num_unknown: Int64[ndarray, " segment"],
) -> None:
    """Write what cutoffs are told, then the events of their histories: one call instead of two."""
    write_told(
        offsets,
        event_us,
        event_types,
        numeric,
        version_offsets,
        valid_from_us,
        attribute_codes,
        attribute_values,
        customers,
        segment_offsets,
        cutoff_us,
        spans_days,
        max_events,
        origin_us,
        roles,
        num_types,
        num_last,
        tables,
        table_ends,
        quanta,
        factors,
        hours,
        days_of_cycle,
        segments,
        counts,
        readout_ids,
        raw,
        scaled,
        calendar,
        readout_days,
    )
    write_events(
        event_us,
        numeric,
        event_types,
        codes,
        field_tables,
        field_table_ends,
        segments[0],
        segments[1],
        widths,
        origin_us,
        event_factors,
        hours,
        days_of_cycle,
        ids,
        values,
        days,
        num_unknown,
    )
