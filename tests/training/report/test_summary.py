"""Summary: what managers read, and that it never claims more than the figures."""

from dataclasses import replace

import pytest
from report_pages import context_of, interval, result_of, result_with

from training.report.context import CutoffFacts, DataFacts, SplitFacts
from training.report.summary import headline, never_learned, tiles


def test_headline_by_hand() -> None:
    """The tenth at the top against all, totals, and the best baseline, not the weakest."""
    churn, churn_order, spend, spend_order = headline(result_with((0.01, 0.09)))
    assert churn == (
        "Churn (no event of type purchase within 90 days): of 100 customers in the tenth that the model "
        "holds most at risk, it came true for 60; of 100 drawn from all, for 40."
    )
    assert churn_order == (
        "In ordering customers by churn, sequence is surely better than the best other model, trees "
        "(AUROC 0.800 against 0.750)."
    )
    assert spend == (
        "Spend within 90 days: foreseen in total 30,000 EUR, came 25,000 EUR (20 % too much); "
        "the tenth with the highest expectation brought 40 % of it."
    )
    assert spend_order == (
        "In ordering customers by spend, sequence is surely better than the best other model, trees "
        "(normalised Gini 0.700 against 0.650)."
    )


@pytest.mark.parametrize(
    ("difference", "says"),
    [
        ((0.01, 0.09), "sequence is surely better than the best other model, trees"),
        ((-0.09, -0.01), "Another model does better: in ordering customers by churn, trees surely beats"),
        ((-0.01, 0.11), "are not surely different"),
        ((0.0, 0.1), "are not surely different"),
        ((None, None), "are not surely different"),
    ],
)
def test_a_claim_needs_an_interval_without_zero(difference: tuple, says: str) -> None:
    """Better only where the whole interval of the difference says so."""
    assert says in headline(result_with(difference))[1]


def test_figures_of_a_sure_difference_are_not_shown_alike() -> None:
    """A sure difference has as many digits as tell the two apart; an open one has three."""
    for difference, says in (
        ((-0.09, -0.01), "0.80000 against 0.80004"),
        ((-0.01, 0.1), "0.800 against 0.800"),
    ):
        result = result_with(difference)
        models = result["targets"][0]["horizons"][0]["models"]
        models["trees"]["metrics"]["auroc"] = interval(0.80004)
        assert f"(AUROC {says})" in headline(result)[1]


def test_headline_names_the_truth_where_it_is_known() -> None:
    """So that everybody sees how much more there is to find."""
    assert "knowing the true causes would give 0.900" in headline(result_with((0.01, 0.09), truth=True))[1]


@pytest.mark.parametrize(
    ("ratio", "says"), [(0.8, "20 % too little"), (1.2, "20 % too much"), (1.004, "right to half a per cent")]
)
def test_totals_say_in_which_direction_they_err(ratio: float, says: str) -> None:
    """Too much, too little, or right."""
    assert says in headline(result_with((0.01, 0.09), total_ratio=ratio))[2]


def test_where_nothing_came_the_foreseen_total_is_told() -> None:
    """The worst total of all has no ratio: what was foreseen stands beside the 0, and nobody is better."""
    result = result_of(models=("sequence", "trees"), has_spend=False)
    model = result["targets"][1]["horizons"][0]["models"]["sequence"]
    foreseen = 200 * model["metrics"]["mae_of_mean"]["value"]
    assert foreseen > 1_000
    assert headline(result)[-1] == (
        f"Spend within 90 days: foreseen in total {foreseen:,.0f} EUR, came 0 EUR; where nothing came, no "
        "model can be called better than another."
    )
    (tile,) = (tile for tile in tiles(result) if tile.what.startswith("spend"))
    assert (tile.what, tile.meaning) == ("spend, 90 days", "foreseen in total, and nothing came")
    assert tile.figure.endswith(" EUR")
    model["curves"] = {}
    assert [sentence for sentence in headline(result) if sentence.startswith("Spend")] == []


def facts_of(**spend: tuple[float, ...]) -> DataFacts:
    """Return facts with the mean spend of the cutoffs of every part."""
    parts = [
        SplitFacts(
            name=name,
            first_cutoff="2023-11-15T00:00Z",
            last_cutoff="2023-11-15T00:00Z",
            num_cutoffs=1,
            num_readouts=1,
            num_customers=1,
            rates={},
            num_unknown={},
            by_cutoff=[
                CutoffFacts(at="2023-11-15T00:00Z", num_readouts=1, means={"churn": 0.0, "spend": mean})
                for mean in means
            ],
        )
        for name, means in spend.items()
    ]
    return replace(context_of().data, splits=parts)


def test_what_was_never_seen_is_told() -> None:
    """A target of which training saw nothing is named, whatever validation and test hold."""
    result = result_with((0.01, 0.09))
    (sentence,) = never_learned(result, facts_of(refit=(0.0, 0.0), test=(5.0,)))
    assert sentence.startswith(
        "Spend within 90 days was 0 at every training cutoff: nothing could be learned"
    )
    assert never_learned(result, facts_of(train=(0.0, 3.0), test=(0.0,))) == []
    assert never_learned(result, facts_of(test=(0.0,))) == []


def test_an_event_is_no_inactivity() -> None:
    """A cancellation within 90 days is not said to be no activity."""
    first = headline(result_with((0.01, 0.09), form="event"))[0]
    assert "(within 90 days)" in first
    assert "no activity" not in first


def test_missing_figures_leave_their_sentence_out() -> None:
    """No lift and no AUROC of one class: nothing is said about them."""
    result = result_with((0.01, 0.09))
    metrics = result["targets"][0]["horizons"][0]["models"]["sequence"]["metrics"]
    metrics |= {"auroc": interval(None), "lift_at_10": interval(None)}
    assert [sentence.split()[0] for sentence in headline(result)] == ["Spend", "In"]


@pytest.mark.parametrize(
    ("predicted", "says"),
    [
        (0.3, "too low: 30 % foreseen, 40 % came. Trust the order more"),
        (0.43, "too high: 43 % foreseen, 40 % came."),
        (0.405, "were right: 40 % foreseen, 40 % came"),
    ],
)
def test_probabilities_say_in_which_direction_they_err(predicted: float, says: str) -> None:
    """The mean over all bins, each as heavy as its readouts."""
    result = result_with((0.01, 0.09))
    bins = [
        {"num_readouts": 300, "predicted": predicted - 0.1, "observed": 0.3},
        {"num_readouts": 100, "predicted": predicted + 0.3, "observed": 0.7},
    ]
    result["targets"][0]["horizons"][0]["models"]["sequence"]["curves"]["reliability"] = bins
    assert says in headline(result)[0]


@pytest.mark.parametrize(
    ("predicted", "came", "says"),
    [
        (0.032, 0.02, "too high: 3.2 % foreseen, 2.0 % came."),
        (0.009, 0.02, "too low: 0.9 % foreseen, 2.0 % came."),
        (0.022, 0.02, "were right: 2.2 % foreseen, 2.0 % came."),
        (0.968, 0.98, "too low: 96.8 % foreseen, 98.0 % came."),
    ],
)
def test_what_is_rare_is_not_right_within_two_points(predicted: float, came: float, says: str) -> None:
    """Half as much again is no right level, however few points it makes; nor of those who stayed."""
    result = result_with((0.01, 0.09))
    bins = [{"num_readouts": 400, "predicted": predicted, "observed": came}]
    result["targets"][0]["horizons"][0]["models"]["sequence"]["curves"]["reliability"] = bins
    assert says in headline(result)[0]


def test_what_is_counted_has_no_decimals() -> None:
    """Nobody complains 30,000.5 times, nor 121.00 times."""
    result = result_with((0.01, 0.09), total_ratio=0.8652)
    target = result["targets"][1]
    target |= {"kind": "count", "unit": ""}
    target["horizons"][0]["mean"] = 0.121
    assert "foreseen in total 105, came 121 (13 % too little)" in headline(result)[2]


def test_tiles_by_hand() -> None:
    """Two figures for each target: who is found and how sure; the total and the top of the list."""
    result = result_with((0.01, 0.09))
    metrics = result["targets"][0]["horizons"][0]["models"]["sequence"]["metrics"]
    metrics["auroc"] = interval(0.8, 0.78, 0.82)
    assert [(tile.what, tile.figure) for tile in tiles(result)] == [
        ("churn, 90 days", "60 %"),
        ("churn: right order", "80.0 %"),
        ("spend, 90 days", "1.20"),
        ("spend: at the top", "40 %"),
    ]
    assert tiles(result)[1].meaning.endswith("interval 78.0 % to 82.0 %")
    assert tiles(result)[2].meaning == "foreseen over actual total: 30 k against 25 k EUR"


def test_no_tile_without_a_figure() -> None:
    """A model that answered nothing, and one without lift, AUROC, total or gains."""
    result = result_with((0.01, 0.09))
    for target in result["targets"]:
        target["horizons"][0]["models"]["sequence"] = {"metrics": {}, "curves": {}}
    assert tiles(result) == []
    for target in result["targets"]:
        target["horizons"][0]["models"] = {}
    assert tiles(result) == []
