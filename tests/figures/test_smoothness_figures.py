"""What the smoothness figures show, asked of the figure values; each is drawn once."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradlens import analysis, clipping, figures
from gradlens.figures.figure import Line, Points, Rule, Text
from gradlens.store import Run

WriteRun = Callable[..., Run]


def of(figure: figures.Figure, kind: type, panel: int = 0) -> list:
    return [mark for mark in figure.panels[panel].marks if isinstance(mark, kind)]


def test_the_trajectory_has_points_by_iteration_fits_threshold_and_floor(write_run: WriteRun, tmp_path: Path) -> None:
    run = write_run(clip=clipping.fixed(2.0).spec(), smoothness_noise=np.full(400, 1e-6))
    answer = analysis.norm_smoothness(run, tries=99)
    answer = dataclasses.replace(answer, noise_floor=float(answer.smoothness.min()) * 1.5)
    figure = figures.smoothness_trajectory(run, answers=[answer])
    (points,) = of(figure, Points)
    assert points.values.tolist() == answer.steps.tolist() == list(range(0, 400, 4))
    assert points.x.tolist() == answer.grad_norm.tolist()
    assert points.y.tolist() == answer.smoothness.tolist()
    assert (figure.panels[0].x.scale, figure.panels[0].y.scale) == ("log", "log")
    for line, fit in zip(of(figure, Line), answer.fits, strict=True):
        assert line.y == pytest.approx(fit.l0 + fit.l1 * line.x**fit.rho)
    assert [(rule.at, rule.along) for rule in of(figure, Rule)] == [(2.0, "x"), (answer.noise_floor, "y")]
    for number in (answer.raw.pearson, answer.detrended.pearson, answer.placebo.raw, answer.placebo.detrended):
        assert f"{number:.2f}" in figure.caption
    assert f"n = {answer.n}" in figure.caption
    assert all(fit.caveat in figure.caption for fit in answer.fits)
    assert len(figures.save(figure, tmp_path / "one", ("svg",))) >= 2
    assert figures.to_plotly(figure).data


def test_two_lines_in_time_have_no_detrended_r_and_huge_numbers_are_drawn(write_run: WriteRun) -> None:
    step = np.arange(200)
    run = write_run(steps=200, grad_norm=np.exp(1 - 0.001 * step), smoothness=np.exp(3 - 0.002 * step))
    for draw in (figures.smoothness_trajectory, figures.training_dynamics):
        shown = run if draw is figures.smoothness_trajectory else [run]
        assert "without a cubic trend in time not defined, " in draw(shown).caption
    huge = 10.0 ** np.linspace(150, 308, 200)
    drawn = figures.smoothness_trajectory(write_run(steps=200, grad_norm=huge, smoothness=huge))
    assert "Power: the numbers are too large" in drawn.caption


def test_runs_share_their_limits(write_run: WriteRun) -> None:
    runs = [
        write_run(seed=seed, name=str(seed), smoothness=np.full(400, 10.0**seed) + np.arange(400)) for seed in (0, 3)
    ]
    figure = figures.smoothness_trajectory(runs)
    first, second = figure.panels
    assert first.x.limits == second.x.limits
    assert first.y.limits == second.y.limits
    assert first.y.limits[0] < 1
    assert first.y.limits[1] > 1399


def test_a_run_without_an_answer_shows_the_sentence(write_run: WriteRun) -> None:
    figure = figures.smoothness_trajectory(write_run(smoothness=[None] * 400))
    (text,) = figure.panels[0].marks
    assert isinstance(text, Text)
    assert "r needs at least 16" in text.text
    assert text.text[1:] in figure.caption  # there it follows a colon


def test_refuses_what_does_not_belong_together(write_run: WriteRun) -> None:
    with pytest.raises(ValueError, match="smoothness_trajectory draws one run or more; got none"):
        figures.smoothness_trajectory([])
    with pytest.raises(ValueError, match="expected 1 labels, one a run; got 2"):
        figures.smoothness_trajectory(write_run(), labels=["a", "b"])


def test_many_points_are_thinned_and_counted(write_run: WriteRun) -> None:
    answer = analysis.norm_smoothness(write_run(), tries=9)
    many = {name: np.tile(getattr(answer, name), 50) for name in ("steps", "grad_norm", "smoothness")}
    answer = dataclasses.replace(answer, n=5000, **many)
    figure = figures.smoothness_trajectory(write_run(), answers=[answer])
    assert len(of(figure, Points)[0].x) == 4000
    assert figure.panels[0].foot.startswith("4,000 of 5,000 points; r = ")


def test_step_sizes_are_parted_by_their_limit(write_run: WriteRun, tmp_path: Path) -> None:
    smoothness = np.where(np.arange(400) < 100, 30.0, 10.0)
    result = analysis.step_size_safety(write_run(smoothness=smoothness))
    figure = figures.step_size_safety(result)
    below, above = of(figure, Points)
    assert (len(below.x), len(above.x)) == (300, 100)
    assert below.y.max() < 2 < above.y.min()
    (rule,) = of(figure, Rule)
    assert (rule.at, rule.along, rule.label) == (2.0, "y", "limit 2")
    assert "25.0%" in figure.caption
    assert "75.2%, 0.0% and 0.0%" not in figure.caption
    assert "74.6%, 0.0% and 0.0% in the first, second and last third" in figure.caption
    assert figures.save(figure, tmp_path / "steps", ("svg",))


def test_without_a_limit_the_sentence_stands_in_the_caption(write_run: WriteRun) -> None:
    adam = dataclasses.replace(write_run(), environment={"optimizer": {"class": "Adam", "defaults": {}}})
    result = analysis.step_size_safety(adam)
    figure = figures.step_size_safety(result)
    assert of(figure, Rule) == []
    assert result.no_line in figure.caption
    empty = figures.step_size_safety(analysis.step_size_safety(write_run(smoothness=[None] * 400)))
    assert isinstance(empty.panels[0].marks[0], Text)


def test_both_can_be_asked_for_by_name(write_run: WriteRun) -> None:
    run = write_run()
    for name in ("smoothness_trajectory", "step_size_safety"):
        assert figures.draw(name, [run]).name == name


def test_the_name_of_a_rule_stands_where_the_rule_does_on_a_logarithmic_axis(write_run: WriteRun) -> None:
    run = write_run(clip=clipping.fixed(2.0).spec())
    drawn = figures.to_plotly(figures.smoothness_trajectory(run)).to_plotly_json()["layout"]
    (note,) = (each for each in drawn["annotations"] if each["text"] == "last clip threshold")
    assert (drawn["shapes"][0]["x0"], note["x"]) == pytest.approx((2.0, np.log10(2.0)))
