"""Tests of the raw outputs: zero masses that follow the survival head, and putting batches together."""

import numpy as np
import pytest
import scipy.special
import torch
from model_cases import encoded_histories, load_config, make_model, to_batch

from training.model import RawOutputs, concatenate
from training.model.outputs import AmountOutput


def amount(logit: torch.Tensor, *, tied_bin: int = 0) -> AmountOutput:
    """Return an amount that is tied where a bin is given."""
    return AmountOutput(
        positive_logit=logit,
        mu=torch.zeros_like(logit),
        sigma=torch.ones_like(logit),
        unit=1.0,
        tied_to="churn" if tied_bin else None,
        tied_bin=tied_bin,
    )


@pytest.mark.parametrize("tied_bin", [0, 1, 7, 12])
def test_masses_of_an_amount_add_up_and_follow_the_curve(tied_bin: int) -> None:
    """Tied: P(positive) = P(came by the horizon) times the share of those who then spend."""
    rng = np.random.default_rng(0)
    hazards, logit = rng.normal(-1, 2, (50, 12)), rng.normal(0, 2, 50)
    positive, zero = amount(torch.from_numpy(logit), tied_bin=tied_bin).log_masses(
        {"churn": torch.from_numpy(hazards)}
    )
    came = 1 - np.prod(1 - scipy.special.expit(hazards[:, :tied_bin]), axis=1) if tied_bin else 1.0
    np.testing.assert_allclose(positive.exp().numpy(), came * scipy.special.expit(logit), rtol=1e-9)
    np.testing.assert_allclose((positive.exp() + zero.exp()).numpy(), 1.0, rtol=1e-9)


@pytest.mark.parametrize("hazard", [-200.0, -50.0, 50.0, 200.0])
@pytest.mark.parametrize("logit", [-200.0, -50.0, 50.0, 200.0])
def test_masses_at_the_extremes_are_finite_with_finite_gradients(hazard: float, logit: float) -> None:
    """Neither mass becomes the log of a rounded zero, and no gradient NaN."""
    hazards = torch.full((1, 12), hazard, requires_grad=True)
    given = torch.tensor([logit], requires_grad=True)
    masses = torch.stack(amount(given, tied_bin=12).log_masses({"churn": hazards}))
    assert torch.isfinite(masses).all()
    masses.sum().backward()
    assert torch.isfinite(hazards.grad).all()
    assert torch.isfinite(given.grad).all()


def test_real_readouts_of_batches_can_be_put_together() -> None:
    """Selecting and concatenating keeps every output of every readout in order."""
    model = make_model(load_config(count_distribution="poisson"))
    encoded = encoded_histories((4, 9, 0))
    with torch.no_grad():
        whole = model(to_batch(encoded, [0, 1, 2]))
        parts = [model(to_batch(encoded, [row], length=9)) for row in range(3)]
    flat: RawOutputs = whole.map_readouts(lambda x: x.flatten(0, 1))
    joined = concatenate([part.map_readouts(lambda x: x.flatten(0, 1)) for part in parts])
    assert joined.amounts["spend"].tied_to == "churn"
    torch.testing.assert_close(joined.survival["churn"], flat.survival["churn"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(joined.amounts["spend"].mu, flat.amounts["spend"].mu, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        joined.counts["orders"].log_rate, flat.counts["orders"].log_rate, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(joined.embedding, flat.embedding, atol=1e-5, rtol=1e-5)
