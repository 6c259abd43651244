"""A run's record: the same after writing and reading, and nothing where it is not whole."""

from pathlib import Path

import numpy as np
import pytest

from training.comparison.record import ARRAYS_NAME, FACTS_NAME, FORM, Facts, Record
from training.outcomes import Outcomes, Predictions


def record() -> Record:
    """Return a record with unknown outcomes, and a model that knows one target."""
    said = np.float32([[0.1, 0.2], [0.3, np.nan]])
    return Record(
        facts=Facts(
            form=FORM, split="test", main="ours", models=("ours", "btyd"), seconds=1.5, source="0" * 16
        ),
        customer=np.array([3, 5]),
        cutoff_us=np.array([10, 20]),
        outcomes=Outcomes(
            happened={"churn": np.float32([[0, 1], [1, np.nan]])}, values={"spend": np.float32([1, np.nan])}
        ),
        predictions={
            "ours": Predictions(
                probability={"churn": said},
                expected={"spend": np.array([1.0, 2.0])},
                median={"spend": np.array([0.5, 1.5])},
            ),
            "btyd": Predictions(probability={"churn": said / 2}, expected={}, median={}),
        },
    )


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    """Facts, outcomes and every model's predictions, with their bits."""
    written = record()
    written.save(tmp_path)
    read = Record.load(tmp_path)
    assert read is not None
    assert read.facts == written.facts
    np.testing.assert_array_equal(read.customer, written.customer)
    np.testing.assert_array_equal(read.outcomes.happened["churn"], written.outcomes.happened["churn"])
    np.testing.assert_array_equal(read.outcomes.values["spend"], written.outcomes.values["spend"])
    for model, said in written.predictions.items():
        for kind in ("probability", "expected", "median"):
            found, want = getattr(read.predictions[model], kind), getattr(said, kind)
            assert set(found) == set(want)
            for name, array in want.items():
                assert found[name].tobytes() == array.tobytes()


def test_what_is_not_whole_is_not_there(tmp_path: Path) -> None:
    """No folder, no facts, arrays cut off, facts of another form."""
    assert Record.load(tmp_path / "nowhere") is None
    record().save(tmp_path)
    content = (tmp_path / ARRAYS_NAME).read_bytes()
    (tmp_path / ARRAYS_NAME).write_bytes(content[: len(content) // 2])
    assert Record.load(tmp_path) is None
    (tmp_path / ARRAYS_NAME).write_bytes(content)
    facts = (tmp_path / FACTS_NAME).read_text()
    (tmp_path / FACTS_NAME).write_text(facts.replace(f'"form": {FORM}', '"form": 0'))
    assert Record.load(tmp_path) is None
    (tmp_path / FACTS_NAME).unlink()
    assert Record.load(tmp_path) is None


@pytest.mark.parametrize(
    "facts", ["[]", "{}", "3", f'{{"form": {FORM}}}', f'{{"form": {FORM}, "models": 3}}']
)
def test_facts_of_something_else_are_no_record(tmp_path: Path, facts: str) -> None:
    """The run is made anew: whatever JSON lies there, it ends nobody's comparison."""
    record().save(tmp_path)
    (tmp_path / FACTS_NAME).write_text(facts)
    assert Record.load(tmp_path) is None


def test_arrays_of_something_else_are_no_record(tmp_path: Path) -> None:
    """An archive without what every record has, and one array alone."""
    record().save(tmp_path)
    np.savez(tmp_path / ARRAYS_NAME, customer=np.arange(3))
    assert Record.load(tmp_path) is None
    with (tmp_path / ARRAYS_NAME).open("wb") as file:
        np.save(file, np.arange(3))
    assert Record.load(tmp_path) is None
