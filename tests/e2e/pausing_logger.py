"""A logger that holds a run still in the middle of fitting, so that a test can kill it just there.

It deliberately logs nothing. A run names it on its command line; a run's identity does not depend on loggers.
"""

import signal
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger


class PausingLogger(Logger):
    """Waits for ever at the first metrics of a step or a later one."""

    name = version = "pause"

    def __init__(self, *, step: int, marker: str) -> None:
        """Keep when to pause.

        Args:
            step: First optimiser step whose metrics are not taken.
            marker: File that appears when the run stands still.
        """
        super().__init__()
        self._step, self._marker = step, Path(marker)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Take nothing."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Say that the run stands still, and wait for the signal that nobody survives."""
        if step is not None and step >= self._step:
            self._marker.touch()
            while True:
                signal.pause()
