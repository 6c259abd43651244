"""Golden cases come back to the last bit, without pickle, and damaged ones are refused."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builders import START_US, histories_of_lengths, random_histories
from holdfast.errors import ConfigError
from holdfast.golden import read_golden, write_golden
from holdfast.histories import CodedColumn, Histories
from holdfast.vocabulary import Dictionary

AWKWARD = ("", "a\x00", "\x00", "\U0001f6d2", "e\u0301", "\u202egnp", "\ud800", "line\nbreak")


def assert_same(left: Histories, right: Histories) -> None:
    """Compare every column to the last bit, and the texts behind the codes."""
    for name in ("offsets", "occurred_at_us"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    assert left.event_type.dictionary.values == right.event_type.dictionary.values
    np.testing.assert_array_equal(left.event_type.codes, right.event_type.codes)
    for one, other in ((left, right), (left.attributes, right.attributes)):
        assert set(one.categorical) == set(other.categorical)
        for name, column in one.categorical.items():
            assert column.dictionary.values == other.categorical[name].dictionary.values
            np.testing.assert_array_equal(column.codes, other.categorical[name].codes)
        for name, values in one.numeric.items():
            assert values.tobytes() == other.numeric[name].tobytes()
    np.testing.assert_array_equal(left.attributes.valid_from_us, right.attributes.valid_from_us)
    np.testing.assert_array_equal(left.attributes.offsets, right.attributes.offsets)


def write_cases(path: Path, histories: Histories) -> dict[str, np.ndarray]:
    """Write cases with two outputs of different shapes, and return the outputs."""
    num = histories.num_customers
    rng = np.random.default_rng(1)
    outputs = {"p": rng.random((num, 3)).astype(np.float32), "x": rng.random(num).astype(np.float32)}
    write_golden(path, histories, np.full(num, START_US, dtype=np.int64), outputs)
    return outputs


def test_cases_come_back_to_the_last_bit(tmp_path: Path) -> None:
    """Times, codes, NaN, versions and outputs are exact, for customers without events too."""
    histories = random_histories(np.random.default_rng(0), 9)
    outputs = write_cases(tmp_path / "golden.npz", histories)
    golden = read_golden((tmp_path / "golden.npz").read_bytes())
    assert_same(golden.histories, histories)
    assert golden.as_of_us.tolist() == [START_US] * 9
    for name, expected in outputs.items():
        assert golden.outputs[name].tobytes() == expected.tobytes()


def test_every_kind_of_text_survives(tmp_path: Path) -> None:
    """NUL at the end, lone surrogates and combining marks are kept as they are."""
    histories = histories_of_lengths(np.random.default_rng(0), np.array([len(AWKWARD)]))
    codes = np.arange(len(AWKWARD), dtype=np.int32)
    histories = replace(histories, event_type=CodedColumn(codes=codes, dictionary=Dictionary(AWKWARD)))
    write_cases(tmp_path / "golden.npz", histories)
    assert_same(read_golden((tmp_path / "golden.npz").read_bytes()).histories, histories)


def test_the_same_cases_give_the_same_bytes(tmp_path: Path) -> None:
    """An artifact can be reproduced: nothing of the clock is in the file."""
    for name in ("a", "b"):
        write_cases(tmp_path / name, random_histories(np.random.default_rng(0), 5))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_parts_of_different_number_are_refused(tmp_path: Path) -> None:
    """A case without an expected output cannot be written."""
    histories = random_histories(np.random.default_rng(0), 3)
    with pytest.raises(ConfigError, match=r"golden\.outputs\.p"):
        write_golden(tmp_path / "g", histories, np.zeros(3, dtype=np.int64), {"p": np.zeros(2)})
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize("cut", [0, 1, 100, -1, -30])
def test_truncated_bytes_are_refused(tmp_path: Path, cut: int) -> None:
    """Half a file is an error of ours, not of the zip reader."""
    write_cases(tmp_path / "g", random_histories(np.random.default_rng(0), 3))
    with pytest.raises(ConfigError, match="golden"):
        read_golden((tmp_path / "g").read_bytes()[:cut])


def test_a_pickle_is_never_opened() -> None:
    """An object array would run code on loading, and is refused unread."""
    file = io.BytesIO()
    np.savez(file, as_of_us=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ConfigError, match="golden"):
        read_golden(file.getvalue())


@pytest.mark.parametrize("name", ["as_of_us", "event.type", "dictionaries", "event.offsets"])
def test_a_missing_part_is_refused(tmp_path: Path, name: str) -> None:
    """A file of another form is refused, whichever part it lacks."""
    write_cases(tmp_path / "g", random_histories(np.random.default_rng(0), 3))
    kept = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "g") as old, zipfile.ZipFile(kept, "w") as new:
        for entry in old.namelist():
            if entry != f"{name}.npy":
                new.writestr(entry, old.read(entry))
    with pytest.raises(ConfigError, match="golden"):
        read_golden(kept.getvalue())


def test_a_code_outside_its_dictionary_is_refused(tmp_path: Path) -> None:
    """A hand-made file cannot make the encoding read past a dictionary."""
    histories = histories_of_lengths(np.random.default_rng(0), np.array([3]))
    column = CodedColumn(codes=np.array([0, 1, 2], dtype=np.int32), dictionary=Dictionary(("a", "b")))
    write_cases(tmp_path / "g", replace(histories, event_type=column))
    with pytest.raises(ConfigError, match="lies outside its dictionary"):
        read_golden((tmp_path / "g").read_bytes())
