"""What a supervisor may ask of a process that serves, and what the process says: a line of JSON each.

It deliberately starts and ends nobody. Orders are answered as they are done, not one after the other: what
was noticed can be asked while a version is loaded.

================================  ======================  ==================================================
order                             asks                    answer
================================  ======================  ==================================================
``{"noticed": null}``             what was noticed        a :data:`serving.recording.Snapshot`
``{"prepare": [...]}``            to load a version:      ``{"model": ...}``, or
                                  folder, identity        ``{"refused": [file, reason]}``
``{"swap": null}``                to serve what was       ``null``
                                  loaded last
``{"prepare_candidate": [...]}``  to load a candidate     as for a version
``{"try_out": null}``             to have as candidate    ``null``
                                  what was loaded last
``{"end_trial": null}``           to have no candidate    ``null``
================================  ======================  ==================================================
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from holdfast.errors import ArtifactError, HoldfastError
from serving.preparing import Prepared
from serving.server import ScoringServer
from serving.versions import Version, Versions

_log = logging.getLogger(__name__)

NOTICED, PREPARE, SWAP = "noticed", "prepare", "swap"
PREPARE_CANDIDATE, TRY_OUT, END_TRIAL = "prepare_candidate", "try_out", "end_trial"


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

    async def do(name: str, order: Any) -> None:
        say({name: await doing[name](order)})

    doing = _doing(server, versions)
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


def _doing(server: ScoringServer, versions: Versions) -> Mapping[str, Callable[[Any], Awaitable[Any]]]:
    """Return what is done for every order."""

    async def noticed(_: None) -> Any:
        return server.scorer.snapshot()

    async def prepare(order: tuple[str, str]) -> Any:
        return await _prepared(versions.prepare, order)

    async def swap(_: None) -> Any:
        await versions.swap(server.open)

    async def prepare_candidate(order: tuple[str, str]) -> Any:
        return await _prepared(versions.prepare_candidate, order)

    async def try_out(_: None) -> Any:
        versions.try_out(server.take)

    async def end_trial(_: None) -> Any:
        versions.end_trial(server.take)

    return {
        NOTICED: noticed,
        PREPARE: prepare,
        SWAP: swap,
        PREPARE_CANDIDATE: prepare_candidate,
        TRY_OUT: try_out,
        END_TRIAL: end_trial,
    }


async def _prepared(
    prepare: Callable[[Version], Awaitable[Prepared]], order: tuple[str, str]
) -> Mapping[str, Any]:
    """Return the model that a version turned out to be, or why it is refused."""
    version = Version(folder=Path(order[0]), identity=order[1])
    try:
        manifest = (await prepare(version)).artifact.manifest
    except ArtifactError as error:
        return {"refused": (str(error.path), error.reason)}
    except HoldfastError as error:
        return {"refused": (str(version.folder), str(error))}
    except Exception as error:  # noqa: BLE001 (whatever it was, what is served goes on)
        _log.error("version refused", extra={"artifact": str(version.folder)}, exc_info=error)
        return {"refused": (str(version.folder), f"{type(error).__name__}: {error}")}
    return {"model": f"{manifest.name} {manifest.version}"}
