"""A version into several processes: all of them have it, or none goes over to it.

It deliberately does not know whether it is to be served or tried out, nor where versions lie.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from holdfast.errors import ArtifactError, RunError
from serving.child import Child
from serving.versions import Version


class Loading:
    """Has processes load versions one after the other, so that the others answer meanwhile."""

    def __init__(
        self,
        members: Callable[[], Sequence[Child]],
        prepare: Callable[[Child, Version], Coroutine[Any, Any, str]],
    ) -> None:
        """Begin without suspicion.

        Args:
            members: Returns the processes that there are just then.
            prepare: Has one of them load a version, and returns its model.
        """
        self._members, self._prepare = members, prepare
        self._suspected: Version | None = None

    async def load(self, version: Version) -> dict[Child, str]:
        """Return the model by process that listens, once all of them have loaded the version.

        Raises:
            ArtifactError: One of them refuses it, or it ended two.
            RunError: One of them has ended while it loaded it.
        """
        models: dict[Child, str] = {}
        # Asked anew every time: one may have ended meanwhile, and another listen in its place.
        while member := next((one for one in self.listening() if one not in models), None):
            try:
                models[member] = await self._prepare(member, version)
            except RunError as error:
                # What ends two is hardly chance, such as a model that memory has no room for: no third tries.
                if version == self._suspected:
                    raise ArtifactError(version.folder, "processes end while they load it") from error
                self._suspected = version
                raise
        return models

    def listening(self) -> Sequence[Child]:
        """Return the processes that listen."""
        return [member for member in self._members() if member.is_listening]


async def have_all(members: Iterable[Child], order: Callable[[Child], Coroutine[Any, Any, None]]) -> None:
    """Give an order to some processes; whichever has ended meanwhile needs it no more."""
    for ended in await asyncio.gather(*(order(member) for member in members), return_exceptions=True):
        if isinstance(ended, BaseException) and not isinstance(ended, RunError):
            raise ended
