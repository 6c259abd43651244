"""What a supervisor may ask of a process that serves, and what the process says: a line of JSON each.

It deliberately starts and ends nobody. Orders are answered as they are done, not one after the other: what
was noticed can be asked while a version is loaded.

======================  ======================  =====================================================
order                   asks                    answer
======================  ======================  =====================================================
``{"noticed": null}``   what was noticed        a :data:`serving.recording.Snapshot`
``{"prepare": [...]}``  to load a version:      ``{"model": ...}``, or
                        folder, identity        ``{"refused": [file, reason]}``
``{"swap": null}``      to serve what was       ``null``
                        loaded last
======================  ======================  =====================================================
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from holdfast.errors import ArtifactError, HoldfastError
from serving.server import ScoringServer
from serving.versions import Version, Versions

_log = logging.getLogger(__name__)

NOTICED, PREPARE, SWAP = "noticed", "prepare", "swap"


async def obey(
    orders: asyncio.StreamReader,
    say: Callable[[Mapping[str, Any]], None],
    server: ScoringServer,
    versions: Versions,
) -> None:
    """Do what is ordered, until nobody is left who could order anything.

    Args:
        orders: Where they come from.
        say: Says an answer.
        server: What serves.
        versions: What it may serve.
    """

    async def noticed(_: None) -> Any:
        return server.scorer.snapshot()

    async def prepare(order: tuple[str, str]) -> Any:
        return await _prepared(versions, Version(folder=Path(order[0]), identity=order[1]))

    async def swap(_: None) -> Any:
        await versions.swap(server.open)

    async def do(name: str, order: Any) -> None:
        say({name: await doing[name](order)})

    doing: Mapping[str, Callable[[Any], Awaitable[Any]]] = {NOTICED: noticed, PREPARE: prepare, SWAP: swap}
    tasks: set[asyncio.Task[None]] = set()
    try:
        while line := await orders.readline():
            for name, order in json.loads(line).items():
                task = asyncio.create_task(do(name, order))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
    finally:
        for task in tasks:
            task.cancel()


async def _prepared(versions: Versions, version: Version) -> Mapping[str, Any]:
    """Return the model that a version turned out to be, or why it is refused."""
    try:
        manifest = (await versions.prepare(version)).artifact.manifest
    except ArtifactError as error:
        return {"refused": (str(error.path), error.reason)}
    except HoldfastError as error:
        return {"refused": (str(version.folder), str(error))}
    except Exception as error:  # noqa: BLE001 (whatever it was, what is served goes on)
        _log.error("version refused", extra={"artifact": str(version.folder)}, exc_info=error)
        return {"refused": (str(version.folder), f"{type(error).__name__}: {error}")}
    return {"model": f"{manifest.name} {manifest.version}"}
