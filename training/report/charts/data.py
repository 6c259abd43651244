"""Figures about what a model was made of: its data and its fit.

It deliberately counts nothing: the context brings the counts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib import dates, ticker
from matplotlib.axes import Axes

from training.evaluation.result import TargetResult
from training.report.charts.frame import (
    MARKERS,
    STYLES,
    drawable,
    in_thousands,
    name_rows,
    new_axes,
    shares_up,
    top_of,
)
from training.report.context import DataFacts
from training.report.svg import FAINT, SERIES, SETTINGS, inline_svg
from training.report.wording import amount, percent

AT_TOP: Any = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "bottom"}
"""Any: the stubs of matplotlib want literal keys."""
LONGEST_IN_TWO_COLUMNS = 20


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
def events_chart(data: DataFacts) -> Markup | None:
    """Draw how many events of each type there were, with the cutoffs of validation and test."""
    if len(data.over_time) < 2:
        return None
    figure, axes = new_axes("", _per(data.over_time))
    days = np.array([day for day, _ in data.over_time], dtype="datetime64[D]")
    names = list(data.over_time[0][1])
    for at, name in enumerate(names):
        counts = [row[name] for _, row in data.over_time]
        axes.plot(days, counts, label=drawable(name), color=SERIES[at], linestyle=STYLES[at], linewidth=1.5)
    for split in data.splits:
        if split.name != "train":
            first, last = _day_number(split.first_cutoff), _day_number(split.last_cutoff)
            axes.axvspan(first, last, facecolor="none", edgecolor=FAINT, linewidth=1.2, zorder=1)
            # Side by side, even where validation and test are close.
            side = "left" if split.name == "test" else "right"
            axes.annotate(split.name, (first, 1.0), (0, 2), ha=side, **AT_TOP)
    axes.set_ylim(bottom=0)
    in_thousands(axes, "y")
    _dates(axes)
    num_columns = 1 if max(map(len, names)) > LONGEST_IN_TWO_COLUMNS else 2
    figure.legend(loc="outside lower center", ncols=num_columns, handlelength=3.2)
    totals = {name: sum(row[name] for _, row in data.over_time) for name in names}
    said = "; ".join(f"{name} {count:,}" for name, count in totals.items())
    alt = f"Events over time, {data.over_time[0][0]} to {data.over_time[-1][0]}. In all: {said}."
    return inline_svg(figure, alt=alt, salt="events")


@mpl.rc_context(SETTINGS)
def rates_chart(data: DataFacts, target: TargetResult) -> Markup | None:
    """Draw the mean label of a target from cutoff to cutoff, one line per part of the split."""
    parts = {
        split.name: [
            (_day(c.at), c.means[target["name"]]) for c in split.by_cutoff if target["name"] in c.means
        ]
        for split in data.splits
    }
    if sum(map(len, parts.values())) < 2:
        return None
    is_share = target["kind"] == "time_to_event"
    figure, axes = new_axes("cutoff", "share" if is_share else f"mean, {target['unit']}".removesuffix(", "))
    for at, (name, points) in enumerate(parts.items()):
        if points:
            axes.plot(
                *zip(*points, strict=True),
                label=drawable(name),
                color=SERIES[at],
                linestyle=STYLES[at],
                linewidth=1.4,
                marker=MARKERS[at],
                markersize=4,
            )
    axes.set_ylim(bottom=0)
    if is_share:
        shares_up(axes, top_of(share for points in parts.values() for _, share in points))
    else:
        in_thousands(axes, "y")
    _dates(axes)
    axes.legend(loc="best", handlelength=3.2)
    shown = {
        name: (min(value for _, value in points), max(value for _, value in points))
        for name, points in parts.items()
        if points
    }
    said = "; ".join(
        f"{name} {percent(low)} to {percent(high)}"
        if is_share
        else f"{name} {amount(low, target['unit'])} to {amount(high, target['unit'])}"
        for name, (low, high) in shown.items()
    )
    alt = f"{target['name']} by cutoff. {said}."
    return inline_svg(figure, alt=alt, salt=f"rates-{target['name']}")


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


def _day(iso: str) -> np.datetime64:
    return np.datetime64(iso[:10], "D")


def _day_number(iso: str) -> float:
    return float(dates.date2num(_day(iso)))


def _per(over_time: Sequence[tuple[str, Mapping[str, int]]]) -> str:
    days = int((_day(over_time[1][0]) - _day(over_time[0][0])).astype(np.int64))
    return f"events per {'week' if days == 7 else 'month' if days < 32 else 'year'}"


def _dates(axes: Axes) -> None:
    locator = dates.AutoDateLocator(maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
