"""Which models are trained on packed events, and where."""

import pytest
from tasks import small_task, tiny_config

from training.fitting import build_model
from training.pools import PoolData
from training.task import Task


@pytest.fixture(scope="module")
def task() -> Task:
    """Return a task of random histories."""
    return small_task()


@pytest.mark.parametrize(
    ("model", "on_cpu", "is_packed"),
    [
        ({"encoder": "gru", "num_neighbours": 0}, True, True),
        ({"encoder": "gru", "num_neighbours": 0}, False, False),
        ({"encoder": "gru", "num_neighbours": 1}, True, False),
        ({"encoder": "transformer"}, True, False),
    ],
)
def test_a_recurrent_model_s_pools_are_packed_on_a_cpu(
    task: Task, model: dict[str, object], on_cpu: bool, is_packed: bool
) -> None:
    """Elsewhere, and for models that want rows, events are padded."""
    config = tiny_config(**model)
    train = task.readouts(task.fit_split, seed=config.seed)
    data = PoolData(task, config, build_model(task, config, train), train=train, validation=None)
    for batch in data.pools(on_cpu=on_cpu)[0]:
        assert ("active_rows" in batch.inputs) == is_packed
