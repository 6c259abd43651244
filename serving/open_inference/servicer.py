"""``inference.GRPCInferenceService``: the second way to the one scorer.

It deliberately knows neither ports nor batching, and turns no error into a status itself.
"""

import asyncio

import grpc

import holdfast
from holdfast.inference import open_inference_pb2 as pb
from holdfast.inference.open_inference_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)
from serving.errors import UnavailableError, UnknownModelError
from serving.open_inference.inputs import read_inputs
from serving.open_inference.outputs import wanted_outputs, write_metadata, write_outputs
from serving.scorer import Scorer
from serving.statuses import Context, Counted, abort

OPEN_INFERENCE_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
SERVER_NAME = "holdfast"
BYTES_ON_THE_LOOP = 65_536
"""Larger requests are read on a thread, so that nobody else's call waits for that."""


class OpenInferenceServicer(GRPCInferenceServiceServicer):
    """Answers clients of Triton and KServe."""

    def __init__(self, scorer: Scorer) -> None:
        """Keep what scores; it is shared with every other service of the port, and may have no model yet."""
        self._scorer = scorer

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service."""
        # Generated code without types.
        add_GRPCInferenceServiceServicer_to_server(self, server)  # type: ignore[no-untyped-call]

    async def ServerLive(  # noqa: N802 (gRPC's name)
        self, _request: pb.ServerLiveRequest, _context: Context
    ) -> pb.ServerLiveResponse:
        """Say that there is a server."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802 (gRPC's name)
        self, _request: pb.ServerReadyRequest, _context: Context
    ) -> pb.ServerReadyResponse:
        """Say whether requests are answered."""
        return pb.ServerReadyResponse(ready=self._is_ready("", ""))

    async def ModelReady(  # noqa: N802 (gRPC's name)
        self, request: pb.ModelReadyRequest, _context: Context
    ) -> pb.ModelReadyResponse:
        """Say whether requests to a model are answered; one that is not here is not ready."""
        return pb.ModelReadyResponse(ready=self._is_ready(request.name, request.version))

    async def ServerMetadata(  # noqa: N802 (gRPC's name)
        self, _request: pb.ServerMetadataRequest, _context: Context
    ) -> pb.ServerMetadataResponse:
        """Name the server."""
        return pb.ServerMetadataResponse(name=SERVER_NAME, version=holdfast.__version__)

    async def ModelMetadata(  # noqa: N802 (gRPC's name)
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        """Describe the tensors of the model."""
        try:
            return write_metadata(self._scorer.artifact(request.name, request.version).manifest)
        except Exception as error:  # noqa: BLE001 (one place turns whatever it was into a status)
            await abort(context, error)

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:  # noqa: N802 (gRPC's name)
        """Score the customers of a request."""
        try:
            with Counted(self._scorer.recorder, OPEN_INFERENCE_SERVICE):
                return await self._infer(request, context.time_remaining())
        except Exception as error:  # noqa: BLE001 (one place turns whatever it was into a status)
            await abort(context, error)

    async def _infer(
        self, request: pb.ModelInferRequest, deadline_seconds: float | None
    ) -> pb.ModelInferResponse:
        manifest = self._scorer.artifact(request.model_name, request.model_version).manifest
        names = wanted_outputs(manifest, request)
        if request.ByteSize() <= BYTES_ON_THE_LOOP:
            asked = read_inputs(request, manifest.schema, limits=self._scorer.limits)
        else:
            asked = await asyncio.to_thread(read_inputs, request, manifest.schema, limits=self._scorer.limits)
        scored = await self._scorer.score(
            asked.histories,
            asked.as_of_us,
            deadline_seconds=deadline_seconds,
        )
        return write_outputs(manifest, request, names, asked, scored.predictions, scored.faults)

    def _is_ready(self, name: str, version: str) -> bool:
        try:
            self._scorer.artifact(name, version)
        except (UnavailableError, UnknownModelError):
            return False
        return True
