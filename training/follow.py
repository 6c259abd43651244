"""One of the other processes of a fit (``python -m training.follow``); ``training.followers`` starts it.

It deliberately writes no file and judges nothing: it reads the store, takes its share of every step,
and ends when the fit does, or when the process that started it is gone.
"""

import json
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from training.entry import EXIT_ERROR, run_entry
from training.fitting import fit_weights
from training.run_config import RunConfig
from training.run_setup import trainer_factory
from training.store import HistoryStore
from training.task import Task


def follow(request: dict[str, Any]) -> None:
    """Take part in one fit.

    Args:
        request: ``settings``, ``fit_on``, ``folder`` and ``checkpoint``, as the leader has them.
    """
    config = RunConfig.from_plain(request["settings"])
    # The leader has verified it, or made it.
    store = HistoryStore.open(Path(request["settings"]["store_dir"]), verify=False)
    task = replace(Task.of(config.data, store), fit_on=request["fit_on"])
    settings = OmegaConf.create(request["settings"] | {"show_progress": False})
    fit_weights(
        task,
        config.fit,
        trainer=trainer_factory(settings, []),
        folder=Path(request["folder"]),
        checkpoint=None if request["checkpoint"] is None else Path(request["checkpoint"]),
    )


def _end_with_leader() -> None:
    """Wait until the leader has closed its end of the pipe; the system does that for one that was killed."""
    # Not through sys.stdin: a thread that waits there holds its lock, and would keep the process from ending.
    os.read(sys.stdin.fileno(), 1)
    os._exit(EXIT_ERROR)


@run_entry
def main() -> None:
    """Read the request and follow it."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_leader, daemon=True).start()
    follow(request)
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: the threads of a process group may keep an interpreter from ending for minutes.
    os._exit(0)


if __name__ == "__main__":
    main()
