"""Tests of the soft bins against sums over single events and numerical integrals."""

import numpy as np
import pytest
import torch
from model_cases import load_config

from training.model.time_bins import TimeBins
from training.model.timeline import MAX_AGE_DAYS, event_ages, visible_events

HISTORY_DAYS = 365


@pytest.fixture
def bins() -> TimeBins:
    """Return bins with random weights."""
    torch.manual_seed(0)
    return TimeBins(load_config(), history_days=HISTORY_DAYS)


def soft_weights(age: np.ndarray, num_bins: int) -> np.ndarray:
    """Return [..., bin]: linear between neighbouring centres in log(1 + age), by interpolation."""
    centres = np.linspace(0, np.log1p(HISTORY_DAYS), num_bins)
    return np.stack(
        [np.interp(np.log1p(age), centres, np.eye(num_bins)[k]) for k in range(num_bins)], axis=-1
    )


def run(bins: TimeBins, events: torch.Tensor, ages: torch.Tensor, visible: torch.Tensor) -> np.ndarray:
    """Return [batch, readout, (sum, cumulative, rate), bin, kind]."""
    out = bins(events, ages, visible).detach().numpy()
    return out.reshape(*out.shape[:2], 3, bins.num_bins, -1)


def test_sums_rates_and_counts_equal_a_loop_over_events(bins: TimeBins) -> None:
    """Per bin and kind: the sum over visible events of weight times count, its running sum, its rate."""
    rng = np.random.default_rng(1)
    days = np.sort(rng.uniform(0, 300, (2, 9))).astype(np.float32)
    readout_days = np.array([[310.0, 200.0, 350.0]] * 2, dtype=np.float32)
    visible = (days[:, None, :] <= readout_days[..., None]).sum(axis=-1)
    visible[1, 2] = 4
    events = torch.randn(2, 9, 16)
    ages = event_ages(torch.from_numpy(days), torch.from_numpy(readout_days))
    mask = visible_events(torch.from_numpy(visible), torch.from_numpy(days))
    found = run(bins, events, ages, mask)
    counted = torch.nn.functional.softplus(bins.kinds(events)).detach().numpy().astype(np.float64)
    counted = np.concatenate([counted, np.ones((2, 9, 1))], axis=-1)
    fine = np.linspace(0, HISTORY_DAYS, 400_001)
    reach = np.cumsum(soft_weights(fine, bins.num_bins), axis=1)
    for row in range(2):
        for readout in range(3):
            sums = np.zeros((bins.num_bins, counted.shape[-1]))
            for event in range(visible[row, readout]):
                age = float(readout_days[row, readout]) - float(days[row, event])
                sums += soft_weights(np.array(age), bins.num_bins)[:, None] * counted[row, event]
            tenure = float(readout_days[row, readout] - days[row, 0])
            exposure = np.trapezoid(reach * (fine <= tenure)[:, None], fine, axis=0)
            cumulative = np.cumsum(sums, axis=0)
            rate = np.log(cumulative + 0.5) - np.log(exposure + 1.0)[:, None]
            expected = np.stack([np.log1p(sums), np.log1p(cumulative), rate])
            np.testing.assert_allclose(found[row, readout], expected, atol=2e-4)


def test_every_event_counts_once_over_all_bins(bins: TimeBins) -> None:
    """The weights of an event add up to 1, at age 0, at the end of the history and beyond it."""
    ages = torch.tensor([[[0.0, 1e-4, 3.0, 364.999, 365.0, 365.001, MAX_AGE_DAYS]]])
    mask = torch.ones_like(ages, dtype=torch.bool)
    counts = np.expm1(run(bins, torch.randn(1, 7, 16), ages, mask)[0, 0, 1, -1, -1])
    assert counts == pytest.approx(7.0, abs=1e-4)


def test_no_visible_event_gives_exact_zeros_and_a_prior_rate(bins: TimeBins) -> None:
    """Counts are exactly 0, and the rate is that of half an event in a day, whatever lies ahead."""
    ages = torch.rand(1, 2, 5) * 100
    out = run(bins, torch.randn(1, 5, 16) * 50, ages, torch.zeros(1, 2, 5, dtype=torch.bool))
    assert (out[:, :, :2] == 0).all()
    np.testing.assert_allclose(out[:, :, 2], np.log(0.5), atol=1e-6)


def test_invisible_events_do_not_count_bit_for_bit(bins: TimeBins) -> None:
    """Events after the cutoff, of any size, leave every feature as it is."""
    events, days = torch.randn(1, 6, 16), torch.tensor([[1.0, 2.0, 3.0, 50.0, 60.0, 70.0]])
    visible = torch.tensor([[3, 0]])
    args = event_ages(days, torch.tensor([[4.0, 0.5]])), visible_events(visible, days)
    before = bins(events, *args)
    events[0, 3:] = 1e6
    days[0, 3:] += 1e6
    after = bins(events, event_ages(days, torch.tensor([[4.0, 0.5]])), args[1])
    assert torch.equal(before[:, 0], after[:, 0])
    events[:] = -1e6
    assert torch.equal(before[:, 1], bins(events, *args)[:, 1])


def test_exposure_never_exceeds_the_observed_time(bins: TimeBins) -> None:
    """A customer of three days has at most three days of exposure in every bin."""
    ages = torch.tensor([[[3.0, 0.1]]])
    exposure = bins.exposure_days(ages, torch.ones(1, 1, 2, dtype=torch.bool))
    assert (exposure <= 3.0 + 1e-4).all()
    assert (torch.diff(exposure) >= -1e-4).all()
    assert exposure[0, 0, -1].item() == pytest.approx(3.0, abs=1e-4)


def test_ages_of_absurd_days_are_finite() -> None:
    """Days at the ends of float32 give an age that is clipped, not infinite."""
    ages = event_ages(torch.tensor([[-3e38, 3e38]]), torch.tensor([[3e38]]))
    assert ages.tolist() == [[[MAX_AGE_DAYS, 0.0]]]
    assert event_ages(torch.tensor([[5.0]]), torch.tensor([[3.0]])).item() == 0.0, (
        "an event that is yet to come"
    )
