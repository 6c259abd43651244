"""Opening a store: every file is checked, and a store travels between processes as a path."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_set_builder import shop_config

from holdfast.errors import ArtifactError
from training.prepare import prepare
from training.store import HistoryStore


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store that tests copy before they harm it."""
    folder = tmp_path_factory.mktemp("shop")
    prepare(shop_config(folder / "data"), store_dir=folder / "store")
    return folder / "store"


@pytest.fixture
def store_dir(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the store."""
    shutil.copytree(made, tmp_path / "store")
    return tmp_path / "store"


FILES = [
    "customer_ids.parquet",
    "event_offsets.npy",
    "occurred_at_us.npy",
    "field_event_type.npy",
    "field_event_type.dictionary.parquet",
    "field_channel.npy",
    "field_channel.dictionary.parquet",
    "field_amount.npy",
    "attribute_offsets.npy",
    "attribute_valid_from_us.npy",
]


HEADER_ONLY = ["attribute_valid_from_us.npy"]
HARMS = [
    (file, harm)
    for file in FILES
    for harm in ("missing", "truncated", "longer", "flipped")
    if not (harm == "flipped" and file in HEADER_ONLY)
]


@pytest.mark.parametrize(("file", "harm"), HARMS)
def test_a_harmed_file_is_refused_by_name(store_dir: Path, file: str, harm: str) -> None:
    """A file that is missing, shorter, longer or altered in one bit is named; nothing is read from it."""
    path = store_dir / file
    content = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "truncated":
        path.write_bytes(content[:-1])
    elif harm == "longer":
        path.write_bytes(content + b"\0")
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactError) as caught:
        HistoryStore.open(store_dir)
    assert caught.value.path == path


def test_a_column_of_another_type_is_refused(store_dir: Path) -> None:
    """A column that has the right size but another type is not reinterpreted."""
    path = store_dir / "occurred_at_us.npy"
    np.save(path, np.load(path).view(np.float64))
    with pytest.raises(ArtifactError, match=r"must hold int64 \(7,\), but holds float64"):
        HistoryStore.open(store_dir, verify=False)


def test_a_pickled_column_is_never_loaded(store_dir: Path) -> None:
    """An object array, which NumPy would unpickle, is refused."""
    path = store_dir / "occurred_at_us.npy"
    size = path.stat().st_size
    np.save(path, np.array([print] * 3, dtype=object), allow_pickle=True)
    path.write_bytes(path.read_bytes()[:size].ljust(size, b"\0"))
    with pytest.raises(ArtifactError, match="not a column"):
        HistoryStore.open(store_dir)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "not the index"),
        ('{"index": 3}', "not the index"),
        ('{"index": {"form": 0}}', "form 0, but this release reads form 1"),
        ('{"index": {"form": 1}}', "altered"),
    ],
)
def test_an_index_that_is_none_is_refused(store_dir: Path, text: str, why: str) -> None:
    """Whatever stands in the place of the index is refused with its reason."""
    (store_dir / "index.json").write_text(text)
    with pytest.raises(ArtifactError, match=why) as caught:
        HistoryStore.open(store_dir)
    assert caught.value.path == store_dir / "index.json"


def test_an_altered_index_is_refused(store_dir: Path) -> None:
    """A count or a declaration that somebody edits does not go unnoticed."""
    path = store_dir / "index.json"
    plain = json.loads(path.read_text())
    plain["index"]["schema"]["lookback_days"] = 5
    path.write_text(json.dumps(plain))
    with pytest.raises(ArtifactError, match="altered"):
        HistoryStore.open(store_dir)


def test_a_folder_without_index_is_no_store(tmp_path: Path) -> None:
    """A run that never came to its end leaves nothing that could be opened."""
    with pytest.raises(ArtifactError, match="no complete history store"):
        HistoryStore.open(tmp_path)


def test_columns_are_read_only(made: Path) -> None:
    """Nobody can change the store through its arrays."""
    histories = HistoryStore.open(made).histories
    with pytest.raises(ValueError, match="read-only"):
        histories.occurred_at_us[0] = 0
    assert type(histories.occurred_at_us) is np.ndarray


def test_travels_between_processes_as_a_path(made: Path) -> None:
    """A worker process opens the store anew instead of receiving copies of its columns."""
    store = HistoryStore.open(made)
    pickled = pickle.dumps(store)
    assert len(pickled) < 1_000
    assert pickle.loads(pickled).histories.num_events == 7  # noqa: S301 (our own bytes)


def test_an_empty_part_of_a_history_can_be_gathered(made: Path) -> None:
    """Gathering works on memory-mapped columns, with nobody and with somebody twice."""
    histories = HistoryStore.open(made).histories
    assert histories.take(np.array([], dtype=np.int64)).num_events == 0
    assert (
        histories.take(np.array([2, 2])).occurred_at_us.tolist() == histories.occurred_at_us[6:7].tolist() * 2
    )
