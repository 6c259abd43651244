"""One request before the first: what is compiled when it is first called is compiled before anybody waits.

It deliberately leaves graph and encoding alone: both have been run by the golden cases.
"""

import numpy as np

from holdfast.results import ELIGIBLE_NAME, OBSERVED_NAMES
from holdfast.v1 import scoring_pb2 as pb
from holdfast.wire import Limits
from serving.answers import AnswerWriter, Wanted
from serving.artifact import Artifact
from serving.asking import AskedBytes
from serving.predictor import Predictions
from serving.reading import read_together


def rehearse(artifact: Artifact, *, limits: Limits) -> bytes:
    """Read a request about two customers without events, and return an answer that says nothing."""
    request = pb.ScoreRequest(customers=[pb.Customer(customer_id=name) for name in ("first", "second")])
    asked = AskedBytes.parse(request.SerializeToString(), limits=limits)
    read = read_together([asked], artifact.manifest.schema, limits=limits)
    nothing = np.zeros(len(read.rows), dtype=np.int64)
    noticed = dict.fromkeys(OBSERVED_NAMES, nothing) | {ELIGIBLE_NAME: nothing.astype(bool)}
    predictor = artifact.predictor
    outputs = predictor.run_blank(num=len(read.rows), length=int(predictor.plan.lengths[0]))
    writer = AnswerWriter(artifact.manifest)
    predictions = Predictions(outputs=outputs, **noticed)
    return writer.write(asked.customer_ids, predictions, read.faults, wanted=Wanted())
