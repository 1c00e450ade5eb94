"""Loss scalers: gradients that still carry a scale when others do not, and the scaler itself left as it was."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gradlens
from gradlens import clipping, every, never

SGD, ADAM = torch.optim.SGD, torch.optim.Adam


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))


def scaler(scale: float = 1024.0, **options: Any) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=scale, **options)


def make(kind: str, parameter: nn.Parameter) -> torch.optim.Optimizer:
    return SGD([parameter], 0.0) if kind == "plain" else ADAM([parameter], lr=0.0, fused=True)


def step(
    model: Two,
    optimizers: list[torch.optim.Optimizer],
    recorder: gradlens.Recorder,
    scaling: torch.amp.GradScaler,
    factors: tuple[float, float] = (3.0, 4.0),
    unscale: tuple[int, ...] = (),
) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad()
    scaling.scale(recorder.loss(lambda: (factors[0] * model.a + factors[1] * model.b).sum())).backward()
    for which in unscale:
        scaling.unscale_(optimizers[which])
    for optimizer in optimizers:
        scaling.step(optimizer)
    scaling.update()


KINDS = [("plain", "plain"), ("plain", "fused"), ("fused", "plain"), ("fused", "fused")]


@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
@pytest.mark.parametrize("unscale", [(), (0, 1)], ids=["by the scaler", "by hand"])
def test_one_clip_of_several_optimizers_acts_on_gradients_of_one_scale(
    tmp_path: Path, kinds: tuple[str, str], unscale: tuple[int, ...]
) -> None:
    model, scaling = Two(), scaler()
    optimizers = [make(kind, p) for kind, p in zip(kinds, (model.a, model.b), strict=True)]
    options: dict[str, Any] = {"scaler": scaling, "smoothness": never}
    with gradlens.Recorder(model, optimizers, tmp_path, clip=clipping.fixed(1.0), **options) as recorder:
        for _ in range(3):
            step(model, optimizers, recorder, scaling, unscale=unscale)
            assert model.a.grad is not None
            assert model.b.grad is not None
            assert [model.a.grad.item(), model.b.grad.item()] == pytest.approx([0.6, 0.8])
    frame = gradlens.open_run(recorder.path or "").steps()
    assert np.allclose(frame[["grad_norm", "grad_norm_clipped", "clip_coef"]], [[5.0, 1.0, 0.2]] * 3)
    assert recorder.skipped == 0


@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_several_optimizers_are_observed_without_a_scale_and_no_clip_is_made_up(
    tmp_path: Path, kinds: tuple[str, str]
) -> None:
    model, scaling = Two(), scaler()
    optimizers = [make(kind, p) for kind, p in zip(kinds, (model.a, model.b), strict=True)]
    options: dict[str, Any] = {"smoothness": every(1), "estimator": "consecutive", "update": every(1)}
    with gradlens.Recorder(model, optimizers, tmp_path, scaler=scaling, **options) as recorder:
        for _ in range(3):
            step(model, optimizers, recorder, scaling)
    frame = gradlens.open_run(recorder.path or "").steps()
    assert np.allclose(frame[["grad_norm", "grad_norm_clipped"]], 5.0)
    assert "clip_coef" not in frame
    if kinds != ("fused", "fused"):
        assert frame["smoothness_method"][0] in ("none: gradients carry different loss scales", "none: zero step")


def test_a_clip_of_gradients_of_which_some_are_unscaled_and_a_fused_ones_are_not_is_refused(tmp_path: Path) -> None:
    model, scaling = Two(), scaler()
    optimizers = [make("fused", model.a), make("plain", model.b)]
    with (
        gradlens.Recorder(
            model, optimizers, tmp_path, clip=clipping.fixed(1.0), scaler=scaling, smoothness=never
        ) as recorder,
        pytest.raises(RuntimeError, match=r"only some of them are unscaled; call scaler\.unscale_ for each optimizer"),
    ):
        step(model, optimizers, recorder, scaling, unscale=(1,))


@pytest.mark.parametrize("clip", [None, clipping.fixed(5.0)], ids=str)
def test_a_scale_that_begins_at_one_and_grows_is_seen(tmp_path: Path, clip: clipping.ClipRule | None) -> None:
    model, scaling = Two(), scaler(1.0, growth_interval=3)
    optimizer = SGD(model.parameters(), 0.0)
    applied = []
    with gradlens.Recorder(model, optimizer, tmp_path, clip=clip, scaler=scaling, smoothness=never) as recorder:
        optimizer.register_step_pre_hook(lambda *_: applied.append(model.a.grad.item()))  # type: ignore[union-attr]
        for _ in range(12):
            step(model, [optimizer], recorder, scaling, (3.0, 0.0))
    assert applied == [3.0] * 12
    assert np.allclose(gradlens.open_run(recorder.path or "").series("grad_norm")[1], 3.0)


def test_an_optimizer_that_the_scaler_leaves_out_does_not_hide_the_other(tmp_path: Path) -> None:
    model, scaling = Two(), scaler()
    optimizers = [SGD([model.a], 0.1), SGD([model.b], 0.1)]
    with gradlens.Recorder(
        model, optimizers, tmp_path, clip=clipping.value(1.0), scaler=scaling, update=every(1), smoothness=never
    ) as recorder:
        for _ in range(2):
            step(model, optimizers, recorder, scaling, (math.inf, 4.0), unscale=(0, 1))
            assert model.b.grad is not None
            assert model.b.grad.item() == 1.0
    frame = gradlens.open_run(recorder.path or "").steps()
    assert frame["stepped"].tolist() == [True, True]
    assert frame["lr"].tolist() == [0.1, 0.1]
    assert np.allclose(frame["update_norm"], 0.1)
    assert set(frame["clip_source"]) == {"observed"}


def test_a_recorder_that_comes_back_counts_each_step_once(tmp_path: Path) -> None:
    models, scaling = [Two(), Two()], scaler()
    optimizers = [SGD(model.parameters(), 0.1) for model in models]
    recorders = [
        gradlens.Recorder(model, optimizer, tmp_path, scaler=scaling, smoothness=never)
        for model, optimizer in zip(models, optimizers, strict=True)
    ]
    recorders[0].detach()
    recorders[0].attach()
    for _ in range(3):
        step(models[0], [optimizers[0]], recorders[0], scaling)
    for recorder in recorders:
        recorder.close()
    frame = gradlens.open_run(recorders[0].path or "").steps()
    assert frame["stepped"].tolist() == [True] * 3
    assert frame["step"].tolist() == [0, 1, 2]


def test_a_watched_scaler_is_pickled_and_copied_as_a_plain_one(tmp_path: Path) -> None:
    model, scaling = Two(), scaler()
    optimizer = SGD(model.parameters(), 0.1)
    recorder = gradlens.Recorder(model, optimizer, tmp_path, scaler=scaling, smoothness=never)
    step(model, [optimizer], recorder, scaling)
    for other in (pickle.loads(pickle.dumps(scaling)), copy.deepcopy(scaling)):  # noqa: S301 - our own bytes
        assert other.step.__self__ is other
        assert other.state_dict() == scaling.state_dict()
    recorder.close()
    assert "step" not in vars(scaling)
