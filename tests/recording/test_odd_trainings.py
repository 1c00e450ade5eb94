"""Trainings that fail, change or nest: rows are of the steps that were made, and the clip stays the training's."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from nets import batches, loss_of, norm64, small_net
from torch import nn

import gradlens
from gradlens import clipping, every, never


def test_a_step_that_raised_leaves_its_row_to_the_next(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    with gradlens.Recorder(nn.ParameterList([weight]), optimizer, tmp_path, smoothness=every(1)) as recorder:

        def fails(*_: object) -> None:
            if weight.grad is not None and weight.grad[0] == 100:
                raise ConnectionError

        optimizer.register_step_pre_hook(fails)
        for factor in (3.0, 100.0, 5.0, 7.0):
            optimizer.zero_grad()
            recorder.loss(lambda k: k * weight.sum(), factor).backward()
            try:
                optimizer.step()
            except ConnectionError:
                assert factor == 100.0
    frame = gradlens.open_run(recorder.path or "").steps()
    assert frame["loss"].tolist() == [12.0, 20.0, 28.0]
    assert np.allclose(frame["grad_norm"], [6.0, 10.0, 14.0])
    assert np.allclose(frame["grad_norm_clipped"], frame["grad_norm"])
    assert recorder.skipped == 0


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize(
    "rule",
    [
        clipping.fixed(1.0),
        clipping.autoclip(50),
        clipping.per_parameter(clipping.autoclip(50)),
        clipping.per_group(clipping.fixed(1.0), {"all": "*"}),
        clipping.adagc(warmup=1),
    ],
    ids=str,
)
def test_a_group_that_is_added_is_clipped_recorded_or_not(
    tmp_path: Path, rule: clipping.ClipRule, enabled: bool
) -> None:
    first, late = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([first], lr=0.0)
    model = nn.ParameterList([first, late])
    factors = (3.0, 4.0)
    expected: list[Any] = []
    with gradlens.Recorder(model, optimizer, tmp_path, clip=rule, smoothness=never, enabled=enabled) as recorder:
        for number in range(5):
            if number == 2:
                optimizer.add_param_group({"params": [late]})
            optimizer.zero_grad()
            late.grad = None
            recorder.loss(lambda: (factors[0] * first + factors[1] * late).sum()).backward()
            optimizer.step()
            gradients = [p.grad.item() for p in (first, late) if p.grad is not None]
            expected.append(gradients)
    if rule.name in ("fixed", "per_group"):
        assert np.allclose(expected[2:], [[0.6, 0.8]] * 3)
    elif rule.name == "autoclip":  # goes on with its history of 3, 3
        assert np.allclose([norm64([torch.tensor(g)]) for g in expected[2:]], [3.0, 4.0, 5.0])
    elif rule.name == "per_parameter":
        assert np.allclose(expected[2:], [[3.0, 4.0]] * 3)
    else:  # AdaGC begins its warm-up anew: one clip of both to norm 1
        assert np.allclose(expected[2], [0.6, 0.8])


def test_a_parameter_that_takes_anothers_place_is_measured_and_clipped(tmp_path: Path) -> None:
    old, new = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([old], lr=0.5)
    model = nn.ParameterList([old, new])
    with gradlens.Recorder(
        model, optimizer, tmp_path, clip=clipping.fixed(1.0), update=every(1), smoothness=never
    ) as recorder:
        for parameter in (old, new):
            optimizer.param_groups[0]["params"] = [parameter]
            optimizer.zero_grad()
            recorder.loss(lambda p=parameter: 3 * p.sum()).backward()
            optimizer.step()
    run = gradlens.open_run(recorder.path or "")
    assert np.allclose(run.series("grad_norm_clipped")[1], [1.0, 1.0])
    assert np.allclose(run.series("update_norm")[1], [0.5, 0.5])


def test_norms_that_only_the_next_gradient_needs_are_of_all_optimizers(tmp_path: Path) -> None:
    a, b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizers = [torch.optim.SGD([a], lr=0.01), torch.optim.SGD([b], lr=0.01)]
    options: dict[str, Any] = {"norms": never, "estimator": "consecutive", "smoothness": every(3)}
    with gradlens.Recorder(nn.ParameterList([a, b]), optimizers, tmp_path, **options) as recorder:
        for _ in range(6):
            for optimizer in optimizers:
                optimizer.zero_grad()
            recorder.loss(lambda: 3 * a.sum() + 4 * b.sum()).backward()
            for optimizer in optimizers:
                optimizer.step()
    steps, norms = gradlens.open_run(recorder.path or "").series("grad_norm")
    assert steps.tolist() == [0, 1, 3, 4]
    assert np.allclose(norms, 5.0)


class Scored(NamedTuple):
    loss: torch.Tensor
    score: str


class Factored(torch.optim.SGD):
    """An optimizer whose step has an argument of its own."""

    def step(self, factor: float = 1.0) -> None:  # type: ignore[override]
        assert isinstance(factor, float)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.add_(parameter.grad, alpha=-factor)


def test_arguments_and_results_of_the_users_own_keep_their_kind(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = Factored([weight], lr=0.1)
    with gradlens.Recorder(nn.ParameterList([weight]), optimizer, tmp_path, smoothness=never) as recorder:
        for _ in range(2):
            result = recorder.loss(lambda: Scored(weight.sum(), "fine"), of=2)
            assert result.score == "fine"
            result.loss.backward()
        optimizer.step(0.5)
    assert weight.tolist() == [0.5, 0.5]


def test_a_recorder_inside_anothers_loss_sees_each_step_once(tmp_path: Path) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    outer = gradlens.Recorder(model, optimizer, tmp_path, name="outer", smoothness=every(1))
    inner = gradlens.Recorder(model, optimizer, tmp_path, name="inner", smoothness=every(1))
    compute: Callable[..., torch.Tensor] = loss_of(model)
    for x, y in batches(3):
        optimizer.zero_grad()
        outer.loss(lambda x, y: inner.loss(compute, x, y), x, y).backward()
        optimizer.step()
    for recorder in (outer, inner):
        recorder.close()
        frame = gradlens.open_run(recorder.path or "").steps()
        assert frame["samples"].tolist() == [8, 16, 24]
        assert (frame["grad_norm"] > 0).all()
        assert (frame["smoothness"] > 0).all()
        assert recorder.skipped == 0


@pytest.mark.parametrize("clip", [None, clipping.fixed(0.5), clipping.agc(0.01)], ids=str)
def test_a_gradient_that_is_lazily_conjugated_is_measured_and_clipped(
    tmp_path: Path, clip: clipping.ClipRule | None
) -> None:
    weight = nn.Parameter(torch.randn(5, 3, dtype=torch.complex64))
    factor = torch.randn(5, 3, dtype=torch.complex64)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with gradlens.Recorder(nn.ParameterList([weight]), optimizer, tmp_path, clip=clip, smoothness=never) as recorder:
        for _ in range(2):
            optimizer.zero_grad()
            recorder.loss(lambda: (weight.conj() * factor).imag.sum()).backward()
            assert weight.grad is not None
            assert weight.grad.is_conj()
            left = norm64([torch.view_as_real(weight.grad.resolve_conj())])
            optimizer.step()
            applied = norm64([torch.view_as_real(weight.grad.resolve_conj())])
    assert recorder.skipped == 0
    row = gradlens.open_run(recorder.path or "").steps().iloc[-1]
    assert row["grad_norm"] == pytest.approx(left, rel=1e-6)
    assert row["grad_norm_clipped"] == pytest.approx(applied, rel=1e-6)
    assert (applied < left) == (clip is not None)


def test_one_schedule_for_two_measures_sees_each_row_once(tmp_path: Path) -> None:
    seen: list[int] = []

    class Watch:
        def __call__(self, step: int) -> bool:
            return step == 1

        def see(self, now: int, row: dict[str, Any]) -> None:
            seen.append(row["step"])

    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch()
    with gradlens.Recorder(model, optimizer, tmp_path, update=watch, smoothness=watch) as recorder:
        for x, y in batches(4):
            optimizer.zero_grad()
            recorder.loss(loss_of(model), x, y).backward()
            optimizer.step()
    assert seen == [0, 1, 2, 3]
    assert gradlens.open_run(recorder.path or "").series("smoothness")[0].tolist() == [1]


@pytest.mark.parametrize("skips_with", ["continue", "zero_grad"])
def test_a_batch_that_the_training_leaves_out_is_no_part_of_the_next_step(tmp_path: Path, skips_with: str) -> None:
    """The idiom ``if not loss.isfinite(): continue``; what counts is whether backward went through the loss."""
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    expected = []
    with gradlens.Recorder(model, optimizer, tmp_path, micro_batches=every(1)) as recorder:
        for step in range(6):
            x = torch.full((2 + step, 3), math.nan if step in (1, 2, 4) else 1.0)
            optimizer.zero_grad()
            loss = recorder.loss(lambda x: model(x).square().mean(), x)
            if not torch.isfinite(loss):
                if skips_with == "zero_grad":
                    optimizer.zero_grad()
                continue
            loss.backward()
            optimizer.step()
            expected.append((len(x), loss.item()))
    run = gradlens.open_run(recorder.path or "")
    frame = run.steps()
    assert frame["step"].tolist() == [0, 1, 2]
    assert list(zip(frame["batch_size"], frame["loss"], strict=True)) == expected
    assert frame["micro_batches"].tolist() == [1, 1, 1]
    assert run.micro_batches()["loss"].tolist() == pytest.approx([loss for _, loss in expected], rel=1e-6)
