"""The sequence model as plain modules: events and readouts to distributions.

It deliberately knows neither Lightning nor Hydra.

    config         every lever
    scales         where the targets lie
    embedding      ids and numbers to channels
    neighbours     events in the light of those just before them
    time_bins      sums over soft bins of event age
    attention      blocks for events and readouts
    encoders       transformer, GRU or none
    heads          states to parameters of distributions
    outputs        these parameters, by target
    distributions  survival, masses, means and quantiles
    model          all of it
    graph          what is exported: calibrated answers from one readout per row (imported from there,
                   because it joins the model with ``training.calibration``)
"""

from training.model.config import ModelConfig
from training.model.model import SequenceModel
from training.model.outputs import RawOutputs, concatenate
from training.model.scales import TargetScale, TargetScales, fit_target_scales

__all__ = [
    "ModelConfig",
    "RawOutputs",
    "SequenceModel",
    "TargetScale",
    "TargetScales",
    "concatenate",
    "fit_target_scales",
]
