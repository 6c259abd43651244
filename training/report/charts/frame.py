"""What all figures share: axes, lines, names, and how a model looks in every one of them.

It deliberately does not know what is drawn.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.evaluation.questions import TRUTH, Interval
from training.evaluation.result import EvaluationResult, HorizonResult, TargetResult
from training.report.svg import FAINT, SERIES
from training.report.wording import short, value_of

WIDTH_INCHES, HEIGHT_INCHES = 4.4, 3.3
MOST_TICKS = 5
ROOM = 1.08
"""By how much an axis goes beyond the largest value on it."""
STYLES: tuple[Any, ...] = (
    "-",
    (0, (6, 2)),
    (0, (2, 1.5)),
    (0, (6, 2, 1.5, 2)),
    (0, (1, 1)),
    (0, (8, 2, 2, 2, 2, 2)),
    (0, (10, 3)),
    (0, (3, 3)),
)
"""One per series, so that no figure speaks by colour alone."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "d")


def place_of(result: EvaluationResult, name: str) -> int:
    """Return a model's place among colours and styles, the same in every figure.

    The main model has the first, the truth of a simulation the last.
    """
    if name == result["main"]:
        return 0
    if name == TRUTH:
        return len(SERIES) - 1
    others = [model for model in result["models"] if model not in {result["main"], TRUTH}]
    return 1 + others.index(name) % (len(SERIES) - 2)


def new_axes(xlabel: str, ylabel: str, *, height: float = HEIGHT_INCHES) -> tuple[Figure, Axes]:
    """Return an empty figure of the page's width."""
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    return figure, axes


def in_percent(axes: Axes, *names: str) -> None:
    """Write an axis, ``x`` or ``y``, in per cent, with decimals where steps are smaller than one."""
    for name in names:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axis.set_major_formatter(ticker.FuncFormatter(lambda share, _: f"{100 * share:.3g} %"))


def in_thousands(axes: Axes, name: str) -> None:
    """Write whole numbers with thousands apart, small and huge ones with as many digits as they need."""
    axis = axes.xaxis if name == "x" else axes.yaxis
    axis.set_major_formatter(ticker.FuncFormatter(lambda y, _: _in_thousands(y)))


def few_ticks(axes: Axes) -> None:
    """Keep the numbers below an axis apart, beside names that leave it little room."""
    axes.xaxis.set_major_locator(ticker.MaxNLocator(MOST_TICKS, steps=[1, 2, 2.5, 5, 10]))


def top_of(shares: Iterable[float]) -> float:
    """Return where an axis of shares ends that begins at 0: a little above the highest, at 1 at most."""
    return min(1.0, ROOM * max(shares, default=1.0)) or 1.0


def unit_square(axes: Axes, *, has_diagonal: bool = True) -> None:
    """Let both axes run from 0 to 1, in per cent, with the diagonal behind."""
    square(axes, 1.0, has_diagonal=has_diagonal)


def square(axes: Axes, top: float, *, has_diagonal: bool = True) -> None:
    """Let both axes run from 0 to the same share, in per cent, with the diagonal behind."""
    if has_diagonal:
        axes.plot([0, top], [0, top], color=FAINT, linewidth=1)
    axes.set_xlim(0, top)
    shares_up(axes, top)
    in_percent(axes, "x")


def shares_up(axes: Axes, top: float) -> None:
    """Let the axis of heights run from 0 to a share, in per cent."""
    axes.set_ylim(0, 1.01 * top)
    in_percent(axes, "y")


def draw_models(
    axes: Axes, result: EvaluationResult, curves: Mapping[str, Sequence], *, has_marks: bool = False
) -> None:
    """Draw a line per model, the main one on top, and the legend."""
    for name, points in curves.items():
        if points:
            at, is_main = place_of(result, name), name == result["main"]
            axes.plot(
                *zip(*points, strict=True),
                label=drawable(name),
                color=SERIES[at],
                linestyle=STYLES[at],
                linewidth=2.0 if is_main else 1.2,
                zorder=3 if is_main else 2,
                marker=MARKERS[at] if has_marks else "",
                markersize=4 if is_main else 3,
            )
    axes.legend(loc="best", handlelength=3.2)


def draw_interval(axes: Axes, interval: Interval, place: int, *, colour: str, marker: str) -> None:
    """Draw a value with its interval in a row; without one, the value alone."""
    value, low, high = interval["value"], interval["low"], interval["high"]
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color=colour, linewidth=1.7)
    if value is not None:
        axes.plot([value], [place], color=colour, marker=marker, markersize=5.5)


def name_rows(axes: Axes, names: Sequence[str]) -> list[int]:
    """Name the rows of a figure from the top, and return their places."""
    places = list(range(len(names)))[::-1]
    axes.set_yticks(places, [drawable(name) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    return places


def drawable(name: str) -> str:
    """Return a name as it can be drawn: whole characters, and shown even if it begins with _."""
    whole = name.encode("utf-8", "replace").decode("utf-8")
    # A legend leaves out what begins with an underscore; a character without width is in its way.
    return f"\N{ZERO WIDTH SPACE}{whole}" if whole.startswith("_") else whole


def spoken(horizon: HorizonResult, metric: str) -> str:
    """Return every model's value of a metric, for those who do not see the figure."""
    values = ((name, value_of(model, metric)) for name, model in horizon["models"].items())
    return ", ".join(f"{name} {value:.3f}" for name, value in values if value is not None)


def salt_of(kind: str, target: TargetResult, horizon: HorizonResult) -> str:
    """Return what the ids of a figure begin with."""
    return f"{kind}-{target['name']}-{horizon['horizon_days']}"


def _in_thousands(value: float) -> str:
    if abs(value) >= 1e6:
        return short(value)
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:g}"
