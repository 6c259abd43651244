"""Entry: ``python -m serving --artifact DIR --port 50051``.

It deliberately imports nothing before a signal means what it means to a server that serves: what the
command needs takes a second or more, and a stop meanwhile is a stop like any other.
"""

import os
import signal
import sys

if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):
        # There is nothing to end yet, and an exception would rise in the middle of somebody's import.
        signal.signal(number, lambda *_: os._exit(0))
    from serving.command import main

    sys.exit(main())
