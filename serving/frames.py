"""Predictions to columns under the names that the client uses.

It deliberately does not know files: a frame has one row per customer, whoever writes it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from jaxtyping import Int64
from numpy import ndarray

from holdfast.errors import HistoryError
from holdfast.faults import find_faults, without
from holdfast.histories import Histories
from holdfast.manifest import Manifest
from holdfast.results import OBSERVED_NAMES, expected_name, probability_name, quantile_name
from serving.artifact import Artifact
from serving.predictor import Predictions


def score_frame(
    artifact: Artifact,
    histories: Histories,
    customer_ids: pl.Series,
    *,
    as_of_us: int,
) -> pl.DataFrame:
    """Score some customers at one time.

    Args:
        artifact: The model.
        histories: Of the customers; their values may be anything.
        customer_ids: One per customer.
        as_of_us: The cutoff, UTC microseconds.

    Returns:
        One row per customer: id, predictions, what was noticed, ``fault`` where it was not scored.
    """
    faults = find_faults(histories)
    sound, kept = without(histories, faults)
    cutoffs_us = np.full(len(kept), as_of_us, dtype=np.int64)
    manifest = artifact.manifest
    predictions = artifact.predictor.predict(sound, cutoffs_us, output_names=_output_names(manifest))
    return _spread(_named(manifest, predictions), customer_ids, kept, faults)


def _output_names(manifest: Manifest) -> Sequence[str]:
    names = []
    for target in manifest.schema.targets:
        if target.kind == "time_to_event":
            names.append(f"{target.name}_probability")
        else:
            names.append(f"{target.name}_expected")
        if target.kind == "amount":
            names.append(f"{target.name}_quantiles")
    return names


def _named(manifest: Manifest, predictions: Predictions) -> Mapping[str, ndarray]:
    outputs, named = predictions.outputs, {}
    for target, form in manifest.answered_targets():
        if target.kind == "time_to_event":
            for column, horizon_days in enumerate(target.horizons_days):
                values = outputs[f"{target.name}_probability"][:, column]
                named[probability_name(target.name, horizon_days)] = values
        else:
            named[expected_name(target.name)] = outputs[f"{target.name}_expected"]
        for column, level in enumerate(form.quantile_levels):
            named[quantile_name(target.name, level)] = outputs[f"{target.name}_quantiles"][:, column]
    return named | {name: getattr(predictions, name) for name in OBSERVED_NAMES}


def _spread(
    scored: Mapping[str, ndarray],
    customer_ids: pl.Series,
    kept: Int64[ndarray, " scored"],
    faults: Mapping[int, HistoryError],
) -> pl.DataFrame:
    """Put scored rows between those of customers at fault, who have nulls."""
    columns = {"customer_id": customer_ids}
    for name, values in scored.items():
        spread = np.zeros(len(customer_ids), dtype=values.dtype)
        spread[kept] = values
        columns[name] = pl.Series(spread)
    fault = [str(faults[row]) if row in faults else None for row in range(len(customer_ids))]
    frame = pl.DataFrame(columns | {"fault": pl.Series(fault, dtype=pl.String)})
    is_scored = pl.col("fault").is_null()
    return frame.with_columns(pl.when(is_scored).then(pl.col(name)) for name in scored)
