"""A panel's marks as matplotlib's artists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, LogNorm, Normalize
from numpy.typing import NDArray

from gradlens.figures.figure import Band, Bars, Heatmap, Hexbin, Line, Mark, Panel, Points, Rule, Text
from gradlens.figures.hexbin import hexagons
from gradlens.figures.palette import BAND, HEAT, blend, colour

Floats = NDArray[np.float64]

_MOST_VECTORS: Final = 20_000
"""More points than that become pixels, so that a PDF opens."""

_FEW_POINTS: Final = 500
"""Up to so many dots of a panel are drawn large enough to be seen one by one."""

_ERROR_WIDTH: Final = 0.7


@dataclass(frozen=True, slots=True)
class ColourBar:
    """A panel's colour bar, as matplotlib draws it and as the mark describes it."""

    drawn: Colorbar
    label: str
    scale: Literal["linear", "log"]


def draw_marks(axes: Axes, panel: Panel) -> list[ColourBar]:
    """Draw a panel's marks in order; returns the colour bars that came with them."""
    bars = [_draw(axes, panel, mark) for mark in panel.marks]
    return [bar for bar in bars if bar is not None]


def has_colour_bar(panel: Panel) -> bool:
    """Whether a panel needs room for one."""
    return any(isinstance(mark, Heatmap) or (isinstance(mark, Points) and mark.values is not None)
               for mark in panel.marks)  # fmt: skip


def _draw(axes: Axes, panel: Panel, mark: Mark) -> ColourBar | None:
    match mark:
        case Line():
            _draw_line(axes, mark)
        case Points():
            return _draw_points(axes, mark, few=_dots(panel) <= _FEW_POINTS)
        case Band():
            shade = {"color": colour(mark.colour), "alpha": BAND, "linewidth": 0.0}
            axes.fill_between(mark.x, mark.low, mark.high, label=mark.label or None, **shade)  # type: ignore[arg-type]
        case Heatmap():
            return _draw_heatmap(axes, mark)
        case Bars():
            _draw_bars(axes, panel, mark)
        case Hexbin():
            _draw_hexbin(axes, mark)
        case Rule():
            draw = axes.axvline if mark.along == "x" else axes.axhline
            draw(mark.at, color=colour(mark.colour), linestyle=":", linewidth=1.2, label=mark.label or None)
        case Text():
            pass  # written by the layout, which knows how wide the panel is
    return None


def _draw_line(axes: Axes, mark: Line) -> None:
    axes.plot(
        mark.x,
        mark.y,
        color=blend(mark.colour, 0.3) if mark.faint else colour(mark.colour),
        linewidth=0.5 if mark.faint else 1.0,
        linestyle="--" if mark.dashed else "-",
        label=mark.label or None,
        rasterized=len(mark.x) > _MOST_VECTORS,
    )


def _dots(panel: Panel) -> int:
    """How many dots a panel has: those of several marks are alike, so that none looks weightier."""
    return sum(len(mark.x) for mark in panel.marks if isinstance(mark, Points) and mark.marker == "dot")


def _draw_points(axes: Axes, mark: Points, *, few: bool) -> ColourBar | None:
    if mark.error_low is not None and mark.error_high is not None:
        _draw_errors(axes, mark.x, mark.error_low, mark.error_high, colour(mark.colour))
    values = mark.values is not None
    large = values or mark.error_low is not None or few
    artist = axes.scatter(
        mark.x,
        mark.y,
        s={"dot": 8.0 if large else 1.5, "cross": 8.0}[mark.marker],
        c=mark.values if mark.values is not None else colour(mark.colour),
        cmap=_heat() if values else None,
        norm=_norm(mark.values, "linear") if mark.values is not None else None,
        plotnonfinite=values,
        marker={"dot": "o" if large else ".", "cross": "x"}[mark.marker],
        linewidths=0.6 if mark.marker == "cross" else 0.0,
        label=mark.label or None,
        rasterized=len(mark.x) > _MOST_VECTORS,
        zorder=2.1,
    )
    return _colour_bar(axes, artist, mark.values_label, "linear") if values else None


def _draw_errors(axes: Axes, x: Floats, low: Floats, high: Floats, ink: str) -> None:
    known = np.isfinite(low) & np.isfinite(high)
    ends = np.stack([np.stack([x, low], axis=1), np.stack([x, high], axis=1)], axis=1)[known]
    axes.add_collection(LineCollection(list(ends), colors=ink, linewidths=_ERROR_WIDTH))


def _draw_heatmap(axes: Axes, mark: Heatmap) -> ColourBar:
    edges = np.arange(len(mark.rows) + 1) - 0.5
    axes.set_facecolor(colour("blank"))
    shown = np.ma.masked_invalid(mark.shown)
    # Vector cells leave hairlines between them in most viewers.
    artist = axes.pcolormesh(mark.x, edges, shown, cmap=_heat(), norm=_norm(mark.shown, mark.scale), rasterized=True)
    return _colour_bar(axes, artist, mark.label, mark.scale)


def _colour_bar(axes: Axes, artist: ScalarMappable, label: str, scale: Literal["linear", "log"]) -> ColourBar:
    canvas = axes.get_figure()
    bar = canvas.colorbar(artist, ax=axes, pad=0.02, aspect=16)  # type: ignore[union-attr]
    bar.outline.set_visible(False)
    return ColourBar(bar, f"{label}, log scale" if scale == "log" else label, scale)


def _heat() -> Colormap:
    return mpl.colormaps[HEAT.lower()].with_extremes(bad=colour("blank"))


def _norm(values: Floats, scale: str) -> Normalize:
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (1.0, 1.0)
    if low == high:  # a colour bar needs a span
        low, high = (low / 2, high * 2) if scale == "log" else (low - 0.5, high + 0.5)
    return LogNorm(low, high) if scale == "log" else Normalize(low, high)


def _draw_bars(axes: Axes, panel: Panel, mark: Bars) -> None:
    centres, width = panel.places(mark)
    axes.bar(centres, mark.values, 0.9 * width, color=colour(mark.colour), label=mark.label or None, linewidth=0.0)
    if mark.low is not None and mark.high is not None:
        _draw_errors(axes, centres, mark.low, mark.high, colour("ink"))


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
