"""``inference.GRPCInferenceService``: the second way to the one scorer.

It deliberately knows neither ports nor batching, and turns no error into a status itself.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message

import holdfast
from holdfast.inference import open_inference_pb2 as pb
from holdfast.manifest import Manifest
from serving.asking import AskedHistories, parsed
from serving.errors import UnavailableError, UnknownModelError
from serving.open_inference.inputs import Asked, read_inputs
from serving.open_inference.outputs import wanted_outputs, write_metadata, write_outputs
from serving.scored import Scored
from serving.scorer import Scorer
from serving.statuses import Context, Counted, abort

OPEN_INFERENCE_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
SERVER_NAME = "holdfast"
BYTES_ON_THE_LOOP = 65_536
"""Larger requests are read on a thread, so that nobody else's call waits for that."""

_RESPONSES: Mapping[str, type[Message]] = {
    "ServerLive": pb.ServerLiveResponse,
    "ServerReady": pb.ServerReadyResponse,
    "ModelReady": pb.ModelReadyResponse,
    "ServerMetadata": pb.ServerMetadataResponse,
    "ModelMetadata": pb.ModelMetadataResponse,
    "ModelInfer": pb.ModelInferResponse,
}
"""What every method answers with."""


class OpenInferenceServicer:
    """Answers clients of Triton and KServe."""

    def __init__(self, scorer: Scorer) -> None:
        """Keep what scores; it is shared with every other service of the port, and may have no model yet."""
        self._scorer = scorer

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service; requests come as bytes: what is none is refused like any other."""
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(
                getattr(self, name), response_serializer=response.SerializeToString
            )
            for name, response in _RESPONSES.items()
        }
        generic = grpc.method_handlers_generic_handler(OPEN_INFERENCE_SERVICE, handlers)
        server.add_generic_rpc_handlers((generic,))

    async def ServerLive(self, _data: bytes, _context: Context) -> pb.ServerLiveResponse:  # noqa: N802 (gRPC's name)
        """Say that there is a server."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, _data: bytes, _context: Context) -> pb.ServerReadyResponse:  # noqa: N802 (gRPC's name)
        """Say whether requests are answered."""
        return pb.ServerReadyResponse(ready=self._is_ready("", ""))

    async def ModelReady(self, data: bytes, context: Context) -> pb.ModelReadyResponse:  # noqa: N802 (gRPC's name)
        """Say whether requests to a model are answered; one that is not here is not ready."""
        try:
            request = parsed(pb.ModelReadyRequest, data)
            return pb.ModelReadyResponse(ready=self._is_ready(request.name, request.version))
        except Exception as error:  # noqa: BLE001 (one place turns whatever it was into a status)
            await abort(context, error)

    async def ServerMetadata(  # noqa: N802 (gRPC's name)
        self, _data: bytes, _context: Context
    ) -> pb.ServerMetadataResponse:
        """Name the server."""
        return pb.ServerMetadataResponse(name=SERVER_NAME, version=holdfast.__version__)

    async def ModelMetadata(self, data: bytes, context: Context) -> pb.ModelMetadataResponse:  # noqa: N802 (gRPC's name)
        """Describe the tensors of the model."""
        try:
            request = parsed(pb.ModelMetadataRequest, data)
            return write_metadata(self._scorer.artifact(request.name, request.version).manifest)
        except Exception as error:  # noqa: BLE001 (one place turns whatever it was into a status)
            await abort(context, error)

    async def ModelInfer(self, data: bytes, context: Context) -> pb.ModelInferResponse:  # noqa: N802 (gRPC's name)
        """Score the customers of a request."""
        try:
            with Counted(self._scorer.recorder, OPEN_INFERENCE_SERVICE):
                return await self._infer(parsed(pb.ModelInferRequest, data), context.time_remaining())
        except Exception as error:  # noqa: BLE001 (one place turns whatever it was into a status)
            # This frame stays with the call; see abort.
            data = b""
            await abort(context, error)

    async def _infer(
        self, request: pb.ModelInferRequest, deadline_seconds: float | None
    ) -> pb.ModelInferResponse:
        names, asked = await self._read(request)
        # Tensors say nothing of who the customers are; a version that was named is what answers.
        is_free = bool(request.id) and not request.model_version
        manifest, scored = await self._scorer.answer(
            AskedHistories(histories=asked.histories),
            asked.as_of_us,
            lambda artifact: partial(_with, artifact.manifest),
            deadline_seconds=deadline_seconds,
            customer_id=request.id.encode() if is_free else None,
        )
        return write_outputs(manifest, request, names, asked, scored.predictions, scored.faults)

    async def _read(self, request: pb.ModelInferRequest) -> tuple[Sequence[str], Asked]:
        """Read a request for the model that is served when it has been read."""
        while True:
            artifact = self._scorer.artifact(request.model_name, request.model_version)
            manifest, limits = artifact.manifest, self._scorer.limits
            names = wanted_outputs(manifest, request)
            if request.ByteSize() <= BYTES_ON_THE_LOOP:
                asked = read_inputs(request, manifest.schema, limits=limits)
            else:
                asked = await asyncio.to_thread(read_inputs, request, manifest.schema, limits=limits)
            # Another version may be served by now, of another schema.
            if self._scorer.artifact(request.model_name, request.model_version) is artifact:
                return names, asked

    def _is_ready(self, name: str, version: str) -> bool:
        try:
            self._scorer.artifact(name, version)
        except (UnavailableError, UnknownModelError):
            return False
        return True


def _with(manifest: Manifest, scored: Scored) -> tuple[Manifest, Scored]:
    return manifest, scored
