"""The models that are served, each trained once per state of the sources and kept outside the checkout.

It deliberately trains as anybody would, with the project's own command; only how long is its own choice.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.measuring import run_in_child
from benchmarks.results import ROOT

SOURCES = ("conf", "holdfast", "training")
"""What a trained model depends on."""

TRAINED, LARGE = "trained", "large"
_OVERRIDES = {
    # The default model and every expert beside it; the weights could be better, but cost the same time.
    TRAINED: ("optimiser.num_steps=60", "optimiser.warmup_steps=10"),
    # Four layers, 128 wide; untrained but for two steps, which its time does not show.
    LARGE: ("model=transformer_large", "optimiser.num_steps=2", "optimiser.warmup_steps=1"),
}


SMALLER = ("data.simulate.num_customers=2000", "data.simulate.num_rollouts=2")
"""A shop whose simulation, truth included, takes a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model and the histories that it is asked about.

    Attributes:
        name: :data:`TRAINED` or :data:`LARGE`.
        data: The data set.
        artifact: Its folder.
        store: The folder of the data set's history store.
    """

    name: str
    data: str
    artifact: Path
    store: Path


def prepare_model(name: str, cache: Path, console: Console) -> Model:
    """Return a model, trained first where the sources have changed since.

    Args:
        name: :data:`TRAINED` or :data:`LARGE`.
        cache: Where models are kept.
        console: Where progress is told.

    Returns:
        The model, of Online Retail II where its files are there, else of the simulated shop.
    """
    data_root = Path(os.environ.get("HOLDFAST_DATA", "data")).resolve()
    data = "online_retail_ii" if (data_root / "online_retail_ii").is_dir() else "simulated"
    models = cache / "models"
    folder = models / f"{data}-{source_digest(ROOT)[:16]}"
    for stale in models.glob(f"{data}-*"):
        if stale != folder:
            shutil.rmtree(stale)
    model = Model(name=name, data=data, artifact=folder / name / "artifact", store=folder / "store")
    if not model.artifact.is_dir():
        console.print(f"training the model {name!r} on {data} once, kept in {folder} ...", style="dim")
        run_in_child(_train, model, data_root)
    return model


def source_digest(root: Path) -> str:
    """Return a hash over every source that a trained model depends on."""
    digest = hashlib.sha256()
    for top in SOURCES:
        for path in sorted((root / top).rglob("*")):
            if path.suffix in {".py", ".yaml"}:
                digest.update(f"{path.relative_to(root)}\0{path.stat().st_size}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


def _train(model: Model, data_root: Path) -> None:
    # PyTorch and all that comes with it: only this process needs them.
    from hydra import compose, initialize_config_dir

    from training.entry import CONFIG_DIR
    from training.train import train

    folder = model.artifact.parent
    overrides = [
        f"data={model.data}",
        f"data_root={data_root}",
        f"simulated_root={model.store.parent}",
        f"store_dir={model.store}",
        f"run_dir={folder}",
        f"artifact_dir={model.artifact}",
        "logger=none",
        "show_progress=false",
        *_OVERRIDES[model.name],
        *(SMALLER if model.data == "simulated" else ()),
    ]
    with initialize_config_dir(CONFIG_DIR, version_base=None):
        settings = compose("train", overrides=overrides)
    train(settings, console=Console(quiet=True))
