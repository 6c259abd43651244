"""The models that everybody trusts: what a network has to beat.

They deliberately know no tensors: a matrix of readout features with names goes in, or for the
models of repeat buying the purchases of a history, and predictions in the form of
:mod:`training.outcomes` come out.

    features       the matrix
    single         what fits one horizon or one amount
    recency        how long ago the last event was, and nothing else
    linear         logistic and Tweedie regression
    trees          gradient-boosted trees
    targetwise     one of them for every target and horizon
    purchases      how often, since when and for how much somebody bought
    buying         BG/NBD, Pareto/NBD and Gamma-Gamma
    btyd           one of the former with the latter, for the targets that they answer
    repeat_buying  the same on readout features, for the blend
"""

from training.baselines.btyd import BUYING_MODELS, BuyTillYouDie, fit_buy_till_you_die
from training.baselines.features import FeatureMatrix
from training.baselines.targetwise import BASELINES, Baseline, fit_baseline

BASELINE_NAMES = (*BASELINES, *BUYING_MODELS)
"""By which configuration, tables and reports know them."""

__all__ = [
    "BASELINES",
    "BASELINE_NAMES",
    "BUYING_MODELS",
    "Baseline",
    "BuyTillYouDie",
    "FeatureMatrix",
    "fit_baseline",
    "fit_buy_till_you_die",
]
