"""Easy mistakes: each is refused, or said once; none lets a training go on without the clip that it asked for."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from nets import batches, loss_of, small_net
from torch import nn

import gradlens
from gradlens import clipping, never


def step(recorder: gradlens.Recorder, model: nn.Module, optimizer: torch.optim.Optimizer, own: float = 0.0) -> float:
    """One step; returns the norm that the optimizer took."""
    (batch,) = batches(1)
    optimizer.zero_grad()
    recorder.loss(loss_of(model), *batch).backward()
    if own:
        nn.utils.clip_grad_norm_(model.parameters(), own)
    optimizer.step()
    return float(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm())


@pytest.mark.parametrize("enabled", [True, False])
def test_a_closed_recorder_is_not_used_again(tmp_path: Path, enabled: bool) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = gradlens.Recorder(model, optimizer, tmp_path, clip=clipping.fixed(0.1), enabled=enabled)
    with recorder:
        assert step(recorder, model, optimizer) == pytest.approx(0.1, rel=1e-3)
    for again in (recorder.__enter__, recorder.attach):
        with pytest.raises(RuntimeError, match="this recorder is closed: it would neither record nor clip"):
            again()


def test_a_second_recorder_on_an_optimizer_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = gradlens.Recorder(model, optimizer, tmp_path)
    assert "has a recorder already" not in caplog.text
    second = gradlens.Recorder(model, optimizer, tmp_path)
    assert caplog.text.count("this SGD has a recorder already") == 1
    second.close()
    first.close()
    gradlens.Recorder(model, optimizer, tmp_path).close()
    assert caplog.text.count("has a recorder already") == 1


@pytest.mark.parametrize(("own", "rule"), [(0.2, 0.3), (0.5, 0.3)])
def test_a_gradient_that_is_clipped_twice_has_one_consistent_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, own: float, rule: float
) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with gradlens.Recorder(model, optimizer, tmp_path, clip=clipping.fixed(rule), smoothness=never) as recorder:
        for _ in range(3):
            taken = step(recorder, model, optimizer, own)
    row = gradlens.open_run(recorder.path or "").steps().iloc[-1]
    assert row["grad_norm"] > max(own, rule)
    assert row["grad_norm_clipped"] == pytest.approx(taken, rel=1e-5)
    assert row["clip_coef"] == pytest.approx(row["grad_norm_clipped"] / row["grad_norm"], rel=1e-9)
    assert bool(row["clipped"])
    assert caplog.text.count("itself before the rule of clip= does") == 1


def test_a_run_that_goes_on_under_another_rule_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradlens.Recorder(model, optimizer, tmp_path, clip=clipping.autoclip(50)) as recorder:
        step(recorder, model, optimizer)
    with caplog.at_level(logging.WARNING):
        gradlens.Recorder(model, optimizer, tmp_path, clip=clipping.autoclip(50), resume=recorder.path).close()
        assert "goes on under" not in caplog.text
        gradlens.Recorder(model, optimizer, tmp_path, clip=clipping.fixed(0.1), resume=recorder.path).close()
    assert "was recorded under AutoClip, p = 50, and goes on under" in caplog.text


def test_arguments_of_a_wrong_kind_are_named(tmp_path: Path) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrong = {"include": 3, "exclude": [1], "groups": ["0.*"], "etas": 0.1}
    for name, value in wrong.items():
        with pytest.raises(TypeError, match=f"^{name} takes"):
            gradlens.Recorder(model, optimizer, tmp_path, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"The order is Recorder\(model, optimizer, root\)"):
        gradlens.Recorder(optimizer, model, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^replay takes a rule such as"):
        clipping.replay(1.0, [1.0])  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
