"""Lightning around the model: one optimiser step per pool, a fixed schedule, progress in figures.

It deliberately does not know where pools come from, nor what becomes of the weights.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.autograd.profiler import record_function
from torch.optim.lr_scheduler import LambdaLR

from holdfast.errors import ConfigError, RunError
from training.batches import MicroBatch
from training.compiled import CompiledLosses
from training.losses import LabelTensors, LossWeights, loss_sums, part_weight
from training.model import SequenceModel
from training.ranks import add_gradients, added, own_gradients


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserConfig:
    """The schedule of a training run.

    Attributes:
        learning_rate: Peak of AdamW's learning rate.
        weight_decay: Of matrices; vectors (biases, norms) are not decayed.
        num_steps: Optimiser steps on labels; None takes as many as ``passes`` ask for.
        passes: How many cutoffs are seen per different training history, at most, where ``num_steps`` is
            None. A few histories bear no more passes than many, so the steps have to follow the data.
            How often a customer may be seen is bounded too, see :mod:`training.settling`.
        steps_range: Least and most steps that they may come to.
        pretraining_steps: Steps before them that learn nothing but the next event, from every customer
            and every event that training may see, labelled or not.
        warmup_steps: Steps of linear rise, at most a third of all; after them and after pretraining it
            falls linearly to zero.
        gradient_clip: Largest norm of a step's gradient.
        ema_decay: Of the exponential moving average of the weights; 0 switches it off.
        early_stopping_patience: Validations without improvement after which training stops; None
            keeps to the schedule, because one validation cutoff measures mostly the level of its day.
        validations: How many times the validation loss is taken.
        checkpoint_every_steps: Steps between checkpoints to resume from.
    """

    learning_rate: float
    weight_decay: float
    num_steps: int | None
    passes: float
    steps_range: tuple[int, ...]
    pretraining_steps: int
    warmup_steps: int
    gradient_clip: float
    ema_decay: float
    early_stopping_patience: int | None
    validations: int
    checkpoint_every_steps: int

    def __post_init__(self) -> None:
        """Refuse a schedule that cannot run.

        Raises:
            ConfigError: Naming the key.
        """
        for name in ("num_steps", "validations", "checkpoint_every_steps", "early_stopping_patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"optimiser.{name}", value, "it must be at least 1")
        if len(self.steps_range) != 2 or not 1 <= self.steps_range[0] <= self.steps_range[1]:
            limit = "it must be two ascending numbers of at least 1"
            raise ConfigError("optimiser.steps_range", self.steps_range, limit)
        for name in ("learning_rate", "gradient_clip", "passes"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"optimiser.{name}", getattr(self, name), "it must be positive and finite")
        for name in ("pretraining_steps", "warmup_steps", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"optimiser.{name}", getattr(self, name), "it must be 0 or more")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError("optimiser.ema_decay", self.ema_decay, "it must lie in [0, 1)")

    def settled(self, *, wanted_steps: int) -> "OptimiserConfig":
        """Return the schedule with its number of steps decided: as given, else as wanted within the range."""
        if self.num_steps is not None:
            return self
        least, most = self.steps_range
        return replace(self, num_steps=min(max(wanted_steps, least), most))

    @property
    def total_steps(self) -> int:
        """Steps in all, once they are settled."""
        assert self.num_steps is not None, "a schedule is settled before it is run"
        return self.pretraining_steps + self.num_steps

    def factor(self, step: int) -> float:
        """Return the share of the peak learning rate at a step: up, flat while pretraining, down to zero."""
        total = self.total_steps
        warmup = min(self.warmup_steps, total // 3)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        descent = max(warmup, self.pretraining_steps)
        return min(1.0, max(0.0, (total - step) / (total - descent)))


class TrainingModule(pl.LightningModule):
    """Fits a :class:`SequenceModel` on pools of micro-batches."""

    def __init__(
        self,
        model: SequenceModel,
        optimiser: OptimiserConfig,
        weights: LossWeights,
        *,
        seed: int,
        compiled: CompiledLosses | None = None,
    ) -> None:
        """Keep the model and how it is fitted.

        Args:
            model: The network.
            optimiser: The schedule.
            weights: Of the parts of the loss.
            seed: Of dropout: together with the step it decides every mask, so that a resumed run
                goes on as the killed one would have.
            compiled: :func:`weighted_sums`, compiled, for training; None computes them as they stand.
        """
        super().__init__()
        self.automatic_optimization = False
        self.model, self.optimiser, self.weights, self.seed = model, optimiser, weights, seed
        self.compiled = compiled
        self._validated: dict[str, Tensor] = {}

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[LambdaLR]]:
        """Return AdamW and its schedule."""
        matrices = [p for p in self.model.parameters() if p.ndim >= 2]
        vectors = [p for p in self.model.parameters() if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": self.optimiser.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        adam = torch.optim.AdamW(groups, lr=self.optimiser.learning_rate, fused=True)

        # A plain function, because of anything else the schedule would put attributes into checkpoints.
        def factor(step: int) -> float:
            return self.optimiser.factor(step)

        return [adam], [LambdaLR(adam, factor)]

    def training_step(self, pool: list[MicroBatch], _: int) -> None:
        """Take one optimiser step on one pool, micro-batch by micro-batch."""
        adam, schedule = self.optimizers(), self.lr_schedulers()
        assert isinstance(adam, LightningOptimizer)
        assert isinstance(schedule, LambdaLR)
        torch.manual_seed(
            int(np.random.SeedSequence([self.seed, self.global_step, self.global_rank]).generate_state(1)[0])
        )
        adam.zero_grad(set_to_none=True)
        sizes = PoolSizes.of(pool).over_ranks(self)
        parts: dict[str, Tensor] = {}
        with own_gradients(self):
            for batch in pool:
                own = self._parts(batch, sizes, with_next_event=self.weights.next_event > 0)
                self.manual_backward(torch.stack(list(own.values())).sum())
                parts = {name: parts.get(name, 0.0) + value.detach() for name, value in own.items()}
        parts = add_gradients(self, parts)
        self.clip_gradients(
            adam.optimizer, gradient_clip_val=self.optimiser.gradient_clip, gradient_clip_algorithm="norm"
        )
        adam.step()
        schedule.step()
        self._log_step(parts)

    def on_validation_epoch_start(self) -> None:
        """Begin with empty sums."""
        self._validated = {}

    def validation_step(self, batch: MicroBatch, _: int) -> None:
        """Add up the loss of the averaged weights at validation cutoffs."""
        sums = self._sums(batch, with_next_event=False)
        sums["weight"] = batch.weights.sum()
        self._validated = {name: self._validated.get(name, 0.0) + value for name, value in sums.items()}

    def on_validation_epoch_end(self) -> None:
        """Log means over all validation cutoffs, whichever process had them.

        Raises:
            RunError: The loss is not finite: no later step can mend the weights.
        """
        sums = added(self, self._validated)
        weight = torch.clamp(sums.pop("weight"), min=1e-6)
        named = {f"validation/{name}": value / weight for name, value in sums.items()}
        loss = named["validation/loss"] = torch.stack(list(named.values())).sum()
        if not torch.isfinite(loss):
            advice = f"lower optimiser.learning_rate ({self.optimiser.learning_rate:g})"
            raise RunError(f"the validation loss is {loss:g} after step {self.global_step}: {advice}")
        self.log_dict(named, sync_dist=True)

    def whole_model(self) -> SequenceModel:
        """Return the fitted model."""
        return self.model

    @record_function("forward")
    def _parts(self, batch: MicroBatch, sizes: "PoolSizes", *, with_next_event: bool) -> dict[str, Tensor]:
        """Return the weighted parts of the loss, each divided by what the whole pool holds.

        The parts of a pool's micro-batches thus add up to the same loss, however it was split.
        """
        sums = self._sums(batch, with_next_event=with_next_event, compiled=self.compiled)
        return {
            name: value / max(1e-6, sizes.num_events if name == "next_event" else sizes.weight)
            for name, value in sums.items()
        }

    def _sums(
        self, batch: MicroBatch, *, with_next_event: bool, compiled: CompiledLosses | None = None
    ) -> dict[str, Tensor]:
        """Return the weighted parts of the loss, summed over a micro-batch."""
        settings: dict[str, Any] = {
            "model": self.model,
            "parts": self.weights,
            "with_next_event": with_next_event and self.model.config.use_next_event,
        }
        if compiled is not None:
            return compiled(batch, **settings)
        labels = LabelTensors.of(batch.labels, like=batch.weights)
        return weighted_sums(batch.inputs, labels, batch.weights, **settings)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Backpropagate, under a name of its own in traces."""
        with record_function("backward"):
            loss.backward(*args, **kwargs)

    def _log_step(self, parts: dict[str, Tensor]) -> None:
        # What the trainer would not write is not computed either: it takes a tenth of a small model's step.
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # its connector sets it
        if every == 0 or (self.global_step % every and self.global_step > 1):
            return
        loss = torch.stack(list(parts.values())).sum()
        named = {f"train/{name}": value for name, value in parts.items()} | {"train/loss": loss}
        named["progress/learning_rate"] = torch.tensor(
            self.optimiser.learning_rate * self.optimiser.factor(self.global_step)
        )
        self.log_dict(named)


def weighted_sums(
    inputs: Mapping[str, Tensor],
    labels: LabelTensors,
    weights: Float[Tensor, "batch readout"],
    *,
    model: SequenceModel,
    parts: LossWeights,
    with_next_event: bool,
) -> dict[str, Tensor]:
    """Return the weighted parts of the loss, summed over a batch, by name.

    Args:
        inputs: Of the model.
        labels: Of the batch's readouts.
        weights: How much each readout counts.
        model: Gives the outputs.
        parts: How much each part counts.
        with_next_event: Whether the auxiliary part is among them.
    """
    raw = model(inputs, with_next_event=with_next_event)
    sums = loss_sums(raw, labels, weights, parts, batch=inputs)
    return {name: part_weight(name, raw, parts) * total for name, (total, _) in sums.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSizes:
    """What the micro-batches of a step hold together."""

    num_readouts: int
    num_events: int
    num_padded: int
    weight: float

    @classmethod
    def of(cls, pool: list[MicroBatch]) -> "PoolSizes":
        """Add up the micro-batches."""
        return cls(
            num_readouts=sum(batch.num_readouts for batch in pool),
            num_events=sum(batch.num_events for batch in pool),
            num_padded=sum(batch.num_padded for batch in pool),
            weight=float(sum(batch.weights.sum() for batch in pool)),
        )

    def over_ranks(self, module: pl.LightningModule) -> "PoolSizes":
        """Return what the shares of all processes hold together: what a loss is divided by."""
        own = {name: torch.tensor(value, dtype=torch.float64) for name, value in asdict(self).items()}
        sums = {name: float(value) for name, value in added(module, own).items()}
        counts = {name: round(sums[name]) for name in ("num_readouts", "num_events", "num_padded")}
        return PoolSizes(**counts, weight=sums["weight"])
