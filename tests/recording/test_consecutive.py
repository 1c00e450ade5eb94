"""Smoothness from successive batches, in rows: what it is, when it is not there, and that it changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import batches, loss_of, norm64, same, small_net
from torch import nn

import gradlens
from gradlens import clipping, every

OPTIONS: dict[str, Any] = {"estimator": "consecutive", "update": every(1)}


def train(
    root: Path | None,
    *,
    steps: int = 8,
    set_to_none: bool = True,
    touch: Callable[[nn.Module, int], None] = lambda _model, _step: None,
    seen: bool = True,
    **options: Any,
) -> tuple[gradlens.Recorder, list[float], list[Any]]:
    """Train; the naive twin's smoothness of each step, and the state at the end."""
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    gradients, moves = [], []
    options = {"smoothness": every(1), **OPTIONS, **options}
    with gradlens.Recorder(model, optimizer, root or "unused", enabled=root is not None, **options) as recorder:
        for step, (x, y) in enumerate(batches(steps)):
            optimizer.zero_grad(set_to_none=set_to_none)
            (recorder.loss(loss_of(model), x, y) if seen else loss_of(model)(x, y)).backward()
            gradients.append([p.grad.double().clone() for p in model.parameters() if p.grad is not None])
            touch(model, step)
            before = [p.detach().clone() for p in model.parameters()]
            optimizer.step()
            moves.append(norm64([p.detach() - b for p, b in zip(model.parameters(), before, strict=True)]))
    changes = [norm64([b - a for a, b in zip(*pair, strict=True)]) for pair in pairwise(gradients)]
    truth = [change / move for change, move in zip(changes, moves, strict=False)]
    return recorder, truth, [*model.state_dict().values(), optimizer.state_dict(), torch.get_rng_state()]


@pytest.mark.parametrize("rule", [None, clipping.autoclip(40)], ids=["observing", "autoclip"])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("seen", [True, False], ids=["recorder.loss", "watching"])
def test_row_t_has_the_change_to_the_gradient_of_t_plus_1(
    tmp_path: Path, rule: clipping.ClipRule | None, k: int, seen: bool
) -> None:
    recorder, truth, _ = train(tmp_path, clip=rule, smoothness=every(k), seen=seen)
    assert recorder.skipped == 0
    frame = gradlens.open_run(recorder.path or "").steps()
    assert frame["step"].tolist() == list(range(8))
    steps, values = gradlens.open_run(recorder.path or "").series("smoothness")
    assert steps.tolist() == [t for t in range(7) if t % k == 0]
    assert np.allclose(values, [truth[t] for t in steps], rtol=1e-5)
    assert "smoothness_noise" not in frame
    methods = frame["smoothness_method"]
    assert [m for t, m in enumerate(methods) if t % k == 0 and t < 7] == ["consecutive"] * len(steps)
    assert methods[7] == ("none: no gradient at the next step" if 7 % k == 0 else None) or methods.isna()[7]


def test_on_one_batch_without_noise_it_is_the_curvature_along_the_step(
    tmp_path: Path, quadratic: Callable[..., nn.Module]
) -> None:
    model = quadratic([0.5, 4.0])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    moves = []
    with gradlens.Recorder(model, optimizer, tmp_path, smoothness=every(1), **OPTIONS) as recorder:
        for _ in range(5):
            optimizer.zero_grad()
            recorder.loss(model).backward()
            before = model.theta.detach().clone()
            optimizer.step()
            moves.append(model.theta.detach() - before)
    expected = [float((torch.tensor([0.5, 4.0]) * d).norm() / d.norm()) for d in moves[:-1]]
    assert np.allclose(gradlens.open_run(recorder.path or "").series("smoothness")[1], expected, rtol=1e-9)


def test_observing_changes_no_bit(tmp_path: Path) -> None:
    assert same(train(tmp_path)[2], train(None)[2])
    assert same(train(tmp_path, set_to_none=False)[2], train(None, set_to_none=False)[2])


def test_a_gradient_that_is_written_over_costs_one_row(tmp_path: Path) -> None:
    recorder, truth, _ = train(tmp_path, set_to_none=False)
    run = gradlens.open_run(recorder.path or "")
    assert run.steps()["smoothness_method"][0] == "none: gradient was overwritten before the next"
    steps, values = run.series("smoothness")
    assert steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert np.allclose(values, truth[1:], rtol=1e-5)


@pytest.mark.parametrize("silent", [False, True], ids=["clip_grad_norm_", "by .data"])
def test_a_clip_of_the_trainings_own_leaves_no_number(tmp_path: Path, silent: bool) -> None:
    def clip(model: nn.Module, step: int) -> None:
        if step != 3:
            return
        if not silent:
            nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        for parameter in model.parameters():
            if silent and parameter.grad is not None:
                parameter.grad.data.mul_(0.1)

    recorder, truth, _ = train(tmp_path, touch=clip)
    frame = gradlens.open_run(recorder.path or "").steps()
    reason = "none: gradient was changed before the step"
    # .data passes versions by; by step 3 the first rows have said that this training does not do such things.
    changed = [] if silent else [2, 3]
    assert [t for t in range(8) if frame["smoothness_method"][t] == reason] == changed
    good = [t for t in range(7) if t not in (2, 3)]
    assert np.allclose(frame["smoothness"][good], [truth[t] for t in good], rtol=1e-5)


def test_a_clip_through_data_at_every_step_is_seen_too(tmp_path: Path) -> None:
    def clip(model: nn.Module, _step: int) -> None:
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.data.clamp_(-1e-4, 1e-4)

    frame = gradlens.open_run(train(tmp_path, touch=clip)[0].path or "").steps()
    assert set(frame["smoothness_method"][:7]) == {"none: gradient was changed before the step"}


def test_a_loss_scale_is_no_change(tmp_path: Path) -> None:
    for fused in (False, True):
        model = small_net()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=3)
        gradients, moves = [], []
        options: dict[str, Any] = {"smoothness": every(1), **OPTIONS}
        with gradlens.Recorder(model, optimizer, tmp_path, scaler=scaler, **options) as recorder:
            for x, y in batches(7):
                optimizer.zero_grad()
                scale = scaler.get_scale()
                scaler.scale(recorder.loss(loss_of(model), x, y)).backward()
                gradients.append([p.grad.double() / scale for p in model.parameters() if p.grad is not None])
                before = [p.detach().clone() for p in model.parameters()]
                scaler.step(optimizer)
                moves.append(norm64([p.detach() - b for p, b in zip(model.parameters(), before, strict=True)]))
                scaler.update()
        truth = [
            norm64([b - a for a, b in zip(one, two, strict=True)]) / move
            for one, two, move in zip(gradients, gradients[1:], moves, strict=False)
        ]
        steps, values = gradlens.open_run(recorder.path or "").series("smoothness")
        assert steps.tolist() == list(range(6))
        assert np.allclose(values, truth, rtol=1e-4)


def test_a_step_that_was_not_made_has_no_number(tmp_path: Path) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    with gradlens.Recorder(model, optimizer, tmp_path, scaler=scaler, smoothness=every(1), **OPTIONS) as recorder:
        for step, (x, y) in enumerate(batches(5)):
            optimizer.zero_grad()
            loss = recorder.loss(loss_of(model), x, y) * (math.inf if step == 2 else 1.0)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    frame = gradlens.open_run(recorder.path or "").steps()
    assert frame["stepped"].tolist() == [True, True, False, True, True]
    assert frame["smoothness_method"].fillna("").tolist() == [
        "consecutive", "none: no gradient at the next step", "", "consecutive", "none: no gradient at the next step"
    ]  # fmt: skip
    assert recorder.skipped == 0


def test_nothing_is_held_once_it_is_closed(tmp_path: Path) -> None:
    recorder = train(tmp_path, smoothness=every(1))[0]
    assert not recorder._steps.probes._curvature._consecutive.armed
