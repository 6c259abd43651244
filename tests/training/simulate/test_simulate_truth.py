"""The truth: against outcomes, against counting, and against its own standard error."""

import datetime
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from training.simulate import SimulationConfig, simulate
from training.simulate.block import live, process_of
from training.simulate.event_log import EventLog
from training.simulate.process import Process
from training.simulate.truth import truth_of

KINDS = ("retailer", "subscription")
CUTOFF = datetime.datetime(2023, 12, 1, tzinfo=datetime.UTC)
DAY = 275
HORIZON = 60
ALLOWED = 4.0
"""Largest z of a fixed seed: far beyond chance (1 in 16,000), far below a defect."""


def config(kind: str, **values: object) -> SimulationConfig:
    """A business with one cutoff."""
    given = {"num_customers": 4_000, "seed": 3, "num_days": DAY + HORIZON, "cutoffs": (CUTOFF.isoformat(),)}
    given |= {"horizons_days": (20, HORIZON), "num_rollouts": 12}
    return SimulationConfig(kind=kind, **{**given, **values})


def outcomes(kind: str, out: Path) -> pl.DataFrame:
    """The truth at the longest horizon beside what really came."""
    events = pl.read_parquet(out / "events" / "*.parquet")
    window = events.filter(
        (pl.col("occurred_at") > CUTOFF)
        & (pl.col("occurred_at") <= CUTOFF + datetime.timedelta(days=HORIZON))
    )
    decisive, paid = (
        ("purchase", ["purchase", "return"]) if kind == "retailer" else ("cancellation", ["payment"])
    )
    came = window.group_by("customer_id").agg(
        (pl.col("event_type") == decisive).any().alias("came"),
        pl.col("amount").filter(pl.col("event_type").is_in(paid)).sum().clip(0.0).alias("spend"),
    )
    truth = pl.read_parquet(out / "truth.parquet").filter(pl.col("horizon_days") == HORIZON)
    joined = truth.join(came, on="customer_id", how="left").with_columns(
        pl.col("came").fill_null(value=False)
    )
    churned = ~pl.col("came") if kind == "retailer" else pl.col("came")
    return joined.with_columns(churned.cast(pl.Float64).alias("churned"), pl.col("spend").fill_null(0.0))


def z_of(rows: pl.DataFrame) -> float:
    """How far the churners are from their probabilities, in standard deviations."""
    p = rows["churn_probability"].to_numpy()
    error = rows["churn_standard_error"].to_numpy()
    variance = (p * (1 - p)).sum() + (error**2).sum()
    return float((rows["churned"].to_numpy() - p).sum() / np.sqrt(variance))


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_is_calibrated(kind: str, tmp_path: Path) -> None:
    """Churners and spend of the drawn future agree with the truth, over all and in every fifth."""
    simulate(config(kind), tmp_path / "out")
    rows = outcomes(kind, tmp_path / "out").sort("churn_probability")
    assert rows.height > 1_500
    assert abs(z_of(rows)) < ALLOWED
    fifths = np.array_split(np.arange(rows.height), 5)
    observed = [rows[fifth.tolist()]["churned"].mean() for fifth in fifths]
    for fifth in fifths:
        assert abs(z_of(rows[fifth.tolist()])) < ALLOWED
    # The truth separates: without it, calibration would be met by the base rate alone.
    assert observed[-1] - observed[0] > 0.2
    residual = (rows["spend"] - rows["expected_spend"]).to_numpy()
    assert abs(residual.mean()) < ALLOWED * residual.std() / np.sqrt(len(residual))
    assert np.corrcoef(rows["spend"], rows["expected_spend"])[0, 1] > 0.4


@cache
def snapshot(kind: str) -> tuple[SimulationConfig, Process, object]:
    """Some eligible customers at the cutoff, chosen to differ; left as they are by all who ask."""
    simulation = config(kind, num_customers=400)
    process = process_of(simulation)
    rng = np.random.default_rng(8)
    state, _ = process.draw_customers(rng, 400)
    states = live(process, state, simulation, rng=rng, sink=EventLog(), progress=lambda _work: None)
    at_cutoff = states[DAY]
    spread = np.argsort(at_cutoff.grievance, kind="stable")[:: max(1, len(at_cutoff) // 16)]
    return simulation, process, at_cutoff.take(spread)


class CountingSink:
    """Counts decisive events and sums paid amounts per row, from the events alone."""

    def __init__(self, num: int, decisive: int, paid: tuple[int, ...]) -> None:
        """Start at zero for ``num`` rows."""
        self.num_decisive, self.spend = np.zeros((2, num))
        self._decisive, self._paid = decisive, paid

    def add(
        self,
        kind: np.ndarray,
        row: np.ndarray,
        _day: int,
        *,
        amount: np.ndarray | None = None,
        **_rest: object,
    ) -> None:
        """Count and add up."""
        self.num_decisive[row[kind == self._decisive]] += 1
        at = np.isin(kind, self._paid)
        if amount is not None:
            self.spend[row[at]] += amount[at]


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_agrees_with_counting(kind: str) -> None:
    """Per customer: averaged hazards and brute-force counts of events give the same churn and spend."""
    simulation, process, state = snapshot(kind)
    names = process.event_types
    decisive = names.index("purchase" if kind == "retailer" else "cancellation")
    paid = [names.index(name) for name in (("purchase", "return") if kind == "retailer" else ("payment",))]
    truth = truth_of(
        process,
        state,
        day=DAY,
        horizons=(HORIZON,),
        num_rollouts=600,
        rng=np.random.default_rng(1),
        progress=lambda _work: None,
    )[:, 0]
    num, paths = len(state), 600
    rng = np.random.default_rng(2)
    counted = state.take(np.repeat(np.arange(num), paths))
    counted.row = np.arange(num * paths, dtype=np.int32)
    sink = CountingSink(num * paths, decisive, tuple(paid))
    for offset in range(HORIZON):
        process.step(counted, DAY + offset, rng, sink)
    came = (sink.num_decisive > 0).reshape(num, paths).mean(axis=1)
    churn = 1.0 - came if kind == "retailer" else came
    spend = np.maximum(sink.spend, 0.0).reshape(num, paths)

    churn_error = np.sqrt(truth[2] ** 2 + truth[0] * (1 - truth[0]) / paths)
    spend_error = np.sqrt(truth[3] ** 2 + spend.var(axis=1, ddof=1) / paths)
    churn_z, spend_z = (churn - truth[0]) / churn_error, (spend.mean(axis=1) - truth[1]) / spend_error
    assert num >= 16
    for z in (churn_z, spend_z):
        assert np.abs(z).max() < ALLOWED
        assert abs(z.sum()) < ALLOWED * np.sqrt(num)
    # Averaging hazards instead of counting is worth its trouble.
    assert truth[2].mean() < 0.7 * np.sqrt(truth[0] * (1 - truth[0]) / paths).mean()
    assert np.ptp(truth[0]) > 0.1
    assert simulation.horizons_days[-1] == HORIZON


@pytest.mark.parametrize("kind", KINDS)
def test_the_standard_error_is_honest(kind: str) -> None:
    """Two truths from other random numbers differ by as much as their standard errors say."""
    _, process, state = snapshot(kind)
    one, two = (
        truth_of(
            process,
            state,
            day=DAY,
            horizons=(20, HORIZON),
            num_rollouts=200,
            rng=np.random.default_rng(seed),
            progress=lambda _work: None,
        )
        for seed in (1, 2)
    )
    for measure in (0, 1):
        error = np.hypot(one[measure + 2], two[measure + 2])
        # A payment that falls due tomorrow is nearly certain: nothing is drawn, and nothing differs.
        is_drawn = error > 1e-3 * (0.01 + one[measure])
        z = (one[measure] - two[measure])[is_drawn] / error[is_drawn]
        assert len(z) >= 16
        assert 0.6 < np.sqrt((z**2).mean()) < 1.6


@pytest.mark.parametrize("kind", KINDS)
def test_following_customers_leaves_them_as_they_were(kind: str) -> None:
    """Asking for the truth changes no state, so asking twice gives the same answer."""
    _, process, state = snapshot(kind)
    before = state.take(np.arange(len(state)))
    answers = [process.roll_out(state, DAY, (5, 9), np.random.default_rng(4)) for _ in range(2)]
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(state.grievance, before.grievance)
    np.testing.assert_array_equal(state.row, before.row)


@pytest.mark.parametrize("kind", KINDS)
def test_a_longer_horizon_is_never_safer_than_a_shorter_one(kind: str) -> None:
    """Inactivity gets rarer with the horizon, cancellation gets likelier; payments only add up."""
    _, process, state = snapshot(kind)
    churn, spend = process.roll_out(state, DAY, (1, 20, HORIZON), np.random.default_rng(4))
    steps = np.diff(churn, axis=0)
    assert (steps <= 0).all() if kind == "retailer" else (steps >= 0).all()
    if kind == "subscription":
        assert (np.diff(spend, axis=0) >= 0).all()
