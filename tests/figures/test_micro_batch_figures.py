"""The micro-batch and strategy figures show what the results say, no more."""

from dataclasses import replace

import numpy as np
import pytest

from gradlens import figures
from gradlens.analysis import micro_batch_bias
from gradlens.analysis.strategies import StrategyComparison
from gradlens.analysis.sweet_spot import SweetSpot
from gradlens.analysis.trainings import Training
from gradlens.figures import Figure, matplotlib_renderer, plotly_renderer
from gradlens.figures.figure import Line, Points, Text

SIZES = (1, 4, 64)
T = np.arange(0, 401, 20)


def sweep(lr: float = 0.5, arm: str = "clipped", seeds: int = 4) -> list[Training]:
    values = {1: 0.6, 4: 0.25, 64: 0.4}
    return [
        Training(
            f"{arm} {b} {seed}", arm, b, 64, lr, False, seed, T, values[b] * (1 + 0.02 * np.cos(T + seed + b)),  # type: ignore[arg-type]
            2.3 / (1 + T), 1 - values[b] + 0.01 * seed + 0.001 * ((seed * b) % 3),
        )
        for seed in range(seeds)
        for b in SIZES
        if arm == "clipped" or b < 64
    ]  # fmt: skip


def prediction() -> SweetSpot:
    nothing = np.full(3, np.nan)
    floor = np.array([np.inf, 0.3, 0.4])
    return SweetSpot("plain", T, np.array(SIZES), floor, nothing, nothing, nothing, 4, (4,), 1.1, 0.5, 2.0, (), "")


def drawn(figure: Figure, panel: int, kind: type) -> list:
    return [mark for mark in figure.panels[panel].marks if isinstance(mark, kind)]


def test_the_first_panel_marks_what_ties_with_the_best_and_the_prediction() -> None:
    figure = figures.micro_batch_bias(micro_batch_bias(sweep() + sweep(arm="control")), prediction=prediction())
    other, tied, control = drawn(figure, 0, Points)
    assert (other.x.tolist(), tied.x.tolist()) == ([1, 64], [4])
    assert tied.label == "not distinguishable from the best"
    assert tied.y[0] == pytest.approx(0.25, rel=0.02)
    assert tied.error_low is not None
    assert tied.error_low[0] < tied.y[0]
    assert control.marker == "cross"
    assert control.y == pytest.approx([0.6, 0.25], rel=0.02)
    (line,) = [mark for mark in drawn(figure, 0, Line) if mark.dashed]
    assert (line.x.tolist(), line.y.tolist()) == ([4, 64], [0.3, 0.4])  # an infinite floor is not drawn
    assert figure.panels[0].title == "Gradient norm at T = 400"
    assert "not a floor" in figure.caption
    assert [tick[1] for tick in figure.panels[0].x.ticks or ()] == ["1", "4", "64"]
    assert "Constant bias" in [panel.title for panel in figure.panels]
    (said,) = drawn(figure, 1, Text)
    assert said.text.startswith("Not identified: it takes three learning rates")


def test_a_colour_means_one_thing_in_all_panels() -> None:
    """What was compared, and by which route; the labels of one colour begin alike, whatever the panel."""
    rates = [each for lr in (0.1, 0.3, 0.5) for each in sweep(lr)]
    decaying = [replace(each, decays=True) for each in sweep(1.0)]
    pruned = [replace(each, arm="pruned", micro_batch_size=64) for each in sweep() if each.micro_batch_size == 64]
    found = micro_batch_bias(rates + decaying + sweep(arm="control") + pruned, can_memorise=False)
    figure = figures.micro_batch_bias(found, lr=0.5)
    named: dict[str, set[str]] = {}
    for index in range(4):
        for mark in drawn(figure, index, Points):
            named.setdefault(mark.colour, set()).add(mark.label.removeprefix("less the "))
    assert named.pop("ink") == {"same step length, plain gradient", "same step length"}
    assert all(len(labels) == 1 for labels in named.values())
    assert len(named) == 5


def test_a_floor_is_titled_so_and_biases_are_drawn_with_what_is_not_identified() -> None:
    trainings = [each for lr in (0.1, 0.3, 0.5) for each in sweep(lr)]
    figure = figures.micro_batch_bias(micro_batch_bias(trainings, can_memorise=False), lr=0.3)
    assert figure.panels[0].title == "Noise floor"
    assert {mark.marker for mark in drawn(figure, 1, Points)} == {"dot"}
    assert "A constant bias is identified at b = 1, 4, 64." in figure.caption
    with pytest.raises(ValueError, match=r"^there is no sweep at learning rate 7; there are 0\.1, 0\.3, 0\.5\.$"):
        figures.micro_batch_bias(micro_batch_bias(trainings), lr=7)


def test_the_rate_with_the_best_metric_is_shown_whichever_way_it_is_better() -> None:
    def errors(lr: float, error: float) -> list[Training]:
        return [replace(each, metric=error + each.metric / 1000) for each in sweep(lr)]

    found = micro_batch_bias(errors(0.1, 0.02) + errors(1.0, 0.9), metric="error", larger_is_better=False)
    assert figures.micro_batch_bias(found).caption.startswith("Micro-batch clipping at lr 0.1,")
    found = micro_batch_bias(errors(0.1, 0.02) + errors(1.0, 0.9))
    assert figures.micro_batch_bias(found).caption.startswith("Micro-batch clipping at lr 1,")


def test_the_control_is_explained_only_where_it_is_drawn() -> None:
    pruned = [replace(each, arm="pruned", micro_batch_size=64) for each in sweep() if each.micro_batch_size == 64]
    assert "The control has" not in figures.micro_batch_bias(micro_batch_bias(sweep() + pruned)).caption
    assert "The control has" in figures.micro_batch_bias(micro_batch_bias(sweep() + sweep(arm="control"))).caption


@pytest.mark.parametrize("seeds", [1, 4])
def test_both_renderers_draw_it(seeds: int) -> None:
    figure = figures.micro_batch_bias(micro_batch_bias(sweep(seeds=seeds)), prediction=prediction())
    assert matplotlib_renderer.render(figure, "svg").startswith(b"<?xml")
    assert plotly_renderer.render(figure)["data"]


def test_nothing_to_show_is_a_sentence() -> None:
    empty = figures.micro_batch_bias(micro_batch_bias([]))
    assert drawn(empty, 0, Text)[0].text.startswith("There are no runs of micro-batch clipping that count")
    said = figures.strategy_comparison(StrategyComparison(status="no runs were given."))
    assert drawn(said, 0, Text)[0].text == said.caption == "No runs were given."


def test_predictions_lie_on_the_line_where_they_agree() -> None:
    """A panel a task, a colour a learning rate in all of them, and the numbers in the caption."""
    norms = micro_batch_bias(sweep()).sweeps[0].norm
    right = replace(prediction(), floor=norms.interval.mean, lr=0.5)
    wrong = replace(prediction(), floor=2 * norms.interval.mean[::-1], lr=0.1)
    figure = figures.prediction_check([("one", right, norms), ("one", wrong, norms), ("other", wrong, norms)])
    assert [panel.title for panel in figure.panels] == ["one", "other"]
    assert figure.panels[0].x.limits == figure.panels[0].y.limits == figure.panels[1].x.limits
    (agree,) = [mark for mark in drawn(figure, 0, Line) if mark.dashed]
    assert agree.x.tolist() == agree.y.tolist()
    points = drawn(figure, 0, Points)
    assert [(mark.label, mark.marker) for mark in points] == [
        ("lr 0.5", "dot"), ("", "cross"), ("lr 0.1", "dot"), ("", "cross"),
    ]  # fmt: skip
    assert points[0].x.tolist() == points[0].y.tolist() == norms.interval.mean[1:].tolist()
    assert points[3].y.tolist() == [2 * norms.interval.mean[-1]]
    assert points[0].colour == points[1].colour != points[2].colour == drawn(figure, 1, Points)[0].colour
    nearly = replace(wrong, lr=np.float32(0.1).item())
    same = figures.prediction_check([("one", wrong, norms), ("other", nearly, norms)])
    assert drawn(same, 0, Points)[0].colour == drawn(same, 1, Points)[0].colour
    assert "in 3 of 3" in figure.caption
    assert matplotlib_renderer.render(figure, "svg").startswith(b"<?xml")
    assert plotly_renderer.render(figure)["data"]
    nothing = figures.prediction_check([("one", replace(right, floor=np.full(3, np.nan)), norms)])
    assert drawn(nothing, 0, Text)[0].text == "There is no prediction with a sweep at its learning rate."
