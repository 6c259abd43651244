"""How often everything is trained: with which seeds, and at which temporal splits.

It deliberately knows no data set: whether a split lies inside of one is found out beside its store.
"""

from dataclasses import dataclass, fields

from omegaconf import DictConfig

from holdfast.errors import ConfigError
from holdfast.plain import from_plain
from training.run_setup import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """Keys that ``conf/compare.yaml``, ``ablate.yaml`` and ``sweep.yaml`` share.

    Attributes:
        seeds: Of trainings that are alike otherwise.
        num_origins: How many temporal splits.
        step_days: Days between them; None is the longest horizon.
    """

    seeds: tuple[int, ...]
    num_origins: int
    step_days: int | None

    def __post_init__(self) -> None:
        """Refuse what cannot be repeated, before anything is trained.

        Raises:
            ConfigError: Naming key, value and limit.
        """
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError("seeds", list(self.seeds), "at least one is needed, each once")
        for index, seed in enumerate(self.seeds):
            if not 0 <= seed < 2**32:
                raise ConfigError(f"seeds[{index}]", seed, "it must lie in [0, 2^32)")
        if self.num_origins < 1:
            raise ConfigError("num_origins", self.num_origins, "it must be at least 1")
        if self.step_days is not None and self.step_days < 1:
            raise ConfigError("step_days", self.step_days, "it must be at least 1")

    @classmethod
    def of(cls, settings: DictConfig) -> "Repeats":
        """Read them from the settings of an entry point.

        Raises:
            ConfigError: One of them is of another type or out of range.
        """
        values = plain(settings)
        return from_plain(cls, {key.name: values[key.name] for key in fields(cls)}, where="")
