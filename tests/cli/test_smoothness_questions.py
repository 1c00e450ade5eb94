"""``gradlens analyze norm-smoothness`` and ``step-size``: for people, for machines, and with exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradlens.cli import main
from gradlens.store import Run

WriteRun = Callable[..., Run]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def pair(write_run: WriteRun) -> list[str]:
    return [str(write_run(name=name, seed=seed).path) for seed, name in enumerate(("first", "second"))]


def machine(capture: Capture, *words: str) -> tuple[int, Any]:
    code = main(["analyze", *words, "--json"])
    return code, json.loads(capture.readouterr().out)


def test_one_run(pair: list[str], capsys: Capture) -> None:
    code, found = machine(capsys, "norm-smoothness", pair[0])
    assert code == 0
    assert found["comparison"] is None
    (run,) = found["runs"]
    assert run["raw"]["pearson"] == pytest.approx(0.85, abs=0.1)
    assert [fit["form"] for fit in run["fits"]] == ["least squares", "quantile 0.9", "quantile 0.95", "power"]
    assert set(run["placebo"]) >= {"raw", "raw_range", "detrended"}
    assert main(["analyze", "norm-smoothness", pair[0], "--groups"]) == 0
    said = capsys.readouterr().out
    for title in ("run               first", "placebo r", "least squares     L0 = ", "by layers", "weight"):
        assert title in said


def test_two_runs_are_compared(pair: list[str], capsys: Capture) -> None:
    code, found = machine(capsys, "norm-smoothness", *pair, "--groups")
    assert code == 0
    compared = found["comparison"]
    low, high = compared["raw"]["interval"]
    assert low < 0 < high
    assert compared["matched"]["ratio"] == pytest.approx(1, abs=0.4)
    assert found["runs"][0]["groups"]["groups"][0]["name"] == "weight"
    assert main(["analyze", "norm-smoothness", *pair]) == 0
    assert "the second run against the first" in capsys.readouterr().out


def test_step_sizes(pair: list[str], capsys: Capture) -> None:
    code, found = machine(capsys, "step-size", *pair)
    assert code == 0
    assert [run["limit"] for run in found["runs"]] == [2.0, 2.0]
    assert 0 <= found["runs"][0]["above"] <= 1
    assert main(["analyze", "step-size", *pair]) == 0
    assert "limit" in capsys.readouterr().out


@pytest.mark.parametrize("question", ["norm-smoothness", "step-size"])
def test_no_answer_is_a_sentence_and_exit_code_1(
    question: str, write_run: WriteRun, tmp_path: Path, capsys: Capture
) -> None:
    empty = write_run(smoothness=[None] * 400, lr=np.full(400, np.nan))
    code, found = machine(capsys, question, str(empty.path), str(tmp_path / "none"))
    assert code == 1
    assert len(found["problems"]) == 2
    assert main(["analyze", question, str(empty.path)]) == 1
    assert "smoothness probes" in capsys.readouterr().err
