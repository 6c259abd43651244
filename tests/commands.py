"""Entry points of training called as a shell would call them, but within the test's own process.

They deliberately show no bar and take one thread: the rest is what a person would type.
"""

import sys
from importlib import import_module

import pytest

QUIET = ("show_progress=false", "threads=1")
TRAINING = ("training.train", "training.compare", "training.ablate", "training.sweep")
# "none" leaves logging alone; "disabled" would silence the loggers of every test that comes after.
NO_LOGS = ("hydra/job_logging=none", "hydra/hydra_logging=none")


def run_command(module: str, *arguments: str) -> None:
    """Run ``python -m <module> <arguments>`` in the working directory.

    Raises:
        SystemExit: As the process would end, where it ends with an error.
    """
    quiet = QUIET if module in TRAINING else ()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *arguments, *quiet, *NO_LOGS])
        import_module(module).main()
