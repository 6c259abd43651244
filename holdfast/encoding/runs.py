"""Histories to what runs of the graph are given: the one pass that serving takes.

It gives the bits of :func:`holdfast.encoding.encode.encode` and :func:`holdfast.encoding.padding.pad`, but
events are written where a tensor needs them, and no others. It deliberately does not form runs.
"""

from collections.abc import Mapping, Sequence

from jaxtyping import Int64
from numpy import ndarray

from holdfast.encoding.events import encode_stretches, numeric_fields
from holdfast.encoding.padding import READOUT_INPUTS
from holdfast.encoding.readouts import tell
from holdfast.encoding.spec import EncodingSpec
from holdfast.encoding.windows import Cutoffs
from holdfast.histories import Histories


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
    told, _ = tell(histories, numeric, cutoffs, spec)
    events = encode_stretches(
        histories,
        numeric,
        spec,
        starts=told["segment_start"],
        ends=told["segment_end"],
        widths=widths,
        num_places=sum([num * length for num, length in shapes]),
    )
    ids, values, days = events.ids, events.values, events.days
    readouts = [(name, told[name]) for name in READOUT_INPUTS]
    runs, row, place = [], 0, 0
    for num, length in shapes:
        rows, places = slice(row, row + num), slice(place, place + num * length)
        inputs = {
            "event_ids": ids[places].reshape(num, length, -1),
            "event_values": values[places].reshape(num, length, -1),
            "event_days": days[places].reshape(num, length),
        }
        for name, found in readouts:
            inputs[name] = found[rows]
        runs.append(inputs)
        row, place = rows.stop, places.stop
    return runs, events.num_unknown
