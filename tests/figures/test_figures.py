"""What a figure shows, asked of the value itself; then of the files that renderers make of it."""

import base64
import csv
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure as Canvas
from pypdf import PdfReader

from gradlens import analysis, clipping, figures
from gradlens.figures import export, plotly_renderer
from gradlens.figures.figure import Axis, Figure, Hexbin, Line, Panel, Points, Rule, Text
from gradlens.figures.hexbin import hexagons
from gradlens.store import Run

WriteRun = Callable[..., Run]
AUTOCLIP = {"name": "autoclip", "parameters": {"percentile": 10.0, "window": None}}


@pytest.fixture
def pair(write_run: WriteRun) -> list[Run]:
    return [write_run(name="a"), write_run(name="b", clip=AUTOCLIP, seed=1)]


@pytest.fixture
def dynamics(pair: list[Run]) -> Figure:
    return figures.training_dynamics(pair)


def marks(panel: Panel, kind: type) -> list:
    return [mark for mark in panel.marks if isinstance(mark, kind)]


def test_training_dynamics_is_the_papers_figure(dynamics: Figure, pair: list[Run]) -> None:
    assert [panel.title for panel in dynamics.panels] == [
        "Step size", "Training loss", "No clipping", "With AutoClip, p = 10",
    ]  # fmt: skip
    step_size, loss, unclipped, clipped = dynamics.panels
    assert [line.colour for line in marks(step_size, Line) if line.label] == ["unclipped", "clipped"]
    raw = [line for line in marks(step_size, Line) if line.faint]
    assert np.array_equal(raw[0].y, pair[0].series("update_norm")[1])
    raw = [line for line in marks(loss, Line) if line.faint]
    assert np.array_equal(raw[1].y, np.log(pair[1].series("loss")[1]))
    for panel, run in zip((unclipped, clipped), pair, strict=True):
        (cells,) = marks(panel, Hexbin)
        steps, smoothness = run.series("smoothness")
        assert np.array_equal(cells.y, np.log(smoothness))
        assert np.array_equal(cells.x, np.log(run.series("grad_norm")[1][steps]))
    assert unclipped.x.limits == clipped.x.limits
    assert unclipped.y.limits == clipped.y.limits
    assert marks(unclipped, Rule) == []
    (rule,) = marks(clipped, Rule)
    assert rule.at == np.log(pair[1].series("clip_threshold")[1][-1])
    assert rule.label == "log(10th percentile of gradient norm)"


def test_no_runs_raw_curve_lies_over_an_average(dynamics: Figure) -> None:
    for panel in dynamics.panels[:2]:
        faint = [line.faint for line in marks(panel, Line)]
        assert faint == [True, True, False, False]


def test_limits_hold_every_point_of_both_runs(dynamics: Figure) -> None:
    for panel in dynamics.panels[2:]:
        (cells,) = marks(panel, Hexbin)
        for values, limits in ((cells.x, panel.x.limits), (cells.y, panel.y.limits)):
            assert limits is not None
            assert limits[0] < values.min() <= values.max() < limits[1]


def test_the_caption_states_r_with_interval_trend_and_placebo(dynamics: Figure, pair: list[Run]) -> None:
    for run in pair:
        answer = analysis.norm_smoothness(run)
        low, high = answer.raw.pearson_interval
        assert answer.placebo is not None
        assert f"r = {answer.raw.pearson:.2f} [{low:.2f}, {high:.2f}]" in dynamics.caption
        assert f"without a cubic trend in time {answer.detrended.pearson:.2f}" in dynamics.caption
        assert f"placebo of constant curvature (SGD) {answer.placebo.raw:.2f}" in dynamics.caption


def test_points_right_of_a_threshold_that_moved_are_counted(write_run: WriteRun) -> None:
    """Norms that fall: nearly all lie right of the last threshold, and hardly one was above that of its step."""
    norms = np.exp(np.linspace(2, 0, 400) + 0.02 * np.random.default_rng(1).standard_normal(400))
    replayed = clipping.replay(clipping.autoclip(10), norms)
    moved = write_run(
        clip=AUTOCLIP, grad_norm=norms, clip_threshold=replayed.thresholds, clipped=replayed.clipped, name="moved"
    )
    moved = dataclasses.replace(moved, environment={**moved.environment, "smoothness": "hvp"})
    answer = analysis.norm_smoothness(moved, tries=99)
    right = np.isin(moved.series("grad_norm")[0], answer.steps) & (norms > answer.threshold)
    drawn = figures.training_dynamics([moved], answers=[answer])
    said = f"of the {right.sum()} points right of it {replayed.clipped[right].sum()} were clipped when they were met. "
    assert f"end of training: {said}" in drawn.caption
    assert "local smoothness (hvp) against" in drawn.caption
    assert drawn.panels[2].subtitle.startswith("hvp smoothness")
    fixed = {"name": "fixed", "parameters": {"max_norm": 2.0}}
    still = write_run(clip=fixed, clip_threshold=np.full(400, 2.0), clipped=norms > 2, grad_norm=norms)
    both = [answer, analysis.norm_smoothness(still, tries=99)]
    assert (
        "end of training: everything right of it is clipped. "
        in figures.training_dynamics([still], answers=both[1:]).caption
    )
    mixed = figures.training_dynamics([moved, still], labels=["A", "B"], answers=both)
    assert f"training; A: {said[:-2]}; B: everything right of it is clipped. " in mixed.caption


def test_missing_data_speak(write_run: WriteRun) -> None:
    nothing = [None] * 400
    figure = figures.training_dynamics([write_run(update_norm=nothing, loss=nothing, smoothness=nothing)])
    texts = [marks(panel, Text)[0].text for panel in figure.panels]
    assert texts[0] == "None of these runs recorded update_norm."
    assert texts[1] == "None of these runs recorded loss."
    assert "smoothness probes" in texts[2]
    for form in ("png", "pdf"):
        assert export.draw(figure, form)


def test_spikes_and_holes_survive(write_run: WriteRun) -> None:
    steps = 9000
    norms = np.ones(steps)
    norms[[4321, 77, 78]] = 50.0, np.nan, np.inf
    figure = figures.training_dynamics([write_run(steps=steps, update_norm=norms)])
    panel = figure.panels[0]
    raw = next(line for line in marks(panel, Line) if line.faint)
    assert raw.y.max() == 50.0
    assert raw.x[raw.y.argmax()] == 4321
    assert len(raw.x) <= 4000
    (holes,) = marks(panel, Points)
    assert holes.x.tolist() == [77, 78]
    assert panel.foot.endswith("2 NaN or infinite, marked ×")
    assert f"{len(raw.x):,} of 8,998 points" in panel.foot


def test_threshold_history_shows_who_was_clipped(pair: list[Run]) -> None:
    result = analysis.thresholds(pair[0], clipping.fixed(3.0))
    figure = figures.threshold_history(result)
    kept, clipped = marks(figure.panels[0], Points)
    assert kept.y.max() <= 3.0 < clipped.y.min()
    assert len(kept.y) + len(clipped.y) == 400
    assert f"{result.rate:.1%} of the finite steps" in figure.caption
    assert analysis.COUNTERFACTUAL in figure.caption


def test_threshold_history_of_nothing_is_a_sentence(write_run: WriteRun) -> None:
    run = write_run(grad_norm=[None] * 400)
    figure = figures.threshold_history(analysis.thresholds(run, clipping.fixed(3.0)))
    assert "has no gradient norms" in marks(figure.panels[0], Text)[0].text


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(2, 40))
def test_hexagons_count_as_matplotlibs(seed: int, n: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.random(n), rng.random(n)
    ours = hexagons(Hexbin(x, y, "clipped", (0.0, 1.0), (0.0, 1.0), columns))
    rows = max(1, round(columns * 0.62 / np.sqrt(3)))
    axes = Canvas().subplots()
    theirs = axes.hexbin(x, y, gridsize=(columns, rows), extent=(0, 1, 0, 1), mincnt=1)
    assert sorted(ours.counts.tolist()) == sorted(theirs.get_array().astype(int).tolist())
    assert ours.counts.sum() == n


def test_save_writes_drawing_numbers_and_caption(dynamics: Figure, tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    written = figures.save(dynamics, tmp_path / "deep" / "figure.v1")
    assert dict(mpl.rcParams) == before
    assert [path.name for path in written] == [
        f"figure.v1.{suffix}" for suffix in ("pdf", "svg", "png", "csv", "caption.txt")
    ]
    assert written[-1].read_text() == dynamics.caption + "\n"
    rows = list(csv.DictReader(io.StringIO(written[3].read_text())))
    drawn = [mark for panel in dynamics.panels for mark in panel.marks]
    assert len(rows) == sum(1 if isinstance(mark, Rule) else len(mark.x) for mark in drawn)
    hexbin = [float(row["x"]) for row in rows if row["mark"] == "hexbin" and row["panel"] == "No clipping"]
    assert np.allclose(hexbin, marks(dynamics.panels[2], Hexbin)[0].x, rtol=1e-8)


def test_the_pdf_is_fit_for_a_venue(dynamics: Figure, tmp_path: Path) -> None:
    (pdf, *_) = figures.save(dynamics, tmp_path / "figure", formats=("pdf",))
    (page,) = PdfReader(pdf).pages
    assert float(page.mediabox.width) / 72 == pytest.approx(6.75, abs=0.01)
    fonts = page["/Resources"]["/Font"]  # type: ignore[index]
    kinds = {font.get_object()["/Subtype"] for font in fonts.values()}
    assert kinds == {"/Type0"}  # type 42 in Matplotlib's words: embedded TrueType, never a bitmap Type 3
    assert "log(10th percentile of gradient norm)" in page.extract_text()


def test_the_same_figure_gives_the_same_bytes(dynamics: Figure, tmp_path: Path) -> None:
    one, other = (figures.save(dynamics, tmp_path / name / "figure", ("svg",)) for name in ("one", "other"))
    for a, b in zip(one, other, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.suffix


def test_refusals_write_nothing(dynamics: Figure, tmp_path: Path) -> None:
    for options, why in (
        ({"formats": ["pdf", "gif"]}, r"expected one of the formats pdf, svg, png; got 'gif'\."),
        ({"style": "icml1066"}, r"expected one of the styles aaai2024, .*; got 'icml1066'\."),
        ({"column": "third"}, r"column is 'full' or 'half'; got 'third'\."),
    ):
        with pytest.raises(ValueError, match=why):
            figures.save(dynamics, tmp_path / "out" / "figure", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match=r"training_dynamics draws one run or more; got none\."):
        figures.training_dynamics([])


def test_a_series_without_one_finite_value_is_all_crosses(write_run: WriteRun) -> None:
    (panel, *_) = figures.training_dynamics([write_run(steps=9000, update_norm=np.full(9000, np.nan))]).panels
    (holes,) = marks(panel, Points)
    assert (holes.x[0], holes.x[-1], len(holes.x)) == (0, 8999, 4000)
    assert panel.foot.endswith("9,000 NaN or infinite, marked ×")


def test_more_than_a_pair_is_told_apart_without_colour(write_run: WriteRun) -> None:
    figure = figures.training_dynamics([write_run(name=f"run {index}", seed=index) for index in range(3)])
    lines = [line for line in marks(figure.panels[0], Line) if line.label]
    assert [line.dashed for line in lines] == [False, True, False]
    assert [line.label for line in lines] == ["run 0", "run 1", "run 2"]
    assert len(figure.panels) == 5


def test_a_close_up_draws_its_steps_and_keeps_the_statistics(pair: list[Run]) -> None:
    whole, close = figures.training_dynamics(pair), figures.training_dynamics(pair, steps=(100, 199))
    for panel in close.panels[:2]:
        assert all(100 <= line.x.min() <= line.x.max() <= 199 for line in marks(panel, Line))
    assert len(marks(close.panels[2], Hexbin)[0].x) == 25
    assert close.panels[2].x.limits == whole.panels[2].x.limits
    assert close.caption == whole.caption + " Only steps 100 to 199 are drawn; the statistics are of the whole runs."


def test_labels_and_answers_must_fit(pair: list[Run]) -> None:
    with pytest.raises(ValueError, match=r"expected 2 answers, one a run; got 0\."):
        figures.training_dynamics(pair, answers=[])
    with pytest.raises(ValueError, match=r"expected 2 labels, one a run; got 1\."):
        figures.training_dynamics(pair, labels=["one"])


def test_plotly_accepts_every_mark_in_both_themes(dynamics: Figure, pair: list[Run]) -> None:
    history = figures.threshold_history(analysis.thresholds(pair[0], clipping.autoclip(10)))
    for figure in (dynamics, history, dynamics.only(3)):
        for theme in ("light", "dark"):
            drawn = go.Figure(plotly_renderer.render(figure, theme))
            assert len(drawn.data) >= len(figure.panels)
    assert len(figures.to_plotly(dynamics).data) > 4


def test_page_and_paper_draw_the_same_numbers(dynamics: Figure) -> None:
    drawn = go.Figure(plotly_renderer.render(dynamics))
    line = next(mark for mark in dynamics.panels[0].marks if isinstance(mark, Line))
    packed = drawn.to_dict()["data"][0]["y"]
    assert np.allclose(np.frombuffer(base64.b64decode(packed["bdata"]), dtype="<" + packed["dtype"]), line.y, rtol=1e-6)
    (rule,) = marks(dynamics.panels[3], Rule)
    assert drawn.layout.shapes[0].x0 == rule.at


def test_steps_keep_their_digits_when_packed() -> None:
    steps = np.array([0.0, 2.0**24 + 1, np.nan])
    packed = plotly_renderer.packed(steps)
    assert packed["dtype"] == "f8"
    assert plotly_renderer.packed(steps[:1])["dtype"] == "f4"


def test_names_are_text_on_page_and_paper_and_in_spreadsheets(write_run: WriteRun) -> None:
    hostile = "=cmd|' /C calc'!A0 <b>$x^2$</b>"
    run = write_run(name=hostile)
    figure = figures.training_dynamics([run])
    text = str(plotly_renderer.render(figure))
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    assert export.draw(figure, "pdf")
    assert all(not row["label"].startswith("=") for row in csv.DictReader(io.StringIO(export.numbers_csv(figure))))


def test_an_axis_can_be_logarithmic_with_limits() -> None:
    panel = Panel("t", "", Axis("x", "log", (1.0, 100.0)), Axis("y"), (Rule(2.0, "y", "two"),))
    figure = Figure("f", (panel,), "", columns=1)
    layout = plotly_renderer.render(figure)["layout"]
    assert layout["xaxis"]["range"] == [0.0, 2.0]
    assert export.draw(figure, "svg")
