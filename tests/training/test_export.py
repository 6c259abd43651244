"""An artifact is complete and checked, or it is not there."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from tasks import python_answers, small_task
from trained import fitted_once, trained_once

import training.export
from holdfast.encoding import Cutoffs, encode, pad
from holdfast.errors import ArtifactError, RunError
from holdfast.golden import read_golden
from holdfast.manifest import GOLDEN_NAME, MANIFEST_NAME, MODEL_NAME, read_manifest, verify_files
from serving.artifact import Artifact
from training.export import NUM_GOLDEN, TOLERANCE, ArtifactName, check_place, checked_cases, write_artifact
from training.fitted import FittedModel
from training.task import Readouts

TASK = small_task()
NAME = ArtifactName(
    name="small", version="1", created_at=datetime(2026, 1, 2, tzinfo=UTC), source_revision="abc"
)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> FittedModel:
    """Return the model that all tests share."""
    return fitted_once(tmp_path_factory)


def export(fitted: FittedModel, folder: Path) -> Path:
    """Write the artifact with cases from the test cutoffs."""
    train, judged = TASK.readouts(TASK.splits.train), TASK.readouts(TASK.splits.test)
    return write_artifact(
        fitted, TASK, train=train, judged=judged, folder=folder, name=NAME, metrics={"auroc": 0.5}
    )


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return its artifact; nobody writes into it."""
    return trained_once(tmp_path_factory).folder


def test_the_manifest_says_what_the_files_are(artifact: Path, fitted: FittedModel) -> None:
    """Spec to the last bit, hashes of every file, names and forms of every tensor."""
    manifest = read_manifest(artifact)
    assert manifest.encoding == fitted.spec
    assert set(manifest.files) == {MODEL_NAME, GOLDEN_NAME}
    assert {p.name for p in artifact.iterdir()} == {MODEL_NAME, GOLDEN_NAME, MANIFEST_NAME}
    assert manifest.inputs[0].shape[:2] == ("batch", "length")
    assert [out.name for out in manifest.outputs][:2] == ["churn_probability", "churn_survival"]
    verify_files(artifact, manifest.files, keep=())


def test_golden_cases_hold_events_after_the_cutoff(artifact: Path) -> None:
    """A loader whose encoding let the future in would give other numbers and be refused."""
    golden = read_golden((artifact / GOLDEN_NAME).read_bytes())
    assert golden.histories.num_customers == NUM_GOLDEN
    last = golden.histories.occurred_at_us[golden.histories.offsets[1:] - 1]
    assert (last > golden.as_of_us).any()


def test_the_graph_gives_what_torch_gives_on_every_length(artifact: Path, fitted: FittedModel) -> None:
    """Lengths 0, 1, 2 and the longest, alone and together, within 1e-4 of the calibrated blend."""
    test = TASK.readouts(TASK.splits.test)
    # Customers 0, 1 and 2 have 0, 1 and 2 events; eligibility is not the graph's business.
    customer = np.concatenate([np.arange(3), test.customer[:40]])
    cutoff_us = np.full(len(customer), test.cutoff_us[0])
    expected = python_answers(fitted, TASK.histories, customer, cutoff_us)
    session = ort.InferenceSession(artifact / MODEL_NAME, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    encoded = encode(TASK.histories, Cutoffs.one_each(customer, cutoff_us), fitted.spec)
    together = session.run(names, dict(pad(encoded, np.arange(len(customer)), length=64)))
    for name, found in zip(names, together, strict=True):
        np.testing.assert_allclose(found, expected[name], atol=1e-4, rtol=1e-4, err_msg=name)
    for index in range(6):
        length = max(1, int(encoded.lengths[index]))
        alone = session.run(names, dict(pad(encoded, np.array([index]), length=length)))
        for name, found, among in zip(names, alone, together, strict=True):
            np.testing.assert_allclose(found[0], among[index], atol=1e-5, rtol=1e-5, err_msg=name)


@pytest.fixture
def exported_before(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the graph of the artifact instead of exporting again, which takes ten seconds."""

    def copy(_: object, *, path: Path, **__: object) -> None:
        shutil.copyfile(artifact / MODEL_NAME, path)

    monkeypatch.setattr(training.export, "export_onnx", copy)


@pytest.mark.usefixtures("exported_before")
def test_a_graph_that_disagrees_with_its_model_is_not_written(fitted: FittedModel, tmp_path: Path) -> None:
    """The comparison can fail: here the file holds other weights than the model it is compared with."""
    other = FittedModel.load(fitted.save(tmp_path).parent)
    with torch.no_grad():
        for parameter in other.model.parameters():
            parameter.add_(0.1)
    with pytest.raises(ArtifactError, match=r"model\.onnx: output .* off the model"):
        export(other, tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()


@pytest.mark.usefixtures("exported_before")
def test_a_failed_export_leaves_the_artifact_that_was_there(
    fitted: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk in the middle of writing is one clear line, and nothing is lost."""
    folder = export(fitted, tmp_path / "kept")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training.export, "write_golden", full)
    with pytest.raises(RunError, match="No space left on device"):
        export(fitted, folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_the_reference_is_what_the_graph_says_at_the_cutoffs_that_were_judged(artifact: Path) -> None:
    """By the server's own predictor, whose customers are compared with it later."""
    judged = TASK.readouts(TASK.splits.test)
    loaded = Artifact.load(artifact)
    said = loaded.predictor.predict(TASK.histories.take(judged.customer), judged.cutoff_us)
    expected = {"num_events": said.num_used, "churn_90d": said.outputs["churn_probability"][:, -1]}
    found = {one.quantity.name: one for one in loaded.manifest.reference}
    assert set(found) >= {*expected, "recency_days", "spend_90d"}
    for name, values in expected.items():
        counts = found[name].counts(values)
        # An answer in its last bit may lie beyond an edge, which is an answer too.
        np.testing.assert_allclose(counts / len(judged), found[name].shares, atol=1.5 / len(judged))
        assert min(found[name].shares) > 0


@pytest.mark.usefixtures("exported_before")
def test_few_readouts_are_all_golden(fitted: FittedModel, tmp_path: Path) -> None:
    """A tiny business has fewer cases than asked for."""
    test: Readouts = TASK.readouts(TASK.splits.test)
    folder = write_artifact(
        fitted,
        TASK,
        train=TASK.readouts(TASK.splits.train),
        judged=test.take(np.arange(3)),
        folder=tmp_path / "few",
        name=replace(NAME, version="2"),
        metrics={},
    )
    assert read_golden((folder / GOLDEN_NAME).read_bytes()).histories.num_customers == 3


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """A mistaken artifact_dir is refused before anything is fitted, and never costs anybody's files."""
    precious = tmp_path / "home" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years of work")
    for place in (precious.parent, precious):
        with pytest.raises(RunError, match=rf"{place.name}: something other than an artifact lies there"):
            check_place(place)
    assert precious.read_text() == "years of work"
    (tmp_path / "empty").mkdir()
    for free in ("empty", "new"):
        check_place(tmp_path / free)


@pytest.mark.usefixtures("exported_before")
def test_what_lies_beside_an_artifact_is_left_alone(fitted: FittedModel, tmp_path: Path) -> None:
    """The one before it and a half written one go; names that somebody else could have taken stay."""
    for neighbour in ("kept.old", "kept.partial"):
        (tmp_path / neighbour).mkdir()
        (tmp_path / neighbour / "thesis.txt").write_text("years of work")
    folder = export(fitted, tmp_path / "kept")
    check_place(folder)
    export(fitted, folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "kept.old", "kept.partial"]
    assert all((tmp_path / name / "thesis.txt").is_file() for name in ("kept.old", "kept.partial"))


@pytest.mark.usefixtures("exported_before")
def test_what_came_to_lie_there_meanwhile_is_left_alone(fitted: FittedModel, tmp_path: Path) -> None:
    """Hours of fitting lie between the first look and the artifact; nothing half done is left beside it."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="something other than an artifact"):
        export(fitted, tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "thesis.txt").read_text() == "years of work"


def compared(num_off: int, *, output: str, off: float, column: int = 0) -> np.ndarray:
    """Return the cases kept where some of 20 are off in one output."""
    expected = {
        "spend_expected": np.full((20, 1), 50.0, dtype=np.float32),
        # The first level lies a hair above the probability of no amount at all.
        "spend_quantiles": np.tile(np.float32([0.01, 10.0, 30.0]), (20, 1)),
    }
    found = {name: array.copy() for name, array in expected.items()}
    found[output][:num_off, column] *= 1.0 + off
    return checked_cases(found, expected, (0.1, 0.5, 0.9), Path("model.onnx"))


def test_cases_that_another_rounding_would_fail_are_not_kept() -> None:
    """Quantiles a hair above the probability of nothing at all: the others are golden."""
    np.testing.assert_array_equal(compared(2, output="spend_quantiles", off=0.05), np.arange(2, 20))
    np.testing.assert_array_equal(compared(0, output="spend_quantiles", off=0.0), np.arange(20))
    assert len(compared(20, output="spend_quantiles", off=0.05)) == 1


@pytest.mark.parametrize(
    ("output", "off", "column"),
    [
        ("spend_expected", 3 * TOLERANCE, 0),
        ("spend_quantiles", 0.5, 0),
        ("spend_quantiles", 0.001, 1),
        ("spend_quantiles", 0.001, 2),
        ("spend_quantiles", float("nan"), 2),
    ],
)
def test_a_graph_that_differs_is_refused(output: str, off: float, column: int) -> None:
    """In any other output, in a quantile by more than a rounded probability, or by what is no number."""
    with pytest.raises(ArtifactError, match=rf"{output} is .* off the model"):
        compared(1, output=output, off=off, column=column)
