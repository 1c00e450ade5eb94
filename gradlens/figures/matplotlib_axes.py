"""An axis' ticks on paper: round numbers or names, as many as have room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.axis import Axis as DrawnAxis
from matplotlib.ticker import FixedFormatter, FixedLocator, LogLocator, NullFormatter, NullLocator

from gradlens.figures.figure import Axis, Panel, Text
from gradlens.figures.matplotlib_marks import ColourBar
from gradlens.figures.matplotlib_text import LINE, width_of
from gradlens.figures.ticks import Tick, thinned, ticks
from gradlens.figures.venues import Page
from gradlens.figures.wrapping import shortened, wrapped

_NAME_SHARE: Final = 0.36
"""Most of a panel's width that the names of a heatmap's rows take."""

_LONGEST_UPRIGHT: Final = 60.0
_DECADES_WITH_MINOR_TICKS: Final = 8.0


def fit_axes(axes: Axes, panel: Panel, sheet: Page, cell: float, size: tuple[float, float]) -> float:
    """Set the ticks of axes of a size.

    Args:
        axes: with their limits.
        panel: what they show.
        sheet: the page.
        cell: width of the panel with its labels, in points.
        size: width and height of the axes, in points.

    Returns:
        Height of what stands under the axes, in points.
    """
    if all(isinstance(mark, Text) for mark in panel.marks):
        for axis in (axes.xaxis, axes.yaxis):
            _set(axis, ())
        return 0.0
    low, high = sorted(axes.get_ylim())
    if panel.heatmap is not None and panel.y.ticks is None:
        _set(axes.yaxis, _rows(panel.heatmap.rows, sheet, _NAME_SHARE * cell, size[1]))
    else:
        chosen = _chosen(panel.y, low, high, size[1], sheet.small, upright=True)
        measure = width_of(sheet, sheet.small)
        _set(axes.yaxis, [(at, shortened(text, _NAME_SHARE * cell, measure)) for at, text in chosen])
    _set_minor(axes.yaxis, panel.y)
    low, high = sorted(axes.get_xlim())
    if panel.categories and panel.x.ticks is None:
        return _set_names(axes, panel.categories, sheet, size[0] / (len(panel.categories) + 0.2))
    _set(axes.xaxis, _chosen(panel.x, low, high, size[0], sheet.small, upright=False))
    _set_minor(axes.xaxis, panel.x)
    return sheet.small * LINE + 4


def fit_bar(bar: ColourBar, sheet: Page, length: float) -> None:
    """Set the ticks and the label of a colour bar of a length, in points."""
    low, high = bar.drawn.norm.vmin or 0.0, bar.drawn.norm.vmax or 0.0
    chosen = ticks(low, high, length, sheet.small, bar.scale, upright=True)
    bar.drawn.set_ticks([at for at, _ in chosen], labels=[text for _, text in chosen])
    bar.drawn.minorticks_off()
    bar.drawn.set_label(wrapped(bar.label, max(length, 40.0), width_of(sheet, sheet.size)), linespacing=1.0)


def _chosen(axis: Axis, low: float, high: float, length: float, small: float, *, upright: bool) -> tuple[Tick, ...]:
    if axis.ticks is None:
        return ticks(low, high, length, small, axis.scale, upright=upright)
    within = tuple(tick for tick in axis.ticks if low <= tick[0] <= high)
    return thinned(within, low, high, length, small, axis.scale, upright=upright)


def _set(axis: DrawnAxis, chosen: Sequence[Tick]) -> None:
    axis.set_major_locator(FixedLocator([at for at, _ in chosen]))
    axis.set_major_formatter(FixedFormatter([text for _, text in chosen]))
    axis.set_minor_locator(NullLocator())


def _set_minor(axis: DrawnAxis, described: Axis) -> None:
    low, high = sorted(axis.get_view_interval())
    if described.scale == "log" and described.ticks is None and 0 < low < high < low * 10**_DECADES_WITH_MINOR_TICKS:
        axis.set_minor_locator(LogLocator(subs=range(2, 10), numticks=100))
        axis.set_minor_formatter(NullFormatter())


def _rows(names: Sequence[str], sheet: Page, width: float, height: float) -> tuple[Tick, ...]:
    measure = width_of(sheet, sheet.small)
    every = max(1, -int(-len(names) * sheet.small * LINE // height))
    return tuple((float(at), shortened(names[at], width, measure)) for at in range(0, len(names), every))


def _set_names(axes: Axes, names: Sequence[str], sheet: Page, room: float) -> float:
    """Names beside each other in lines, or upright where a word is too wide; returns their height."""
    measure = width_of(sheet, sheet.small)
    lying = [wrapped(name, 0.94 * room, measure) for name in names]
    upright = any(measure(word) > 0.94 * room for name in names for word in name.split())
    if upright:
        every = max(1, -int(-sheet.small * LINE // room))
        standing = [shortened(name, _LONGEST_UPRIGHT, measure) for name in names]
        _set(axes.xaxis, [(float(at), standing[at]) for at in range(0, len(names), every)])
        height = max(measure(name) for name in standing)
    else:
        _set(axes.xaxis, [(float(at), name) for at, name in enumerate(lying)])
        height = sheet.small * LINE * max(name.count("\n") + 1 for name in lying)
    axes.tick_params(axis="x", labelrotation=90 if upright else 0)
    return height + 4
