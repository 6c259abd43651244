"""The reference of an artifact: what its own graph is given and says at the cutoffs that it was judged at.

It deliberately judges nothing, and looks at no outcome.
"""

import numpy as np
import onnxruntime as ort

from holdfast.encoding import EncodingSpec, pad
from holdfast.histories import Histories
from holdfast.reference import Reference, quantities_of
from training.predict import encoded_chunks
from training.splitting import split_by_length
from training.task import Readouts

MOST_READOUTS = 5_000
"""Of a random sample: tenths of it are known to about half a percent."""

EVENT_BUDGET = 2_048


def reference_of(
    session: ort.InferenceSession, spec: EncodingSpec, histories: Histories, judged: Readouts
) -> tuple[Reference, ...]:
    """Return how inputs and answers of a graph are distributed.

    Args:
        session: Of the graph.
        spec: The encoding that feeds it.
        histories: The whole store.
        judged: Cutoffs, at least one.
    """
    sample = judged.sample(MOST_READOUTS, np.random.default_rng(7))
    quantities = list(quantities_of(spec))
    names = [output.name for output in session.get_outputs()]
    found: dict[str, list[np.ndarray]] = {quantity.name: [] for quantity in quantities}
    for encoded in encoded_chunks(histories, spec, sample.customer, sample.cutoff_us):
        for segments, length in split_by_length(encoded.lengths, EVENT_BUDGET):
            inputs = pad(encoded, segments, length=length)
            tensors = {**inputs, **dict(zip(names, session.run(names, dict(inputs)), strict=True))}
            for quantity in quantities:
                found[quantity.name].append(quantity.of(tensors))
    return tuple(Reference.of(quantity, np.concatenate(found[quantity.name])) for quantity in quantities)
