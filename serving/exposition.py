"""What processes noticed as Prometheus metrics.

It deliberately counts nothing: numbers come in as :mod:`serving.recording` adds them up, text goes out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from holdfast.reference import stability_index
from serving.comparing import BOUNDS, PROBABILITY, RATIO
from serving.recording import (
    CUSTOMER_BOUNDS,
    EVENT_BOUNDS,
    SECONDS_BOUNDS,
    SEPARATOR,
    Family,
    Number,
    Snapshot,
)

PREFIX = "holdfast_"
LEAST_CUSTOMERS = 500
"""Of late, before they are compared: chance alone makes fewer look different."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What a family is called, beside its name.

    Attributes:
        text: What it means.
        labels: Their names.
        bounds: Of a histogram; empty for other kinds.
    """

    text: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


_TOTALS = {
    "requests": _Form(
        "Calls that asked for scores, by the status that they ended with.", ("service", "code")
    ),
    "request_seconds": _Form("From reading a call to its end.", ("service",), SECONDS_BOUNDS),
    "refusals": _Form("Calls that were not answered, by reason.", ("reason",)),
    "versions": _Form(
        "Other versions of the model that were found while serving: served, or refused.", ("outcome",)
    ),
    "customers": _Form("Customers of answered calls: scored, or at fault.", ("status",)),
    "events": _Form(
        "Events of these customers: used, truncated, after as_of; and used ones with an unknown value.",
        ("kind",),
    ),
    "queue_wait_seconds": _Form("How long a request, or a part of a large one, waited.", (), SECONDS_BOUNDS),
    "run_seconds": _Form("Duration of a run of the graph.", (), SECONDS_BOUNDS),
    "run_customers": _Form("Customers of a run of the graph.", (), CUSTOMER_BOUNDS),
    "run_padded_events": _Form("Events of a run of the graph, padding included.", (), EVENT_BOUNDS),
    "candidate_versions": _Form("Candidates that were found: taken, refused, or gone.", ("outcome",)),
    "role_requests": _Form(
        "Calls that were scored while there was a candidate, by who scored them.", ("role", "version")
    ),
    "role_customers": _Form("Customers of these calls: scored, or at fault.", ("role", "version", "status")),
    "role_seconds": _Form(
        "From asking a version to its answer, of these calls.", ("role", "version"), SECONDS_BOUNDS
    ),
    "candidate_failures": _Form(
        "Calls that a candidate could not score: an internal error, or it was overloaded.",
        ("version", "reason"),
    ),
    "shadow_dropped": _Form(
        "Calls that the shadow was spared: busy (the server), full (its queue), or late.",
        ("reason",),
    ),
    "shadow_expected": _Form(
        "Sum of the predictions about customers whom both have scored.", ("role", "target", "version")
    ),
    "shadow_probability_difference": _Form(
        "Absolute difference of the two probabilities of a customer at the longest horizon.",
        ("target", "version"),
        BOUNDS[PROBABILITY],
    ),
    "shadow_expected_ratio": _Form(
        "The shadow's expected value of a customer, divided by that of the version that is served.",
        ("target", "version"),
        BOUNDS[RATIO],
    ),
}
_STATES = {
    "requests_in_flight": _Form("Calls that wait for their answer."),
    "waiting_padded_events": _Form("Padded events that have not been scored yet."),
    "recent_customers": _Form(
        "Eligible customers of late by the bin that they lie in: after 10,000 more, one counts half.",
        ("quantity", "bin"),
    ),
    "reference_share": _Form(
        "Share of the cutoffs that the model was judged at, by the same bins.", ("quantity", "bin")
    ),
    "drift_index": _Form(
        "Population stability index of the eligible customers of late against the reference.", ("quantity",)
    ),
    "model_processes": _Form("Processes that serve a version of a model.", ("model", "version")),
    "candidate_processes": _Form("Processes that ask a candidate.", ("model", "version")),
}


def expose(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    """Return metrics as text, and its content type.

    Args:
        snapshot: What was noticed.
        accept: The header ``Accept`` of whoever asks; it chooses between the forms of Prometheus.
    """
    # The library has no types for this function.
    encode: Callable[[Collector], bytes]
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):
        # It takes the numbers of versions as they come: whoever names none that is one gets the plain text.
        encode, content_type = choose_encoder("")
    return encode(_Collected(snapshot)), content_type


class _Collected(Collector):
    """The metrics of one moment."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = {**snapshot, "states": {**snapshot["states"], **_compared(snapshot["states"])}}

    def collect(self) -> Iterable[Metric]:
        yield from self._families("totals", _TOTALS)
        yield from self._families("states", _STATES)

    def _families(self, kind: str, forms: Mapping[str, _Form]) -> Iterator[Metric]:
        found = self._snapshot[kind]
        for name, form in forms.items():
            yield _family(PREFIX + name, form, found.get(name, {}), is_total=kind == "totals")


def _compared(states: Mapping[str, Family]) -> Mapping[str, Family]:
    """Return the reference's shares, and how far the customers of late lie from it where there are enough."""
    recent, reference = states.get("recent_customers", {}), states.get("reference_share", {})
    shares: dict[str, Number] = {}
    index: dict[str, Number] = {}
    by_quantity = groupby(reference, key=lambda labels: labels.partition(SEPARATOR)[0])
    for quantity, bins in ((name, list(found)) for name, found in by_quantity):
        before = np.array([reference[labels] for labels in bins])
        # Processes are added up, and so are these.
        before /= before.sum()
        shares |= dict(zip(bins, before.tolist(), strict=True))
        now = np.array([recent[labels] for labels in bins])
        if now.sum() >= LEAST_CUSTOMERS:
            index[quantity] = stability_index(before, now)
    return {"reference_share": shares, "drift_index": index}


def _family(name: str, form: _Form, values: Family, *, is_total: bool) -> Metric:
    if form.bounds:
        histogram = HistogramMetricFamily(name, form.text, labels=form.labels)
        for labels, numbers in values.items():
            assert isinstance(numbers, Sequence)
            histogram.add_metric(_labels(form, labels), _buckets(form, numbers), numbers[-1])
        return histogram
    kind = CounterMetricFamily if is_total else GaugeMetricFamily
    family = kind(name, form.text, labels=form.labels)
    for labels, number in values.items():
        assert isinstance(number, int | float)
        family.add_metric(_labels(form, labels), number)
    return family


def _labels(form: _Form, labels: str) -> Sequence[str]:
    return labels.split(SEPARATOR) if form.labels else ()


def _buckets(form: _Form, numbers: Sequence[Number]) -> Sequence[tuple[str, float]]:
    """Return how many values lie up to each bound, the way Prometheus counts: every smaller one too."""
    buckets, total = [], 0.0
    for bound, count in zip((*map(str, form.bounds), "+Inf"), numbers[:-1], strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
