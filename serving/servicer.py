"""The scoring service: reads a request, has it scored, writes the answer.

It deliberately knows neither ports nor processes, nor how requests share a worker. Every call ends
with an answer, a status or its own cancellation.
"""

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np

from holdfast.description import ModelDescription, write_model
from holdfast.manifest import Manifest
from holdfast.v1 import scoring_pb2 as pb
from holdfast.wire import read_as_of_us
from serving.answers import AnswerWriter, Wanted
from serving.artifact import Artifact
from serving.asking import AskedBytes, parsed
from serving.errors import OtherSchemaError
from serving.scored import Scored
from serving.scorer import Scorer
from serving.statuses import Context, Counted, abort

SCORING_SERVICE = pb.DESCRIPTOR.services_by_name["ScoringService"].full_name


class ScoringServicer:
    """``holdfast.v1.ScoringService``."""

    def __init__(self, scorer: Scorer) -> None:
        """Keep what scores; it is shared with every other service of the port."""
        self._scorer = scorer
        self._known: tuple[tuple[Manifest, pb.GetModelResponse, AnswerWriter], ...] = ()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service; requests come as bytes: what is none is refused like any other."""
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Score": grpc.unary_unary_rpc_method_handler(self.Score),
            "GetModel": grpc.unary_unary_rpc_method_handler(
                self.GetModel, response_serializer=pb.GetModelResponse.SerializeToString
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SCORING_SERVICE, handlers),))

    async def GetModel(self, data: bytes, context: Context) -> pb.GetModelResponse:  # noqa: N802 (gRPC's name)
        """Describe the model."""
        try:
            request = parsed(pb.GetModelRequest, data)
            return self._described(self._scorer.artifact(request.model))[0]
        except Exception as error:  # noqa: BLE001 (whatever it was, the caller learns a status)
            await abort(context, error)

    async def Score(self, data: bytes, context: Context) -> bytes:  # noqa: N802 (gRPC's name)
        """Score the customers of a request."""
        try:
            with Counted(self._scorer.recorder, SCORING_SERVICE):
                asked = AskedBytes.parse(data, limits=self._scorer.limits)
                return await self._score(asked, context.time_remaining())
        except Exception as error:  # noqa: BLE001 (whatever it was, the caller learns a status)
            # This frame stays with the call; see abort.
            data, asked = b"", None
            await abort(context, error)

    async def _score(self, asked: AskedBytes, deadline_seconds: float | None) -> bytes:
        view = asked.view
        artifact = self._scorer.artifact(view.model)
        model = self._described(artifact)[0]
        if view.schema_fingerprint not in {"", model.schema.fingerprint}:
            given = view.schema_fingerprint[:80]
            raise OtherSchemaError(
                f"the model's schema is {model.schema.fingerprint}, not {given!r}: ask GetModel again"
            )
        wanted = Wanted.of(view, artifact.manifest.schema.targets)
        asked.check(self._scorer.limits)
        as_of_us = np.full(len(asked.num_events), read_as_of_us(view), dtype=np.int64)

        def writing(artifact: Artifact) -> Callable[[Scored], bytes]:
            writer = self._described(artifact)[1]

            def write(scored: Scored) -> bytes:
                return writer.write(asked.customer_ids, scored.predictions, scored.faults, wanted=wanted)

            return write

        return await self._scorer.answer(
            asked,
            as_of_us,
            writing,
            deadline_seconds=deadline_seconds,
            customer_id=asked.customer_ids[0] if asked.customer_ids else None,
        )

    def _described(self, artifact: Artifact) -> tuple[pb.GetModelResponse, AnswerWriter]:
        manifest = artifact.manifest
        for known in self._known:
            if known[0] is manifest:
                return known[1:]
        model = write_model(ModelDescription.of(manifest, self._scorer.limits))
        made = (manifest, model, AnswerWriter(manifest))
        # One is served, and a candidate may be there beside it.
        self._known = (made, *self._known[:1])
        return made[1:]
