"""Figures on paper: a venue's width and type, embedded fonts, the same bytes every time."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from gradlens.figures.figure import Figure
from gradlens.figures.matplotlib_layout import arrange
from gradlens.figures.venues import Page, page, styles

__all__ = ["FORMATS", "compose", "drawing", "render", "styles"]

_METADATA: dict[str, dict[str, Any]] = {
    # A date or a version in the file would make two saves of one figure differ.
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": "gradlens"},
    "svg": {"Date": None, "Creator": "gradlens"},
    "png": {"Software": "gradlens"},
}
FORMATS = tuple(_METADATA)

_PRINT: dict[str, Any] = {
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "gradlens",
    "text.usetex": False,
    "text.parse_math": False,  # names are text, whatever stands between their dollars
    "axes.linewidth": 0.5,
    "axes.unicode_minus": True,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.minor.width": 0.35,
    "ytick.minor.width": 0.35,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "axes.titlepad": 4.0,
    "axes.labelpad": 2.0,
    "savefig.dpi": 300,
}


def render(figure: Figure, form: str, style: str = "icml2024", column: str = "full") -> bytes:
    """Draw a figure.

    Args:
        figure: the figure.
        form: ``"pdf"``, ``"svg"`` or ``"png"``.
        style: one of :func:`styles`, as in ``"icml2024"`` or ``"neurips2024"``.
        column: ``"full"`` or ``"half"`` text width.

    Returns:
        The file's bytes, the same for the same figure.

    Raises:
        ValueError: for a format, style or column that there is not.
    """
    if form not in _METADATA:
        advice = " For a GIF: figures.animate." if form == "gif" else ""
        raise ValueError(f"expected one of the formats {', '.join(FORMATS)}; got {form!r}.{advice}")
    sheet = page(style, column)
    with drawing(sheet):
        canvas = compose(figure, sheet)
        buffer = io.BytesIO()
        # The venue's width is the page's: nothing may trim it.
        canvas.savefig(buffer, format=form, metadata=_METADATA[form], bbox_inches=None)
    return buffer.getvalue()


@contextmanager
def drawing(sheet: Page) -> Iterator[None]:
    """Matplotlib's settings for a page, for as long as something is drawn on it."""
    settings: Any = {**sheet.settings, **_PRINT}
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # a user's own settings do not reach the paper
        mpl.rcParams.update(settings)
        # A name may hold characters of any script; what no font has is drawn as a box.
        warnings.filterwarnings("ignore", r"Glyph \d+ .*missing from font")
        # The panel is empty then, and its foot and caption say how many points there are.
        warnings.filterwarnings("ignore", "Data has no positive values")
        yield


def compose(figure: Figure, sheet: Page) -> Canvas:
    """Matplotlib's own figure, to be used within :func:`drawing`."""
    canvas = Canvas()
    FigureCanvasAgg(canvas)
    arrange(canvas, figure, sheet)
    return canvas
