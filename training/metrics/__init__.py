"""How good predictions are, and how sure that is.

It deliberately does not know models, targets or horizons: labels and predictions come as
arrays, without missing ones.

    ranking      predictions in order, with ties as groups
    probability  of a probability against 0 and 1
    amount       of an expected amount against what came
    bootstrap    intervals, clustered by customer
    curves       points to draw: ROC, gains, reliability, deciles

Every metric takes one row of weights per replicate, so that all replicates of a bootstrap are
computed at once; that, and not taste, is why they are not scikit-learn's, which they equal (the
tests compare them).
"""

from training.metrics.amount import amount_metrics
from training.metrics.bootstrap import Bootstrap, Estimate
from training.metrics.probability import probability_metrics

__all__ = ["Bootstrap", "Estimate", "amount_metrics", "probability_metrics"]
