"""The bytes of an answer are those of a message that says the same, number by number."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from holdfast.description import write_target
from holdfast.errors import HistoryError
from holdfast.manifest import Manifest, read_manifest
from holdfast.results import OBSERVED_NAMES
from holdfast.v1 import scoring_pb2 as pb
from serving import entry_loops as loops
from serving.answers import AnswerWriter, Wanted, _varint
from serving.predictor import Predictions


@pytest.fixture(scope="module")
def manifest(artifact_folder: Path) -> Manifest:
    """Return the small artifact's manifest."""
    return read_manifest(artifact_folder)


def predictions(num: int, *, seed: int = 0) -> Predictions:
    """Return random predictions, zeros and large counts among them."""
    rng = np.random.default_rng(seed)
    outputs = {
        "churn_probability": rng.random((num, 3)),
        "churn_survival": rng.random((num, 12)),
        "spend_expected": rng.lognormal(3, 2, num) * (rng.random(num) < 0.7),
        "spend_quantiles": rng.lognormal(3, 2, (num, 3)),
        "orders_expected": rng.random(num),
        "embedding": rng.normal(size=(num, 4)),
    }
    used, truncated, after, unknown = rng.choice([0, 1, 127, 128, 100_000], (4, num))
    return Predictions(
        outputs={name: values.astype(np.float32) for name, values in outputs.items()},
        num_used=used,
        num_truncated=truncated,
        num_after=after,
        num_unknown=unknown,
        is_eligible=rng.random(num) < 0.5,
    )


def plainly(
    manifest: Manifest, ids: list[str], found: Predictions, faults: dict[int, HistoryError], **include: bool
) -> pb.ScoreResponse:
    """Write the answer as a message."""
    response = pb.ScoreResponse(model=manifest.name, version=manifest.version)
    response.targets.extend(write_target(target, form) for target, form in manifest.answered_targets())
    outputs = found.outputs
    for row, customer_id in enumerate(ids):
        entry = response.customers.add(customer_id=customer_id)
        if row in faults:
            error = faults[row]
            entry.error.field, entry.error.value, entry.error.limit = error.field, error.value, error.limit
            continue
        churn, spend, orders = (entry.prediction.targets.add() for _ in range(3))
        churn.time_to_event.probability.extend(outputs["churn_probability"][row].tolist())
        if include["include_survival"]:
            churn.time_to_event.survival.extend(outputs["churn_survival"][row].tolist())
        spend.amount.expected = outputs["spend_expected"][row].item()
        spend.amount.quantiles.extend(outputs["spend_quantiles"][row].tolist())
        orders.count.expected = outputs["orders_expected"][row].item()
        if include["include_embedding"]:
            entry.prediction.embedding.extend(outputs["embedding"][row].tolist())
        entry.observed.SetInParent()
        for name in OBSERVED_NAMES:
            setattr(entry.observed, name, getattr(found, name)[row].item())
    return response


@pytest.mark.parametrize("num", [0, 1, 2, 70])
@pytest.mark.parametrize("include_survival", [False, True])
@pytest.mark.parametrize("include_embedding", [False, True])
def test_the_bytes_say_what_the_message_says(
    manifest: Manifest, num: int, include_survival: bool, include_embedding: bool
) -> None:
    """For nobody, one and many customers, ids of any length, with and without what is on request."""
    include = {"include_survival": include_survival, "include_embedding": include_embedding}
    ids = ["ä" * (row * 7 % 200) for row in range(num)]
    found = predictions(num)
    data = AnswerWriter(manifest).write([one.encode() for one in ids], found, {}, wanted=Wanted(**include))
    assert pb.ScoreResponse.FromString(data) == plainly(manifest, ids, found, {}, **include)


@pytest.mark.parametrize("id_size", [0, 1, 127, 128, 16_383, 16_384])
@pytest.mark.parametrize("count", [0, 1, 127, 128, 16_384, 2**32 - 1])
def test_entries_are_what_protobuf_writes(id_size: int, count: int) -> None:
    """Compiled and as Python, where lengths and numbers take a byte more."""
    names, predicted = [b"x" * id_size, b"y"], np.full((2, 5), 7, dtype=np.uint8)
    observed = np.array([[count, 3], [0, count], [count, count], [0, 0], [1, 0]])
    seen = [dict(zip(OBSERVED_NAMES, column, strict=True)) for column in observed.T.tolist()]
    beside = [
        pb.CustomerResult(observed=pb.Observed(**one | {"is_eligible": bool(one["is_eligible"])}))
        for one in seen
    ]
    ids = [pb.CustomerResult(customer_id=name.decode()).SerializeToString() for name in names]
    whole = [name + bytes([7] * 5) + one.SerializeToString() for name, one in zip(ids, beside, strict=True)]
    tag = pb.ScoreResponse.DESCRIPTOR.fields_by_name["customers"].number << 3 | 2
    wanted = b"".join(bytes([tag]) + _varint(len(one)) + one for one in whole)
    for write in (loops.write_entries, loops.write_entries.python):
        written, size = np.zeros(len(wanted) + 1, dtype=np.uint8), np.zeros(1, dtype=np.int64)
        write(
            np.frombuffer(b"".join(names), dtype=np.uint8),
            np.cumsum([len(name) for name in names]),
            predicted,
            observed,
            loops.OBSERVED_TAGS,
            written,
            size,
        )
        assert (written[: size[0]].tobytes(), written[-1]) == (wanted, 0)


@pytest.mark.parametrize("at_fault", [[0], [1, 4], [0, 1, 2, 3, 4]])
def test_customers_at_fault_stand_between_the_others(manifest: Manifest, at_fault: list[int]) -> None:
    """Each in its place, with field, value and limit; where all are, no output is looked at."""
    include = {"include_survival": True, "include_embedding": False}
    faults = {row: HistoryError(f"event_type[{row}]", row, "it must be another") for row in at_fault}
    found = predictions(5)
    if len(at_fault) == 5:
        found = replace(found, outputs={})
    ids = list("abcde")
    data = AnswerWriter(manifest).write(
        [one.encode() for one in ids], found, faults, wanted=Wanted(**include)
    )
    assert pb.ScoreResponse.FromString(data) == plainly(manifest, ids, found, faults, **include)


def test_one_writer_keeps_the_forms_apart(manifest: Manifest) -> None:
    """What one caller asks for does not appear in the next caller's answer."""
    writer, ids, found = AnswerWriter(manifest), ["a", "b"], predictions(2)
    for survival, embedding in ((True, True), (False, False), (True, False), (True, True)):
        include = {"include_survival": survival, "include_embedding": embedding}
        data = writer.write([one.encode() for one in ids], found, {}, wanted=Wanted(**include))
        assert pb.ScoreResponse.FromString(data) == plainly(manifest, ids, found, {}, **include)
