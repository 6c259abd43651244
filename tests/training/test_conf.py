"""Every option of every group of conf/ composes and builds; what can be overridden is listed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from holdfast.errors import ConfigError, RunError
from holdfast.plain import from_plain
from training.data_config import DataConfig
from training.entry import CONFIG_DIR
from training.run_config import RunConfig
from training.run_setup import company, loggers, plain, trainer_factory
from training.simulate.config import simulation_config
from training.sweeps.proposals import ProposalConfig
from training.sweeps.search import Objective
from training.sweeps.space import Space, override

CONF = Path(CONFIG_DIR)
SURFACE = Path(__file__).with_name("override_surface.txt")
GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir())
OPTIONS = sorted(
    (file.parent.name, file.stem)
    for file in CONF.glob("*/*.yaml")
    if file.parent.name not in {"ablation", "sweep"}
)
COMMANDS = sorted(file.stem for file in CONF.glob("*.yaml"))
RENEW = (
    f"delete tests/training/{SURFACE.name} and run this test twice: the first run writes it anew and fails"
)


def composed(command: str, *overrides: str) -> DictConfig:
    """Return what a command line composes, as its entry point gets it."""
    # A run's folder is known to Hydra alone, once it runs.
    known = dict.fromkeys(("train", "sweep"), ("run_dir=/somewhere",)) | dict.fromkeys(
        ("compare", "ablate"), ("run_dir=/somewhere", "out=/somewhere")
    )
    with initialize_config_dir(str(CONF), version_base=None):
        return compose(command, overrides=[*known.get(command, ()), *overrides])


def test_every_group_is_one_that_training_knows() -> None:
    """A new group shows up here, and every option of it below."""
    assert [
        *("ablation", "blend", "data", "experiment", "logger", "model", "optimiser", "sweep", "trainer"),
    ] == GROUPS
    assert [
        *("ablate", "compare", "download", "evaluate", "prepare", "report", "simulate", "sweep", "train"),
    ] == COMMANDS


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_builds_a_run(group: str, option: str) -> None:
    """Each option with the others at their defaults; no key is unknown, missing or out of range."""
    settings = composed("train", f"{group}={option}")
    config = RunConfig.from_plain(plain(settings))
    if group == "data":
        assert config.data.name == option
    if group == "experiment":
        assert RunConfig.from_plain(plain(composed("train"))) != config


@pytest.mark.parametrize("option", sorted(file.stem for file in CONF.glob("ablation/*.yaml")))
def test_every_variant_of_every_ablation_composes_and_builds_a_run(option: str) -> None:
    """Each on validation without baselines, and none is the default under another name."""
    # Of the data sets, one that sets whatever a lever moves.
    data = ("data=online_retail_ii", "data.cutoffs.fit_on=train")
    default = RunConfig.from_plain(plain(composed("ablate", *data)))
    assert (default.evaluation.split, default.evaluation.baselines) == ("validation", ())
    for overrides in composed("ablate", f"ablation={option}").ablation.variants.values():
        assert RunConfig.from_plain(plain(composed("ablate", *data, *overrides))) != default


@pytest.mark.parametrize("option", sorted(file.stem for file in CONF.glob("sweep/*.yaml")))
def test_every_end_of_every_space_composes_and_builds_a_run(option: str) -> None:
    """Each choice, and the least and the greatest of numbers, beside the defaults; all on validation."""
    settings = composed("sweep", f"sweep={option}")
    assert settings.evaluation.split == "validation"
    values = plain(settings.sweep)
    from_plain(ProposalConfig, values["proposals"])
    from_plain(Objective, values["objective"])
    space = Space.from_plain(values["space"])
    ends = {
        key: parameter.choices
        or [int(end) if parameter.kind == "whole" else end for end in (parameter.low, parameter.high)]
        for key, parameter in space.parameters.items()
    }
    for place in range(max(map(len, ends.values()))):
        chosen: dict[str, Any] = {}
        for key, values_of in ends.items():
            if space.is_asked(key, chosen):
                chosen[key] = values_of[place % len(values_of)]
        overrides = [override(key, value) for key, value in chosen.items()]
        RunConfig.from_plain(plain(composed("sweep", *overrides)))


def test_comparing_composes_what_training_does() -> None:
    """Beside its own keys: whoever compares gets the default model."""
    assert RunConfig.from_plain(plain(composed("compare"))) == RunConfig.from_plain(plain(composed("train")))


@pytest.mark.parametrize("command", ["prepare", "download"])
def test_the_other_commands_compose(command: str) -> None:
    """Their defaults are a data set in order."""
    settings = OmegaConf.to_container(composed(command).data, resolve=True)
    assert DataConfig.from_plain(settings).targets


def test_simulating_composes() -> None:
    """Its keys are those of the simulator beside where the tables go."""
    values = {str(key): value for key, value in plain(composed("simulate")).items()}
    assert (values.pop("overwrite"), values.pop("out")) == (False, "data/simulated")
    assert simulation_config(values).kind == "retailer"


def made(settings: DictConfig) -> pl.Trainer:
    """Make the trainer as a fit does."""
    return trainer_factory(settings, [])(callbacks=[], max_steps=1)


@pytest.fixture
def quiet(tmp_path: Path) -> tuple[str, ...]:
    """Return overrides that write nowhere else and show no bar."""
    return ("show_progress=false", f"run_dir={tmp_path}", "threads=1")


@pytest.mark.parametrize("threads", ["0", "many", "1.5"])
def test_a_trainer_without_threads_is_refused(quiet: tuple[str, ...], threads: str) -> None:
    """The key is named, before PyTorch is asked."""
    with pytest.raises(ConfigError, match=f"threads: got '?{threads}"):
        made(composed("train", "trainer=cpu", *quiet, f"threads={threads}"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=abc", "seed: got 'abc', .* int"),
        ("seed=1.5", "seed: got 1.5, .* int"),
        ("seed=-1", r"seed: got -1, .* 2\^32"),
        ("optimiser.learning_rate=inf", "optimiser.learning_rate: got inf, .* finite"),
        ("optimiser.weight_decay=nan", "optimiser.weight_decay: got nan"),
        ("optimiser.weight_decay=-5", "optimiser.weight_decay: got -5.0"),
        ("optimiser.early_stopping_patience=0", "optimiser.early_stopping_patience: got 0"),
        ("batching.min_share=7", r"batching.min_share: got 7.0, .* \[0, 1\]"),
        ("loss.time_to_event=-1", "loss.time_to_event: got -1.0, .* at least 0"),
        ("loss.amount=nan", "loss.amount: got nan"),
        (
            "loss={time_to_event: 0, amount: 0, tweedie: 0, count: 0, next_event: 0}",
            "loss: got {.* more than 0",
        ),
        ("data.encoding.max_events=0", "encoding.max_events: got 0, .* at least 1"),
        ("data.encoding.history_days=0", "encoding.history_days: got 0"),
    ],
)
def test_a_number_that_nothing_can_be_fitted_with_is_named(
    quiet: tuple[str, ...], override: str, message: str
) -> None:
    """Key, value and limit, before anything is prepared or fitted."""
    settings = composed("train", "data=simulated", *quiet, override)
    with pytest.raises(ConfigError, match=f"^{message}"):
        RunConfig.from_plain(plain(settings))


@pytest.mark.parametrize(
    ("given", "split", "expected"),
    [
        (None, "test", "both"),
        (None, "validation", "train"),
        ("both", "validation", "train"),
        ("train", "test", "train"),
        ("refit", "test", "refit"),
    ],
)
def test_what_is_judged_on_validation_is_fitted_up_to_it(
    given: str | None, split: str, expected: str
) -> None:
    """Without a word everything is fitted twice; the second fit would see the window that is judged."""
    own = () if given is None else (f"data.cutoffs.fit_on={given}",)
    settings = plain(composed("train", "data=online_retail_ii", f"evaluation.split={split}", *own))
    if given is None:
        del settings["data"]["cutoffs"]["fit_on"]
    assert RunConfig.from_plain(settings).data.cutoffs.fit_on == expected


@pytest.mark.parametrize("fit_on", ["both", "refit"])
def test_no_fit_is_stopped_by_a_window_that_its_weights_see(fit_on: str) -> None:
    """It was ignored before; the line says what would do."""
    asked = ("optimiser.early_stopping_patience=2", f"data.cutoffs.fit_on={fit_on}")
    settings = plain(composed("train", "data=online_retail_ii", *asked))
    message = rf"cutoffs.fit_on={fit_on}: add \+\+data.cutoffs.fit_on=train"
    with pytest.raises(ConfigError, match=rf"^optimiser.early_stopping_patience: got 2, .* {message}$"):
        RunConfig.from_plain(settings)
    settings["data"]["cutoffs"]["fit_on"] = "train"
    assert RunConfig.from_plain(settings).fit.optimiser.early_stopping_patience == 2


@pytest.mark.filterwarnings("ignore:GPU available but not used")
def test_the_cpu_trainer_is_deterministic(quiet: tuple[str, ...]) -> None:
    """One process and full precision, with whatever this machine has."""
    trainer = made(composed("train", "trainer=cpu", *quiet))
    assert trainer.num_devices == 1
    assert trainer.precision == "32-true"
    assert torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(mode=False)


def test_the_gpu_trainer_says_what_it_lacks(quiet: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line in place of Lightning's traceback, with the way out."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RunError, match=r"needs a GPU .* trainer=cpu"):
        made(composed("train", "trainer=gpu", *quiet))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_gpu_trainer_takes_one_gpu(quiet: tuple[str, ...]) -> None:
    """Where there is one."""
    assert made(composed("train", "trainer=gpu", *quiet)).num_devices == 1


def test_the_trainer_for_several_devices_is_made_without_being_launched(quiet: tuple[str, ...]) -> None:
    """Two processes on any machine; nothing starts before a fit does."""
    trainer = made(composed("train", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", *quiet))
    assert trainer.world_size == 2
    assert type(trainer.strategy).__name__ == "DDPStrategy"


def test_several_devices_do_not_compile(quiet: tuple[str, ...]) -> None:
    """Said before any process is started."""
    several = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    with pytest.raises(ConfigError, match="compile"):
        company(composed("train", *several, "model=transformer", "compile=inductor", *quiet))


def test_the_default_loggers_write_into_the_run(quiet: tuple[str, ...], tmp_path: Path) -> None:
    """CSV and TensorBoard, each in a folder of its own below the run's."""
    csv, tensorboard = loggers(composed("train", "logger=default", *quiet))
    assert isinstance(csv, CSVLogger)
    assert isinstance(tensorboard, TensorBoardLogger)
    assert {Path(csv.log_dir), Path(tensorboard.log_dir)} == {tmp_path / "csv", tmp_path / "tensorboard"}


def test_no_logger_is_a_choice(quiet: tuple[str, ...]) -> None:
    """Nothing is made, and nothing is written."""
    assert loggers(composed("train", "logger=none", *quiet)) == []


def test_an_absent_mlflow_is_said_in_one_line(quiet: tuple[str, ...], tmp_path: Path) -> None:
    """MLflow is on request: it is made where it is installed, and named where it is not."""
    settings = composed("train", "logger=mlflow", f"logger.mlflow.tracking_uri={tmp_path}", *quiet)
    try:
        import mlflow  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(RunError, match="mlflow"):
            loggers(settings)
    else:
        assert len(loggers(settings)) == 2


def surface(settings: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of everything that a command line can override."""
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from surface(value, f"{name}.")
        else:
            yield name


def test_what_can_be_overridden_changes_only_on_purpose() -> None:
    """A key that is renamed or dropped breaks somebody's command line: the list is part of the product."""
    found = "".join(f"{key}\n" for key in sorted(surface(plain(composed("train")))))
    if not SURFACE.exists():
        SURFACE.write_text(found, encoding="utf-8")
        pytest.fail(f"{SURFACE.name} was written anew: look at the difference and commit it")
    written = SURFACE.read_text(encoding="utf-8")
    gone = sorted(set(written.split()) - set(found.split()))
    new = sorted(set(found.split()) - set(written.split()))
    assert found == written, f"gone: {gone}, new: {new}. If that is meant, {RENEW}"
