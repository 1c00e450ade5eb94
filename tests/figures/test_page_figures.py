"""What the figures of the pages show, asked of their values: the numbers of the results, in the caption too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradlens import analysis, figures
from gradlens.analysis import DomainDetection, DomainDetections, SweetSpot
from gradlens.figures.figure import Band, Bars, Figure, Line, Points, Rule, Text
from gradlens.stats import Auc
from gradlens.store import Run

WriteRun = Callable[..., Run]
UNKNOWN = (np.nan, np.nan)


def marks(figure: Figure, kind: type, panel: int = 0) -> list[Any]:
    return [mark for mark in figure.panels[panel].marks if isinstance(mark, kind)]


@pytest.fixture
def pair(write_run: WriteRun) -> list[Run]:
    """Two runs, the second of which is smoother at any loss."""
    smoothness = np.random.default_rng(5).lognormal(0.0, 0.2, 400)
    return [
        write_run(name="first", seed=1, smoothness=4 * smoothness),
        write_run(name="second", seed=2, smoothness=smoothness),
    ]


def test_the_difference_of_r_stands_beside_its_placebo(pair: list[Run]) -> None:
    found = analysis.compare_smoothness(*pair, tries=99)
    figure = figures.smoothness_difference(found)
    recorded, placebo = marks(figure, Bars)
    assert recorded.values.tolist() == [found.raw.value, found.detrended.value]
    assert list(zip(recorded.low, recorded.high, strict=True)) == [found.raw.interval, found.detrended.interval]
    assert placebo.values.tolist() == [found.placebo_raw.value, found.placebo_detrended.value]
    assert list(zip(placebo.low, placebo.high, strict=True)) == [found.placebo_raw.range, found.placebo_detrended.range]
    for value in (found.raw.value, *found.raw.interval, found.detrended.value, found.placebo_raw.value):
        assert f"{value:+.2f}" in figure.caption
    assert [rule.at for rule in marks(figure, Rule)] == [0.0]


def test_smoothness_is_compared_where_both_have_been(pair: list[Run]) -> None:
    found = analysis.compare_smoothness(*pair, tries=99)
    figure = figures.smoothness_at_loss(found, ("first", "second"), ("unclipped", "clipped"))
    for points, answer, level in zip(marks(figure, Points), (found.first, found.second), found.levels, strict=True):
        assert np.array_equal(points.x, level)
        assert np.array_equal(points.y, answer.smoothness)
    assert [rule.at for rule in marks(figure, Rule)] == list(found.matched.overlap)
    assert found.matched.ratio == pytest.approx(0.25, rel=0.1)
    low, high = found.matched.interval
    assert f"ratio {found.matched.ratio:.2f} [{low:.2f}, {high:.2f}]" in figure.caption
    assert figure.caption.startswith("Smoothness against training loss, first and second: medians between the lines")


def test_each_part_has_its_r_with_and_without_trend(write_run: WriteRun) -> None:
    norms = np.exp(np.random.default_rng(3).standard_normal((2, 400)))
    run = write_run(smoothness=norms[0] ** 2, **{"grad_norm[with]": norms[0], "grad_norm[without]": norms[1]})
    found = analysis.smoothness_by_group(run, tries=99)
    figure = figures.smoothness_by_group(found, label="a run")
    raw, detrended = marks(figure, Bars)
    assert raw.names == detrended.names == ("with", "without")
    assert raw.values.tolist() == [each.raw.pearson for each in found.groups]
    assert detrended.values.tolist() == [each.detrended.pearson for each in found.groups]
    assert raw.values[0] == pytest.approx(1.0)
    assert abs(raw.values[1]) < 0.4
    assert f"with {raw.values[0]:.2f} ({detrended.values[0]:.2f})" in figure.caption
    assert found.note in figure.caption


def test_a_prediction_is_drawn_with_its_error_and_its_doubts() -> None:
    sizes, floor = np.array([1, 4, 16, 64]), np.array([np.inf, 0.3, 0.31, 0.5])
    found = SweetSpot(
        "plain", np.arange(10), sizes, floor, 0.9 * floor, 1.1 * floor, 0.5 * floor, 4, (4, 16), 1.1, 0.5, 2.0, (),
        "not stationary: loss falls.",
    )  # fmt: skip
    figure = figures.sweet_spot(found)
    far, near = marks(figure, Points)
    assert (far.x.tolist(), near.x.tolist()) == ([64], [4, 16])
    assert far.error_low.tolist() == [0.45]
    bias, through = marks(figure, Line)
    assert (bias.x.tolist(), bias.y.tolist()) == ([4, 16, 64], [0.15, 0.155, 0.25])  # what is infinite is not drawn
    assert np.array_equal(through.y, floor[1:])
    assert "best b = 4" in figure.caption
    assert figure.caption.endswith("Not stationary: loss falls.")
    nothing = figures.sweet_spot(replace(found, best=0, status="There is none."))
    assert marks(nothing, Text)[0].text == nothing.caption == "There is none."


def test_domains_have_an_auc_by_length_and_by_cosine() -> None:
    by = [Auc(value, (value - 0.1, value + 0.1), 9) for value in (0.8, 0.3, 0.2, 0.7)]
    found = DomainDetections((DomainDetection("noise", by[0], by[1], 70), DomainDetection("speech", *by[2:], 30)), 2)
    figure = figures.domain_detections(found)
    longer, less = marks(figure, Bars)
    assert longer.names == less.names == ("noise", "speech")
    assert (longer.values.tolist(), less.values.tolist()) == ([0.8, 0.2], [0.3, 0.7])
    assert (longer.low[0], longer.high[0]) == pytest.approx((0.7, 0.9))
    assert figure.panels[0].foot.startswith("100 micro-batches")
    assert figure.panels[0].foot.endswith("2 rarer domains left out")
    assert "noise 0.80 (0.30), speech 0.20 (0.70); .5 is chance" in figure.caption
    assert marks(figures.domain_detections(DomainDetections(status="There are none.")), Text)


def test_the_noise_scale_stands_beside_the_samples_of_a_step(gallery: dict[str, Figure], drawn_runs: Any) -> None:
    found = analysis.noise_scale(*drawn_runs["noise_scale"])
    figure = gallery["noise_scale"]
    sizes = next(line for line in marks(figure, Line) if line.label == "samples in a step")
    assert set(sizes.y) == {64.0}
    assert f"{found.overall.value:,.3g} [" in figure.caption
    empty = figures.noise_scale(replace(found, steps=found.steps[:0], moving=found.moving[:0], status="There is none."))
    assert marks(empty, Text)[0].text == "There is none."


def test_series_of_runs_are_panels_or_bands_of_groups(pair: list[Run], write_run: WriteRun) -> None:
    figure = figures.draw("series", pair, series=["loss", "grad_norm"], smoothing=0, zoom=[100, 199], log=["x"])
    assert [panel.title for panel in figure.panels] == ["Training loss", "Gradient norm"]
    assert all((panel.x.scale, panel.y.scale) == ("log", "linear") for panel in figure.panels)
    lines = marks(figure, Line, 1)
    assert [line.label for line in lines] == ["first", "second"]
    for line, run in zip(lines, pair, strict=True):
        assert np.array_equal(line.y, run.series("grad_norm")[1][100:200])
    own = figures.draw("series", pair)
    assert [panel.y.scale for panel in own.panels] == ["linear", "log"]
    assert len(own.caption.split(". ")) >= 4
    grouped = [write_run(name=str(seed), seed=seed, config={"lr": seed % 2}) for seed in range(4)]
    bands = marks(figures.draw("series", grouped, series=["loss"], group="lr"), Band)
    assert {band.label for band in bands} == {"lr 0 (2 runs)", "lr 1 (2 runs)"}
    with pytest.raises(ValueError, match=r"^expected log to name the axes x or y, or none; got z\.$"):
        figures.draw("series", pair, log=["z"])
