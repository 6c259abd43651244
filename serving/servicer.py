"""The scoring service: reads a request, has it scored, writes the answer.

It deliberately knows neither ports nor processes, nor how requests share a worker. Every call ends
with an answer, a status or its own cancellation.
"""

import grpc
import numpy as np

from holdfast.description import ModelDescription, write_model
from holdfast.v1 import scoring_pb2 as pb
from holdfast.wire import Limits, Received, read_as_of_us
from serving.answers import AnswerWriter
from serving.artifact import Artifact
from serving.errors import OtherSchemaError
from serving.reading import RawRequest, parse
from serving.scorer import Scored, Scorer
from serving.statuses import Context, abort

SCORING_SERVICE = pb.DESCRIPTOR.services_by_name["ScoringService"].full_name


class ScoringServicer:
    """``holdfast.v1.ScoringService``."""

    def __init__(self, scorer: Scorer, *, limits: Limits) -> None:
        """Keep what answers.

        Args:
            scorer: What scores, shared with every other service of the port.
            limits: What a request may hold.
        """
        self._scorer = scorer
        self._limits = limits
        self._known: tuple[Artifact, pb.GetModelResponse, AnswerWriter] | None = None

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register the service; Score takes and gives bytes, which are read and written here."""
        handlers = {
            "Score": grpc.unary_unary_rpc_method_handler(self.Score),
            "GetModel": grpc.unary_unary_rpc_method_handler(
                self.GetModel,
                request_deserializer=pb.GetModelRequest.FromString,
                response_serializer=pb.GetModelResponse.SerializeToString,
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SCORING_SERVICE, handlers),))

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:  # noqa: N802 (gRPC's name)
        """Describe the model."""
        try:
            return self._described(self._scorer.artifact(request.model))[0]
        except Exception as error:  # noqa: BLE001 (whatever it was, the caller learns a status)
            await abort(context, error)

    async def Score(self, data: bytes, context: Context) -> bytes:  # noqa: N802 (gRPC's name)
        """Score the customers of a request."""
        try:
            return await self._score(parse(data), context.time_remaining())
        except Exception as error:  # noqa: BLE001 (whatever it was, the caller learns a status)
            await abort(context, error)

    async def _score(self, raw: RawRequest, deadline_seconds: float | None) -> bytes:
        view = raw.view
        artifact = self._scorer.artifact(view.model)
        model, writer = self._described(artifact)
        if view.schema_fingerprint not in {"", model.schema.fingerprint}:
            given = view.schema_fingerprint[:80]
            raise OtherSchemaError(
                f"the model's schema is {model.schema.fingerprint}, not {given!r}: ask GetModel again"
            )
        as_of_us = read_as_of_us(view)
        received = raw.read(artifact.manifest.schema, limits=self._limits)
        num = received.histories.num_customers
        scored = await self._scorer.score(
            received.histories, np.full(num, as_of_us, dtype=np.int64), deadline_seconds=deadline_seconds
        )
        ids = [customer.customer_id for customer in view.customers]
        whole = scored if num == len(ids) else _spread(scored, received, num=len(ids))
        return writer.write(
            ids,
            whole.predictions,
            whole.faults,
            include_survival=view.include_survival,
            include_embedding=view.include_embedding,
        )

    def _described(self, artifact: Artifact) -> tuple[pb.GetModelResponse, AnswerWriter]:
        if self._known is None or self._known[0] is not artifact:
            model = write_model(ModelDescription.of(artifact.manifest, self._limits))
            self._known = (artifact, model, AnswerWriter(artifact.manifest))
        return self._known[1:]


def _spread(scored: Scored, received: Received, *, num: int) -> Scored:
    """Return the answer with a row for each of those, too, who were at fault before they were scored."""
    rows = received.positions
    faults = dict(received.errors) | {int(rows[row]): error for row, error in scored.faults.items()}
    return Scored(predictions=scored.predictions.spread(rows, num=num), faults=faults)
