"""A fit as it runs: a bar on a terminal, lines in a log file, curves in the loggers.

It deliberately measures nothing itself: :mod:`training.throughput` does.
"""

import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column
from rich.text import Text
from torch import Tensor

from training.batches import MicroBatch
from training.module import PoolSizes, TrainingModule
from training.throughput import Pace, Throughput, device_gib, resident_gib

ESTIMATE_STEP = 10
"""Steps of a start after which its whole time is told: the first ones warm up."""

LINE_SECONDS = 15.0
"""Between lines of a log, at least; and there are never more than about fifty."""


class FitProgress(Callback):
    """Tells how a fit goes, on a console or to the loggers alone."""

    def __init__(self, console: Console | None, *, clock: Callable[[], float] = time.perf_counter) -> None:
        """Keep where to tell.

        Args:
            console: None tells the loggers alone.
            clock: Seconds since whenever.
        """
        self._console, self._clock = console, clock
        self._bar: Progress | None = None
        # Of the last step that told it: not every step does.
        self._loss: Tensor | None = None
        self._left_out = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002 - the hook's
        """Start the clock, and the bar where there is a terminal."""
        first, last = trainer.global_step, int(trainer.max_steps)
        # Only one of several processes speaks.
        self._console = self._console if trainer.is_global_zero else None
        self._throughput = Throughput(step=first, num_steps=last, clock=self._clock)
        self._estimate_at = min(first + ESTIMATE_STEP, last)
        self._told_at, self._next_line = self._clock(), first
        if self._console is not None and self._console.is_terminal:
            figures = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"))
            self._bar = Progress(BarColumn(bar_width=8), figures, console=self._console)
            self._bar.add_task("", total=last, completed=first)
            self._bar.start()

    def on_validation_start(self, *_: Any) -> None:
        """Leave validations out of the time of steps."""
        self._throughput.pause()

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Tell the validation loss."""
        self._throughput.go_on()
        loss = trainer.callback_metrics.get("validation/loss")
        if loss is not None:
            self._say(f"step {trainer.global_step:,}: validation loss {float(loss):.4f}")

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ARG002 - the hook's
        batch: list[MicroBatch],
        batch_idx: int,  # noqa: ARG002 - the hook's
    ) -> None:
        """Count the step, tell the loggers, and people where it is time."""
        compiled = pl_module.compiled if isinstance(pl_module, TrainingModule) else None
        if compiled is not None and compiled.seconds_preparing > self._left_out:
            self._throughput.leave_out(compiled.seconds_preparing - self._left_out)
            self._left_out = compiled.seconds_preparing
        # Every process takes a like share of each pool.
        sizes, num = PoolSizes.of(batch), trainer.world_size
        pace = self._throughput.took(
            events=num * sizes.num_events, labels=num * sizes.num_readouts, padded=num * sizes.num_padded
        )
        memory, device = resident_gib(), device_gib(pl_module.device)
        figures = {
            "progress/events_per_second": pace.events_per_second,
            "progress/labels_per_second": pace.labels_per_second,
            "progress/padding_share": pace.padding_share,
            "progress/seconds_per_step": pace.seconds_per_step,
            "progress/seconds_left": pace.seconds_left,
            "progress/memory_gib": memory,
        } | ({} if device is None else {"progress/device_memory_gib": device})
        pl_module.log_dict(figures, batch_size=1)
        if self._console is None:
            return
        self._loss = trainer.callback_metrics.get("train/loss", self._loss)
        loss = None if self._loss is None else float(self._loss)
        line = line_of(pace, loss=loss, memory=memory, device=device)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=pace.step, description=line)
        elif pace.step >= self._next_line and self._clock() - self._told_at >= LINE_SECONDS:
            self._say(line)
            self._told_at, self._next_line = self._clock(), pace.step + pace.num_steps // 50
        if pace.step == self._estimate_at:
            self._say(
                f"the fit's {pace.num_steps:,} steps take about {duration(pace.seconds_in_all)} "
                f"at {pace.seconds_per_step:.2g} s a step"
            )

    def on_train_end(self, *_: Any) -> None:
        """Take the bar away."""
        self._close()

    def on_exception(self, *_: Any) -> None:
        """Take the bar away, so that the reason stands on a line of its own."""
        self._close()

    def _say(self, line: str) -> None:
        if self._console is not None:
            self._console.print(Text(line), soft_wrap=True)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def line_of(pace: Pace, *, loss: float | None, memory: float, device: float | None) -> str:
    """Return one line, which fits beside a small bar into a terminal of 100 columns."""
    parts = [f"{pace.step:,}/{pace.num_steps:,}", f"{duration(pace.seconds_left)} left"]
    parts += [] if loss is None else [f"loss {loss:.3f}"]
    parts += [
        f"{thousands(pace.events_per_second)} events/s",
        f"{thousands(pace.labels_per_second)} labels/s",
        f"padding {pace.padding_share:.0%}",
        f"{memory:.1f} GiB",
    ]
    parts += [] if device is None else [f"GPU {device:.1f} GiB"]
    return ", ".join(parts)


def thousands(rate: float) -> str:
    """Return a rate in three digits: 950, 12.3k, 4.56M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if rate >= size:
            return f"{rate / size:.3g}{unit}"
    return f"{rate:.0f}"


def duration(seconds: float) -> str:
    """Return a time span for people, in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
