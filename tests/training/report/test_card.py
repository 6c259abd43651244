"""The model card: what it claims follows from the result and the declarations."""

from report_pages import bare_result, context_of, result_with

from training.report.card import card, limits


def test_limits_count_what_was_left_out() -> None:
    """One cutoff is named; unknown outcomes are counted."""
    result = result_with((0.01, 0.09))
    assert "one cutoff (2024-01-01)" in limits(result)[0]
    assert not any("Left out" in line for line in limits(result))
    result["targets"][0]["horizons"][0]["num_unknown"] = 5
    assert limits(result)[-1] == "Left out because what came is not known: churn, 90 days: 5 of 1,005."


def test_card_names_data_inputs_and_windows() -> None:
    """What was seen and which window served what is counted, not claimed."""
    sections = dict(card(bare_result(), context_of()))
    made_of = " ".join(sections["What it was made of"])
    assert "9,000 events of 400 customers, 2022-01-01 to 2024-02-13 12:30 UTC" in made_of
    assert "amount, quantity, channel, of the customer region, age; never who the customer is" in made_of
    assert "Tested on 200 readouts at 2023-11-15." in made_of
    assert sections["Limits"][-1] == "Fitted in the spring alone."


def test_intended_use_can_be_replaced() -> None:
    """A business says what its model is for."""
    sections = dict(card(bare_result(), context_of(intended_use=("Ranking calls.",))))
    assert sections["Intended use"] == ("Ranking calls.",)
