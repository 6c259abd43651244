"""The temporal splits of a backtest: the data set's own, and the same ones moved into the past.

It deliberately moves validation and test together, so that every origin keeps their distance.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from omegaconf import DictConfig, OmegaConf

from holdfast.errors import ConfigError
from holdfast.faults import EARLIEST_US
from holdfast.schema import MICROSECONDS_PER_DAY
from training.data_config import DataConfig

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """One temporal split.

    Attributes:
        validation: Its validation cutoffs, ISO text.
        test: Its test cutoffs.
    """

    validation: tuple[str, ...]
    test: tuple[str, ...]

    def applied(self, settings: DictConfig) -> DictConfig:
        """Return a copy of the settings of a run with these cutoffs."""
        moved = settings.copy()
        OmegaConf.update(moved, "data.cutoffs.validation", list(self.validation))
        OmegaConf.update(moved, "data.cutoffs.test", list(self.test))
        return moved


def rolling_origins(config: DataConfig, *, num: int, step_days: int | None) -> list[Origin]:
    """Return the origins of a backtest, the newest first.

    Args:
        config: The data set; the first origin is its own.
        num: How many.
        step_days: How far apart; None is the longest horizon, so that no test window overlaps another.

    Raises:
        ConfigError: One would lie before every time that is taken.
    """
    step = config.schema.max_horizon_days if step_days is None else step_days
    most = 1 + (min(*config.validation_us, *config.test_us) - EARLIEST_US) // (step * MICROSECONDS_PER_DAY)
    if num > most:
        raise ConfigError("num_origins", num, f"{step} days apart, at most {most} lie after 1971")
    own = Origin(validation=tuple(config.cutoffs.validation), test=tuple(config.cutoffs.test))
    moved = [
        Origin(
            validation=tuple(_earlier(time_us, step * index) for time_us in config.validation_us),
            test=tuple(_earlier(time_us, step * index) for time_us in config.test_us),
        )
        for index in range(1, num)
    ]
    return [own, *moved]


def _earlier(time_us: int, days: int) -> str:
    moment = _EPOCH + timedelta(microseconds=time_us) - timedelta(days=days)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
