"""What the network itself gives, before any probability: the heads' raw outputs.

It deliberately does not know labels, losses or calibration; those read it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from training.model.distributions import log_event_by, log_sigmoid


@dataclass(frozen=True, slots=True, kw_only=True)
class AmountOutput:
    """Parameters of a zero-inflated lognormal.

    Attributes:
        positive_logit: Logit of "positive", or, where tied, of "positive given that the event came".
        mu: Location of the log of positive amounts; bounded.
        sigma: Its scale; bounded. Loss and prediction use this same value.
        unit: A typical amount, the same for all, for losses that need one.
        tied_to: The survival head that the positive mass follows, or None.
        tied_bin: The bin (1-based) of that head at whose end the amount's horizon lies.
        scores: Where quantiles lie, see :func:`training.model.distributions.lognormal_quantiles`.
    """

    positive_logit: Float[Tensor, "*axes"]
    mu: Float[Tensor, "*axes"]
    sigma: Float[Tensor, "*axes"]
    unit: float
    tied_to: str | None
    tied_bin: int
    scores: tuple[float, ...] = ()

    def log_masses(
        self, survival: Mapping[str, Float[Tensor, "*axes bin"]]
    ) -> tuple[Float[Tensor, "*axes"], Float[Tensor, "*axes"]]:
        """Return the log probabilities of a positive amount and of zero.

        Args:
            survival: Hazard logits by target, calibrated or not.
        """
        log_given, log_not_given = log_sigmoid(self.positive_logit), log_sigmoid(-self.positive_logit)
        if self.tied_to is None:
            return log_given, log_not_given
        hazard_logits = survival[self.tied_to]
        log_came = log_event_by(hazard_logits, bin_end=self.tied_bin)
        log_stayed_away = -torch.nn.functional.softplus(hazard_logits[..., : self.tied_bin]).sum(dim=-1)
        return log_came + log_given, torch.logaddexp(log_stayed_away, log_came + log_not_given)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountOutput:
    """Parameters of a count.

    Attributes:
        log_rate: Log of the expected count; bounded.
        log_dispersion: Log of the negative binomial's alpha (variance = m + alpha m^2); None for
            a Poisson.
    """

    log_rate: Float[Tensor, "*axes"]
    log_dispersion: Float[Tensor, "*axes"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NextEventOutput:
    """What every event says about the one after it.

    Attributes:
        type_logits: Per event type id.
        log_gap: Predicted ``log(1 + days until the next event)``.
    """

    type_logits: Float[Tensor, "*axes type"]
    log_gap: Float[Tensor, "*axes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawOutputs:
    """All heads, by target name.

    Attributes:
        survival: Hazard logits per bin.
        amounts: Parameters of amounts.
        counts: Parameters of counts.
        embedding: The readout's last state.
        next_event: The auxiliary outputs, only where they were asked for.
    """

    survival: Mapping[str, Float[Tensor, "*axes bin"]]
    amounts: Mapping[str, AmountOutput]
    counts: Mapping[str, CountOutput]
    embedding: Float[Tensor, "*axes channel"]
    next_event: NextEventOutput | None = None

    def map_readouts(self, change: Callable[[Tensor], Tensor]) -> "RawOutputs":
        """Return the outputs with every readout tensor changed; the auxiliary outputs are left out."""
        return RawOutputs(
            survival={name: change(logits) for name, logits in self.survival.items()},
            amounts={
                name: replace(
                    out, positive_logit=change(out.positive_logit), mu=change(out.mu), sigma=change(out.sigma)
                )
                for name, out in self.amounts.items()
            },
            counts={
                name: CountOutput(
                    log_rate=change(out.log_rate),
                    log_dispersion=None if out.log_dispersion is None else change(out.log_dispersion),
                )
                for name, out in self.counts.items()
            },
            embedding=change(self.embedding),
        )


def concatenate(parts: Sequence[RawOutputs]) -> RawOutputs:
    """Return the readouts of several batches one after another; each part has one leading axis.

    Select the real readouts of a batch first: ``raw.map_readouts(lambda x: x[is_real].cpu())``.
    """
    columns = [_tensors(part) for part in parts]
    joined = iter([torch.cat(column) for column in zip(*columns, strict=True)])
    return parts[0].map_readouts(lambda _: next(joined))


def _tensors(raw: RawOutputs) -> list[Tensor]:
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    raw.map_readouts(keep)
    return found
