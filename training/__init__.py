"""From raw tables to an artifact: prepare, label, fit, calibrate, evaluate, export.

It deliberately does not know serving: the artifact on disk is all that they share.
"""

import os
import sys
from types import TracebackType

# ONNX Runtime's wheels report to their maker, over the network, unless this is set before they are imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say an interruption in one line, and anything else as Python does."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("error: interrupted\n")
    else:
        sys.__excepthook__(kind, error, trace)


# What the commands need takes seconds to import, and no entry point can guard that: where one of them is the
# program (python -m training....), this package is the first of it that is read.
if sys.argv[:1] == ["-m"]:
    sys.excepthook = _show
