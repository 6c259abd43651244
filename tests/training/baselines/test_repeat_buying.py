"""Pareto/NBD on readout features: what the baseline says of the same histories."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from builders import START_US, histories_of_lengths, small_spec
from holdfast.encoding.encode import raw_features
from holdfast.encoding.readouts import feature_names
from holdfast.encoding.windows import Cutoffs
from holdfast.schema import MICROSECONDS_PER_DAY
from training.baselines.btyd import fit_buy_till_you_die
from training.baselines.buying import ParetoNbd, no_purchase_probability
from training.baselines.features import FeatureMatrix
from training.baselines.repeat_buying import RepeatBuying, fit_repeat_buying

HISTORIES = histories_of_lengths(np.random.default_rng(3), np.arange(80) % 24, span_days=300)
UNTIL_US = int(HISTORIES.occurred_at_us.max())
# Every event counts, so that no event type is unknown to one of both.
SCHEMA = small_spec().schema
ANY = replace(SCHEMA, targets=tuple(replace(target, event_types=()) for target in SCHEMA.targets))
SPEC = small_spec(schema=ANY)


def test_features_tell_all_that_a_history_does() -> None:
    """The probabilities of the baseline, from readout features scaled to float32."""
    customer = np.arange(80).repeat(3)
    cutoff_us = START_US + np.tile([90, 200, 310], 80) * MICROSECONDS_PER_DAY
    raw = raw_features(HISTORIES, Cutoffs.one_each(customer, cutoff_us), SPEC)
    scales = SPEC.readout.scales
    logs = np.sign(raw) * np.log1p(np.abs(raw))
    scaled = (logs - [scale.mean for scale in scales]) / [scale.std for scale in scales]
    features = FeatureMatrix(
        values=np.nan_to_num(scaled).astype(np.float32),
        names=feature_names(SPEC),
        ids=np.zeros((len(raw), 0), dtype=np.int64),
    )
    models = fit_repeat_buying(HISTORIES, SPEC, until_us=UNTIL_US, seed=0)
    found = np.stack([model.predict(features) for model in models.probability["churn"]], axis=1)
    baseline = fit_buy_till_you_die("pareto_nbd", HISTORIES, SPEC, until_us=UNTIL_US, seed=0)
    assert baseline is not None
    wanted = baseline.predict(HISTORIES, customer=customer, cutoff_us=cutoff_us)
    np.testing.assert_allclose(found, wanted.probability["churn"], atol=1e-4)
    amounts = models.amount["spend"].predict(features).expected
    np.testing.assert_allclose(amounts, wanted.expected["spend"], rtol=1e-3)


def test_an_amount_that_other_events_have_too_is_left_to_others() -> None:
    """The sum over a history, which the features tell, is none of the target's own events then."""
    target = replace(ANY.targets[1], event_types=("purchase",))
    awaited = replace(ANY.targets[0], event_types=("purchase",))
    spec = small_spec(schema=replace(ANY, targets=(awaited, target, *ANY.targets[2:])))
    mixed = fit_repeat_buying(HISTORIES, spec, until_us=UNTIL_US, seed=0)
    assert mixed.probability
    assert not mixed.amount
    codes = HISTORIES.event_type.codes
    bare = codes != HISTORIES.event_type.dictionary.values.index("purchase")
    amounts = np.where(bare, np.float32(np.nan), HISTORIES.numeric["amount"])
    alone = replace(HISTORIES, numeric={**HISTORIES.numeric, "amount": amounts})
    assert fit_repeat_buying(alone, spec, until_us=UNTIL_US, seed=0).amount


@pytest.mark.parametrize(
    "model",
    [
        ParetoNbd(r=0.55, alpha=10.6, s=0.6, beta=11.7),
        ParetoNbd(r=1.5, alpha=3.0, s=0.05, beta=0.1),
        ParetoNbd(r=0.05, alpha=0.5, s=3.0, beta=300.0),
    ],
    ids=["CDNOW", "hardly any dropout", "hardly any purchase"],
)
@pytest.mark.parametrize("horizon", [2.0, 26.0])
def test_the_odds_of_silence_are_those_of_the_likelihoods(model: ParetoNbd, horizon: float) -> None:
    """Two likelihoods of 48 nodes each, divided, against the form that a served graph takes."""
    rng = np.random.default_rng(0)
    tenure = rng.uniform(0, 100, 2_000)
    num_repeat = np.floor(rng.gamma(0.5, tenure / 5))
    last = np.where(num_repeat > 0, tenure * rng.random(2_000), 0.0)
    history = (num_repeat, last, tenure)
    found = expit(model.log_odds_of_silence(*history, horizon))
    np.testing.assert_allclose(found, no_purchase_probability(model, *history, horizon), atol=1e-5)


def test_who_awaits_no_silence_has_no_model() -> None:
    """Nor has a target whose events nobody had on two days."""
    event = replace(SCHEMA, targets=(replace(SCHEMA.targets[0], form="event"), *SCHEMA.targets[1:]))
    assert fit_repeat_buying(HISTORIES, small_spec(schema=event), until_us=UNTIL_US, seed=0) == RepeatBuying()
    assert fit_repeat_buying(HISTORIES, SPEC, until_us=START_US - 1, seed=0) == RepeatBuying()
