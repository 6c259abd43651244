"""The model over any number of cutoffs, one each, as serving asks: encoded, batched, put back in order.

It deliberately does not know labels or splits.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray

from holdfast.encoding import EncodingSpec, encode, encode_readouts
from holdfast.encoding.encode import Encoded
from holdfast.encoding.padding import pad_many
from holdfast.encoding.readouts import feature_names
from holdfast.histories import Histories
from training.baselines import FeatureMatrix
from training.model import RawOutputs, SequenceModel
from training.model.outputs import concatenate
from training.pages import in_parts
from training.splitting import split_by_length


def encoded_chunks(
    histories: Histories,
    spec: EncodingSpec,
    customer: Int64[ndarray, " readout"],
    cutoff_us: Int64[ndarray, " readout"],
) -> Iterator[Encoded]:
    """Encode cutoffs one by one, a bounded number at a time, in the order given."""
    for own, cutoffs in in_parts(histories, customer, cutoff_us):
        yield encode(own, cutoffs, spec)


def feature_matrix(
    histories: Histories,
    spec: EncodingSpec,
    *,
    customer: Int64[ndarray, " readout"],
    cutoff_us: Int64[ndarray, " readout"],
    weights: Float32[ndarray, " readout"] | None = None,
) -> FeatureMatrix:
    """Return the readout features of some cutoffs with their names, for baselines and experts.

    Without the calendar: from one year of cutoffs trees and regressions learn the level of single
    dates from it, and it costs them more log loss at a later date than it gains.

    Args:
        histories: The whole store.
        spec: The encoding.
        customer: Customers; any order.
        cutoff_us: Their cutoffs in UTC microseconds.
        weights: How much each counts where something is fitted on them.
    """
    num, start = len(customer), 0
    # Filled in place: parts to be joined at the end would take the memory twice.
    values = np.empty((num, spec.readout_value_size), dtype=np.float32)
    ids = np.empty((num, len(spec.readout_id_sizes)), dtype=np.int64)
    for own, cutoffs in in_parts(histories, customer, cutoff_us):
        told = encode_readouts(own, cutoffs, spec)
        rows = slice(start, start + len(told.readout_values))
        values[rows], ids[rows], start = told.readout_values, told.readout_ids, rows.stop
    return FeatureMatrix(values=values, names=feature_names(spec), ids=ids, weights=weights)


@torch.no_grad()
def predict_raw(
    model: SequenceModel,
    histories: Histories,
    *,
    customer: Int64[ndarray, " readout"],
    cutoff_us: Int64[ndarray, " readout"],
    event_budget: int = 8_192,
) -> RawOutputs:
    """Return the heads' raw outputs for every cutoff, each with exactly its own history.

    Args:
        model: In evaluation mode; its device is used.
        histories: The whole store.
        customer: Customers; any order.
        cutoff_us: Their cutoffs in UTC microseconds.
        event_budget: Padded events of a batch.

    Returns:
        Outputs on the CPU, ``[readout, ...]``, in the order given.
    """
    assert not model.training, "dropout would make a prediction a matter of chance"
    device = next(model.parameters()).device
    chunks = []
    for encoded in encoded_chunks(histories, model.spec, customer, cutoff_us):
        parts, order = [], []
        for segments, length in split_by_length(encoded.lengths, event_budget):
            arrays = pad_many(encoded, segments, length=length, num_readouts=1)
            batch = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
            parts.append(model(batch).map_readouts(lambda x: x[:, 0].cpu()))
            order.append(segments)
        back = torch.from_numpy(np.argsort(np.concatenate(order)))
        chunks.append(concatenate(parts).map_readouts(lambda x, rows=back: x[rows]))  # type: ignore[misc]
    return concatenate(chunks)
