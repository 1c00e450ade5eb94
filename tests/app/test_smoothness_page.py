"""The Smoothness page: one run, a pair, several, and what cannot answer."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gradlens
from gradlens import analysis
from gradlens.figures.figure import Bars, Points, Text
from gradlens.store import RunWriter
from gradlens_app.chart import picture
from gradlens_app.data import Data, Each
from gradlens_app.looking import Shown, drawn, look, words
from gradlens_app.page import Words
from gradlens_app.pages import smoothness
from gradlens_app.pages.smoothness import PAGE

from .asking import keys_of
from .conftest import MakeRun, add_steps, begin_run, write_run


def see(root: Path, *keys: str) -> tuple[Shown, Words]:
    found = look(PAGE, Data([root], fresh=0), "?runs=" + ",".join(keys or keys_of(root)))
    return found, words(found.answer)


def test_a_pair_without_a_step_size_limit_is_told_of_none(read_pair: Path) -> None:
    entries = Data([read_pair]).listing().entries
    answers = tuple(
        replace(analysis.step_size_safety(entry.run), no_line="there is no line.", status="") for entry in entries
    )
    assert smoothness._safe(Each(entries, answers, ())).notes == ("there is no line.",)


def test_a_pair_is_compared(read_pair: Path) -> None:
    found, told = see(read_pair)
    runs = gradlens.open_runs(read_pair)
    compared = analysis.compare_smoothness(runs[0], runs[1])
    kinds = [chart.name.partition("-")[0] for chart in found.answer.charts]
    assert kinds == ["trajectory"] * 2 + ["difference", "at"] + ["safety"] * 2 + ["parts"] * 2
    by_title = {tile.title: tile for tile in told.tiles}
    assert len(by_title) == len(told.tiles) == 8
    chain = [text for text, *_ in by_title["r, No clipping"].values]
    first = compared.first
    assert first.placebo is not None
    numbers = (first.raw.pearson, first.detrended.pearson, first.placebo.raw)
    assert [float(text.replace("−", "-")) for text in chain] == pytest.approx(numbers, abs=0.0051)
    assert analysis.smoothness_verdict(first) in by_title["r, No clipping"].notes
    difference = by_title["difference of r, second less first"]
    assert float(difference.values[0][0].replace("−", "-")) == pytest.approx(compared.raw.value, abs=0.0051)
    assert analysis.difference_verdict(compared) in difference.notes
    assert found.answer.charts[0].draw().panels[0].x.limits == found.answer.charts[1].draw().panels[0].x.limits


def test_the_order_of_the_address_is_that_of_the_difference(read_pair: Path) -> None:
    def difference(*keys: str) -> np.ndarray:
        panel = drawn(see(read_pair, *keys)[0].answer.charts[2]).panels[0]
        return next(mark.values for mark in panel.marks if isinstance(mark, Bars))

    first, second = keys_of(read_pair)
    assert difference(first, second) == pytest.approx(-difference(second, first))


def test_one_run_has_phases_and_several_have_ranges(make_run: MakeRun, tmp_path: Path) -> None:
    for seed in range(3):
        make_run(f"run {seed}", seed=seed)
    keys = keys_of(tmp_path / "runs")
    found, told = see(tmp_path / "runs", keys[0])
    assert len(found.answer.charts) == 3
    assert told.tiles[-1].title == "r by third of the training"
    assert [whose for _, _, whose in told.tiles[-1].values] == list(analysis.PHASES)
    found, told = see(tmp_path / "runs")
    assert [chart.name.partition("-")[0] for chart in found.answer.charts][::3] == ["trajectory", "safety", "parts"]
    assert " to " in told.tiles[0].values[0][0]


def test_points_are_coloured_by_step_and_fits_are_named(read_pair: Path) -> None:
    found, _ = see(read_pair)
    chart = found.answer.charts[0]
    (points,) = (mark for mark in drawn(chart).panels[0].marks if isinstance(mark, Points))
    assert points.values is not None
    assert points.values.tolist() == list(range(0, 400, 4))
    shown = picture(chart, drawn(chart), "dark", found.view)
    assert shown["layout"]["showlegend"]
    named = {trace["name"] for trace in shown["data"] if trace["showlegend"]}
    assert {"least squares", "quantile .9", "quantile .95", "power of the norm"} >= named > set()


def test_groups_that_were_recorded_are_bars(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "grouped", {"config": {}}, [("weight", (2, 2), "float32", 0)])
    for step in range(60):
        norm, other = np.exp(np.random.default_rng(step).normal(0.0, 0.5, 2))
        row = {"step": step, "loss": 1.0, "grad_norm": float(norm), "smoothness": float(norm)}
        row |= {"grad_norm[encoder]": float(norm), "grad_norm[head]": float(other), "smoothness_method": "same_batch"}
        writer.append(row, {})
    writer.close("finished")
    found, _ = see(tmp_path)
    panel = drawn(found.answer.charts[-1]).panels[0]
    raw = panel.marks[0]
    assert isinstance(raw, Bars)
    assert raw.names == ("encoder", "head")
    assert raw.values[0] == pytest.approx(1.0)
    assert abs(raw.values[1]) < 0.5


def test_what_cannot_answer_says_so(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("without", probes=False)
    make_run("with", seed=1)
    found, told = see(tmp_path / "runs")
    sentences = [mark.text for c in found.answer.charts for mark in drawn(c).panels[0].marks if isinstance(mark, Text)]
    assert any("0 smoothness probes" in text for text in sentences)
    assert any("recorded no learning rate" in text for text in sentences)
    assert any("record with smoothness=gradlens.every(20)" in text for text in sentences)
    assert "0 smoothness probes" in " ".join(told.tiles[0].notes)
    assert told.tiles[0].values[0][0] == "–"
    # An address of 9 runs shows the first 8.
    for seed in range(2, 9):
        make_run(str(seed), seed=seed, probes=False)
    assert see(tmp_path / "runs")[0].answer.notes == ("The address names 9 runs; the first 8 are shown.",)


def test_a_damaged_run_leaves_the_other_alone(pair: Path) -> None:
    segment = next((gradlens.open_runs(pair)[0].path / "steps").iterdir())
    segment.write_bytes(b"PAR1")
    found, told = see(pair)
    panels = [drawn(chart).panels[0] for chart in found.answer.charts]
    assert isinstance(panels[0].marks[0], Text)
    assert isinstance(panels[1].marks[0], Points)
    assert any("is damaged or cut short" in text for text in told.problems)
    assert len(told.tiles) == 8


def test_a_run_under_way_grows(tmp_path: Path) -> None:
    writer = begin_run(tmp_path)
    add_steps(writer, 0, 100)
    while not (writer.path / "health-0.json").exists():
        time.sleep(0.01)
    assert drawn(see(tmp_path)[0].answer.charts[0]).panels[0].foot.startswith("25 of 25 points")
    add_steps(writer, 100, 200)
    assert drawn(see(tmp_path)[0].answer.charts[0]).panels[0].foot.startswith("50 of 50 points")
    writer.close("finished")


def test_verdicts_go_with_interval_placebo_and_trend(tmp_path: Path) -> None:
    answer = analysis.norm_smoothness(gradlens.open_run(write_run(tmp_path)))
    assert answer.placebo is not None
    assert answer.raw.pearson > 0.7
    said = analysis.smoothness_verdict(answer)
    assert said == "outside the placebo's range, with and without trend"

    def changed(part: str, **to: object) -> str:
        return analysis.smoothness_verdict(replace(answer, **{part: replace(getattr(answer, part), **to)}))

    assert changed("raw", pearson_interval=(-0.1, 0.9)) == "the interval holds 0: no tie is shown"
    assert changed("placebo", raw_range=(0.0, 1.0)).startswith("within the placebo's range")
    assert changed("detrended", pearson_interval=(-0.1, 0.9)) == "mostly trend: without it the interval holds 0"
    assert changed("placebo", detrended_range=(0.0, 1.0)) == "mostly trend: without it within the placebo's range"
