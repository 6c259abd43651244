"""Clients of a scoring server, blocking and asyncio: tables in, typed results out.

They deliberately know no model: what the server expects is asked once and remembered.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Self

import grpc

from holdfast.calls import CHANNEL_OPTIONS, Ask, is_other_schema, kept, service_error, time_us
from holdfast.description import ModelDescription, read_model
from holdfast.results import CustomerResult, read_response
from holdfast.tables import read_tables
from holdfast.v1 import scoring_pb2 as pb
from holdfast.v1.scoring_pb2_grpc import ScoringServiceStub

DEFAULT_TIMEOUT_SECONDS = 30.0


class ScoringClient:
    """A blocking client; safe to share between threads.

    Use it as a context manager, or call :meth:`close`.
    """

    def __init__(
        self,
        target: str,
        *,
        model: str = "",
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """Open a channel; the server is reached with the first call.

        Args:
            target: Address of the server, such as ``localhost:50051``.
            model: Name of the model that is wanted; empty for the one that the server has.
            timeout_seconds: Deadline of every request; a large batch is several requests.
            credentials: For TLS; None for plain text.
        """
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options=CHANNEL_OPTIONS)
        else:
            self._channel = grpc.secure_channel(target, credentials, options=CHANNEL_OPTIONS)
        # Generated code without types.
        self._stub = ScoringServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._model_name = model
        self._timeout_seconds = timeout_seconds
        self._description: ModelDescription | None = None

    def model(self) -> ModelDescription:
        """Ask what the server has, and remember it.

        Raises:
            ServiceError: The server cannot be reached, or has no such model.
        """
        request = pb.GetModelRequest(model=self._model_name)
        try:
            response = self._stub.GetModel(request, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            raise service_error(error) from error
        self._description = read_model(response)
        return self._description

    def score(
        self,
        events: Any,
        *,
        as_of: datetime,
        customers: Any = None,
        customer_ids: Sequence[Any] | None = None,
        time_zone: str | None = None,
        include_survival: bool = False,
        include_embedding: bool = False,
    ) -> list[CustomerResult]:
        """Score customers at one point in time.

        Args:
            events: Rows or a Polars, pandas or Arrow table of canonical events; see
                :func:`holdfast.tables.read_tables` for it and the next three.
            as_of: The point in time, with a zone.
            customers: Attributes of customers.
            customer_ids: Who is scored, in which order; by default everyone named.
            time_zone: Zone of datetimes in the tables that have none.
            include_survival: Whether to answer with survival curves.
            include_embedding: Whether to answer with embeddings.

        Returns:
            One result per customer, in order. A customer that cannot be scored has a fault.

        Raises:
            DataError: A table cannot be used; the message names row and column.
            ServiceError: The server refused a request, failed, or cannot be reached.
        """
        ask = Ask(
            as_of_us=time_us(as_of), include_survival=include_survival, include_embedding=include_embedding
        )
        # Rows that can be read only once would be gone when the schema turns out to have changed.
        events, customers = kept(events), kept(customers)
        for is_last_try in (False, True):
            description = self._description or self.model()
            tabled = read_tables(
                events,
                description.schema,
                customers=customers,
                customer_ids=customer_ids,
                time_zone=time_zone,
            )
            try:
                results: list[CustomerResult] = []
                for request, ids in ask.requests(tabled, description):
                    results += read_response(self._stub.Score(request, timeout=self._timeout_seconds), ids)
            except grpc.RpcError as error:
                if is_last_try or not is_other_schema(error):
                    raise service_error(error) from error
                self._description = None
            else:
                return results
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the channel; calls in flight end with an error."""
        self._channel.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the channel."""
        self.close()


class AsyncScoringClient:
    """The same for asyncio; tables are converted on a thread beside the event loop.

    Use it as an asynchronous context manager, or await :meth:`close`.
    """

    def __init__(
        self,
        target: str,
        *,
        model: str = "",
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        credentials: grpc.ChannelCredentials | None = None,
        max_concurrent_requests: int = 4,
    ) -> None:
        """Open a channel; call it where an event loop runs.

        Args:
            target: Address of the server, such as ``localhost:50051``.
            model: Name of the model that is wanted; empty for the one that the server has.
            timeout_seconds: Deadline of every request; a large batch is several requests.
            credentials: For TLS; None for plain text.
            max_concurrent_requests: How many requests of one batch are in flight at a time.
        """
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options=CHANNEL_OPTIONS)
        # Generated code without types.
        self._stub = ScoringServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._model_name = model
        self._timeout_seconds = timeout_seconds
        self._max_concurrent_requests = max_concurrent_requests
        self._description: ModelDescription | None = None

    async def model(self) -> ModelDescription:
        """Ask what the server has; see :meth:`ScoringClient.model`."""
        request = pb.GetModelRequest(model=self._model_name)
        try:
            response = await self._stub.GetModel(request, timeout=self._timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise service_error(error) from error
        self._description = read_model(response)
        return self._description

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
    ) -> list[CustomerResult]:
        """Score customers at one point in time; see :meth:`ScoringClient.score`."""
        ask = Ask(
            as_of_us=time_us(as_of), include_survival=include_survival, include_embedding=include_embedding
        )
        events, customers = kept(events), kept(customers)
        for is_last_try in (False, True):
            description = self._description or await self.model()
            tabled = await asyncio.to_thread(
                read_tables,
                events,
                description.schema,
                customers=customers,
                customer_ids=customer_ids,
                time_zone=time_zone,
            )
            try:
                return await self._score_all(ask.requests(tabled, description))
            except grpc.aio.AioRpcError as error:
                if is_last_try or not is_other_schema(error):
                    raise service_error(error) from error
                self._description = None
        raise AssertionError("unreachable")

    async def _score_all(
        self, requests: Iterator[tuple[pb.ScoreRequest, Sequence[Any]]]
    ) -> list[CustomerResult]:
        slots = asyncio.Semaphore(self._max_concurrent_requests)

        async def score_one(request: pb.ScoreRequest, ids: Sequence[Any]) -> list[CustomerResult]:
            try:
                response = await self._stub.Score(request, timeout=self._timeout_seconds)
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
        """Close the channel; calls in flight end with an error."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the channel."""
        await self.close()
