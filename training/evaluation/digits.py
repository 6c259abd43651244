"""Numbers of any size in about four digits, so that neither huge nor tiny ones spoil a table.

It deliberately does not know units: those stand beside.
"""

import math

NUM_DIGITS = 4
LEAST, MOST = 1e-4, 1e15
"""Outside, a number is written with a power of ten."""
_SCALES = ((1e9, " bn"), (1e6, " m"))


def sized(value: float, *, like: float | None = None, is_signed: bool = False) -> str:
    """Return a number with as many digits as its size deserves.

    Args:
        value: The number.
        like: Number whose size decides instead, for those that stand together: a value and its interval.
        is_signed: Whether a plus is written as well.

    Returns:
        Thousands apart; from a million on in millions and billions (`` m``, `` bn``).
    """
    sign, size = "+" if is_signed else "", abs(value if like is None else like)
    if not size:
        return f"{value:{sign}.{NUM_DIGITS}g}"
    if not LEAST <= size < MOST:
        return f"{value:{sign}.{NUM_DIGITS - 1}e}"
    scale, name = next(((scale, name) for scale, name in _SCALES if size >= scale), (1.0, ""))
    digits = max(0, NUM_DIGITS - 1 - math.floor(math.log10(size / scale)))
    return f"{value / scale:{sign},.{digits}f}{name}"
