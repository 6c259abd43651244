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
    ("changes", "on_cpu", "is_packed"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"compile": "eager"}, True, False),
        ({"batching": BatchingConfig(resident=True)}, True, False),
    ],
    ids=["CPU", "GPU", "compiled", "resident"],
)
@pytest.mark.parametrize("encoder", ["transformer", "none"])
def test_pools_are_packed_on_a_cpu(
    task: Task, encoder: str, changes: dict[str, object], on_cpu: bool, is_packed: bool
) -> None:
    """Elsewhere, for a compiler and for events that lie in a device's memory they are padded to rows."""
    config = replace(tiny_config(encoder=encoder, use_next_event=False), **changes)
    train = task.readouts(task.fit_split, seed=config.seed)
    data = PoolData(task, config, build_model(task, config, train), train=train, validation=None)
    for batch in data.pools(on_cpu=on_cpu)[0]:
        assert ("active_rows" in batch.inputs) == is_packed
