"""Page and paper hold the numbers of the figure's value, mark by mark."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator
from html import unescape
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.axes import Axes
from numpy.testing import assert_allclose, assert_array_equal

from gradlens.figures import matplotlib_renderer, plotly_renderer
from gradlens.figures.figure import (
    Axis,
    Band,
    Bars,
    Figure,
    Heatmap,
    Hexbin,
    Line,
    Mark,
    Panel,
    Points,
    Rule,
    Text,
)
from gradlens.figures.hexbin import hexagons
from gradlens.figures.numbers import numbers_csv
from gradlens.figures.venues import page

X = np.array([1.0, 2.0, 3.0])
FLOAT32 = 1e-6


def known_ends(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.stack([low, high], axis=1)[np.isfinite(low) & np.isfinite(high)]


def outline(mark: Band) -> set[tuple[float, float]]:
    known = np.isfinite(mark.low) & np.isfinite(mark.high)
    return {(x, y) for ends in (mark.low, mark.high) for x, y in zip(mark.x[known], ends[known], strict=True)}


def rounded(points: np.ndarray) -> set[tuple[float, float]]:
    return {(float(f"{x:.5g}"), float(f"{y:.5g}")) for x, y in points.tolist()}


class OnPaper:
    """The artists of axes, in the order in which marks drew them."""

    def __init__(self, axes: Axes) -> None:
        self.lines, self.collections = iter(axes.lines), iter(axes.collections)
        self.patches, self.texts = iter(axes.patches), iter(axes.texts)

    def check(self, mark: Mark, panel: Panel) -> None:
        match mark:
            case Line():
                assert_array_equal(next(self.lines).get_xydata(), np.stack([mark.x, mark.y], axis=1))
            case Rule():
                line = next(self.lines)
                assert (line.get_xdata() if mark.along == "x" else line.get_ydata())[0] == mark.at
            case Points():
                if mark.error_low is not None and mark.error_high is not None:
                    ends = np.reshape(next(self.collections).get_segments(), (-1, 2, 2))[:, :, 1]  # type: ignore[attr-defined]
                    assert_array_equal(ends, known_ends(mark.error_low, mark.error_high))
                dots = next(self.collections)
                assert_array_equal(dots.get_offsets(), np.stack([mark.x, mark.y], axis=1))
                if mark.values is not None:
                    assert_array_equal(np.ma.filled(dots.get_array(), np.nan), mark.values)
            case Band():
                drawn = np.concatenate([path.vertices for path in next(self.collections).get_paths()])
                assert rounded(drawn) == rounded(np.array(sorted(outline(mark))))
            case Heatmap():
                mesh = next(self.collections)
                assert_array_equal(np.ma.filled(mesh.get_array(), np.nan), mark.shown)
                assert_array_equal(mesh.get_coordinates()[0, :, 0], mark.x)  # type: ignore[attr-defined]
            case Bars():
                bars = [next(self.patches) for _ in mark.names]
                assert_array_equal([bar.get_height() for bar in bars], mark.values)  # type: ignore[attr-defined]
                centres = [bar.get_x() + bar.get_width() / 2 for bar in bars]  # type: ignore[attr-defined]
                assert_allclose(centres, panel.places(mark)[0])
                if mark.low is not None and mark.high is not None:
                    ends = np.reshape(next(self.collections).get_segments(), (-1, 2, 2))[:, :, 1]  # type: ignore[attr-defined]
                    assert_array_equal(ends, known_ends(mark.low, mark.high))
            case Hexbin():
                drawn = np.array([path.vertices[:6].mean(axis=0) for path in next(self.collections).get_paths()])
                assert_allclose(drawn, hexagons(mark).centres, atol=1e-9)
            case Text():
                assert next(self.texts).get_text().split() == mark.text.split()


def unpacked(held: dict[str, Any]) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(held["bdata"]), dtype="<" + held["dtype"]).astype(np.float64)
    return values.reshape([int(n) for n in held["shape"].split(",")]) if "shape" in held else values


class OnPage:
    """The traces, shapes and notes of one panel, in order."""

    def __init__(self, drawn: dict[str, Any], index: int) -> None:
        suffix = "" if index == 0 else str(index + 1)
        self.traces = iter([trace for trace in drawn["data"] if trace["xaxis"] == "x" + suffix])
        layout = drawn["layout"]
        self.shapes: Iterator[Any] = iter(
            [shape for shape in layout["shapes"] if suffix_of(shape) == suffix and shape["type"] == "line"]
        )
        self.notes = unescape(" ".join(note["text"] for note in layout["annotations"]).replace("<br>", " "))

    def check(self, mark: Mark, panel: Panel) -> None:
        match mark:
            case Line():
                self.same(mark.x, mark.y)
            case Rule():
                shape = next(self.shapes)
                assert shape[mark.along + "0"] == shape[mark.along + "1"] == mark.at
            case Points():
                trace = self.same(mark.x, mark.y)
                if mark.values is not None:
                    assert_allclose(unpacked(trace["marker"]["color"]), mark.values, rtol=FLOAT32)
                if mark.error_low is not None and mark.error_high is not None:
                    self.same_ends(trace, mark.y, mark.error_low, mark.error_high)
            case Band():
                trace = next(self.traces)
                drawn = np.stack([unpacked(trace["x"]), unpacked(trace["y"])], axis=1)
                assert rounded(drawn[np.isfinite(drawn[:, 0])]) == rounded(np.array(sorted(outline(mark))))
            case Heatmap():
                trace = next(self.traces)
                z = unpacked(trace["z"])
                assert_allclose(10**z if mark.scale == "log" else z, mark.shown, rtol=1e-5)
                assert_allclose(unpacked(trace["x"]), mark.x, rtol=FLOAT32)
                assert trace["y"] == list(mark.rows)
            case Bars():
                trace = self.same(panel.places(mark)[0], mark.values)
                if mark.low is not None and mark.high is not None:
                    self.same_ends(trace, mark.values, mark.low, mark.high)
            case Hexbin():
                cells = hexagons(mark)
                *_, dots = list(self.traces)
                assert_allclose(unpacked(dots["x"]), cells.centres[:, 0], rtol=FLOAT32, atol=1e-6)
                assert dots["text"] == [f"{count:,} steps" for count in cells.counts.tolist()]
            case Text():
                assert mark.text in self.notes

    def same(self, x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        trace: dict[str, Any] = next(self.traces)
        assert_allclose(unpacked(trace["x"]), x, rtol=FLOAT32)
        assert_allclose(unpacked(trace["y"]), y, rtol=FLOAT32)
        return trace

    @staticmethod
    def same_ends(trace: dict[str, Any], y: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        known = np.isfinite(low) & np.isfinite(high)
        up, down = unpacked(trace["error_y"]["array"]), unpacked(trace["error_y"]["arrayminus"])
        assert_array_equal(np.isfinite(up) & np.isfinite(down), known)
        assert_allclose(y[known] + up[known], high[known], rtol=1e-5)
        assert_allclose(y[known] - down[known], low[known], rtol=1e-5)


def suffix_of(shape: dict[str, Any]) -> str:
    return str(shape["xref"]).split()[0].removeprefix("x")


def assert_alike(figure: Figure, themes: tuple[str, ...] = ("light",)) -> None:
    sheet = page()
    with matplotlib_renderer.drawing(sheet):
        canvas = matplotlib_renderer.compose(figure, sheet)
    for theme in themes:
        drawn = plotly_renderer.render(figure, theme)
        go.Figure(drawn)  # Plotly accepts every property
        for index, (panel, axes) in enumerate(zip(figure.panels, canvas.axes, strict=False)):
            paper, screen = OnPaper(axes), OnPage(drawn, index)
            for mark in panel.marks:
                paper.check(mark, panel)
                screen.check(mark, panel)


def test_every_mark_is_drawn_alike(every_mark: Figure) -> None:
    assert_alike(every_mark, ("light", "dark"))


def test_every_figure_is_drawn_alike(gallery: dict[str, Figure]) -> None:
    for figure in gallery.values():
        assert_alike(figure)


def test_the_csv_holds_every_number(every_mark: Figure) -> None:
    rows = list(csv.DictReader(io.StringIO(numbers_csv(every_mark))))

    def column(panel: str, mark: str, name: str) -> np.ndarray:
        return np.array([float(row[name]) for row in rows if row["panel"] == panel and row["mark"] == mark])

    marks = {panel.title: panel.marks for panel in every_mark.panels}
    band, points, errors, cells, bars = (
        marks[name][0] for name in ("Band and line", "Coloured points", "Intervals", "Heatmap", "Bars")
    )
    assert isinstance(band, Band)
    assert isinstance(points, Points)
    assert isinstance(errors, Points)
    assert isinstance(cells, Heatmap)
    assert isinstance(bars, Bars)
    for name, held in (("x", band.x), ("low", band.low), ("high", band.high)):
        assert_allclose(column("Band and line", "band", name), held, rtol=1e-8)
    assert points.values is not None
    assert_allclose(column("Coloured points", "points", "value"), points.values, rtol=1e-8)
    assert errors.error_low is not None
    assert_allclose(column("Intervals", "points", "low"), errors.error_low, rtol=1e-8)
    assert_allclose(column("Heatmap", "heatmap", "value").reshape(cells.values.shape), cells.values, rtol=1e-8)
    assert_allclose(column("Heatmap", "heatmap", "x_end")[: len(cells.x) - 1], cells.x[1:], rtol=1e-8)
    of_bars = [row for row in rows if row["mark"] == "bars" and row["label"] == "early"]
    assert [row["x"] for row in of_bars] == list(bars.names)
    assert_allclose([float(row["y"]) for row in of_bars], bars.values)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Points(X, X[:2], "ink"), r"points at 3 places take 3 of y; got an array of shape \(2,\)\."),
        (lambda: Points(X, X, "ink", values=X[:1]), r"take 3 of values"),
        (lambda: Points(X, X, "ink", error_low=X), r"points with intervals take both ends, error_low and error_high"),
        (lambda: Band(X, X, X[:2], "ink"), r"a band at 3 places take 3 of high"),
        (lambda: Bars(("a", "b"), X, "ink"), r"bars at 2 places take 2 of values"),
        (
            lambda: Bars(("a", "b", "c"), X, "ink", high=X),
            r"bars with intervals take both ends, low and high; got one\.",
        ),
        (lambda: Heatmap(X, ("a",), np.ones((1, 3)), ""), r"a heatmap of 1 rows and 3 edges takes \(1, 2\) values"),
    ],
)
def test_marks_whose_arrays_do_not_fit_are_refused(make: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        make()


NOTHING = np.empty(0)
AXES = Axis("x", "log"), Axis("y", "log")


@pytest.mark.parametrize(
    "marks",
    [
        (),
        (Line(NOTHING, NOTHING, "ink", "nothing"), Points(NOTHING, NOTHING, "ink", values=NOTHING)),
        (Line(X, np.full(3, np.nan), "ink"), Points(X, -X, "ink", values=np.full(3, np.nan))),
        (Band(X, np.full(3, np.nan), X, "ink"), Points(X, X, "ink", error_low=np.full(3, np.nan), error_high=X)),
        (Heatmap(X, ("a",), np.array([[np.nan, 0.0]]), "v", "log"),),
        (Heatmap(X, ("a",), np.array([[2.0, 2.0]]), "v"), Line(X, np.array([1.0, np.inf, 1.0]), "ink")),
        (Bars(("a",), np.array([np.nan]), "ink"),),
        (Line(X[:1], X[:1], "ink"), Line(X, np.ones(3), "ink")),
    ],
)
def test_data_that_are_not_there_are_drawn_without_a_word(marks: tuple[Mark, ...]) -> None:
    figure = Figure("f", (Panel("t", "", *AXES, marks),), "", columns=1)
    go.Figure(plotly_renderer.render(figure, "dark"))
    assert matplotlib_renderer.render(figure, "svg", column="half")
    assert numbers_csv(figure)


def test_very_many_points_use_webgl_in_four_traces_at_most() -> None:
    def kinds(points: int) -> list[str]:
        x = np.arange(float(points))
        figure = Figure("f", tuple(Panel("t", "", Axis("x"), Axis("y"), (Line(x, x, "ink"),)) for _ in range(6)), "")
        return [trace["type"] for trace in plotly_renderer.render(figure)["data"]]

    assert kinds(8_333) == ["scatter"] * 6
    assert sorted(kinds(8_334)) == ["scatter"] * 2 + ["scattergl"] * 4


def test_what_is_called_alike_is_named_once(gallery: dict[str, Figure]) -> None:
    drawn = plotly_renderer.render(gallery["training_dynamics"])
    named = [trace["name"] for trace in drawn["data"] if trace["showlegend"]]
    assert named == ["No clipping", "With AutoClip, p = 10"]


def test_a_sentence_on_the_page_has_axes_to_stand_in(every_mark: Figure) -> None:
    drawn = plotly_renderer.render(every_mark)
    index = [panel.title for panel in every_mark.panels].index("Nothing") + 1
    assert any(trace["xaxis"] == f"x{index}" for trace in drawn["data"])
    assert drawn["layout"][f"xaxis{index}"]["showticklabels"] is False
