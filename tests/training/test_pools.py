"""Where events are packed."""

from dataclasses import replace

import pytest
from tasks import small_task, tiny_config

from training.batches import BatchingConfig
from training.fitting import build_model
from training.pools import PoolData
from training.task import Task


@pytest.fixture(scope="module")
def task() -> Task:
    """Return a task of random histories."""
    return small_task()


@pytest.mark.parametrize(
    ("changes", "is_packed"),
    [
        ({}, True),
        ({"compile": "eager"}, False),
        ({"batching": BatchingConfig(resident=True)}, True),
    ],
    ids=["plain", "compiled", "resident"],
)
@pytest.mark.parametrize("encoder", ["transformer", "none"])
def test_pools_are_packed(task: Task, encoder: str, changes: dict[str, object], is_packed: bool) -> None:
    """On every device; for a compiler alone they are padded to rows."""
    config = replace(tiny_config(encoder=encoder, use_next_event=False), **changes)
    train = task.readouts(task.fit_split, seed=config.seed)
    data = PoolData(task, config, build_model(task, config, train), train=train, validation=None)
    for batch in data.pools()[0]:
        assert ("active_rows" in batch.inputs) == is_packed
