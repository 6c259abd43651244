"""Figures with and without a goal, in a line each.

It deliberately measures nothing.
"""

from benchmarks.results import Figure


def shown(name: str, value: float, unit: str, *, better: str = "higher") -> Figure:
    """Return a figure without a goal."""
    return Figure(
        name=name, value=value, unit=unit, goal=None, better="lower" if better == "lower" else "higher"
    )


def at_least(name: str, value: float, goal: float, unit: str = "") -> Figure:
    """Return a figure that shall not be below its goal."""
    return Figure(name=name, value=value, unit=unit, goal=goal, better="higher")


def at_most(name: str, value: float, goal: float, unit: str = "") -> Figure:
    """Return a figure that shall not be above its goal."""
    return Figure(name=name, value=value, unit=unit, goal=goal, better="lower")
