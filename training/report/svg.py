"""Figures as inline SVG that takes its colours from the page and reads well aloud.

It deliberately does not know what is drawn.
"""

import io
import re
import warnings
from typing import Any
from xml.sax.saxutils import quoteattr

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

INK = "#f0000a"
FAINT = "#f0000b"
SERIES = tuple(f"#f000{at:02d}" for at in range(21, 29))
"""Stand-ins: the page's style sheet decides, for light, dark and paper."""

# Any: the stubs of matplotlib want a dict of literal keys.
SETTINGS: Any = {
    # Text stays text: it can be read aloud, searched and set in the reader's own font.
    "svg.fonttype": "none",
    "font.size": 9.0,
    # Names come from data, where a dollar is a dollar.
    "text.parse_math": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.4,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def inline_svg(figure: Figure, *, alt: str, salt: str) -> Markup:
    """Return a figure to stand in a page.

    Args:
        figure: Drawn with the colours of this module.
        alt: What it shows, for those who do not see it.
        salt: Begins every id inside, since a page holds several figures; letters, digits and
            hyphens. Equal input gives equal bytes.
    """
    buffer = io.StringIO()
    with mpl.rc_context(SETTINGS | {"svg.hashsalt": salt}), warnings.catch_warnings():
        # Widths of letters that the drawing font lacks are guessed; the reader's font has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"font: ((?:[a-z0-9]+ )?[\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", text)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{salt}-", text)
    text = text.replace(INK, "currentColor").replace(FAINT, "var(--faint)")
    for at, colour in enumerate(SERIES):
        text = text.replace(colour, f"var(--series-{at + 1})")
    return Markup(text.replace("<svg", f'<svg role="img" aria-label={quoteattr(alt)}', 1))  # noqa: S704
