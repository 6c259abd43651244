"""A fitted blend as plain values: experts, weights, and the calibration of what they say together.

It deliberately does not hold the sequence model, which stands without it too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from holdfast.schema import Schema
from training.baselines import FeatureMatrix
from training.blend.experts import Expert
from training.blend.joined import BlendWeights, blended
from training.blend.questions import Questions
from training.calibration import Calibration
from training.model.outputs import RawOutputs
from training.outcomes import Predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedBlend:
    """What stands beside the sequence model.

    Attributes:
        experts: By name, in the order of the weights, behind the sequence model.
        weights: Of the sequence model and the experts.
        calibration: Of the blend, fitted on a later window than weights of networks and trees.
    """

    experts: Mapping[str, Expert]
    weights: BlendWeights
    calibration: Calibration

    def weighed_as(self, weighed: "FittedBlend", schema: Schema) -> "FittedBlend":
        """Return this blend, fitted later, with weights and shape of one that could be weighed on a window.

        The weights are of the experts that had something to learn from then. One that no longer answers
        all that it answered stays as it was then.
        """
        questions = Questions.of(schema)
        experts = {}
        for name, then in weighed.experts.items():
            now = self.experts.get(name, then)
            experts[name] = now if (now.is_able(questions) >= then.is_able(questions)).all() else then
        return replace(self, experts=experts, weights=weighed.weights, calibration=weighed.calibration.shape)

    def predictions(self, schema: Schema, features: FeatureMatrix) -> dict[str, Predictions]:
        """Return what every expert says alone."""
        return {
            name: expert.baseline(name, schema).predict(features) for name, expert in self.experts.items()
        }

    def blended(self, raw: RawOutputs, said: Mapping[str, Predictions], schema: Schema) -> RawOutputs:
        """Return uncalibrated outputs of the blend.

        Args:
            raw: Uncalibrated outputs of the sequence model.
            said: What every expert said about the same readouts.
            schema: The targets.
        """
        questions = Questions.of(schema)
        answers = [torch.from_numpy(questions.answers(said[name])) for name in self.experts]
        return blended(raw, answers, self.weights, schema)
