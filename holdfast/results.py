"""What a caller gets back about each customer, typed, and how its parts are named in tables.

It deliberately does not know how an answer was computed or transported.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.description import read_target
from holdfast.errors import ServiceError
from holdfast.manifest import TargetForm
from holdfast.schema import Target
from holdfast.v1 import scoring_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeToEvent:
    """When the awaited event comes.

    Attributes:
        probability: By horizon in days: of no event (form ``inactivity``) or of one (``event``).
        survival: By bin end in days, probability that it has not come yet; empty unless asked for.
    """

    probability: Mapping[int, float]
    survival: Mapping[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A sum over the horizon; money is in the schema's currency.

    Attributes:
        expected: Expected sum.
        quantiles: By level.
    """

    expected: float
    quantiles: Mapping[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A number of events over the horizon."""

    expected: float


Prediction = TimeToEvent | Amount | Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a customer was not scored: the value at fault and what is allowed there."""

    field: str
    value: str
    limit: str

    def __str__(self) -> str:
        """Return the three in one line."""
        return f"{self.field}: got {self.value}, but {self.limit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was noticed about the events of a scored customer.

    Attributes:
        num_used: Events that the prediction rests on.
        num_truncated: Events before ``as_of`` that are older, or more, than the model takes.
        num_after: Events after ``as_of``, left out.
        num_unknown: Used events with an event type or category that training never saw.
        is_eligible: Whether training would have asked about this customer: active within the lookback, not
            gone for good. Always False from a server of a release that does not say it.
    """

    num_used: int
    num_truncated: int
    num_after: int
    num_unknown: int
    is_eligible: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerResult:
    """The answer for one customer: predictions, or the fault that stood in the way.

    Attributes:
        customer_id: As it was given.
        model: Name of the model that answered.
        version: Version of the model that answered.
        predictions: By target; empty where there is a fault.
        embedding: Empty unless asked for.
        observed: None where there is a fault.
        fault: None where the customer was scored.
    """

    customer_id: Any
    model: str
    version: str
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    embedding: tuple[float, ...] = ()
    observed: Observed | None = None
    fault: Fault | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return one flat row: ``churn_probability_30d``, ``spend_expected``, ``fault`` and so on."""
        row: dict[str, Any] = {"customer_id": self.customer_id}
        for name, prediction in self.predictions.items():
            row.update(_named(name, prediction))
        if self.embedding:
            row["embedding"] = list(self.embedding)
        if self.observed is not None:
            row |= {name: getattr(self.observed, name) for name in OBSERVED_NAMES}
        row["fault"] = None if self.fault is None else str(self.fault)
        return row


COUNT_NAMES = ("num_used", "num_truncated", "num_after", "num_unknown")
"""What is counted about the events of every scored customer."""

ELIGIBLE_NAME = "is_eligible"
OBSERVED_NAMES = (*COUNT_NAMES, ELIGIBLE_NAME)


def to_columns(results: Sequence[CustomerResult]) -> dict[str, list[Any]]:
    """Return results as columns for any table library; None where a customer was not scored."""
    rows = [result.to_dict() for result in results]
    # The fault stands last in every row, but the first row may be one with nothing in front of it.
    names = dict.fromkeys(name for row in rows for name in row if name != "fault")
    return {name: [row.get(name) for row in rows] for name in (*names, "fault")}


def probability_name(target: str, horizon_days: int) -> str:
    """Return the column of a probability, such as ``churn_probability_30d``."""
    return f"{target}_probability_{horizon_days}d"


def survival_name(target: str, end_days: float) -> str:
    """Return the column of a point of a survival curve, such as ``churn_survival_7.5d``."""
    return f"{target}_survival_{end_days:g}d"


def expected_name(target: str) -> str:
    """Return the column of an expected amount or number, such as ``spend_expected``."""
    return f"{target}_expected"


def quantile_name(target: str, level: float) -> str:
    """Return the column of a quantile, such as ``spend_quantile_0.9``."""
    return f"{target}_quantile_{level:g}"


def read_response(response: pb.ScoreResponse, customer_ids: Sequence[Any]) -> list[CustomerResult]:
    """Return the answer for the customers of one request.

    Args:
        response: As it came.
        customer_ids: The caller's own ids, in the order of the request.

    Returns:
        One result per customer, in order.

    Raises:
        ServiceError: The answer does not fit the request.
    """
    if len(response.customers) != len(customer_ids):
        reason = f"{len(customer_ids)} customers were asked about, {len(response.customers)} answered"
        raise ServiceError("INTERNAL", reason)
    try:
        targets = [read_target(target) for target in response.targets]
    except ValueError as error:
        raise ServiceError("UNIMPLEMENTED", f"the server's targets are not understood: {error}") from error
    return [
        _read_result(response, message, customer_id, targets)
        for message, customer_id in zip(response.customers, customer_ids, strict=True)
    ]


def _read_result(
    response: pb.ScoreResponse,
    message: pb.CustomerResult,
    customer_id: Any,
    targets: Sequence[tuple[Target, TargetForm]],
) -> CustomerResult:
    if message.HasField("error"):
        error = message.error
        fault = Fault(field=error.field, value=error.value, limit=error.limit)
        return CustomerResult(
            customer_id=customer_id, model=response.model, version=response.version, fault=fault
        )
    predictions = {
        target.name: _read_prediction(prediction, target, form)
        for (target, form), prediction in zip(targets, message.prediction.targets, strict=True)
    }
    observed = Observed(**{name: getattr(message.observed, name) for name in OBSERVED_NAMES})
    return CustomerResult(
        customer_id=customer_id,
        model=response.model,
        version=response.version,
        predictions=predictions,
        embedding=tuple(message.prediction.embedding),
        observed=observed,
    )


def _read_prediction(message: pb.TargetPrediction, target: Target, form: TargetForm) -> Prediction:
    if target.kind == "time_to_event":
        survival = message.time_to_event.survival
        return TimeToEvent(
            probability=dict(zip(target.horizons_days, message.time_to_event.probability, strict=True)),
            survival=dict(zip(form.grid_days, survival, strict=True)) if survival else {},
        )
    if target.kind == "amount":
        quantiles = dict(zip(form.quantile_levels, message.amount.quantiles, strict=True))
        return Amount(expected=message.amount.expected, quantiles=quantiles)
    return Count(expected=message.count.expected)


def _named(target: str, prediction: Prediction) -> Iterator[tuple[str, float]]:
    if isinstance(prediction, TimeToEvent):
        for horizon_days, value in prediction.probability.items():
            yield probability_name(target, horizon_days), value
        for end_days, value in prediction.survival.items():
            yield survival_name(target, end_days), value
        return
    yield expected_name(target), prediction.expected
    if isinstance(prediction, Amount):
        for level, value in prediction.quantiles.items():
            yield quantile_name(target, level), value
