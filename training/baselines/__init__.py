"""The models that everybody trusts, on the readout features: what a network has to beat.

They deliberately know neither events nor tensors: a matrix with names goes in, predictions in
the form of :mod:`training.outcomes` come out.

    features    the matrix
    single      what fits one horizon or one amount
    recency     how long ago the last event was, and nothing else
    linear      logistic and Tweedie regression
    trees       gradient-boosted trees
    targetwise  one of them for every target and horizon
"""

from training.baselines.features import FeatureMatrix
from training.baselines.targetwise import BASELINES, Baseline, fit_baseline

__all__ = ["BASELINES", "Baseline", "FeatureMatrix", "fit_baseline"]
