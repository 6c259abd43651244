"""Where Hydra says that a multirun has ended: one table of all its jobs.

It deliberately does nothing for a command whose jobs leave nothing to tabulate.
"""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from training.entry import EXIT_ERROR, wide_console
from training.sweeps.jobs import multirun_result
from training.sweeps.table import keep, render_sweep


class ResultsTable(Callback):
    """Prints and keeps the table of a multirun (``hydra.callbacks`` of ``conf/train.yaml``)."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Show what the jobs left in the folder of the multirun.

        Raises:
            SystemExit: Some job failed; the others are in the table all the same.
        """
        folder = Path(config.hydra.sweep.dir)
        result = multirun_result(folder)
        if result is None:
            return
        console = wide_console()
        console.print(render_sweep(result))
        keep(result, folder)
        console.print(f"table: {folder / 'sweep.json'}", soft_wrap=True)
        if any(row["state"] == "failed" for row in result["rows"]):
            raise SystemExit(EXIT_ERROR)
