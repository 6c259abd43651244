"""The scoring service: admits a call, scores it on a thread beside the event loop, answers.

It deliberately knows neither ports nor processes. It is the one place where an error becomes
a status of gRPC, and every call ends with an answer, a status or its own cancellation.
"""

import asyncio
import logging
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NoReturn

import grpc
import numpy as np
from google.protobuf import any_pb2, duration_pb2, message
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]

from holdfast.description import ModelDescription, write_model
from holdfast.errors import RequestError
from holdfast.v1 import scoring_pb2 as pb
from holdfast.v1.scoring_pb2_grpc import ScoringServiceServicer
from holdfast.wire import Limits, read_as_of_us, read_customers
from serving.answers import wanted_outputs, write_response
from serving.artifact import Artifact

RETRY_AFTER_SECONDS = 1
"""What a refused caller is told to wait: about the time in which a full queue empties."""

_Context = grpc.aio.ServicerContext[message.Message, message.Message]
_log = logging.getLogger(__name__)


class _GivenUpError(Exception):
    """Nobody waits for the call any more: its deadline has passed, or it was cancelled."""


class _Call:
    """Whether somebody still waits for a call; asked by the worker before every run."""

    def __init__(self, seconds_left: float | None) -> None:
        self._deadline = None if seconds_left is None else time.monotonic() + seconds_left
        self._is_cancelled = threading.Event()

    def cancel(self) -> None:
        self._is_cancelled.set()

    def check(self) -> None:
        """Raise if nobody waits."""
        is_late = self._deadline is not None and time.monotonic() >= self._deadline
        if is_late or self._is_cancelled.is_set():
            raise _GivenUpError


class ScoringServicer(ScoringServiceServicer):
    """``holdfast.v1.ScoringService``; owns the workers."""

    def __init__(self, *, limits: Limits, workers: int, max_in_flight: int) -> None:
        """Start without a model; calls are answered with UNAVAILABLE until :meth:`open`.

        Args:
            limits: What a request may hold.
            workers: Threads that score.
            max_in_flight: Calls being scored or waiting; one more is refused.
        """
        self._limits = limits
        self._max_in_flight = max_in_flight
        self._is_refusing = False
        self._in_flight = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._artifact: Artifact | None = None
        self._model = pb.GetModelResponse()
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="score")

    def open(self, artifact: Artifact) -> None:
        """Answer with this model from now on."""
        self._model = write_model(ModelDescription.of(artifact.manifest, self._limits))
        self._artifact = artifact

    def refuse(self) -> None:
        """Answer every new call with UNAVAILABLE from now on, which clients try again elsewhere."""
        self._is_refusing = True

    async def wait_idle(self) -> None:
        """Return as soon as no call is being scored or waits for a worker."""
        await self._is_idle.wait()

    def close(self) -> None:
        """Wait for the workers to end what they do, and drop what waits."""
        self._workers.shutdown(wait=True, cancel_futures=True)

    async def GetModel(self, request: pb.GetModelRequest, context: _Context) -> pb.GetModelResponse:  # noqa: N802 (gRPC's name)
        """Describe the model."""
        await self._find_artifact(request.model, context)
        return self._model

    async def Score(self, request: pb.ScoreRequest, context: _Context) -> pb.ScoreResponse:  # noqa: N802 (gRPC's name)
        """Score the customers of a request."""
        artifact = await self._find_artifact(request.model, context)
        fingerprint = self._model.schema.fingerprint
        if request.schema_fingerprint not in {"", fingerprint}:
            given = request.schema_fingerprint[:80]
            reason = f"the model's schema is {fingerprint}, not {given!r}: ask GetModel again"
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, reason)
        if self._in_flight >= self._max_in_flight:
            await _refuse_full(context, self._max_in_flight)
        call = _Call(context.time_remaining())
        job = asyncio.get_running_loop().run_in_executor(
            self._workers, partial(_score, artifact, request, self._limits, call)
        )
        self._in_flight += 1
        self._is_idle.clear()
        job.add_done_callback(self._release)
        try:
            # Shielded: a cancelled call keeps its place until the worker has seen that it is.
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            call.cancel()
            raise
        except RequestError as error:
            await _refuse_request(context, error)
        except _GivenUpError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before the answer")
        except Exception:  # noqa: BLE001 (whatever it was, the caller learns a number and the server lives)
            await _fail(context, request)

    def _release(self, job: "asyncio.Future[pb.ScoreResponse]") -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._is_idle.set()
        if not job.cancelled():
            # Looked at, so that asyncio does not report what a cancelled caller never saw.
            job.exception()

    async def _find_artifact(self, name: str, context: _Context) -> Artifact:
        if self._is_refusing:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
        if self._artifact is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the model is still being loaded")
        if name not in {"", self._artifact.manifest.name}:
            reason = f"there is no model {name[:80]!r} here, only {self._artifact.manifest.name!r}"
            await context.abort(grpc.StatusCode.NOT_FOUND, reason)
        return self._artifact


def _score(artifact: Artifact, request: pb.ScoreRequest, limits: Limits, call: _Call) -> pb.ScoreResponse:
    """Score a request; runs on a worker."""
    call.check()
    manifest = artifact.manifest
    as_of_us = read_as_of_us(request)
    received = read_customers(request, manifest.schema, limits=limits)
    predictions = artifact.predictor.predict(
        received.histories,
        np.full(received.histories.num_customers, as_of_us, dtype=np.int64),
        output_names=wanted_outputs(manifest, request),
        before_run=call.check,
    )
    return write_response(manifest, request, received, predictions)


async def _refuse_request(context: _Context, error: RequestError) -> NoReturn:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=error.field, description=f"got {error.value}, but {error.limit}"
    )
    detail = error_details_pb2.BadRequest(field_violations=[violation])
    await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, code_pb2.INVALID_ARGUMENT, str(error), detail)


async def _refuse_full(context: _Context, limit: int) -> NoReturn:
    detail = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=RETRY_AFTER_SECONDS))
    reason = f"{limit} requests are in flight, which is the limit: try again later"
    await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, code_pb2.RESOURCE_EXHAUSTED, reason, detail)


async def _fail(context: _Context, request: pb.ScoreRequest) -> NoReturn:
    """Log what happened under a number, and tell the caller the number alone."""
    failure = uuid.uuid4().hex[:12]
    _log.exception("scoring failed", extra={"failure": failure, "num_customers": len(request.customers)})
    await context.abort(grpc.StatusCode.INTERNAL, f"internal error {failure}; the server's log says more")
    raise AssertionError("abort always raises")


async def _abort(
    context: _Context, code: grpc.StatusCode, number: int, reason: str, detail: message.Message
) -> NoReturn:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status = status_pb2.Status(code=number, message=reason, details=[packed])
    await context.abort(code, reason, (("grpc-status-details-bin", status.SerializeToString()),))
    raise AssertionError("abort always raises")
