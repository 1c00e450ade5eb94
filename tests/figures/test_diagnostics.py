"""What the figures of thresholds, stability, layers, landscape and draggers show, asked of their values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradlens import analysis, clipping, figures
from gradlens.analysis import Growth, Landscape, LayerProfile
from gradlens.figures import export, plotly_renderer
from gradlens.figures.figure import Axis, Band, Bars, Figure, Heatmap, Line, Panel, Points, Rule, Text
from gradlens.stats import Auc
from gradlens.store import Run

WriteRun = Callable[..., Run]


def marks(panel: Panel, kind: type) -> list[Any]:
    return [mark for mark in panel.marks if isinstance(mark, kind)]


def drawn(figure: Figure, *, paper: bool = False) -> None:
    """The page draws it, and paper, which takes a second, where asked."""
    if paper:
        assert export.draw(figure, "png").startswith(b"\x89PNG")
    assert plotly_renderer.render(figure)["data"] is not None


def test_norm_distribution_is_the_empirical_one(write_run: WriteRun) -> None:
    norms = np.random.default_rng(0).permutation(np.arange(1.0, 301.0))
    norms[[7, 250]] = np.nan, 0.0
    run = write_run(steps=300, grad_norm=norms, lr=np.full(300, 0.1))
    result = analysis.thresholds(run, clipping.fixed(150.0))
    figure = figures.norm_distribution(result)
    *phases, whole = marks(figure.panels[0], Line)
    finite = norms[np.isfinite(norms)]
    assert [line.label for line in phases] == ["early", "middle", "late"]
    for line, part in zip([*phases, whole], [*np.array_split(norms, 3), norms], strict=True):
        known = part[np.isfinite(part)]
        assert np.array_equal(line.y, [(known <= x).mean() for x in line.x])
        assert line.x[-1] == known.max()
    assert (whole.x > 0).all()
    assert len(whole.x) == len(finite) - 1
    (rule,) = marks(figure.panels[0], Rule)
    assert (rule.at, rule.along) == (150.0, "x")
    left = [line for line in marks(figure.panels[1], Line) if line.faint]
    assert np.array_equal(left[0].y, 0.1 * result.coefficients)
    assert f"{result.coefficient_by_phase[0]:.3g}" in figure.caption
    assert analysis.COUNTERFACTUAL in figure.caption
    drawn(figure)
    without = figures.norm_distribution(analysis.thresholds(write_run(lr=[None] * 400), clipping.autoclip(10)))
    assert marks(without.panels[1], Text)[0].text == "The run has no learning rate; it is recorded with the update."


def test_threshold_sweep_draws_its_rates(write_run: WriteRun) -> None:
    run = write_run()
    result = analysis.threshold_sweep(run, clipping.fixed, [4.0, 1.0, 2.0])
    figure = figures.threshold_sweep(result)
    rate, left = figure.panels
    assert marks(rate, Line)[-1].x.tolist() == [1.0, 2.0, 4.0]
    assert marks(rate, Line)[-1].y.tolist() == result.rate[[1, 2, 0]].tolist()
    assert marks(rate, Line)[2].y.tolist() == result.rate_by_phase[[1, 2, 0], 2].tolist()
    assert marks(left, Line)[-1].y.tolist() == result.mean_coefficient[[1, 2, 0]].tolist()
    assert rate.x.scale == "log"
    percentiles = figures.draw("threshold_sweep", [run], percentiles=[10, 50])
    assert percentiles.panels[0].x.label == "percentile of past norms"
    drawn(figure)
    why = r"^threshold_sweep sweeps one rule: give rule, percentiles, max_norms or z_scores\.$"
    for more in ({"max_norms": [1.0]}, {"rule": "zclip"}):
        with pytest.raises(ValueError, match=why):
            figures.draw("threshold_sweep", [run], percentiles=[10.0], **more)


def test_spike_timeline_marks_every_event(write_run: WriteRun) -> None:
    norms = np.exp(0.2 * np.random.default_rng(1).standard_normal(400))
    norms[[200, 300]] = 50.0, np.nan
    run = write_run(grad_norm=norms, loss=np.full(400, 1.0), stepped=[step != 300 for step in range(400)])
    result = analysis.stability(run)
    layer = Growth("a.weight", "explodes", 100, 250, 20.0, 15.0, lasts=False)
    figure = figures.spike_timeline(replace(result, layers=(layer,)))
    norm, loss, events, layers = figure.panels
    spike = marks(norm, Points)[-1]
    assert (spike.x.tolist(), spike.y.tolist(), spike.label) == ([200.0], [50.0], "spike")
    assert marks(loss, Points) == []
    assert [mark.x.tolist() for mark in marks(events, Points)] == [[200.0], [300.0], [300.0]]
    assert events.y.ticks is not None
    assert [name for _, name in events.y.ticks] == [
        "norm spike (1)", "loss spike (0)", "NaN or infinite (1)", "skipped step (1)",
    ]  # fmt: skip
    (bar,) = marks(layers, Line)
    assert bar.x.tolist() == [100.0, 250.0]
    assert "a.weight explodes from step 100 (× 20)." in figure.caption
    assert {panel.x.limits for panel in figure.panels} == {(0.0, 399.0)}
    drawn(figure, paper=True)
    calm = figures.spike_timeline(analysis.stability(write_run(loss=[None] * 400)))
    assert marks(calm.panels[1], Text)[0].text == "The run has no loss."
    assert marks(calm.panels[2], Text)[0].text == "No spike, no step that was NaN or infinite, none skipped."
    assert marks(calm.panels[3], Text)[0].text.startswith("No layer explodes or vanishes lastingly")
    drawn(calm)


def profile(layers: int = 3, columns: int = 5) -> LayerProfile:
    values = np.arange(1.0, layers * columns + 1).reshape(layers, columns).astype(np.float32)
    names = tuple(f"layer{place}.weight" for place in range(layers))
    odd = np.zeros(values.shape, bool)
    odd[0, 0] = True
    return LayerProfile("grad_norm", names, np.arange(columns + 1) * 10, values - 0.5, values * 10, values, odd, False)


def test_layer_heatmap_shows_the_largest_of_each_stretch() -> None:
    result = profile()
    figure = figures.layer_heatmap(result)
    (cells,) = marks(figure.panels[0], Heatmap)
    assert np.array_equal(cells.values, result.high)
    assert cells.rows == result.names
    assert cells.x.tolist() == [0, 10, 20, 30, 40, 50]
    assert cells.scale == "log"
    assert figure.panels[0].foot == "3 of 3 layers; 1 cells hold NaN or infinite values"
    assert "the largest drawn is 150, of layer2.weight in steps 40 to 49" in figure.caption
    assert np.array_equal(marks(figures.layer_heatmap(result, show="low").panels[0], Heatmap)[0].values, result.low)
    drawn(figure)
    few = figures.layer_heatmap(result, rows=1)
    assert marks(few.panels[0], Heatmap)[0].rows == ("layer0.weight",)  # 1 to 5: the largest share of its median
    assert few.panels[0].foot.startswith("1 of 3 layers, those that vary most")
    with pytest.raises(ValueError, match=r"^show is 'high', 'mean' or 'low' and rows at least 1; got 'most' and 60\.$"):
        figures.layer_heatmap(result, show="most")  # type: ignore[arg-type]


def test_landscape_bands_hold_what_was_recorded() -> None:
    steps = np.arange(0, 200, 10)
    loss = 1.0 / (1 + steps / 100)
    result = Landscape(
        "plain", False, steps, loss, 0.8 * loss, 1.5 * loss, 0.1 * loss, loss, 2.0 + 0 * loss,
        (0.7, 0.7, 0.7), (1.0, 0.8, 0.6), (2.0, 2.0, 2.0), 0, len(steps),
    )  # fmt: skip
    clipped = replace(
        result, name="clipped", clipped=True, beta=np.where(steps == 50, np.inf, result.beta), nonfinite=1
    )
    figure = figures.landscape_bands([result, clipped])
    bands = marks(figure.panels[0], Band)
    assert [band.colour for band in bands] == ["unclipped", "clipped"]
    assert np.array_equal(bands[0].low, 0.8 * loss)
    assert np.array_equal(bands[0].high, 1.5 * loss)
    assert [panel.title for panel in figure.panels] == [
        "Loss landscape",
        "Gradient predictiveness",
        "Effective smoothness",
    ]
    assert np.isnan(marks(figure.panels[2], Line)[1].y[5])
    assert figure.panels[2].foot == "40 probes; 1 not finite"
    assert "plain: median effective smoothness 2, 2, 2" in figure.caption
    drawn(figure)
    long = replace(result, **{name: np.tile(getattr(result, name), 200) for name in ("loss_min", "loss_max", "loss")})
    long = replace(long, steps=np.arange(4000), n=4000, beta=np.ones(4000), grad_change_min=np.ones(4000),
                   grad_change_max=np.where(np.arange(4000) == 1234, 99.0, 2.0))  # fmt: skip
    band = marks(figures.landscape_bands(long).panels[1], Band)[0]
    assert len(band.x) == 600
    assert band.high.max() == 99.0  # no spike is lost
    with pytest.raises(ValueError, match=r"^expected one result or more and a label for each; got 1 and 2\.$"):
        figures.landscape_bands(result, labels=["a", "b"])


def test_figures_without_an_answer_hold_the_sentence(write_run: WriteRun) -> None:
    run = write_run(steps=20, grad_norm=[None] * 20, loss=[None] * 20)
    for name, options in (
        ("norm_distribution", {"max_norm": 1.0}),
        ("threshold_sweep", {}),
        ("spike_timeline", {}),
        ("layer_heatmap", {"kind": "update_norm"}),
        ("landscape_bands", {}),
        ("dragger_profile", {}),
    ):
        figure = figures.draw(name, [run], **options)
        assert figure.name == name
        assert any(marks(panel, Text) for panel in figure.panels), name
        assert figure.caption.startswith("Run 'run'"), name
        drawn(figure)


def test_dragger_profile_draws_domains_and_detection(write_run: WriteRun) -> None:
    result = _draggers()
    figure = figures.dragger_profile(result)
    norm, cosine, effective, detection = figure.panels
    assert [line.label for line in marks(norm, Line)] == ["clean", "noisy", "all micro-batches"]
    assert np.array_equal(marks(norm, Line)[1].y, result.grad_norm[2])
    assert marks(cosine, Text)[0].text == "No micro-batch has a cosine: a step needs two or more."
    assert [line.label for line in marks(effective, Line) if line.label] == [
        "micro-batches in a step", "by length, unclipped", "by weight, were they clipped",
    ]  # fmt: skip
    (bars,) = marks(detection, Bars)
    assert bars.names == ("early", "middle", "late", "all steps")
    assert bars.low is not None
    assert bars.high is not None
    own = [each for each in result.detections if each.score == "grad_norm"]
    assert bars.values.tolist() == [each.auc.value for each in own]
    assert bars.low.tolist() == [each.auc.interval[0] for each in own]
    assert marks(detection, Rule)[0].at == 0.5
    assert f"AUC of longer gradient, late: {own[2].auc.value:.2f}" in figure.caption
    drawn(figure, paper=True)


def _draggers() -> analysis.DraggerProfile:
    auc = [
        analysis.Detection("grad_norm", phase, _auc(place))
        for place, phase in enumerate((*analysis.PHASES, "all steps"))
    ]
    steps = np.arange(0, 400, 4)
    domains = np.array([[1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0], [2.0, 4.0, 6.0, 8.0]])
    return analysis.DraggerProfile(
        domains=("all micro-batches", "clean", "noisy"), edges=np.array([0, 100, 200, 300, 400]),
        count=np.array([[8.0] * 4, [6.0] * 4, [2.0] * 4]), grad_norm=domains, cosine=np.full((3, 4), np.nan),
        clip_coef=1 / domains, steps=steps, micro_batches=np.full(100, 8), effective=np.full(100, 6.0),
        effective_lengths=np.full(100, 4.0), effective_by_phase=(6.0,) * 3, effective_lengths_by_phase=(4.0,) * 3,
        detections=tuple(auc), known_count=200, recorded=False, n=800,
    )  # fmt: skip


def _auc(place: int) -> Auc:
    return Auc(0.6 + 0.1 * place, (0.5 + 0.1 * place, 0.7 + 0.1 * place), 30)


def test_layers_clipped_are_cells_by_third() -> None:
    by_phase = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    numbers = np.ones(3)
    counts = np.full(3, 30)
    result = analysis.LayerClipping(
        "fixed(max_norm=2.0)",
        ("calm", "late", "always"),
        by_phase.mean(axis=1),
        by_phase,
        numbers,
        numbers,
        numbers,
        np.zeros(3, dtype=np.int64),
        counts,
        asked=7,
    )
    figure = figures.layer_clipping(result)
    (mark,) = marks(figure.panels[0], Heatmap)
    assert mark.rows == result.names
    assert np.array_equal(mark.values, by_phase)
    assert figure.panels[0].foot.startswith("3 of 7 layers;")
    (mark,) = marks(figures.layer_clipping(result, rows=2).panels[0], Heatmap)
    assert mark.rows == ("late", "always")
    assert "largest in always (100.0%) and smallest in calm (0.0%)" in figure.caption
    drawn(figure)
    empty = figures.layer_clipping(replace(result, names=(), status="There is nothing."))
    assert marks(empty.panels[0], Text)[0].text == "There is nothing."


def test_a_line_on_a_log_axis_has_its_label_beside_it() -> None:
    """Plotly takes a shape's place as it is, and an annotation's as its logarithm."""
    for along in ("x", "y"):
        axis = Axis("norm", "log")
        plain = Axis("share")
        x, y = (axis, plain) if along == "x" else (plain, axis)
        panel = Panel("", "", x, y, (Rule(100.0, along, "here"),))  # type: ignore[arg-type]
        layout = plotly_renderer.render(Figure("f", (panel,), ""))["layout"]
        (shape,), (label,) = layout["shapes"], layout["annotations"]
        assert shape[f"{along}0"] == 100.0
        assert label[along] == 2.0
