"""Fits that end as by SIGKILL, at a step that a test chooses."""

import pytorch_lightning as pl


class Killed(BaseException):
    """Stands for SIGKILL: nothing between here and the test may handle it."""


class KillAfter(pl.Callback):
    """Kills a fit when so many steps have been taken."""

    def __init__(self, step: int) -> None:
        """Keep the number of steps."""
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        """Kill, if it is time."""
        if trainer.global_step == self.step:
            raise Killed


class KillInFit(KillAfter):
    """Kills the second of two fits, or a later one."""

    def __init__(self, number: int, step: int) -> None:
        """Keep which fit and which step."""
        super().__init__(step)
        self.number, self.num_fits = number, 0

    def on_fit_start(self, *_: object) -> None:
        """Count the fits."""
        self.num_fits += 1

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        """Kill, if it is that fit."""
        if self.num_fits == self.number:
            super().on_train_batch_start(trainer)
