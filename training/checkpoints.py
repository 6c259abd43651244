"""When a fit in progress is kept, and whether what was kept can be read.

It deliberately does not know what else lies in the folder of a run.
"""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from holdfast.errors import ArtifactError

CHECKPOINT_FOLDER = "checkpoints"
CHECKPOINT_NAME = "last.ckpt"


class StepCheckpoints(Checkpoint):
    """Keeps the newest of every so many steps, each when all that belongs to its step is done.

    Lightning's own are written before the validation of their step, and of the last step too. Who goes
    on from there never sees that validation, though it may have ended the fit; and of a fit that is
    over Lightning runs no hook, so that averaged weights would never be taken over. Here a step from
    which nothing is left to do has no checkpoint: it is taken again.
    """

    def __init__(self, path: Path, *, every_steps: int, validate_every: int | None) -> None:
        """Keep when and where.

        Args:
            path: Of the checkpoint; the newest takes the place of the one before it.
            every_steps: Optimiser steps between two.
            validate_every: Steps between two validations; None where there is none.
        """
        self._path, self._every, self._validate_every = path, every_steps, validate_every

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Keep a step that no validation follows."""
        if self._validate_every is None or trainer.global_step % self._validate_every:
            self._keep(trainer)

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Keep a step with its validation: Lightning calls checkpoints last, when others have judged it."""
        self._keep(trainer)

    def _keep(self, trainer: pl.Trainer) -> None:
        step = trainer.global_step
        if step % self._every == 0 and step < trainer.max_steps and not trainer.should_stop:
            trainer.save_checkpoint(self._path)


def checkpoint_of(folder: Path) -> Path:
    """Return where the checkpoint of a fit lies, or will lie."""
    return folder / CHECKPOINT_FOLDER / CHECKPOINT_NAME


def check_checkpoint(path: Path) -> None:
    """Read a checkpoint and forget it again.

    Raises:
        ArtifactError: It is damaged.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names no error of its own for a damaged file
        raise ArtifactError(path, f"it cannot be read: {type(error).__name__}") from error
    if not isinstance(content, dict) or "global_step" not in content:
        raise ArtifactError(path, "it is no checkpoint of a fit")
