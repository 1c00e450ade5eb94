"""Panels on a page: as many in a row as have room, and no text that touches another or the edge.

The page is laid out twice: the first time shows how large the axes become, the second has text that fits them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine

from gradlens.figures.figure import Figure, Panel, Text
from gradlens.figures.hexbin import PANEL_ASPECT
from gradlens.figures.matplotlib_axes import fit_axes, fit_bar
from gradlens.figures.matplotlib_legend import add_legend
from gradlens.figures.matplotlib_marks import ColourBar, draw_marks, has_colour_bar
from gradlens.figures.matplotlib_text import LINE, POINTS, width_of
from gradlens.figures.palette import colour
from gradlens.figures.venues import Page
from gradlens.figures.wrapping import wrapped

_NARROWEST: Final = 1.55
"""Inches that a panel needs, with its labels."""

_NARROWEST_WITH_BAR: Final = 2.4
_AIR: Final = 0.03
"""Inches around each panel."""

_OVERHANG: Final = 16.0
"""Points that a horizontal label may stand out beyond its axis."""

_BAR: Final = 48.0
"""Points that a colour bar takes."""


def arrange(canvas: Canvas, figure: Figure, sheet: Page) -> list[Axes]:
    """Lay a figure out on a page.

    Args:
        canvas: empty; its layout is the same for every format, and for every frame.
        figure: what to draw.
        sheet: the page.

    Returns:
        The axes of each panel, where they stay.
    """
    engine = ConstrainedLayoutEngine(h_pad=_AIR, w_pad=_AIR)
    canvas.set_layout_engine(engine)
    columns = _columns(figure, sheet)
    rows = -(-len(figure.panels) // columns)
    cell = sheet.width * POINTS / columns
    canvas.set_size_inches(sheet.width, 2.0)
    legend = add_legend(canvas, figure, sheet)
    grid = list(canvas.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[len(figure.panels) :]:
        axes.set_axis_off()
    placed = [_place(axes, panel) for axes, panel in zip(grid, figure.panels, strict=False)]
    sizes = [_first_guess(panel, sheet, cell) for panel in figure.panels]
    for _ in range(2):
        heights = [_fit(each, sheet, cell, size) for each, size in zip(placed, sizes, strict=True)]
        canvas.set_size_inches(sheet.width, (rows * max(heights) + legend) / POINTS)
        engine.execute(canvas)
        widths = [each.axes.get_window_extent().width * POINTS / canvas.dpi for each in placed]
        sizes = [(width, PANEL_ASPECT * width) for width in widths]
    canvas.set_layout_engine("none")
    for each, (width, _) in zip(placed, sizes, strict=True):
        _keep_on_page(canvas, each.axes)
        _write_sentences(each.axes, each.panel, sheet, width)
    return grid[: len(figure.panels)]


@dataclass(frozen=True, slots=True)
class _Placed:
    axes: Axes
    panel: Panel
    bars: list[ColourBar]


def _place(axes: Axes, panel: Panel) -> _Placed:
    bars = draw_marks(axes, panel)
    axes.autoscale_view()
    _set_limits(axes, panel)
    return _Placed(axes, panel, bars)


def _columns(figure: Figure, sheet: Page) -> int:
    wide = any(has_colour_bar(panel) for panel in figure.panels)
    room = int(sheet.width / (_NARROWEST_WITH_BAR if wide else _NARROWEST))
    return max(1, min(figure.columns, room, len(figure.panels)))


def _first_guess(panel: Panel, sheet: Page, cell: float) -> tuple[float, float]:
    """About how large the axes of a panel become, in points."""
    labels = sheet.size * LINE + 4 * sheet.small * 0.55 + 14
    names = 0.3 * cell if panel.heatmap is not None else 0.0
    width = cell - labels - names - (_BAR if has_colour_bar(panel) else 0.0)
    return width, PANEL_ASPECT * width


def _fit(placed: _Placed, sheet: Page, cell: float, size: tuple[float, float]) -> float:
    """Give axes of a size text that fits; returns the height that the panel needs, in points."""
    axes, panel, (width, height) = placed.axes, placed.panel, size
    measure = width_of(sheet, sheet.size)
    title = wrapped(panel.title, 0.97 * width, measure)
    across = wrapped(panel.x.title, min(width + _OVERHANG, 0.97 * cell), measure)
    up = wrapped(panel.y.title, max(height, 40.0), measure)
    axes.set_title(title, linespacing=1.0)
    axes.set_xlabel(across, linespacing=1.0)
    axes.set_ylabel(up, linespacing=1.0)
    under = fit_axes(axes, panel, sheet, cell, size)
    for bar in placed.bars:
        fit_bar(bar, sheet, height)
    lines = title.count("\n") + across.count("\n") + 2
    return height + lines * sheet.size * LINE + under + 14


def _set_limits(axes: Axes, panel: Panel) -> None:
    axes.set_xscale("linear" if panel.categories else panel.x.scale)  # names have no logarithm
    axes.set_yscale("linear" if panel.heatmap is not None else panel.y.scale)
    if panel.categories:
        axes.set_xlim(-0.6, len(panel.categories) - 0.4)
    if panel.heatmap is not None:
        axes.set_xlim(panel.heatmap.x[0], panel.heatmap.x[-1])
        axes.set_ylim(len(panel.heatmap.rows) - 0.5, -0.5)
    if panel.x.limits:
        axes.set_xlim(*panel.x.limits)
    if panel.y.limits:
        axes.set_ylim(*panel.y.limits)


def _keep_on_page(canvas: Canvas, axes: Axes) -> None:
    """Move a horizontal label, which the layout lets stand out beyond its axis, back from the edge of the page."""
    label, width = axes.xaxis.label, axes.get_window_extent().width
    beyond = label.get_window_extent().x1 - (canvas.bbox.width - _AIR * canvas.dpi)
    if label.get_text() and beyond > 0:
        label.set_x(0.5 - beyond / width)


def _write_sentences(axes: Axes, panel: Panel, sheet: Page, width: float) -> None:
    text = "\n\n".join(
        wrapped(mark.text, 0.9 * width, width_of(sheet, sheet.small)) for mark in panel.marks if isinstance(mark, Text)
    )
    if text:
        axes.text(
            0.5,
            0.5,
            text,
            transform=axes.transAxes,
            ha="center",
            va="center",
            color=colour("muted"),
            fontsize=sheet.small,
        )
