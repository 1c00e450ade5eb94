"""On no page does a text leave the canvas or touch another, and none is smaller than 7 points."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from gradlens import figures
from gradlens.figures import matplotlib_renderer
from gradlens.figures.figure import Axis, Figure, Panel, Points
from gradlens.figures.ticks import ticks
from gradlens.figures.venues import COLUMNS, Page, page, styles

ALL = sorted(
    {page(style, column) for style in styles() for column in COLUMNS},
    key=lambda one: (one.width, -one.size, one.family),
)
WIDE = 4.0
"""Inches of a page on which a panel alone has more room than on each narrower one."""
ROOM = 1.3
"""What fits a page fits one of its family that is up to so much wider, in the same type or smaller: nearly always."""


def narrowest(sheets: list[Page]) -> list[Page]:
    """The pages that are hardest to fit: each other one is like one of them, with more room."""
    kept: list[Page] = []
    for sheet in sheets:
        like = (one for one in kept if one.family == sheet.family and one.size >= sheet.size)
        if not any(sheet.width < ROOM * one.width for one in like):
            kept.append(sheet)
    return kept


USUAL = page("icml2024", "half")
PAGES = sorted({*narrowest(ALL), USUAL}, key=ALL.index)
THREE_PAGES = (PAGES[0], USUAL, PAGES[-1])
SLACK = 0.5
"""Points that two boxes may share: a box is a line's height, not its ink."""


def texts(canvas: Canvas) -> list[tuple[str, Bbox, float]]:
    """Every text that is drawn: what it says, its box in points, its size."""
    canvas.draw_without_rendering()
    renderer = canvas.canvas.get_renderer()  # type: ignore[attr-defined]
    found: list[Text] = []
    for axes in canvas.axes:
        if not axes.axison:
            continue
        found += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            found += [
                label for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high
                for label in (tick.label1, tick.label2) if label.get_visible()
            ]  # fmt: skip
    for legend in canvas.legends:
        found += legend.get_texts()
    scale = 72 / canvas.dpi
    return [
        (text.get_text(), Bbox(text.get_window_extent(renderer).get_points() * scale), text.get_fontsize())
        for text in found
        if text.get_text().strip() and text.get_visible()
    ]


def assert_fit_to_print(figure: Figure, sheet: Page) -> None:
    with matplotlib_renderer.drawing(sheet):
        canvas = matplotlib_renderer.compose(figure, sheet)
        found = texts(canvas)
        width, height = canvas.get_size_inches() * 72
    assert width == pytest.approx(72 * sheet.width)
    assert len(found) > 2
    for text, box, size in found:
        assert 7 <= size <= 9, text
        assert box.x0 >= -SLACK, text
        assert box.y0 >= -SLACK, text
        assert box.x1 <= width + SLACK, text
        assert box.y1 <= height + SLACK, text
    for (one, a, _), (other, b, _) in itertools.combinations(found, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        up = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(across, up) <= SLACK, f"{one!r} touches {other!r} by {across:.1f} x {up:.1f} points"


@pytest.mark.parametrize("sheet", PAGES, ids=lambda one: f"{one.family}-{one.width:.2f}in-{one.size:g}pt")
def test_every_figure_fits_every_page(gallery: dict[str, Figure], sheet: Page) -> None:
    for figure in gallery.values():
        if len(figure.panels) > 1 or sheet.width < WIDE:
            assert_fit_to_print(figure, sheet)


@pytest.mark.parametrize("sheet", THREE_PAGES, ids=lambda one: f"{one.family}-{one.width:.2f}in")
def test_every_mark_and_the_longest_names_fit(every_mark: Figure, unwieldy: Figure, sheet: Page) -> None:
    assert_fit_to_print(every_mark, sheet)
    assert_fit_to_print(unwieldy, sheet)


def test_one_panel_of_several_fits_alone(gallery: dict[str, Figure]) -> None:
    for figure in gallery.values():
        if len(figure.panels) > 1:
            assert_fit_to_print(figure.only(0), USUAL)


def test_a_half_page_holds_the_papers_two_panels_a_row(gallery: dict[str, Figure]) -> None:
    sheet = page("icml2024", "half")
    with matplotlib_renderer.drawing(sheet):
        canvas = matplotlib_renderer.compose(gallery["training_dynamics"], sheet)
        lefts = {round(axes.get_position().x0, 3) for axes in canvas.axes}
    assert len(lefts) == 2


def test_rows_from_the_top_keep_their_names() -> None:
    names = ("norm spike (3)", "loss spike (0)", "NaN or infinite (1)", "skipped step (0)")
    rows = Axis("", limits=(-3.6, 0.6), ticks=tuple((-float(place), name) for place, name in enumerate(names)))
    marks = (Points(np.array([3.0, 5.0]), np.array([0.0, -2.0]), "ink", marker="cross"),)
    figure = Figure("events", (Panel("Events", "", Axis("step"), rows, marks),), "")
    for column in ("full", "half"):
        with matplotlib_renderer.drawing(sheet := page("icml2024", column)):
            (axes,) = matplotlib_renderer.compose(figure, sheet).axes
        assert tuple(text.get_text() for text in axes.get_yticklabels()) == names


def test_ticks_are_round_ascending_within_and_apart() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        low = float(rng.normal() * 10 ** rng.uniform(-9, 9))
        high = low + float(10 ** rng.uniform(-4, 9)) * max(1e-9, abs(low))
        length, scale = float(rng.uniform(40, 400)), rng.choice(["linear", "log"])
        if scale == "log":
            low, high = sorted((abs(low), abs(high)))
        if not low < high:
            continue
        found = ticks(low, high, length, 7.0, scale, upright=bool(rng.integers(2)))
        at = [position for position, _ in found]
        assert found, (low, high, length, scale)
        assert at == sorted(at)
        assert low - 1e-9 * abs(low) <= at[0] <= at[-1] <= high + 1e-9 * abs(high)
        assert len({text for _, text in found}) == len(found), found


def test_ticks_of_what_has_no_extent_are_none() -> None:
    for low, high in ((1.0, 1.0), (np.nan, 1.0), (0.0, np.inf)):
        assert ticks(low, high, 100.0, 7.0, upright=True) == ()


def test_the_table_says_how_many_runs_and_which_options(sample_pair: list) -> None:
    for call, why in (
        (lambda: figures.draw("nothing", sample_pair), r"expected one of the figures .*; got 'nothing'\."),
        (lambda: figures.draw("threshold_history", sample_pair), r"threshold_history draws one run; got 2\."),
        (lambda: figures.draw("training_dynamics", []), r"training_dynamics draws 1 run or more; got 0\."),
        (lambda: figures.draw("training_dynamics", sample_pair, percentile=10),
         r"training_dynamics takes labels, smoothing, steps; got percentile\."),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            call()
