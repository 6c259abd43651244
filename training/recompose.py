"""The command line of an entry point, composed again with further overrides.

It deliberately knows Hydra and nothing of what is composed.
"""

from collections.abc import Callable, Sequence

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

Compose = Callable[[Sequence[str]], DictConfig]
"""Returns the settings of the command line with further overrides."""


def recomposer(config_name: str) -> Compose:
    """Return what composes the running command line anew.

    Args:
        config_name: Of the entry point, as its decorator has it.
    """
    given = HydraConfig.get().overrides
    search = [override for override in given.hydra if override.startswith("hydra.searchpath=")]

    def compose(overrides: Sequence[str]) -> DictConfig:
        # What is set again is no longer what the command line said.
        again = {key_of(override) for override in overrides}
        kept = [override for override in given.task if key_of(override) not in again]
        return hydra.compose(config_name, overrides=[*search, *kept, *overrides])

    return compose


def given_overrides() -> list[str]:
    """Return what the command line sets."""
    return list(HydraConfig.get().overrides.task)


def key_of(override: str) -> str:
    """Return the key that an override sets."""
    return override.partition("=")[0].lstrip("+~")
