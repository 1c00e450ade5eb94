"""The questions of thresholds, stability, layers, landscape and draggers: text for people, JSON for machines."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradlens
from gradlens import analysis, clipping
from gradlens.cli.command import main
from gradlens.store import Run, RunWriter


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with something to say to every question."""
    rng = np.random.default_rng(0)
    names = ("encoder.weight", "encoder.bias", "head.weight")
    writer = RunWriter.create(tmp_path_factory.mktemp("runs"), "planted", {}, [(n, (2,), "float32", 0) for n in names])
    for step in range(400):
        norms = np.exp(0.2 * rng.standard_normal(3)) * (1, 1, 30 if step >= 250 else 1)
        norm = 60.0 if step == 100 else float(np.sqrt((norms**2).sum()))
        row: dict[str, Any] = {"step": step, "loss": 1.0 + 0.1 * rng.random(), "lr": 0.1, "grad_norm": norm}
        if step % 10 == 0:
            band = {"loss_min": 0.9, "loss_max": 1.2, "grad_change_min": 0.1, "grad_change_max": 1.0, "beta": 3.0}
            row |= {f"landscape_{name}": value for name, value in band.items()}
        dragger = np.arange(4) == step % 4
        micro_batches: Mapping[str, Any] = {
            "grad_norm": np.exp(0.5 * rng.standard_normal(4) + 2 * dragger).tolist(),
            "scale": [0.25] * 4,
            "domain": ["noisy" if each else "clean" for each in dragger],
        }
        writer.append(row, {"grad_norm": norms.astype(np.float32)}, dict(micro_batches))
    writer.close("finished")
    return gradlens.open_run(writer.path)


Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def ask(*words: object) -> tuple[int, str, str]:
        code = main(["analyze", *map(str, words)])
        out, err = capsys.readouterr()
        return code, out, err

    return ask


def test_thresholds_say_the_coefficient_and_the_phase(run: Run, ask: Ask) -> None:
    code, out, _ = ask("thresholds", run.path, "--max-norm", 10)
    result = analysis.thresholds(run, clipping.fixed(10.0))
    assert code == 0
    assert f"{100 * result.rate:.1f} %" in out
    assert "of the clipped steps are late: the threshold acts in one phase only." in out
    assert analysis.COUNTERFACTUAL in out
    (numbers,) = json.loads(ask("thresholds", run.path, "--max-norm", 10, "--json")[1])["runs"]
    assert numbers["effective_lr_by_phase"]["late"] == pytest.approx(result.effective_lr_by_phase[2])
    assert numbers["warnings"] == list(result.warnings)


def test_recommend_gives_reasons(run: Run, ask: Ask) -> None:
    code, out, _ = ask("recommend", run.path)
    advice = analysis.recommend_thresholds(run)
    assert code == 0
    assert "One settled step in ten is a" in out
    assert "autoclip(percentile=10.0)" in out
    assert f"fixed(max_norm={advice.max_norm:.3g})" in out
    (numbers,) = json.loads(ask("recommend", run.path, "--json")[1])["runs"]
    assert numbers["max_norm"] == advice.max_norm
    assert numbers["percentile_reason"] == advice.percentile_reason


def test_stability_names_spikes_and_layers(run: Run, ask: Ask) -> None:
    code, out, _ = ask("stability", run.path)
    assert code == 0
    assert "head.weight explodes in steps 250 to 399" in out
    (numbers,) = json.loads(ask("stability", run.path, "--json")[1])["runs"]
    assert numbers["grad_norm"]["spike_steps"][0] == 100
    assert numbers["grad_norm"]["spike_values"][0] == 60.0
    assert [each["name"] for each in numbers["layers"]] == ["head.weight"]
    strict = json.loads(ask("stability", run.path, "--score", 1000, "--json")[1])
    assert strict["runs"][0]["grad_norm"]["spikes"] == 0
    code, _, err = ask("stability", run.path, "--window", 3)
    assert (code, err) == (2, "gradlens: window takes a whole number of values, 8 or more; got 3.\n")


def test_layers_are_profiled_and_replayed(run: Run, ask: Ask) -> None:
    code, out, _ = ask("layers", run.path, "--by", "layer")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:4]] == ["encoder", "head"]
    (numbers,) = json.loads(ask("layers", run.path, "--include", "head.*", "--json")[1])["runs"]
    assert numbers["layers"] == ["head.weight"]
    assert numbers["high"][0] == pytest.approx(run.tensors("grad_norm", "head.weight")["value"].tolist())
    code, out, _ = ask("layers", run.path, "--max-norm", 5)
    assert code == 0
    assert next(line.split()[1:4] for line in out.splitlines() if line.startswith("head")) == ["37.5", "%", "0.0"]
    (numbers,) = json.loads(ask("layers", run.path, "--max-norm", 5, "--json")[1])["runs"]
    assert numbers["rate"] == [0.0, 0.0, 0.375]
    code, _, err = ask("layers", run.path, "--max-norm", 5, "--by", "layer")
    assert code == 2
    assert err == (
        "gradlens: a rule is replayed over the grad_norm of parameters; leave --kind and --by out, or the rule.\n"
    )


def test_landscape_gives_medians_by_phase(run: Run, ask: Ask) -> None:
    code, out, _ = ask("landscape", run.path)
    assert code == 0
    assert "3.00 3.00 3.00" in out
    (numbers,) = json.loads(ask("landscape", run.path, "--json")[1])["runs"]
    assert numbers["beta_by_phase"] == {"early": 3.0, "middle": 3.0, "late": 3.0}


def test_draggers_are_told_by_domain(run: Run, ask: Ask) -> None:
    code, out, _ = ask("draggers", run.path, "--draggers", "noisy")
    assert code == 0
    assert "AUC, grad_norm    late: 0.9" in out
    (numbers,) = json.loads(ask("draggers", run.path, "--draggers", "noisy", "--json")[1])["runs"]
    assert [each["domain"] for each in numbers["domains"]] == ["all micro-batches", "clean", "noisy"]
    assert [each["micro_batches"] for each in numbers["domains"]] == [1600, 1200, 400]
    assert {each["phase"] for each in numbers["detection"]} == {"early", "middle", "late", "all steps"}
    code, _, err = ask("draggers", run.path, "--draggers", "loud")
    assert code == 2
    assert err == "gradlens: the run has no micro-batches of domain 'loud'; its domains: 'clean', 'noisy'.\n"


@pytest.mark.parametrize("question", ["recommend", "stability", "layers", "landscape", "draggers"])
def test_a_run_without_an_answer_is_a_line_and_exit_code_1(
    question: str, write_run: Callable[..., Run], ask: Ask, tmp_path: Path
) -> None:
    nothing = [None] * 8
    run = write_run(steps=8, grad_norm=nothing, loss=nothing)
    extra = ("--kind", "update_norm") if question == "layers" else ()
    code, out, err = ask(question, run.path, *extra)
    assert (code, out) == (1, "")
    assert err.startswith("gradlens: run 'run' ")
    assert err.count("\n") == 1
    numbers = json.loads(ask(question, run.path, *extra, "--json")[1])
    assert numbers["problems"] == [numbers["runs"][0]["status"]]
    assert ask(question, tmp_path / "nothing")[0] == 1


def test_a_run_that_cannot_be_asked_costs_the_others_nothing(
    run: Run, write_run: Callable[..., Run], ask: Ask, tmp_path: Path
) -> None:
    other = write_run(name="silent")
    code, out, err = ask("draggers", run.path, other.path, "--draggers", "noisy", "--json")
    found = json.loads(out)
    assert code == 1
    assert found["runs"][0]["name"] == "planted"
    assert any("silent" in problem for problem in found["problems"])
    code, out, err = ask("thresholds", run.path, other.path, "--max-norm", 10, "--jobs", 2)
    assert (code, err) == (0, "")
    assert out == ask("thresholds", run.path, other.path, "--max-norm", 10)[1]
    with pytest.raises(SystemExit):
        ask("thresholds", run.path, "--max-norm", 10, "--jobs", 0)
