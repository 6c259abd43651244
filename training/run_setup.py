"""What a run needs around the model: resolved settings, the store with progress shown, the trainer.

It deliberately knows Hydra and Lightning, so that the recipe does not.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console

from holdfast.errors import ConfigError, RunError
from training.data_config import DataConfig
from training.fitting import quiet
from training.followers import Company, Followers, alone
from training.prepare import prepare_shown
from training.profiling import profiling
from training.progress import FitProgress
from training.publishing import CSV_FOLDER
from training.sharded import check_shardable, is_sharded
from training.store import HistoryStore
from training.whole_file import WholeCheckpoints


def plain(settings: DictConfig) -> dict[str, Any]:
    """Return settings as plain values with every interpolation resolved.

    Raises:
        ConfigError: A value is missing or an interpolation leads nowhere.
    """
    try:
        values = OmegaConf.to_container(settings, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError("settings", str(error).splitlines()[0], "every value must resolve") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def prepared(config: DataConfig, store_dir: Path, console: Console) -> HistoryStore:
    """Prepare a data set where its store is not up to date, with progress and a summary.

    Raises:
        ConfigError: The simulator's truth, which judging will ask for, is not there.
    """
    store = prepare_shown(config, store_dir=store_dir, console=console)
    if config.truth is not None and not Path(config.truth.path).is_file():
        limit = "the simulator's truth must lie there, or truth be null: judging asks for it"
        raise ConfigError("data.truth.path", config.truth.path, limit)
    return store


def loggers(settings: DictConfig) -> list[Logger]:
    """Make the loggers of the group ``logger``; what an earlier start of the run logged is kept.

    Raises:
        RunError: A logger's library is not installed.
    """
    keep_earlier_log(Path(settings.run_dir))
    try:
        return [instantiate(logger) for logger in settings.logger.values()]
    except Exception as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise RunError(f"a logger cannot be made: {reason}") from error


@rank_zero_only
def keep_earlier_log(folder: Path) -> None:
    """Set the CSV log of an earlier start aside: Lightning's logger deletes what it finds.

    Args:
        folder: Of the run; its ``csv`` becomes ``csv.1``, or the next number that is free.
    """
    log = folder / CSV_FOLDER
    if log.exists():
        log.replace(folder / f"{CSV_FOLDER}.{len(list(folder.glob(f'{CSV_FOLDER}.*'))) + 1}")


def trainer_factory(
    settings: DictConfig, used: list[Logger], watching: Sequence[Callback] = ()
) -> Callable[..., pl.Trainer]:
    """Return what makes the trainer of the group ``trainer`` from callbacks and limits.

    Args:
        settings: Of the run.
        used: Its loggers.
        watching: Callbacks beside those of the fit.

    Raises:
        ConfigError: There are to be no threads.
        RunError: It wants a GPU and there is none.
    """
    if settings.trainer.accelerator in {"gpu", "cuda"} and not torch.cuda.is_available():
        raise RunError(
            "this trainer needs a GPU that PyTorch can use, and there is none; trainer=cpu needs none"
        )
    if settings.threads is not None:
        if not isinstance(settings.threads, int) or settings.threads < 1:
            raise ConfigError("threads", settings.threads, "it must be a whole number, at least 1, or null")
        torch.set_num_threads(settings.threads)
    console = Console() if settings.show_progress else None
    profiler, traces = profiling(settings.trainer.profiler, Path(settings.run_dir))

    def trainer(*, callbacks: list[pl.Callback], **limits: Any) -> pl.Trainer:
        # Never what a cluster's own variables say: we start the processes.
        environment = [LightningEnvironment()] if "LOCAL_RANK" in os.environ else []
        # Anew for every fit: a strategy belongs to one trainer.
        make = instantiate(settings.trainer, _partial_=True)
        return make(
            plugins=[WholeCheckpoints(), *environment],
            callbacks=[*callbacks, FitProgress(console), *watching, *traces],
            logger=used or False,
            profiler=profiler,
            enable_progress_bar=False,
            default_root_dir=settings.run_dir,
            **limits,
        )

    return trainer


def company(settings: DictConfig) -> Company:
    """Return what brings the other processes of the group ``trainer``; nobody where it has one.

    Raises:
        ConfigError: It asks for several machines, or for what its strategy cannot do.
        RunError: It asks for devices that are not there, or for what Lightning does not know.
    """
    if settings.trainer.get("num_nodes", 1) != 1:
        raise ConfigError("trainer.num_nodes", settings.trainer.num_nodes, "it must be 1: one machine trains")
    try:
        with quiet():
            trainer = instantiate(settings.trainer, logger=False, enable_checkpointing=False)
    except Exception as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise RunError(f"the trainer cannot be made: {reason}") from error
    if settings.trainer.devices == 1 and "strategy" not in settings.trainer:
        return alone
    if is_sharded(trainer.strategy):
        check_shardable(ema_decay=settings.optimiser.ema_decay)
    num_processes = int(trainer.num_devices)
    if num_processes == 1 and not is_sharded(trainer.strategy):
        return alone
    if settings.compile is not None:
        limit = "it must be null with several devices or trainer=fsdp: one device compiles"
        raise ConfigError("compile", settings.compile, limit)
    if num_processes == 1:
        return alone
    threads = settings.threads or max(1, torch.get_num_threads() // num_processes)
    return Followers(settings=plain(settings), num_processes=num_processes, threads=int(threads))
