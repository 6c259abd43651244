"""Entry of one of several processes that share a port; :mod:`serving.processes` starts it.

It deliberately decides nothing: settings come as the first line of standard input, it says there
when the model is ready, listens when it is told to, obeys whatever :mod:`serving.orders` has, and
stops by SIGTERM or when nobody is left who could tell it: at the end of its input.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Mapping
from typing import Any

from holdfast.errors import HoldfastError
from serving.collecting import collecting_little
from serving.logs import configure_logging
from serving.loop import run
from serving.orders import obey
from serving.preparing import prepare
from serving.server import ScoringServer
from serving.settings import Settings
from serving.versions import Versions, version_at


def main() -> int:
    """Serve as one of several.

    Returns:
        The exit code: 0 after a stop, 2 when the model could not be served.
    """
    settings = Settings.model_validate_json(sys.stdin.buffer.readline())
    configure_logging(settings.log_level)
    try:
        run(_serve(settings))
    except HoldfastError as error:
        print(f"cannot serve: {error}", file=sys.stderr)  # noqa: T201 (the one line that a person reads)
        return 2
    return 0


async def _serve(settings: Settings) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    orders = asyncio.StreamReader()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    server = ScoringServer(settings)
    stopped = asyncio.create_task(stopping.wait())
    version = version_at(settings.artifact)
    prepared = asyncio.create_task(asyncio.to_thread(prepare, settings))
    try:
        await asyncio.wait((prepared, stopped), return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            return
        measured, manifest = (await prepared).measured, (await prepared).artifact.manifest
        found = {"threads": measured.threads, "budget_events": measured.plan.budget_events}
        _say({"model": f"{manifest.name} {manifest.version}", "measured": found})
        # It may be stopped here too: the others take their time.
        told = asyncio.create_task(orders.readline())
        await asyncio.wait((told, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done() and await told:
            await server.open(await prepared)
            await server.start()
            _say({"port": server.port})
            versions = Versions(settings, await prepared, version)
            ended = asyncio.create_task(obey(orders, _say, server, versions))
            with collecting_little():
                await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
    finally:
        stopped.cancel()
        pipe.close()
        await server.stop(settings.grace_seconds)


def _say(what: Mapping[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
