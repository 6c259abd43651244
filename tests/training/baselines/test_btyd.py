"""Buy-till-you-die baselines on histories: what is counted, what is answered, and published figures."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from builders import DAY, START_US, random_histories, small_schema, small_spec
from holdfast.encoding import EncodingSpec
from holdfast.histories import CodedColumn, Histories
from holdfast.schema import Schema
from holdfast.vocabulary import Dictionary
from training import pages
from training.baselines import btyd
from training.baselines.btyd import BUYING_MODELS, fit_buy_till_you_die
from training.baselines.purchases import mean_values, purchases_of
from training.metrics import probability_metrics

NAMES = tuple(BUYING_MODELS)
CDNOW = Path(os.environ.get("HOLDFAST_DATA", Path(__file__).parents[4] / "shared" / "data"))


def history(*events: tuple[float, str, float]) -> Histories:
    """Return one customer's (day, type, amount)."""
    blank = random_histories(np.random.default_rng(0), 1)
    types = Dictionary(("purchase", "return", "visit"))
    num = len(events)
    return replace(
        blank,
        offsets=np.array([0, num]),
        occurred_at_us=np.array([START_US + round(day * DAY) for day, _, _ in events], dtype=np.int64),
        event_type=CodedColumn(
            codes=np.array([types.values.index(kind) for _, kind, _ in events], dtype=np.int32),
            dictionary=types,
        ),
        categorical={
            name: CodedColumn(codes=np.zeros(num, dtype=np.int32), dictionary=column.dictionary)
            for name, column in blank.categorical.items()
        },
        numeric={name: np.array([value for *_, value in events], np.float32) for name in blank.numeric},
    )


def summary(histories: Histories, day: float, spec: EncodingSpec | None = None) -> tuple[float, ...]:
    """Return x, t_x and T in days, and the mean value, of the only customer at a day."""
    spec = spec or small_spec()
    churn, spend, _ = spec.schema.targets
    asked = {"customer": np.zeros(1, np.int64), "cutoff_us": np.array([START_US + round(day * DAY)])}
    found = purchases_of(histories, spec, churn, **asked)
    value = mean_values(histories, spec, spend, found, **asked)
    columns = (found.num_repeat, 7 * found.last_weeks, 7 * found.tenure_weeks, value)
    return tuple(float(column[0]) for column in columns)


def test_purchases_are_days_since_the_first_one() -> None:
    """Two on a day are one, a visit is none, and a return lowers the mean value."""
    events = history(
        (0, "visit", 99), (2, "purchase", 10), (2.01, "purchase", 20), (9, "purchase", 30), (10, "return", -6)
    )
    assert summary(events, 12) == pytest.approx((1, 7, 10, 27))
    assert summary(events, 2.005) == pytest.approx((0, 0, 0.005, 10), abs=1e-6)


def test_nothing_outside_of_the_history_counts() -> None:
    """Neither what is after the cutoff, nor what the encoding's limits cut off."""
    events = history(*((float(day), "purchase", 1.0) for day in range(0, 100, 10)))
    assert summary(events, 35) == pytest.approx((3, 30, 35, 1))
    assert summary(events, 95, replace(small_spec(), max_events=3)) == pytest.approx((2, 20, 25, 1))
    assert summary(events, 95, replace(small_spec(), history_days=30)) == pytest.approx((2, 20, 25, 1))


def test_who_never_bought_counts_from_the_first_event() -> None:
    """And somebody without any event from the cutoff; both have a mean value of 0."""
    assert summary(history((5, "visit", 3)), 12) == pytest.approx((0, 0, 7, 0))
    assert summary(history((5, "visit", 3)), 1) == pytest.approx((0, 0, 0, 0))


@pytest.mark.parametrize("name", NAMES)
def test_answers_the_targets_that_it_knows(name: str) -> None:
    """Churn at every horizon, less probable the longer, and spend; no count; for everybody."""
    histories = random_histories(np.random.default_rng(3), 200)
    until_us = START_US + 300 * DAY
    model = fit_buy_till_you_die(name, histories, small_spec(), until_us=until_us, seed=0)
    assert model is not None
    answer = model.predict(histories, customer=np.arange(200), cutoff_us=np.full(200, until_us))
    assert (set(answer.probability), set(answer.expected), answer.median) == ({"churn"}, {"spend"}, {})
    churn = answer.probability["churn"]
    assert ((churn > 0) & (churn <= 1)).all()
    assert (np.diff(churn, axis=1) < 0).all()
    assert np.isfinite(answer.expected["spend"]).all()
    assert (answer.expected["spend"] > 0).all()
    nobody = model.predict(histories, customer=np.arange(0), cutoff_us=np.full(0, until_us))
    assert nobody.probability["churn"].shape == (0, churn.shape[1])
    assert nobody.expected["spend"].shape == (0,)


@pytest.mark.parametrize("name", NAMES)
def test_the_future_has_no_influence(name: str) -> None:
    """Neither on the fit nor on an answer: events after the end of calibration may be anything."""
    histories = random_histories(np.random.default_rng(4), 150)
    until_us = START_US + 250 * DAY
    amount = histories.numeric["amount"].copy()
    is_later = histories.occurred_at_us > until_us
    amount[is_later] = 1e6
    codes = np.where(is_later, 0, histories.event_type.codes).astype(np.int32)
    other = replace(
        histories,
        numeric=dict(histories.numeric, amount=amount),
        event_type=replace(histories.event_type, codes=codes),
    )
    answers = [
        model.predict(store, customer=np.arange(150), cutoff_us=np.full(150, until_us))
        for store in (histories, other)
        if (model := fit_buy_till_you_die(name, store, small_spec(), until_us=until_us, seed=0))
    ]
    np.testing.assert_array_equal(answers[0].probability["churn"], answers[1].probability["churn"])
    np.testing.assert_array_equal(answers[0].expected["spend"], answers[1].expected["spend"])


@pytest.mark.parametrize("name", NAMES)
def test_a_bounded_number_of_customers_is_read_at_a_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For fitting and for answering; model and answers are those of all at once."""
    histories = random_histories(np.random.default_rng(6), 150)
    until_us = START_US + 300 * DAY
    asked = {"customer": np.arange(149, -1, -1), "cutoff_us": until_us + np.arange(150) * DAY // 10}
    monkeypatch.setattr(btyd, "MOST_CUSTOMERS", 60)
    num_read = []
    plain = btyd.purchases_of
    monkeypatch.setattr(
        btyd, "purchases_of", lambda own, *r, **k: num_read.append(own.num_customers) or plain(own, *r, **k)
    )
    at_once = fit_buy_till_you_die(name, histories, small_spec(), until_us=until_us, seed=0)
    assert at_once is not None
    whole = at_once.predict(histories, **asked)
    assert max(num_read) == 150
    num_read.clear()
    monkeypatch.setattr(pages, "READOUTS_AT_ONCE", 40)
    model = fit_buy_till_you_die(name, histories, small_spec(), until_us=until_us, seed=0)
    assert model == at_once
    answer = model.predict(histories, **asked)
    assert max(num_read) == 40
    np.testing.assert_array_equal(answer.probability["churn"], whole.probability["churn"])
    np.testing.assert_array_equal(answer.expected["spend"], whole.expected["spend"])


def with_targets(schema: Schema, **changes: object) -> EncodingSpec:
    """Return the small spec with its churn target changed."""
    churn = replace(schema.targets[0], **changes)
    return small_spec(schema=replace(schema, targets=(churn, *schema.targets[1:])))


def test_an_event_is_no_silence() -> None:
    """Churn by a cancellation has no answer here, nor has an amount of other events than are awaited."""
    histories, until_us = random_histories(np.random.default_rng(5), 100), START_US + 300 * DAY
    event = with_targets(small_schema(), form="event")
    assert fit_buy_till_you_die("btyd", histories, event, until_us=until_us, seed=0) is None
    visits = with_targets(small_schema(), event_types=("visit",))
    model = fit_buy_till_you_die("btyd", histories, visits, until_us=until_us, seed=0)
    assert model is not None
    assert not model.value


def test_nobody_who_bought_twice_is_nothing_to_fit() -> None:
    """No failure, and no answer."""
    once = history((2, "purchase", 10))
    assert fit_buy_till_you_die("btyd", once, small_spec(), until_us=START_US + 9 * DAY, seed=0) is None


@pytest.mark.skipif(not (CDNOW / "cdnow").is_dir(), reason=f"the CDNOW file is not in {CDNOW}")
@pytest.mark.filterwarnings("ignore:.*deprecated by PEP 585")
@pytest.mark.parametrize(
    ("name", "auroc", "log_loss"), [("btyd", 0.7882, 0.4244), ("pareto_nbd", 0.7998, 0.4208)]
)
def test_published_figures_of_cdnow(name: str, auroc: float, log_loss: float, tmp_path: Path) -> None:
    """Calibrated on 1997 and asked about the first half of 1998, both models are as good as published."""
    from hydra import compose, initialize_config_dir

    from training.data_config import DataConfig
    from training.entry import CONFIG_DIR
    from training.run_setup import plain, prepared
    from training.task import Task

    with initialize_config_dir(CONFIG_DIR, version_base=None):
        settings = compose("train", overrides=["data=cdnow", f"run_dir={tmp_path}", f"data_root={CDNOW}"])
    config = DataConfig.from_plain(plain(settings)["data"])
    task = Task.of(config, prepared(config, tmp_path / "store", Console(quiet=True)))
    readouts, spec = (
        task.readouts(task.splits.test),
        replace(small_spec(), schema=task.schema, history_days=730),
    )
    model = fit_buy_till_you_die(
        name, task.histories, spec, until_us=task.fit_split.observed_until_us, seed=0
    )
    assert model is not None
    answer = model.predict(task.histories, customer=readouts.customer, cutoff_us=readouts.cutoff_us)
    came = task.outcomes(readouts, task.splits.test).happened["churn"][:, -1]
    found = probability_metrics(came, answer.probability["churn"][:, -1], np.ones((1, len(readouts))))
    assert found["auroc"][0] == pytest.approx(auroc, abs=0.001)
    assert found["log_loss"][0] == pytest.approx(log_loss, abs=0.001)
