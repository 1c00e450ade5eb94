"""``gradlens analyze`` on micro-batches, strategies and the sweet spot, and the figures by name."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradlens import clipping
from gradlens.cli import main
from gradlens.store import Run

STEPS = 48


@pytest.fixture
def root(tmp_path: Path, write_run: Callable[..., Run]) -> Path:
    """Three seeds at two sizes and plain, with estimates at frozen weights."""
    folder = tmp_path / "root"
    rule = clipping.micro_batch().spec()
    for seed in range(3):
        for b, clip in ((4, rule), (64, None)):
            rng = np.random.default_rng(10 * seed + b)
            frozen = {
                f"micro_batch_{name}[{size}]": value * (1 + 0.1 * rng.standard_normal(STEPS))
                for size in (4, 64)
                for name, value in (("alpha", 0.5), ("bias", 0.1), ("noise", float(size)))
            }
            write_run(
                folder, name=f"b {b}", steps=STEPS, clip=clip, config={"seed": seed, "lr": 0.1}, seed=seed,
                loss=2.3 / (1 + np.arange(STEPS) / 10), full_grad_norm=b**0.1 + 0.01 * rng.random(STEPS),
                full_loss=2.3 / (1 + np.arange(STEPS) / 10), batch_size=np.full(STEPS, 64),
                micro_batches=np.full(STEPS, 64 // b), test_accuracy=np.linspace(0.1, 0.9 - b / 1000, STEPS), **frozen,
            )  # fmt: skip
    return folder


@pytest.mark.parametrize("question", ["micro-batches", "strategies", "sweet-spot"])
def test_for_people_and_for_machines(root: Path, question: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", question, str(root)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    for words in {
        "micro-batches": (
            "gradient norm at T = 47",
            "b = 4",
            "not distinguishable",
            "takes three sizes",
            "draw it with",
        ),
        "strategies": ("no clipping", "micro-batch clipping, b = 4", "seeds do not differ", "one learning rate only"),
        "sweet-spot": ("b 64: best b = 4", "predicted norm", "probes' error, 95 %", "is not known"),
    }[question]:
        assert words in " ".join(printed.out.split())
    assert main(["analyze", question, str(root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    if question == "micro-batches":
        assert found["sweeps"][0]["norm"]["sizes"] == [4, 64]
        assert len(found["sweeps"][0]["norm"]["values"][0]) == 3
    if question == "strategies":
        assert [each["lr"] for each in found["strategies"]] == [0.1, 0.1]
    if question == "sweet-spot":
        assert [each["best"] for each in found["runs"]] == [4] * 6


@pytest.mark.parametrize("question", ["micro-batches", "strategies", "sweet-spot"])
def test_no_answer_is_a_line_and_exit_code_1(
    question: str, tmp_path: Path, write_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "one", steps=30, config={"task": "a"})
    write_run(tmp_path / "one", steps=30, config={"task": "b"})
    assert main(["analyze", question, str(tmp_path / "one")]) == 1
    assert "gradlens: " in capsys.readouterr().err
    assert main(["analyze", question, str(tmp_path / "one"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"]


@pytest.mark.parametrize("rate", ["-1", "nan", "0", "inf"])
def test_no_sweet_spot_at_a_rate_that_is_none(root: Path, rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "sweet-spot", str(root), "--lr", rate]) == 2
    assert "expected a learning rate that is finite and above 0; got " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["micro_batch_bias", "strategy_comparison"])
def test_figures_by_name(root: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["export", "figure", str(root), "--figure", name, "--out", str(tmp_path / name), "--formats", "svg"]
    assert main(command) == 0
    assert (tmp_path / f"{name}.csv").exists()
    assert "learning rate" in capsys.readouterr().out


def test_the_figure_of_a_metric_that_is_better_small(root: Path, tmp_path: Path) -> None:
    command = [
        "export",
        "figure",
        str(root),
        "--figure",
        "micro_batch_bias",
        "--out",
        str(tmp_path / "small"),
        "--formats",
    ]
    assert main([*command, "svg", "--better", "smaller"]) == 0
    assert "test_accuracy is best at b = 64" in (tmp_path / "small.caption.txt").read_text()
    assert main([*command, "svg", "--better", "none"]) == 2
