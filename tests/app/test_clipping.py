"""The clipping lab: what it shows of a rule is the rule's replay, at any address, of any run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

import gradlens
from gradlens.analysis import COUNTERFACTUAL, recommend_thresholds
from gradlens.figures.figure import Heatmap, Line, Panel, Rule, Text
from gradlens.store import RunWriter
from gradlens_app.chart import picture
from gradlens_app.controls import shown
from gradlens_app.data import Data
from gradlens_app.looking import NONE_CHOSEN, Shown, drawn, look, words
from gradlens_app.pages.clipping import MOST, NORM, OTHER_CLOCK, PAGE, RULE, SCORE
from gradlens_app.view import View

from .asking import keys_of
from .conftest import MakeRun, add_steps, begin_run, write_run

STEPS = 300
KINDS = ["norms", "sweep", "path", "rate", "lr", "layers", "norm-spikes", "loss-spikes", "events", "growth"]
COMPARED = ["norms", "sweep", "path", "rate", "lr", "layers", "events"]


def write_norms(root: Path, norms: Sequence[float], name: str = "known", *, lr: float | None = 0.1) -> Path:
    """A run of known norms, whose two layers have them and a tenth of them."""
    writer = RunWriter.create(
        root, name, {"config": {}, "clip": None}, [("body", (2,), "float32", 0), ("head", (2,), "float32", 0)]
    )
    for step, norm in enumerate(norms):
        row = {"step": step, "loss": 1.0, "grad_norm": float(norm)} | ({} if lr is None else {"lr": lr})
        writer.append(row, {"grad_norm": np.array([norm, norm / 10], np.float32)})
    writer.close("finished")
    return writer.path


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Norms 1 to 300, shuffled."""
    root = tmp_path_factory.mktemp("known") / "runs"
    write_norms(root, np.random.default_rng(0).permutation(np.arange(1.0, STEPS + 1)).tolist())
    return root


def lab(data: Data, search: str = "") -> Shown:
    runs = ",".join(entry.key for entry in data.listing().entries)
    return look(PAGE, data, f"?runs={runs}&{search}")


def kinds(found: Shown) -> list[str]:
    return [chart.name.rpartition("-")[0] for chart in found.answer.charts]


def panel_of(found: Shown, kind: str, place: int = 0) -> Panel:
    charts = [chart for chart in found.answer.charts if chart.name.rpartition("-")[0] == kind]
    return drawn(charts[place]).panels[0]


def rules(panel: Panel) -> list[tuple[float, str]]:
    return [(mark.at, mark.along) for mark in panel.marks if isinstance(mark, Rule)]


def line(panel: Panel, label: str) -> Line:
    return next(mark for mark in panel.marks if isinstance(mark, Line) and mark.label == label)


def test_a_fixed_norm_clips_what_lies_above_it(known: Path) -> None:
    found = lab(Data([known]), "rule=fixed&norm=240")
    assert kinds(found) == KINDS
    assert rules(panel_of(found, "norms")) == rules(panel_of(found, "sweep")) == [(240.0, "x")]
    assert set(line(panel_of(found, "path"), "threshold").y) == {240.0}
    assert panel_of(found, "rate").foot == "20.0% of all finite steps"
    lr = line(panel_of(found, "lr"), "as recorded")
    assert set(lr.y) == {0.1}
    (cells,) = (mark for mark in panel_of(found, "layers").marks if isinstance(mark, Heatmap))
    assert cells.rows == ("body", "head")
    assert cells.values[0].mean() == pytest.approx(0.2)  # the thirds are of equal length
    assert (cells.values[1] == 0).all()
    sweep = line(panel_of(found, "sweep"), "all steps")
    assert sweep.y == pytest.approx([(STEPS - np.floor(x)) / STEPS for x in sweep.x])
    clipped, threshold, rate, advice = words(found.answer).tiles
    assert clipped.values[0][0] == "20.0 %"
    assert threshold.values[0][0] == "240"
    assert rate.title == "effective learning rate, late"
    recommended = recommend_thresholds(gradlens.open_runs(known)[0]).max_norm
    assert advice.values[0][0] == f"p = 10, or {recommended:.3g}"
    assert "One settled step in ten is a convention, not a finding." in " ".join(advice.notes)


def test_autoclip_ends_at_its_percentile_of_all_norms(known: Path) -> None:
    found = lab(Data([known]), "p=25")
    last = np.percentile(np.arange(1.0, STEPS + 1), 25)
    assert rules(panel_of(found, "norms")) == [(0.25, "y"), (pytest.approx(last), "x")]
    assert rules(panel_of(found, "sweep")) == [(25.0, "x")]
    assert words(found.answer).tiles[1].values[0][0] == f"{last:.1f}"
    assert "arXiv 2007.14469" in words(found.answer).caption


@pytest.mark.parametrize(
    ("search", "kind", "expected"),
    [
        ("p=25", "norms", ("p", "y", 100, 0.25)),
        ("p=25", "sweep", ("p", "x", 1, 25)),
        ("rule=fixed&norm=240", "norms", ("norm", "x", 1, 240)),
        ("rule=fixed&norm=240", "sweep", ("norm", "x", 1, 240)),
        ("rule=zclip&z=3", "sweep", ("z", "x", 1, 3)),
        ("rule=zclip&z=3", "norms", None),
        ("rule=fixed&norm=240", "path", None),
    ],
)
def test_the_line_that_sets_a_control_is_where_the_control_is(
    known: Path, search: str, kind: str, expected: tuple[str, str, float, float] | None
) -> None:
    found = lab(Data([known]), search)
    chart = next(chart for chart in found.answer.charts if chart.name.startswith(kind + "-"))
    layout = picture(chart, drawn(chart), "light", found.view)["layout"]
    if expected is None:
        assert layout["meta"] == {}
        return
    control, along, times, at = expected
    handle = layout["meta"]["handle"]
    assert (handle["control"], handle["along"], handle["times"]) == (control, along, times)
    assert layout["shapes"][handle["shape"]][f"{along}0"] == layout["shapes"][handle["shape"]][f"{along}1"] == at
    assert at * times == pytest.approx(float(found.view.given[control]))


@pytest.mark.parametrize("rule", ["autoclip", "fixed", "zclip"])
def test_it_is_always_said_that_a_replay_is_counterfactual(read_pair: Path, rule: str) -> None:
    found = lab(Data([read_pair]), f"rule={rule}")
    assert COUNTERFACTUAL in found.answer.notes
    assert COUNTERFACTUAL in words(found.answer).caption


def test_a_norm_that_nobody_chose_is_the_one_recommended(known: Path, tmp_path: Path) -> None:
    advice = recommend_thresholds(gradlens.open_runs(known)[0])
    ((at, _),) = rules(panel_of(lab(Data([known]), "rule=fixed"), "sweep"))
    assert at == pytest.approx(advice.max_norm, rel=5e-3)
    write_norms(tmp_path, [0.5, 2.0, 4.0], lr=None)
    short = lab(Data([tmp_path]), "rule=fixed")
    assert rules(panel_of(short, "sweep")) == [(1.0, "x")]
    tiles = words(short.answer).tiles
    assert tiles[0].values[0][0] == "66.7 %"
    assert tiles[2].title == "clip coefficient, late"
    assert "a fixed threshold rests on 100 or more" in " ".join(tiles[3].notes)
    assert any("has no learning rate" in mark.text for mark in panel_of(short, "lr").marks if isinstance(mark, Text))


def test_runs_are_compared_on_the_same_norms(tmp_path: Path) -> None:
    norms = np.random.default_rng(1).permutation(np.arange(1.0, STEPS + 1))
    for place in range(MOST + 1):
        write_norms(tmp_path, (norms * 10.0**place).tolist(), f"run {place}")
    found = lab(Data([tmp_path]))
    assert kinds(found) == [kind for kind in COMPARED for _ in range(MOST)]
    assert f"The address names {MOST + 1} runs; the first {MOST} are shown." in found.answer.notes
    for place in range(MOST):
        assert panel_of(found, "norms", place).x.limits == (1.0, 300 * 10.0 ** (MOST - 1))
        assert panel_of(found, "path", place).y.limits == (1.0, 300 * 10.0 ** (MOST - 1))
    first, second = (panel_of(found, "norms", place) for place in range(2))
    assert first.title != second.title
    assert first.title.endswith(": Distribution of gradient norms")
    assert rules(second)[1][0] == pytest.approx(10 * rules(first)[1][0])  # AutoClip follows the scale
    clipped, threshold, *_ = words(found.answer).tiles
    assert len(set(clipped.values[0][0].split(" to "))) == 1
    assert threshold.values[0][0] == "30.9 to 30,900"


def test_zooming_draws_the_steps_of_the_window(known: Path) -> None:
    found = lab(Data([known]), "zoom=100..149&x=time")
    assert panel_of(found, "path").foot.startswith("50 of 50 points")
    assert panel_of(found, "norm-spikes").foot.startswith("50 of 50 points")
    threshold = line(panel_of(found, "path"), "threshold")
    assert (threshold.x.min(), threshold.x.max()) == (100, 149)
    assert panel_of(found, "rate").foot == panel_of(lab(Data([known])), "rate").foot  # of the whole run
    assert OTHER_CLOCK in found.answer.notes


def test_a_run_without_norms_says_so_once_and_leaves_the_others_alone(make_run: MakeRun, tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path / "runs", "bare", {"config": {}}, [])
    writer.append({"step": 0, "loss": 1.0}, {})
    writer.close("finished")
    alone = lab(Data([tmp_path / "runs"]))
    sentence = "run 'bare' has no gradient norms; record them with norms=gradlens.every(1)."
    assert (alone.answer.notes, alone.answer.charts) == ((sentence,), ())
    assert words(alone.answer).tiles == ()
    make_run("whole")
    found = lab(Data([tmp_path / "runs"]))
    assert sentence in found.answer.notes
    assert kinds(found) == COMPARED
    assert look(PAGE, Data([tmp_path / "runs"]), "?runs=").answer.notes == (NONE_CHOSEN,)


def test_without_a_choice_a_run_that_was_not_clipped_is_shown(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("clipped", clipped=True)
    make_run("plain")
    found = look(PAGE, Data([tmp_path / "runs"]), "")
    assert [entry.run.name for entry in found.entries] == ["plain"]
    (tmp_path / "none").mkdir()
    assert look(PAGE, Data([tmp_path / "none"]), "").answer.charts == ()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 2.0])
def test_norms_that_are_all_alike_or_no_numbers_are_drawn(tmp_path: Path, value: float) -> None:
    write_norms(tmp_path, [value] * 120)
    for rule in ("autoclip", "fixed", "zclip"):
        found = lab(Data([tmp_path]), f"rule={rule}")
        for chart in found.answer.charts:
            figure = drawn(chart)
            assert not any("cannot be drawn" in mark.text for mark in figure.panels[0].marks if isinstance(mark, Text))
            shown = picture(chart, figure, "dark", found.view)
            assert shown["data"] or shown["layout"]["meta"]["sentence"]
        said = words(found.answer)
        assert said.problems == ()
        assert len(said.tiles) == 4


def test_a_damaged_run_is_named_and_the_other_is_shown(pair: Path) -> None:
    victim = next((gradlens.open_runs(pair)[0].path / "steps").iterdir())
    victim.write_bytes(victim.read_bytes()[:-20])
    found = lab(Data([pair]))
    assert kinds(found) == COMPARED
    assert panel_of(found, "path").foot.startswith("400 of 400")
    said = words(found.answer)
    assert any("is damaged or cut short" in text for text in said.problems)
    assert len(said.tiles) == 4


def test_a_run_under_way_grows(tmp_path: Path) -> None:
    writer = begin_run(tmp_path / "runs")
    data = Data([tmp_path / "runs"], fresh=0)
    assert lab(data).answer.charts == ()  # nothing is recorded yet
    add_steps(writer, 0, 100)
    assert panel_of(lab(data), "path").foot.startswith("100 of 100")
    add_steps(writer, 100, 200)
    assert panel_of(lab(data), "path").foot.startswith("200 of 200")
    writer.close("finished")


@pytest.mark.parametrize(
    ("search", "sentence"),
    [
        ("rule=none", "rule= expects one of autoclip, fixed, zclip."),
        ("p=101", "p= expects a number from 0 to 100."),
        ("rule=zclip&z=0.1", "z= expects a number from 0.5 to 6."),
        ("rule=fixed&norm=0", "norm= expects a number above 0."),
        ("norm=1e999", "norm= expects a number above 0."),
        ("norm=x", "norm= expects a number above 0."),
    ],
)
def test_a_wrong_address_is_met_with_a_sentence(known: Path, search: str, sentence: str) -> None:
    found = lab(Data([known]), search)
    assert (found.answer.notes, found.answer.charts) == ((sentence,), ())


def test_only_the_controls_of_the_rule_are_there() -> None:
    def hidden(control: Any, search: str) -> bool:
        view = View.parse(search)
        return "hidden" in shown(control, {"value": control.value(view)}, view).className

    assert [hidden(control, "?rule=fixed&norm=0.5") for control in (RULE, NORM, SCORE)] == [False, False, True]
    assert [hidden(control, "") for control in (NORM, SCORE)] == [True, True]
    assert NORM.value(View.parse("?norm=0.5")) == 0.5
    assert NORM.value(View.parse("")) == ""
    assert replace(NORM, when=None).read(View.parse("?norm=2e-3")) == 0.002


def test_the_page_is_exported(client: FlaskClient, read_pair: Path) -> None:
    key = keys_of(read_pair)[0]
    answer = client.get(f"/export/clipping.csv?runs={key}&rule=fixed&norm=2&chart=path-{key}")
    assert answer.status_code == 200
    rows = [text.split(",") for text in answer.text.splitlines()[1:]]
    norms = gradlens.open_runs(read_pair)[0].series("grad_norm")[1]
    assert sum(row[1] == "points" and row[2] == "clipped" for row in rows) == (norms > 2).sum()


def test_layers_of_a_large_model_are_a_sample(tmp_path: Path) -> None:
    names = [f"layer{place}" for place in range(200)]
    writer = RunWriter.create(tmp_path, "large", {"config": {}}, [(name, (2,), "float32", 0) for name in names])
    for step in range(5):
        writer.append({"step": step, "grad_norm": 1.0 + step}, {"grad_norm": np.full(200, 1.0 + step, np.float32)})
    writer.close("finished")
    assert panel_of(lab(Data([tmp_path])), "layers").foot.startswith("16 of 200 layers")


def test_a_short_run_is_replayed_too(tmp_path: Path) -> None:
    write_run(tmp_path, "short", probes=False)
    write_norms(tmp_path, [1.0], "one step")
    found = lab(Data([tmp_path]))
    assert all(drawn(chart).panels for chart in found.answer.charts)
    assert len(words(found.answer).tiles) == 4
