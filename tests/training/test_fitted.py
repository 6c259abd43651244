"""A fitted model survives its file, and a file that is none is named."""

from pathlib import Path

import pytest
import torch
from tasks import small_task
from trained import fitted_once

from holdfast.errors import ArtifactError
from training.fitted import FILE_NAME, FittedModel
from training.predict import predict_raw

TASK = small_task()


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> FittedModel:
    """Return the model that all tests share."""
    return fitted_once(tmp_path_factory)


def test_a_fitted_model_loads_to_the_same_answers(fitted: FittedModel, tmp_path: Path) -> None:
    """Spec, scales, weights and calibration survive the file."""
    fitted.save(tmp_path)
    again = FittedModel.load(tmp_path)
    test = TASK.readouts(TASK.splits.test)
    customer, cutoff_us = test.customer[:50], test.cutoff_us[:50]
    mine = predict_raw(fitted.model, TASK.histories, customer=customer, cutoff_us=cutoff_us)
    other = predict_raw(again.model, TASK.histories, customer=customer, cutoff_us=cutoff_us)
    assert torch.equal(mine.survival["churn"], other.survival["churn"])
    assert again.spec == fitted.spec
    assert again.calibration == fitted.calibration
    assert fitted.blend is not None
    assert again.blend == fitted.blend


@pytest.mark.parametrize("content", [None, b"", b"not a model", b"PK\x03\x04 truncated"])
def test_a_missing_or_damaged_model_is_named(tmp_path: Path, content: bytes | None) -> None:
    """The message names the file and the reason."""
    if content is not None:
        (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(ArtifactError, match=FILE_NAME):
        FittedModel.load(tmp_path)


@pytest.mark.parametrize("part", ["spec", "config", "scales", "calibration", "blend", "weights"])
def test_a_model_without_a_part_or_with_another_one_is_named(
    fitted: FittedModel, tmp_path: Path, part: str
) -> None:
    """One line that names the file, whatever is missing or does not fit."""
    path = fitted.save(tmp_path)
    content = torch.load(path, weights_only=True)
    torch.save({name: value for name, value in content.items() if name != part}, path)
    with pytest.raises(ArtifactError, match=rf"{FILE_NAME}: it is damaged: '{part}' is not in it"):
        FittedModel.load(tmp_path)
    torch.save(content | {part: {"other": 1}}, path)
    with pytest.raises(ArtifactError, match=rf"{FILE_NAME}: it is damaged: ") as caught:
        FittedModel.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_of_another_form_is_refused(tmp_path: Path) -> None:
    """A file of another release is not half read."""
    torch.save({"form": 99}, tmp_path / FILE_NAME)
    with pytest.raises(ArtifactError, match="form"):
        FittedModel.load(tmp_path)
