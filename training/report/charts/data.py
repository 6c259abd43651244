"""Figures about what a model was made of: its data and its fit.

It deliberately counts nothing: the context brings the counts.
"""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
from markupsafe import Markup
from matplotlib import ticker

from training.report.charts.frame import STYLES, drawable, in_thousands, name_rows, new_axes
from training.report.svg import SERIES, SETTINGS, inline_svg


@mpl.rc_context(SETTINGS)
def lengths_chart(lengths: Sequence[tuple[str, int]]) -> Markup | None:
    """Draw how many customers have how many events."""
    if not lengths:
        return None
    figure, axes = new_axes("customers", "events of a customer", height=0.9 + 0.24 * len(lengths))
    places = name_rows(axes, [name for name, _ in lengths])
    counts = [count for _, count in lengths]
    axes.barh(places, counts, 0.7, color=SERIES[0])
    for place, count in zip(places, counts, strict=True):
        axes.annotate(f"{count:,}", (count, place), (4, 0), textcoords="offset points", va="center")
    axes.set_xlim(0, 1.2 * max(counts))
    in_thousands(axes, "x")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    said = "; ".join(f"{name} events: {count:,}" for name, count in lengths)
    return inline_svg(figure, alt=f"Customers by number of events. {said}.", salt="lengths")


@mpl.rc_context(SETTINGS)
def training_chart(curves: Mapping[str, Sequence[tuple[float, float]]]) -> Markup | None:
    """Draw losses over training steps."""
    drawn = {name: points for name, points in curves.items() if points}
    if not drawn:
        return None
    figure, axes = new_axes("step", "loss")
    for at, (name, points) in enumerate(drawn.items()):
        axes.plot(
            *zip(*points, strict=True),
            label=drawable(name),
            color=SERIES[at % len(SERIES)],
            linestyle=STYLES[at % len(STYLES)],
            linewidth=1.5,
            marker="o" if len(points) < 25 else "",
            markersize=3,
        )
    axes.legend(loc="upper right")
    ends = "; ".join(f"{name} ends at {points[-1][1]:.4g}" for name, points in drawn.items())
    return inline_svg(figure, alt=f"Loss during training. {ends}.", salt="training")
