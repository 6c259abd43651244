"""Answers become typed results in order, and results become rows and columns under stable names."""

import polars as pl
import pytest

from holdfast.errors import ServiceError
from holdfast.results import CustomerResult, Fault, Observed, read_response, to_columns
from holdfast.v1 import scoring_pb2 as pb


def response() -> pb.ScoreResponse:
    """Return an answer about two customers, the second one with an error."""
    churn = pb.Target(
        name="churn",
        kind=pb.TARGET_KIND_TIME_TO_EVENT,
        form=pb.TARGET_FORM_EVENT,
        horizons_days=[30, 90],
        grid_days=[7.5, 30.0, 90.0],
    )
    spend = pb.Target(
        name="spend",
        kind=pb.TARGET_KIND_AMOUNT,
        field="amount",
        horizons_days=[90],
        quantile_levels=[0.1, 0.9],
    )
    orders = pb.Target(name="orders", kind=pb.TARGET_KIND_COUNT, horizons_days=[90])
    scored = pb.CustomerResult(
        customer_id="7",
        prediction=pb.Prediction(
            targets=[
                pb.TargetPrediction(
                    time_to_event=pb.TimeToEventPrediction(probability=[0.25, 0.5], survival=[1.0, 0.75, 0.5])
                ),
                pb.TargetPrediction(amount=pb.AmountPrediction(expected=12.5, quantiles=[0.0, 50.0])),
                pb.TargetPrediction(count=pb.CountPrediction(expected=2.0)),
            ],
            embedding=[0.5, -0.5],
        ),
        observed=pb.Observed(num_used=5, num_truncated=1, num_after=2, num_unknown=3, is_eligible=True),
    )
    error = pb.CustomerError(field="occurred_at_us[1]", value="5", limit="it must ascend")
    failed = pb.CustomerResult(customer_id="8", error=error)
    return pb.ScoreResponse(
        model="m", version="3", targets=[churn, spend, orders], customers=[scored, failed]
    )


def test_results_carry_the_callers_ids_and_typed_predictions() -> None:
    """An integer id stays one; horizons, bins and levels are keys, not positions."""
    scored, failed = read_response(response(), [7, 8])
    assert (scored.customer_id, scored.model, scored.version) == (7, "m", "3")
    assert scored.predictions["churn"].probability == {30: 0.25, 90: 0.5}
    assert scored.predictions["churn"].survival == {7.5: 1.0, 30.0: 0.75, 90.0: 0.5}
    assert scored.predictions["spend"].quantiles == {0.1: 0.0, 0.9: 50.0}
    assert scored.predictions["orders"].expected == 2.0
    assert scored.embedding == (0.5, -0.5)
    assert scored.observed == Observed(
        num_used=5, num_truncated=1, num_after=2, num_unknown=3, is_eligible=True
    )
    assert scored.fault is None
    assert failed.customer_id == 8
    assert failed.fault == Fault(field="occurred_at_us[1]", value="5", limit="it must ascend")
    assert (failed.predictions, failed.observed) == ({}, None)


def test_a_row_and_columns_name_every_part() -> None:
    """The names are those of offline scoring; a customer with a fault has None everywhere else."""
    results = read_response(response(), ["a", "b"])
    row = results[0].to_dict()
    assert row == {
        "customer_id": "a",
        "churn_probability_30d": 0.25,
        "churn_probability_90d": 0.5,
        "churn_survival_7.5d": 1.0,
        "churn_survival_30d": 0.75,
        "churn_survival_90d": 0.5,
        "spend_expected": 12.5,
        "spend_quantile_0.1": 0.0,
        "spend_quantile_0.9": 50.0,
        "orders_expected": 2.0,
        "embedding": [0.5, -0.5],
        "num_used": 5,
        "num_truncated": 1,
        "num_after": 2,
        "num_unknown": 3,
        "is_eligible": True,
        "fault": None,
    }
    for order in (results, results[::-1]):
        table = pl.DataFrame(to_columns(order)).sort("customer_id")
        assert table.columns[-1] == "fault"
        assert table["fault"].to_list() == [None, "occurred_at_us[1]: got 5, but it must ascend"]
        assert table["spend_expected"].to_list() == [12.5, None]


def test_no_results_are_columns_without_rows() -> None:
    """An empty batch makes an empty table."""
    assert to_columns([]) == {"fault": []}
    only_fault = CustomerResult(
        customer_id=1, model="m", version="1", fault=Fault(field="f", value="v", limit="l")
    )
    assert to_columns([only_fault]) == {"customer_id": [1], "fault": ["f: got v, but l"]}


def test_an_answer_about_other_customers_is_refused() -> None:
    """A result is never attributed to somebody else because one is missing."""
    with pytest.raises(ServiceError, match="3 customers were asked about, 2 answered"):
        read_response(response(), [1, 2, 3])


def test_an_answer_of_a_later_release_is_refused() -> None:
    """A target of a kind that this release does not know is no number to guess at."""
    answer = response()
    answer.targets[2].kind = 9
    with pytest.raises(ServiceError, match="not understood"):
        read_response(answer, [1, 2])
