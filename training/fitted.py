"""A trained model as plain values: what a run leaves behind and export and evaluation start from.

It deliberately does not know Lightning: a checkpoint to resume from is another file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from holdfast.encoding import EncodingSpec
from holdfast.errors import ArtifactError, ConfigError
from holdfast.plain import from_plain, to_plain
from training.baselines import FeatureMatrix
from training.blend.blend import FittedBlend
from training.calibration import Calibration, calibrated
from training.model import ModelConfig, RawOutputs, SequenceModel, TargetScales
from training.outcomes import Predictions
from training.whole_file import save_whole

FORM = 5
FILE_NAME = "model.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedModel:
    """A model with everything that was fitted around it.

    Attributes:
        model: In evaluation mode, on the CPU; it carries spec, configuration and scales.
        calibration: Of the model alone, fitted on the validation window.
        blend: The experts beside it and how they are joined, or None where it stands alone.
    """

    model: SequenceModel
    calibration: Calibration
    blend: FittedBlend | None

    @property
    def spec(self) -> EncodingSpec:
        """The encoding that the model was fitted with."""
        return self.model.spec

    def ask_experts(self, features: FeatureMatrix) -> dict[str, Predictions]:
        """Return what every expert beside the model says alone; nothing where there is none."""
        return {} if self.blend is None else self.blend.predictions(self.spec.schema, features)

    def joined(self, raw: RawOutputs, said: Mapping[str, Predictions]) -> RawOutputs:
        """Return the calibrated outputs of what is exported.

        Args:
            raw: Uncalibrated outputs of the sequence model.
            said: What the experts said about the same readouts.
        """
        if self.blend is None:
            return calibrated(raw, self.calibration)
        return calibrated(self.blend.blended(raw, said, self.spec.schema), self.blend.calibration)

    def save(self, folder: Path) -> Path:
        """Write ``model.pt``: a dictionary of plain values and tensors, complete or not at all.

        Raises:
            RunError: The disk is full or the folder cannot be written.
        """
        content = {
            "form": FORM,
            "spec": to_plain(self.model.spec),
            "config": to_plain(self.model.config),
            "scales": to_plain(self.model.scales),
            "calibration": to_plain(self.calibration),
            "blend": to_plain(self.blend),
            "weights": self.model.state_dict(),
        }
        path = folder / FILE_NAME
        save_whole(content, path)
        return path

    @classmethod
    def load(cls, folder: Path) -> "FittedModel":
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Raises:
            ArtifactError: The file is missing, damaged or of another form.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            raise ArtifactError(path, "there is none; a finished run of training.train leaves it")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch names no error of its own for a damaged file
            raise ArtifactError(path, f"it cannot be read: {type(error).__name__}") from error
        if not isinstance(content, dict) or content.get("form") != FORM:
            raise ArtifactError(path, f"it is not of form {FORM}, which this release reads")
        try:
            return cls._of(content)
        except KeyError as error:
            raise ArtifactError(path, f"it is damaged: {error} is not in it") from error
        except (ConfigError, TypeError, RuntimeError) as error:
            # PyTorch names every weight that does not fit, each on a line of its own.
            reason = str(error).strip().splitlines()[0]
            raise ArtifactError(path, f"it is damaged: {reason}") from error

    @classmethod
    def _of(cls, content: Mapping[str, Any]) -> "FittedModel":
        model = SequenceModel(
            from_plain(EncodingSpec, content["spec"]),
            from_plain(ModelConfig, content["config"]),
            from_plain(TargetScales, content["scales"]),
        )
        model.load_state_dict(content["weights"])
        blend = content["blend"]
        return cls(
            model=model.eval(),
            calibration=from_plain(Calibration, content["calibration"]),
            blend=None if blend is None else from_plain(FittedBlend, blend),
        )
