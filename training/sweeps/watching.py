"""The validation losses of a fit, told to a search while it runs: a hopeless trial is ended early.

It deliberately does not know who decides that.
"""

from typing import Any, Protocol

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class TrialEndedEarly(Exception):  # noqa: N818 - it is no error: the trial did what it was made for
    """Trials before this one stood better at the same validation."""


class Watcher(Protocol):
    """Whom validation losses are told."""

    def report(self, loss: float, validation: int) -> None:
        """Take the loss of a validation, counted from 1."""

    def should_end(self) -> bool:
        """Return whether the fit is to end here."""


class ValidationWatch(Callback):
    """Tells the loss of one part of the objective after every validation.

    What it has told is kept in checkpoints, so that a fit that is gone on with tells it again.
    """

    def __init__(self, watcher: Watcher, *, part: str, weight: float) -> None:
        """Keep whom to tell.

        Args:
            watcher: Whom.
            part: Name of the part: that of the target which the search is about.
            weight: Of the part in the loss; it is divided by, because a search may vary it.
        """
        self._watcher, self._name, self._weight = watcher, f"validation/{part}", weight
        self._losses: list[float] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - the hook's
        """Tell again what was told before the fit was interrupted."""
        for number, loss in enumerate(self._losses, start=1):
            self._watcher.report(loss, number)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Tell the newest loss.

        Raises:
            TrialEndedEarly: The watcher wants no more of this fit.
        """
        if self._name not in trainer.callback_metrics:
            return
        self._losses.append(float(trainer.callback_metrics[self._name]) / self._weight)
        self._watcher.report(self._losses[-1], len(self._losses))
        if self._watcher.should_end():
            raise TrialEndedEarly(f"at validation {len(self._losses)} earlier trials stood better")

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"losses": list(self._losses)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        self._losses = [float(loss) for loss in state_dict["losses"]]
