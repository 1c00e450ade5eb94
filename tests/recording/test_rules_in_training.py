"""Every rule that clips between backward and the update, in a training: what the optimizer gets, and the row."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import batches, loss_of, norm64, same, small_net

import gradlens
from gradlens import clipping, every
from gradlens.recording.apply_clip import Clipper
from gradlens.recording.norms import tensor_norms

RULES = [
    clipping.fixed(0.5),
    clipping.autoclip(30, window=5),
    clipping.autoclip(30, ema=0.9, exclude_current=True),
    clipping.per_parameter(clipping.autoclip(30)),
    clipping.per_group(clipping.fixed(0.1), {"first": "0.*", "last": "2.weight"}),
    clipping.value(0.01),
    clipping.normalize(),
    clipping.agc(0.01),
    clipping.zclip(warmup=5),
    clipping.adagc(warmup=5),
    clipping.soft(0.5),
    clipping.rescale(0.2, 0.5),
    clipping.chain(clipping.value(0.01), clipping.fixed(0.05)),
    clipping.match_step(clipping.value(0.01)),
]


def train(
    root: Path | None, rule: clipping.ClipRule, *, fused: bool = False
) -> tuple[gradlens.Recorder, list[float], list[float], list[Any]]:
    model = small_net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=16.0, enabled=fused)
    left, applied = [], []
    with gradlens.Recorder(
        model, optimizer, root or "unused", clip=rule, smoothness=every(4), scaler=scaler, enabled=root is not None
    ) as recorder:
        parameters = list(model.parameters())
        optimizer.register_step_pre_hook(
            lambda *_: applied.append(norm64([p.grad for p in parameters if p.grad is not None]) / scaler.get_scale())
        )
        for x, y in batches(20):
            optimizer.zero_grad()
            scaler.scale(recorder.loss(loss_of(model), x, y)).backward()
            left.append(norm64([p.grad for p in parameters if p.grad is not None]) / scaler.get_scale())
            scaler.step(optimizer)
            scaler.update()
    return recorder, left, applied, [*model.state_dict().values(), optimizer.state_dict()]


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "scaled and fused"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_optimizer_gets_what_the_row_says(tmp_path: Path, rule: clipping.ClipRule, fused: bool) -> None:
    recorder, left, applied, state = train(tmp_path, rule, fused=fused)
    assert recorder.skipped == 0
    frame = gradlens.open_run(recorder.path or "").steps()
    assert np.allclose(frame["grad_norm"], left, rtol=1e-5)
    assert np.allclose(frame["grad_norm_clipped"], applied, rtol=1e-5)
    assert np.allclose(frame["clip_coef"], np.divide(applied, left), rtol=1e-4)
    assert set(frame["clip_source"]) == {"observed"}
    assert frame["clipped"].any() or rule.name == "soft"  # which has no threshold
    assert ("clip_threshold" in frame) == (rule.scope == "global" or rule.name == "match_step")
    assert same(state, train(None, rule, fused=fused)[3])  # the clip is part of the training, the recording is not


@pytest.mark.parametrize(
    "rule",
    [clipping.soft(0.5), clipping.per_parameter(clipping.soft(0.5)), clipping.chain(clipping.soft(0.5))],
    ids=str,
)
def test_a_learning_rate_that_is_a_tensor_does(tmp_path: Path, rule: clipping.ClipRule) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=torch.tensor(0.1))
    with gradlens.Recorder(model, optimizer, tmp_path, clip=rule) as recorder:
        for x, y in batches(3):
            optimizer.zero_grad()
            recorder.loss(loss_of(model), x, y).backward()
            optimizer.step()
    coefficients = gradlens.open_run(recorder.path or "").series("clip_coef")[1]
    assert ((coefficients > 0) & (coefficients < 1)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("scale", [None, 2.0**15])
def test_a_value_beyond_half_precision_clamps_to_its_end(bad: float, scale: float | None) -> None:
    parameter = torch.nn.Parameter(torch.zeros(3, dtype=torch.float16))
    parameter.grad = torch.tensor([bad, 1.0, -2.0], dtype=torch.float16)
    clipper = Clipper(clipping.value(1e5), ["w"], torch.device("cpu"))
    carried = None if scale is None else torch.tensor(scale)
    clipper.clip([parameter], torch.tensor([bad], dtype=torch.float64), lr=0.1, scale=carried)
    assert parameter.grad[1:].tolist() == [1.0, -2.0]
    assert np.isnan(parameter.grad[0].item()) if np.isnan(bad) else parameter.grad[0].item() == 65504.0


@pytest.mark.parametrize("rule", [clipping.rescale(1.0, 2.0), clipping.normalize(1e-40)], ids=str)
def test_what_cannot_be_lengthened_so_far_does_not_overflow(rule: clipping.ClipRule) -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1e-39, 0.0])
    Clipper(rule, ["w"], torch.device("cpu")).clip(
        [parameter], tensor_norms([parameter.grad], torch.device("cpu")), 0.1
    )
    assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize(
    "rule",
    [
        clipping.chain(clipping.fixed(1.0), clipping.per_parameter(clipping.fixed(1.0))),
        clipping.match_step(clipping.per_group(clipping.fixed(1.0), {"some": "w*"})),
    ],
    ids=str,
)
def test_a_gradient_that_is_not_finite_raises_no_arithmetic_error(rule: clipping.ClipRule) -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
    for parameter, value in zip(parameters, (torch.inf, 1.0), strict=True):
        parameter.grad = torch.full((2,), value)
    clipper = Clipper(rule, ["w0", "w1"], torch.device("cpu"))
    with np.errstate(all="raise"):
        clipper.clip(parameters, torch.tensor([torch.inf, 2.0**0.5], dtype=torch.float64), 0.1)
