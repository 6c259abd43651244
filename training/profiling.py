"""Where the time of a fit goes, on request (``trainer.profiler``).

It deliberately records a few steps in the middle: a trace of a whole run is too large to open.
"""

from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.profilers import AdvancedProfiler, Profiler, SimpleProfiler
from torch.profiler import ProfilerAction

from holdfast.errors import ConfigError

FOLDER = "profile"
"""Within the folder of the run."""

TRACE_NAME = "trace.json"
TABLE_NAME = "operators.txt"
TRACED_STEPS = 5
SKIPPED_STEPS = 10
"""Steps before the recorded ones: the first are slower than all others. Fewer where there are few."""

KINDS = (None, "simple", "advanced", "pytorch")


def profiling(kind: Any, folder: Path) -> tuple[Profiler | None, list[Callback]]:
    """Return Lightning's profiler and the callbacks that a kind of profile asks for.

    Args:
        kind: None for none; ``simple``: time by Lightning's hooks; ``advanced``: the same by Python
            function; ``pytorch``: a trace of some steps, operator by operator.
        folder: Of the run.

    Raises:
        ConfigError: There is no such kind.
    """
    if kind not in KINDS:
        raise ConfigError("trainer.profiler", kind, f"it must be one of {list(KINDS)}")
    target = folder / FOLDER
    if kind == "pytorch":
        return None, [StepTrace(target)]
    if kind is None:
        return None, []
    target.mkdir(parents=True, exist_ok=True)
    make = SimpleProfiler if kind == "simple" else AdvancedProfiler
    return make(dirpath=target, filename=kind), []


def action_at(num_left: int, step: int) -> ProfilerAction:
    """Return what the recorder does at a step of a fit that has so many to take.

    Some steps pass first; the one before the recorded ones is recorded and thrown away, because
    starting the recorder costs time. Where there are fewer steps, first the former yields, then the latter.
    """
    active = max(1, min(TRACED_STEPS, num_left - 1))
    warmup = min(1, num_left - active)
    begin = min(SKIPPED_STEPS, num_left - active - warmup) + warmup
    if step == begin + active - 1:
        return ProfilerAction.RECORD_AND_SAVE
    if begin <= step < begin + active:
        return ProfilerAction.RECORD
    return ProfilerAction.WARMUP if step == begin - warmup else ProfilerAction.NONE


class StepTrace(Callback):
    """Records some optimiser steps as a trace for ``chrome://tracing`` or ui.perfetto.dev."""

    def __init__(self, folder: Path) -> None:
        """Keep where the trace goes; a second fit of the run replaces the first one's."""
        self._folder = folder
        self._profile: torch.profiler.profile | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lay out which steps are recorded."""
        num_left = int(trainer.max_steps) - trainer.global_step
        activities = [torch.profiler.ProfilerActivity.CPU]
        if pl_module.device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._profile = torch.profiler.profile(
            activities=activities,
            schedule=partial(action_at, num_left),
            on_trace_ready=self._keep,
        )
        self._profile.start()

    def on_train_batch_end(self, *_: Any) -> None:
        """Count a step."""
        if self._profile is not None:
            self._profile.step()

    def on_train_end(self, *_: Any) -> None:
        """Stop recording."""
        self._stop()

    def on_exception(self, *_: Any) -> None:
        """Stop recording, whatever ended the fit."""
        self._stop()

    def _stop(self) -> None:
        if self._profile is not None:
            profile, self._profile = self._profile, None
            profile.stop()

    def _keep(self, profile: torch.profiler.profile) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        profile.export_chrome_trace(str(self._folder / TRACE_NAME))
        table = profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=40)
        (self._folder / TABLE_NAME).write_text(table + "\n", encoding="utf-8")
