"""Makes a simulated business (``python -m training.simulate kind=retailer num_customers=4000 seed=7``).

It deliberately does not know how: it turns a configuration into :func:`training.simulate.run.simulate`.
"""

from pathlib import Path
from typing import Any, cast

import hydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from training.entry import run_entry
from training.simulate.config import simulation_config
from training.simulate.run import SimulationResult, simulate

CONFIG_DIR = str(Path(__file__).resolve().parents[2] / "conf")


def simulate_with_bar(values: dict[str, Any], *, console: Console) -> SimulationResult:
    """Simulate what plain values say, with a progress bar.

    Args:
        values: ``out``, ``overwrite`` and the keys of :class:`~training.simulate.SimulationConfig`.
        console: Where the bar is drawn.

    Returns:
        Where the simulation lies and how large it is.

    Raises:
        ConfigError: A value is unknown or out of range.
        RunError: The tables cannot be written.
    """
    values = dict(values)
    out, overwrite = Path(values.pop("out")), bool(values.pop("overwrite"))
    config = simulation_config(values)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(f"simulating a {config.kind}", total=None)
        return simulate(
            config,
            out,
            overwrite=overwrite,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


@hydra.main(version_base=None, config_path=CONFIG_DIR, config_name="simulate")
@run_entry
def main(settings: DictConfig) -> None:
    """Simulate the business that the command line describes and say where it lies."""
    values = cast("dict[str, Any]", OmegaConf.to_container(settings, resolve=True))
    console = Console()
    result = simulate_with_bar(values, console=console)
    console.print(
        f"{result.num_customers:,} customers, {result.num_events:,} events "
        f"and {result.num_truths:,} truths lie in {result.path}"
    )


if __name__ == "__main__":
    main()
