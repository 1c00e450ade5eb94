"""Every rule that clips between backward and the update, in a training: what the optimizer gets, and the row."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import batches, loss_of, norm64, same, small_net

import gradlens
from gradlens import clipping, every

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
