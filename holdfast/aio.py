"""The asyncio client of a scoring server; :mod:`holdfast.client` has the blocking one, and offers both.

It deliberately decides nothing that the blocking one decides otherwise: what both do alike stands in
:mod:`holdfast.calls`, :mod:`holdfast.channels` and :mod:`holdfast.retries`.
"""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Self

import grpc

from holdfast.arguments import check_whole, horizons_of
from holdfast.bearer import Token
from holdfast.calls import (
    DEFAULT_TIMEOUT_SECONDS,
    Ask,
    Manners,
    is_other_model,
    kept,
    may_exceed_limits,
    time_us,
)
from holdfast.channels import Balance, open_channels
from holdfast.description import ModelDescription, read_model
from holdfast.errors import ServiceError
from holdfast.results import CustomerResult, read_response
from holdfast.retries import closed_error
from holdfast.tables import read_tables
from holdfast.v1 import scoring_pb2 as pb
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub


class AsyncScoringClient:
    """A client for asyncio; tables are converted on a thread beside the event loop.

    Use it as an asynchronous context manager, or await :meth:`close`.
    """

    def __init__(
        self,
        target: str,
        *,
        model: str = "",
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        credentials: grpc.ChannelCredentials | None = None,
        token: Token | None = None,
        num_channels: int = 1,
        compress_above_bytes: int | None = None,
        max_concurrent_requests: int = 4,
    ) -> None:
        """Open the channels; call it where an event loop runs.

        Args:
            target: See :class:`holdfast.client.ScoringClient`, also for the next six.
            model: Name of the model that is wanted.
            timeout_seconds: Deadline of every request.
            credentials: For TLS; None for plain text.
            token: Bearer token; a function that gives one is called on the event loop.
            num_channels: Connections to open.
            compress_above_bytes: Requests larger than this are compressed.
            max_concurrent_requests: How many requests of one batch are in flight at a time.

        Raises:
            ConfigError: An argument has no meaning.
        """
        check_whole("max_concurrent_requests", max_concurrent_requests, least=1)
        self._manners = Manners(
            model=model,
            timeout_seconds=timeout_seconds,
            compress_above_bytes=compress_above_bytes,
            token=token,
        )
        self._channels = open_channels(
            target, num_channels, credentials=credentials, token=token, of=grpc.aio
        )
        # Generated code without types.
        self._stubs = [ScoringServiceStub(channel) for channel in self._channels]  # type: ignore[no-untyped-call]
        self._balance = Balance(num_channels)
        self._max_concurrent_requests = max_concurrent_requests
        self._description: ModelDescription | None = None
        self._closed = threading.Event()

    async def model(self) -> ModelDescription:
        """Ask what the server has; see :meth:`holdfast.client.ScoringClient.model`."""
        return await self._ask_model(None)

    async def score(
        self,
        events: Any,
        *,
        as_of: datetime,
        customers: Any = None,
        customer_ids: Sequence[Any] | None = None,
        time_zone: str | None = None,
        include_survival: bool = False,
        include_embedding: bool = False,
        include_quantiles: bool = True,
        horizons_days: Sequence[int] = (),
        timeout_seconds: float | None = None,
    ) -> list[CustomerResult]:
        """Score customers at one point in time; see :meth:`holdfast.client.ScoringClient.score`."""
        ask = Ask(
            as_of_us=time_us(as_of),
            include_survival=include_survival,
            include_embedding=include_embedding,
            include_quantiles=include_quantiles,
            horizons_days=horizons_of(horizons_days),
        )
        until = self._manners.until(timeout_seconds)
        events, customers = kept(events), kept(customers)
        for is_last_try in (False, True):
            description = self._description or await self._ask_model(until)
            tabled = await asyncio.to_thread(
                read_tables,
                events,
                description.schema,
                customers=customers,
                customer_ids=customer_ids,
                time_zone=time_zone,
            )
            try:
                return await self._score_all(ask.requests(tabled, description), until)
            except ServiceError as error:
                if is_last_try or not (is_other_model(error) or may_exceed_limits(error)):
                    raise
                found = await self._ask_model(until)
                if may_exceed_limits(error) and found.limits == description.limits:
                    raise
        raise AssertionError("unreachable")

    async def _ask_model(self, until: float | None) -> ModelDescription:
        request = pb.GetModelRequest(model=self._manners.model)
        self._description = read_model(await self._call("GetModel", request, until))
        return self._description

    async def _call(self, method: str, request: Any, until: float | None) -> Any:
        tries = self._manners.tries(until)
        while not self._closed.is_set():
            try:
                with self._balance.place() as index:
                    call = getattr(self._stubs[index], method)
                    return await call(request, **self._manners.options(request, tries))
            except grpc.aio.AioRpcError as error:
                if self._closed.is_set():
                    raise closed_error() from error
                wait_seconds = tries.wait_after(error)
            except asyncio.CancelledError as error:
                # A channel that closes cancels its calls, and nobody has cancelled the task that waits.
                if self._closed.is_set() and not _is_cancelled():
                    raise closed_error() from error
                raise
            await asyncio.sleep(wait_seconds)
        raise closed_error()

    async def _score_all(
        self, requests: Iterator[tuple[pb.ScoreRequest, Sequence[Any]]], until: float | None
    ) -> list[CustomerResult]:
        slots = asyncio.Semaphore(self._max_concurrent_requests)

        async def score_one(request: pb.ScoreRequest, ids: Sequence[Any]) -> list[CustomerResult]:
            try:
                response = await self._call("Score", request, until)
            finally:
                slots.release()
            return read_response(response, ids)

        tasks: list[asyncio.Task[list[CustomerResult]]] = []
        try:
            while True:
                await slots.acquire()
                made = await asyncio.to_thread(next, requests, None)
                if made is None or any(task.done() and task.exception() for task in tasks):
                    break
                tasks.append(asyncio.create_task(score_one(*made)))
            return [result for results in await asyncio.gather(*tasks) for result in results]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Close the channels; calls in flight, and any later ones, end with a ServiceError."""
        self._closed.set()
        for channel in self._channels:
            await channel.close()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channels."""
        await self.close()


def _is_cancelled() -> bool:
    """Say whether somebody wants the task at hand to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
