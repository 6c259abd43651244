"""Tests of the losses against SciPy and scikit-learn in float64, and of what masks keep out."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from sklearn.metrics import mean_tweedie_deviance

from training.labels import Labels
from training.losses import (
    LabelTensors,
    LossWeights,
    amount_loss,
    count_loss,
    loss_sums,
    next_event_loss,
    survival_loss,
    total_loss,
    tweedie_loss,
)
from training.model.outputs import AmountOutput, CountOutput, NextEventOutput, RawOutputs

NUM_BINS = 12
WEIGHTS = LossWeights(time_to_event=1.0, amount=0.3, tweedie=0.2, count=0.4, next_event=0.5)
EXTREME_LOGITS = (-200.0, -50.0, 0.0, 50.0, 200.0)
EXTREME_AMOUNTS = (0.0, 1e-30, 1e-6, 1.0, 1e12, 1e30)


def survival_oracle(logits: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Return -log(S(lower) - S(upper)) in float64."""
    survived = np.cumprod(1 - scipy.special.expit(logits.astype(np.float64)), axis=-1)
    padded = np.concatenate([np.ones((len(logits), 1)), survived, np.zeros((len(logits), 1))], axis=1)
    rows = np.arange(len(logits))
    return -np.log(padded[rows, lower] - padded[rows, upper])


def intervals(num: int) -> tuple[np.ndarray, np.ndarray]:
    """Return every kind of interval: exact, survived all, censored, whether only, and wide ones."""
    rng = np.random.default_rng(3)
    lower = rng.integers(0, NUM_BINS + 1, num)
    upper = rng.integers(lower + 1, NUM_BINS + 2)
    return lower, upper


def test_survival_likelihood_of_every_interval() -> None:
    """S(lower) - S(upper) with S(0) = 1 and S(K + 1) = 0, for all 91 intervals and random curves."""
    pairs = np.array([(a, b) for a in range(NUM_BINS + 1) for b in range(a + 1, NUM_BINS + 2)])
    assert len(pairs) == 91
    logits = np.random.default_rng(0).normal(-1, 2, (91, NUM_BINS)).astype(np.float32)
    losses = survival_loss(
        torch.from_numpy(logits), torch.from_numpy(pairs[:, 0]), torch.from_numpy(pairs[:, 1])
    )
    np.testing.assert_allclose(losses.numpy(), survival_oracle(logits, *pairs.T), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("logit", EXTREME_LOGITS)
def test_survival_loss_is_exact_and_differentiable_at_extreme_logits(logit: float) -> None:
    """Where both survivals round to 1, or to 0, the loss is still their true difference."""
    lower, upper = (torch.from_numpy(x) for x in intervals(200))
    logits = torch.full((200, NUM_BINS), logit, requires_grad=True)
    losses = survival_loss(logits, lower, upper)
    assert torch.isfinite(losses).all()
    losses.sum().backward()
    assert torch.isfinite(logits.grad).all()
    exact = survival_loss(torch.tensor([[logit] * NUM_BINS]), torch.tensor([2]), torch.tensor([3])).item()
    assert exact == pytest.approx(2 * np.logaddexp(0, logit) + np.logaddexp(0, -logit), rel=1e-5, abs=1e-30)


def amount_output(logit: torch.Tensor, mu: torch.Tensor, sigma: torch.Tensor, **tie: object) -> AmountOutput:
    """Return an amount, tied where told."""
    return AmountOutput(
        positive_logit=logit, mu=mu, sigma=sigma, unit=20.0, **{"tied_to": None, "tied_bin": 0, **tie}
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("is_tied", [False, True])
def test_amount_likelihood_is_that_of_scipys_lognormal(is_tied: bool) -> None:
    """Zero: log of the zero mass; positive: log of the positive mass plus the log density."""
    rng = np.random.default_rng(1)
    logit, mu, sigma = rng.normal(0, 2, 300), rng.normal(3, 1, 300), rng.uniform(0.1, 2.5, 300)
    hazards = rng.normal(-2, 1, (300, NUM_BINS))
    amounts = np.where(rng.random(300) < 0.4, 0.0, rng.lognormal(3, 1.5, 300))
    tie = {"tied_to": "churn", "tied_bin": 4} if is_tied else {}
    out = amount_output(*(torch.from_numpy(x) for x in (logit, mu, sigma)), **tie)
    losses = amount_loss(out, {"churn": torch.from_numpy(hazards)}, torch.from_numpy(amounts))
    positive = scipy.special.expit(logit)
    if is_tied:
        positive = positive * (1 - np.prod(1 - scipy.special.expit(hazards[:, :4]), axis=1))
    density = scipy.stats.lognorm.logpdf(np.where(amounts > 0, amounts, 1.0), sigma, scale=np.exp(mu))
    expected = -np.where(amounts > 0, np.log(positive) + density, np.log1p(-positive))
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-8)


@pytest.mark.parametrize("amount", EXTREME_AMOUNTS)
@pytest.mark.parametrize("logit", EXTREME_LOGITS)
def test_amount_losses_are_finite_and_differentiable_at_the_extremes(logit: float, amount: float) -> None:
    """Amounts of 0, a millionth, a trillion; masses that round to 0 or 1; both ends of sigma."""
    leaves = [
        torch.full((2,), logit, requires_grad=True),
        torch.tensor([-30.0, 60.0], requires_grad=True),
        torch.tensor([0.1, 2.5], requires_grad=True),
        torch.full((2, NUM_BINS), logit, requires_grad=True),
    ]
    out = amount_output(*leaves[:3], tied_to="churn", tied_bin=NUM_BINS)
    log_expected = out.log_masses({"churn": leaves[3]})[0] + out.mu
    amounts = torch.full((2,), amount)
    for losses in (
        amount_loss(out, {"churn": leaves[3]}, amounts),
        tweedie_loss(log_expected, amounts, unit=20.0),
    ):
        assert torch.isfinite(losses).all()
        gradients = torch.autograd.grad(losses.sum(), leaves, retain_graph=True, allow_unused=True)
        assert all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None)


def test_tweedie_is_scikit_learns_deviance_in_units() -> None:
    """Power 1.5; measured in another unit, the deviance is divided by the root of it."""
    rng = np.random.default_rng(2)
    log_mean, amounts = (
        rng.normal(3, 1, 200),
        np.where(rng.random(200) < 0.4, 0.0, rng.lognormal(3, 1.5, 200)),
    )
    losses = tweedie_loss(torch.from_numpy(log_mean), torch.from_numpy(amounts), unit=1.0)
    expected = mean_tweedie_deviance(amounts, np.exp(log_mean), power=1.5)
    assert losses.mean().item() == pytest.approx(expected, rel=1e-9)
    in_units = tweedie_loss(torch.from_numpy(log_mean), torch.from_numpy(amounts), unit=25.0)
    np.testing.assert_allclose(in_units.numpy() * 5.0, losses.numpy(), rtol=1e-9)


def test_count_likelihoods_are_scipys() -> None:
    """Negative binomial with mean m and variance m + alpha m^2; Poisson with mean m."""
    rng = np.random.default_rng(4)
    log_rate, log_alpha, counts = (
        rng.normal(1, 1, 300),
        rng.uniform(-4, 2, 300),
        rng.poisson(3.0, 300).astype(float),
    )
    rate, size = np.exp(log_rate), np.exp(-log_alpha)
    tensors = [torch.from_numpy(x) for x in (log_rate, log_alpha, counts)]
    found = count_loss(CountOutput(log_rate=tensors[0], log_dispersion=tensors[1]), tensors[2])
    np.testing.assert_allclose(
        found.numpy(), -scipy.stats.nbinom.logpmf(counts, size, size / (size + rate)), rtol=1e-8
    )
    found = count_loss(CountOutput(log_rate=tensors[0], log_dispersion=None), tensors[2])
    np.testing.assert_allclose(found.numpy(), -scipy.stats.poisson.logpmf(counts, rate), rtol=1e-8)


@pytest.mark.parametrize("count", [0.0, 1.0, 1e4, 1e12])
@pytest.mark.parametrize("log_rate", [-20.0, 0.0, 28.0])
def test_count_losses_keep_their_digits_for_large_counts(count: float, log_rate: float) -> None:
    """In float32 the log-gamma terms of a trillion would cancel to nothing."""
    leaves = [torch.tensor([log_rate], requires_grad=True), torch.tensor([-4.0], requires_grad=True)]
    losses = count_loss(CountOutput(log_rate=leaves[0], log_dispersion=leaves[1]), torch.tensor([count]))
    size = np.exp(4.0)
    expected = -scipy.stats.nbinom.logpmf(count, size, size / (size + np.exp(log_rate)))
    assert losses.item() == pytest.approx(expected, rel=1e-3, abs=1e-3)
    gradients = torch.autograd.grad(losses.sum(), leaves)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_next_event_loss_counts_real_pairs_only() -> None:
    """Two histories of lengths 3 and 1: two pairs, whatever stands in the padding."""
    rng = np.random.default_rng(5)
    logits, gaps = torch.from_numpy(rng.normal(size=(2, 4, 5))), torch.from_numpy(rng.normal(size=(2, 4)))
    ids = torch.tensor([[2, 3, 4, 0], [2, 0, 0, 0]])[..., None]
    days = torch.tensor([[0.0, 1.0, 8.0, 0.0], [5.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    out = NextEventOutput(type_logits=logits, log_gap=gaps)
    total, num = next_event_loss(out, ids, days)
    entropy = -scipy.special.log_softmax(logits.numpy(), axis=-1)
    difference = np.abs(gaps[0, :2].numpy() - np.log1p([1.0, 7.0]))
    huber = np.where(difference < 1, 0.5 * difference**2, difference - 0.5).sum()
    assert num.item() == 2
    assert total.item() == pytest.approx(entropy[0, 0, 3] + entropy[0, 1, 4] + huber)
    logits[0, 2:], logits[1] = 1e6, -1e6
    assert next_event_loss(out, ids, days)[0].item() == pytest.approx(total.item())


def test_next_event_loss_of_one_event_is_zero() -> None:
    """A batch without any pair has nothing to teach and divides by nothing."""
    out = NextEventOutput(type_logits=torch.zeros(2, 1, 5), log_gap=torch.zeros(2, 1))
    total, num = next_event_loss(out, torch.full((2, 1, 2), 2), torch.zeros(2, 1))
    assert (total.item(), num.item()) == (0.0, 0.0)


def make_raw(batch: int, readouts: int, *, seed: int = 0) -> tuple[RawOutputs, list[torch.Tensor]]:
    """Return random outputs of three targets, and their leaves."""
    generator = torch.Generator().manual_seed(seed)
    leaves = [torch.randn(batch, readouts, NUM_BINS, generator=generator, requires_grad=True)]
    leaves += [torch.randn(batch, readouts, generator=generator, requires_grad=True) for _ in range(4)]
    raw = RawOutputs(
        survival={"churn": leaves[0]},
        amounts={
            "spend": amount_output(leaves[1], leaves[2], leaves[3].exp(), tied_to="churn", tied_bin=NUM_BINS)
        },
        counts={"orders": CountOutput(log_rate=leaves[4], log_dispersion=None)},
        embedding=torch.zeros(batch, readouts, 2),
    )
    return raw, leaves


def make_labels(batch: int, readouts: int) -> LabelTensors:
    """Return random labels in the shape of a batch."""
    lower, upper = intervals(batch * readouts)
    rng = np.random.default_rng(6)
    labels = Labels(
        lower={"churn": lower},
        upper={"churn": upper},
        values={
            "spend": rng.lognormal(0, 1, batch * readouts).astype(np.float32),
            "orders": rng.poisson(2, batch * readouts).astype(np.float32),
        },
    )
    return LabelTensors.of(labels, like=torch.zeros(batch, readouts, dtype=torch.bool))


def test_the_objective_is_the_weighted_sum_of_its_parts() -> None:
    """Each part by name, as the mean over real readouts; a weight of 0 leaves the part out."""
    raw, _ = make_raw(3, 4)
    labels, mask = make_labels(3, 4), torch.ones(3, 4, dtype=torch.bool)
    parts = total_loss(raw, labels, mask, WEIGHTS)
    assert set(parts) == {"loss", "churn", "spend", "spend_tweedie", "orders"}
    expected = parts["churn"] + 0.3 * parts["spend"] + 0.2 * parts["spend_tweedie"] + 0.4 * parts["orders"]
    torch.testing.assert_close(parts["loss"], expected)
    known = ~((labels.lower["churn"] == 0) & (labels.upper["churn"] == NUM_BINS + 1))
    by_hand = survival_loss(raw.survival["churn"], labels.lower["churn"], labels.upper["churn"])[known].mean()
    torch.testing.assert_close(parts["churn"], by_hand)
    alone = total_loss(raw, labels, mask, LossWeights(amount=0, tweedie=0, count=0))
    assert set(alone) == {"loss", "churn"}


def test_the_auxiliary_part_enters_where_the_model_gave_it() -> None:
    """With auxiliary outputs the objective has one more part."""
    raw, _ = make_raw(2, 3)
    out = NextEventOutput(type_logits=torch.randn(2, 5, 6), log_gap=torch.randn(2, 5))
    batch = {"event_ids": torch.full((2, 5, 1), 3), "event_days": torch.arange(10.0).reshape(2, 5)}
    with_aux = RawOutputs(
        survival=raw.survival, amounts=raw.amounts, counts=raw.counts, embedding=raw.embedding, next_event=out
    )
    labels, mask = make_labels(2, 3), torch.ones(2, 3, dtype=torch.bool)
    parts = total_loss(with_aux, labels, mask, WEIGHTS, batch=batch)
    total, num = next_event_loss(out, batch["event_ids"], batch["event_days"])
    torch.testing.assert_close(parts["next_event"], total / num)
    torch.testing.assert_close(
        parts["loss"], total_loss(raw, labels, mask, WEIGHTS)["loss"] + 0.5 * total / num
    )


def poison(labels: LabelTensors, kind: str) -> None:
    """Make the last readout of every row unusable."""
    if kind == "unknown":
        labels.lower["churn"][:, -1], labels.upper["churn"][:, -1] = 0, NUM_BINS + 1
    else:
        labels.lower["churn"][:, -1], labels.upper["churn"][:, -1] = 0, 0
    for values in labels.values.values():
        values[:, -1] = float("nan")


@pytest.mark.parametrize("kind", ["padded", "unknown"])
def test_masked_and_unknown_labels_change_neither_loss_nor_gradient(kind: str) -> None:
    """NaN labels, empty intervals, outputs of padded readouts at their bounds: as if they were not there."""
    raw, leaves = make_raw(3, 4)
    if kind == "padded":
        with torch.no_grad():
            for leaf, value in zip(leaves, (3e4, -3e4, 70.0, 0.9, 60.0), strict=True):
                leaf[:, -1] = value
    labels = make_labels(3, 4)
    poison(labels, kind)
    mask = torch.ones(3, 4, dtype=torch.bool)
    if kind == "padded":
        mask[:, -1] = False
    parts = total_loss(raw, labels, mask, WEIGHTS)
    parts["loss"].backward()
    small = make_labels(3, 4)
    shorter = LabelTensors(
        lower={n: x[:, :3] for n, x in small.lower.items()},
        upper={n: x[:, :3] for n, x in small.upper.items()},
        values={n: x[:, :3] for n, x in small.values.items()},
    )
    expected = total_loss(raw.map_readouts(lambda x: x[:, :3]), shorter, mask[:, :3], WEIGHTS)
    for name, value in expected.items():
        torch.testing.assert_close(parts[name], value)
    for leaf in leaves:
        assert torch.isfinite(leaf.grad).all()
        assert (leaf.grad[:, -1] == 0).all()


def test_a_batch_without_any_label_costs_nothing() -> None:
    """All masked: the objective is 0 and so is every gradient, never NaN."""
    raw, leaves = make_raw(2, 2)
    labels = make_labels(2, 2)
    parts = total_loss(raw, labels, torch.zeros(2, 2, dtype=torch.bool), WEIGHTS)
    assert parts["loss"].item() == 0.0
    parts["loss"].backward()
    assert all((leaf.grad == 0).all() for leaf in leaves if leaf.grad is not None)


def test_weights_of_readouts_are_repetitions() -> None:
    """A readout of weight 2 counts as two of weight 1."""
    raw, _ = make_raw(1, 2)
    labels = make_labels(1, 2)
    weighted = total_loss(raw, labels, torch.tensor([[2.0, 1.0]]), WEIGHTS)

    def pick(x: torch.Tensor) -> torch.Tensor:
        return x[:, [0, 0, 1]]

    repeated = LabelTensors(
        lower={n: pick(x) for n, x in labels.lower.items()},
        upper={n: pick(x) for n, x in labels.upper.items()},
        values={n: pick(x) for n, x in labels.values.items()},
    )
    expected = total_loss(raw.map_readouts(pick), repeated, torch.ones(1, 3, dtype=torch.bool), WEIGHTS)
    for name, value in expected.items():
        torch.testing.assert_close(weighted[name], value)


def test_sums_of_micro_batches_give_the_mean_of_the_whole() -> None:
    """Adding sums and weights of two unequal parts equals one batch."""
    raw, _ = make_raw(5, 3)
    labels, mask = make_labels(5, 3), torch.ones(5, 3, dtype=torch.bool)
    whole = loss_sums(raw, labels, mask, WEIGHTS)
    added: dict[str, list[torch.Tensor]] = {}
    for rows in (slice(0, 1), slice(1, 5)):
        part = LabelTensors(
            lower={n: x[rows] for n, x in labels.lower.items()},
            upper={n: x[rows] for n, x in labels.upper.items()},
            values={n: x[rows] for n, x in labels.values.items()},
        )
        sums = loss_sums(raw.map_readouts(lambda x, r=rows: x[r]), part, mask[rows], WEIGHTS)
        for name, pair in sums.items():
            added.setdefault(name, []).append(torch.stack(pair))
    for name, pair in whole.items():
        torch.testing.assert_close(torch.stack(pair), torch.stack(added[name]).sum(dim=0))


def test_without_survival_only_whether_it_came_counts() -> None:
    """The loss is the binary cross-entropy of the longest horizon; a censored window says nothing."""
    rng = np.random.default_rng(5)
    lower, upper = np.array([0, 3, 11, NUM_BINS, 5]), np.array([1, 4, 12, NUM_BINS + 1, NUM_BINS + 1])
    logits = torch.from_numpy(rng.normal(-2, 1, (1, 5, NUM_BINS)).astype(np.float32))
    raw = RawOutputs(
        embedding=torch.zeros(1, 5, 2), survival={"churn": logits}, amounts={}, counts={}, next_event=None
    )
    labels = LabelTensors(
        lower={"churn": torch.from_numpy(lower)[None]},
        upper={"churn": torch.from_numpy(upper)[None]},
        values={},
    )
    total, count = loss_sums(raw, labels, torch.ones(1, 5), LossWeights(use_survival=False))["churn"]
    survived = np.prod(1 - scipy.special.expit(logits[0, :4].numpy().astype(np.float64)), axis=-1)
    expected = -np.log(1 - survived[:3]).sum() - np.log(survived[3])
    assert count.item() == 4
    assert total.item() == pytest.approx(expected, rel=1e-5)
