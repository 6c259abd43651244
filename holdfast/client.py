"""Clients of a scoring server: tables in, typed results out; that for asyncio stands in :mod:`holdfast.aio`.

They deliberately know no model: what the server expects is asked once and remembered. What both
decide alike stands in :mod:`holdfast.calls`, :mod:`holdfast.channels` and :mod:`holdfast.retries`.
"""

import threading
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self

import grpc

from holdfast.aio import AsyncScoringClient
from holdfast.arguments import horizons_of
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

__all__ = ["AsyncScoringClient", "ScoringClient"]


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
        token: Token | None = None,
        num_channels: int = 1,
        compress_above_bytes: int | None = None,
    ) -> None:
        """Open the channels; the server is reached with the first call.

        Args:
            target: Address of the server, such as ``localhost:50051``.
            model: Name of the model that is wanted; empty for the one that the server has.
            timeout_seconds: Deadline of every request, further tries included; a large batch is
                several requests.
            credentials: For TLS; None for plain text.
            token: Bearer token that every request carries, or a function that gives the one of the
                moment; with credentials, or to a loopback address. None for none.
            num_channels: Connections to open. Each request takes the one with the fewest in
                flight, so that threads reach several processes behind one address.
            compress_above_bytes: Requests larger than this are compressed; None for none.

        Raises:
            ConfigError: An argument has no meaning.
        """
        self._manners = Manners(
            model=model,
            timeout_seconds=timeout_seconds,
            compress_above_bytes=compress_above_bytes,
            token=token,
        )
        self._channels = open_channels(target, num_channels, credentials=credentials, token=token, of=grpc)
        # Generated code without types.
        self._stubs = [ScoringServiceStub(channel) for channel in self._channels]  # type: ignore[no-untyped-call]
        self._balance = Balance(num_channels)
        self._description: ModelDescription | None = None
        self._closed = threading.Event()

    def model(self) -> ModelDescription:
        """Ask what the server has, and remember it.

        Raises:
            ServiceError: The server cannot be reached, or has no such model.
        """
        return self._ask_model(None)

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
        include_quantiles: bool = True,
        horizons_days: Sequence[int] = (),
        timeout_seconds: float | None = None,
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
            include_quantiles: Whether to answer with quantiles of amounts.
            horizons_days: Which horizons to answer, each one of the model's; empty for all.
            timeout_seconds: Until the deadline of the whole batch, beside that of each request;
                None for no further one.

        Returns:
            One result per customer, in order. A customer that cannot be scored has a fault.

        Raises:
            DataError: A table cannot be used; the message names row and column.
            ServiceError: The server refused a request, failed, or cannot be reached.
        """
        ask = Ask(
            as_of_us=time_us(as_of),
            include_survival=include_survival,
            include_embedding=include_embedding,
            include_quantiles=include_quantiles,
            horizons_days=horizons_of(horizons_days),
        )
        until = self._manners.until(timeout_seconds)
        # Rows that can be read only once would be gone when the schema turns out to have changed.
        events, customers = kept(events), kept(customers)
        for is_last_try in (False, True):
            description = self._description or self._ask_model(until)
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
                    results += read_response(self._call("Score", request, until), ids)
            except ServiceError as error:
                if is_last_try or not (is_other_model(error) or may_exceed_limits(error)):
                    raise
                found = self._ask_model(until)
                if may_exceed_limits(error) and found.limits == description.limits:
                    raise
            else:
                return results
        raise AssertionError("unreachable")

    def _ask_model(self, until: float | None) -> ModelDescription:
        request = pb.GetModelRequest(model=self._manners.model)
        self._description = read_model(self._call("GetModel", request, until))
        return self._description

    def _call(self, method: str, request: Any, until: float | None) -> Any:
        tries = self._manners.tries(until)
        while not self._closed.is_set():
            try:
                with self._balance.place() as index:
                    call = getattr(self._stubs[index], method)
                    return call(request, **self._manners.options(request, tries))
            except grpc.RpcError as error:
                if self._closed.is_set():
                    raise closed_error() from error
                wait_seconds = tries.wait_after(error)
            time.sleep(wait_seconds)
        raise closed_error()

    def close(self) -> None:
        """Close the channels; calls in flight, and any later ones, end with a ServiceError."""
        self._closed.set()
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the channels."""
        self.close()
