"""What is exported: one readout per row in, calibrated answers out.

It deliberately does not know ONNX, nor how the calibration was fitted. A server does no
arithmetic of its own on what comes out.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from holdfast.encoding.padding import EVENT_INPUTS, INPUT_NAMES
from holdfast.schema import Schema, Target
from training.blend.blend import FittedBlend
from training.blend.joined import blended
from training.blend.layers import expert_layer
from training.blend.questions import horizon_ends
from training.calibration import Calibration, calibrated
from training.model.distributions import at_ends, log_survival, lognormal_log_mean, lognormal_quantiles
from training.model.heads import FoldedHeads
from training.model.model import SequenceModel
from training.model.outputs import RawOutputs


class ScoringGraph(nn.Module):
    """The model, the experts beside it, calibration and answers as one function of tensors.

    Attributes:
        input_names: Names of the arguments of :meth:`forward`, in order.
        output_names: Names of what it returns, in order.
    """

    def __init__(
        self, model: SequenceModel, calibration: Calibration, blend: FittedBlend | None = None
    ) -> None:
        """Join the parts.

        Args:
            model: The trained model; it is put into evaluation mode.
            calibration: Of the model alone, fitted on a later window than the weights; a blend
                brings its own.
            blend: The experts beside the model and how they are joined, or None.
        """
        super().__init__()
        self.model, self.blend = model, blend
        self.calibration = calibration if blend is None else blend.calibration
        experts = blend.experts if blend is not None else {}
        self.experts = nn.ModuleDict(
            {name: expert_layer(name, expert, model.spec) for name, expert in experts.items()}
        )
        self.heads = FoldedHeads(model.in_order())
        self.schema, self.levels = model.spec.schema, model.config.quantile_levels
        self.input_names: tuple[str, ...] = INPUT_NAMES
        self.output_names: tuple[str, ...] = output_names(self.schema)
        self.eval()

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the answers.

        Args:
            *inputs: In the order of ``input_names``, shapes as ``holdfast.encoding.pad`` gives them;
                the length axis has at least one position.

        Returns:
            In the order of ``output_names``, one row per row; finite and in range for finite inputs.
        """
        named = dict(zip(self.input_names, inputs, strict=True))
        batch = {name: x if name in EVENT_INPUTS else x.unsqueeze(1) for name, x in named.items()}
        raw = self._folded(batch) if torch.compiler.is_exporting() else self._plain(batch)
        if self.blend is not None:
            said = [expert(named["readout_values"], named["readout_ids"]) for expert in self.experts.values()]
            raw = blended(raw, said, self.blend.weights, self.schema)
        answers = answer(calibrated(raw, self.calibration), self.schema, self.levels)
        return tuple(answers[name] for name in self.output_names)

    def _plain(self, batch: Mapping[str, Tensor]) -> RawOutputs:
        return self.model(batch).map_readouts(lambda x: x.squeeze(1))

    def _folded(self, batch: Mapping[str, Tensor]) -> RawOutputs:
        """Return the same with all heads in one map; what is exported is compared with the model's own."""
        told = self.model.tell(batch)
        outputs = self.heads(told.state, told.features, told.calendar)
        return self.model.read([x.squeeze(1) for x in outputs], told.state.squeeze(1))


def output_names(schema: Schema) -> tuple[str, ...]:
    """Return the names of the answers to a schema's targets, in order, ``embedding`` last."""
    kinds = {
        "time_to_event": ("probability", "survival"),
        "amount": ("expected", "quantiles"),
        "count": ("expected",),
    }
    names = [f"{target.name}_{kind}" for target in schema.targets for kind in kinds[target.kind]]
    return (*names, "embedding")


def answer(raw: RawOutputs, schema: Schema, levels: Sequence[float]) -> dict[str, Tensor]:
    """Return the answers by name, from raw outputs that are calibrated already.

    Args:
        raw: Outputs with any leading axes.
        schema: The targets.
        levels: Levels of the quantiles of amounts.

    Returns:
        Probabilities in [0, 1], survival curves that never rise, amounts and counts that are
        finite and not negative.
    """
    answers = {"embedding": raw.embedding}
    for target in schema.targets:
        name = target.name
        if target.kind == "time_to_event":
            survived = log_survival(raw.survival[name])
            answers[f"{name}_survival"] = torch.exp(survived)
            answers[f"{name}_probability"] = _probability(survived, target)
        elif target.kind == "amount":
            out = raw.amounts[name]
            log_positive, _ = out.log_masses(raw.survival)
            answers[f"{name}_expected"] = torch.exp(lognormal_log_mean(log_positive, out.mu, out.sigma))
            answers[f"{name}_quantiles"] = lognormal_quantiles(
                log_positive, out.mu, out.sigma, levels, out.scores
            )
        else:
            answers[f"{name}_expected"] = torch.exp(raw.counts[name].log_rate)
    return answers


def _probability(survived: Tensor, target: Target) -> Tensor:
    at_horizons = at_ends(survived, horizon_ends(target))
    # 1 - exp in this form keeps the digits of rare events.
    return torch.exp(at_horizons) if target.form == "inactivity" else -torch.expm1(at_horizons)
