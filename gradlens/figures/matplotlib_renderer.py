"""Figures on paper: venue styles by tueplots, embedded fonts, the same bytes every time."""

from __future__ import annotations

import inspect
import io
import textwrap
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure as Canvas
from tueplots import bundles

from gradlens.figures.figure import Band, Figure, Hexbin, Line, Panel, Points, Rule, Text
from gradlens.figures.hexbin import hexagons
from gradlens.figures.palette import blend, colour

_METADATA: dict[str, dict[str, Any]] = {
    # A date or a version in the file would make two saves of one figure differ.
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": "gradlens"},
    "svg": {"Date": None, "Creator": "gradlens"},
    "png": {"Software": "gradlens"},
}

_PRINT = {
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "gradlens",
    "text.usetex": False,
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "savefig.dpi": 300,
    # Some venues' styles name fonts that are on no plain machine; DejaVu ships with matplotlib.
    "font.serif": ["Times New Roman", "Times", "Nimbus Roman", "STIXGeneral", "DejaVu Serif"],
    "mathtext.fontset": "stix",
}


def render(figure: Figure, form: str, style: str = "icml2024", column: str = "full") -> bytes:
    """Draw a figure.

    Args:
        figure: the figure.
        form: ``"pdf"``, ``"svg"`` or ``"png"``.
        style: a venue of tueplots, as in ``"icml2024"`` or ``"neurips2024"``.
        column: ``"full"`` or ``"half"`` text width, where the venue has both.

    Returns:
        The file's bytes, the same for the same figure.

    Raises:
        ValueError: for a format, venue or column that there is not.
    """
    if form not in _METADATA:
        raise ValueError(f"expected one of the formats {', '.join(_METADATA)}; got {form!r}.")
    parameters: Any = {**_venue(style)(figure, column), **_PRINT}
    with mpl.rc_context(parameters):
        canvas = Canvas(layout="constrained")
        FigureCanvasAgg(canvas)
        grid = canvas.subplots(figure.rows, figure.columns, squeeze=False)
        places = list(grid.flat)
        for axes, panel in zip(places, figure.panels, strict=False):
            _draw(axes, panel)
        for axes in places[len(figure.panels) :]:
            axes.set_axis_off()
        buffer = io.BytesIO()
        # The venue's width is the page's: nothing may trim it.
        canvas.savefig(buffer, format=form, metadata=_METADATA[form], bbox_inches=None)
    return buffer.getvalue()


def styles() -> tuple[str, ...]:
    """The venues that tueplots knows for papers."""
    return tuple(name for name in dir(bundles) if name[-4:].isdigit())


def _venue(style: str) -> Callable[[Figure, str], dict[str, Any]]:
    if style not in styles():
        raise ValueError(f"expected one of the styles {', '.join(styles())}; got {style!r}.")
    bundle = getattr(bundles, style)

    def parameters(figure: Figure, column: str) -> dict[str, Any]:
        if column not in ("full", "half"):
            raise ValueError(f"column is 'full' or 'half'; got {column!r}.")
        wanted = {"column": column, "nrows": figure.rows, "ncols": figure.columns, "usetex": False}
        taken = inspect.signature(bundle).parameters  # a venue of one column takes no column
        return dict(bundle(**{name: value for name, value in wanted.items() if name in taken}))

    return parameters


def _draw(axes: Axes, panel: Panel) -> None:
    for mark in panel.marks:
        match mark:
            case Line():
                axes.plot(
                    mark.x,
                    mark.y,
                    color=blend(mark.colour, 0.3) if mark.faint else colour(mark.colour),
                    linewidth=0.5 if mark.faint else 1.0,
                    linestyle="--" if mark.dashed else "-",
                    label=(mark.label or None) if not mark.faint else None,
                    rasterized=len(mark.x) > 20_000,
                )
            case Points():
                size = {"dot": 1.5, "cross": 8.0}[mark.marker]
                shape = {"dot": ".", "cross": "x"}[mark.marker]
                axes.scatter(
                    mark.x,
                    mark.y,
                    s=size,
                    c=colour(mark.colour),
                    marker=shape,
                    linewidths=0.6,
                    label=mark.label or None,
                )
            case Band():
                axes.fill_between(mark.x, mark.low, mark.high, color=blend(mark.colour, 0.25), linewidth=0)
            case Hexbin():
                _draw_hexbin(axes, mark)
            case Rule():
                draw = axes.axvline if mark.along == "x" else axes.axhline
                draw(mark.at, color=colour(mark.colour), linestyle=":", linewidth=1.2, label=mark.label or None)
            case Text():
                text = "\n".join(textwrap.wrap(mark.text, 40))
                axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize="x-small")
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x.label)
    axes.set_ylabel(panel.y.label)
    axes.set_xscale(panel.x.scale)
    axes.set_yscale(panel.y.scale)
    if panel.x.limits:
        axes.set_xlim(*panel.x.limits)
    if panel.y.limits:
        axes.set_ylim(*panel.y.limits)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize="x-small")


def _draw_hexbin(axes: Axes, mark: Hexbin) -> None:
    cells = hexagons(mark)
    most = cells.counts.max(initial=1)
    axes.add_collection(
        PolyCollection(
            list(cells.centres[:, None, :] + cells.corners),
            facecolors=[blend(mark.colour, 0.1 + 0.9 * count / most) for count in cells.counts],
            edgecolors=blend(mark.colour, 0.15),
            linewidths=0.2,
        )
    )
