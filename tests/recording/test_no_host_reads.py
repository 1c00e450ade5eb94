"""Whole iterations on meta tensors, where every read by the host raises, and every copy from it is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import NoCopies
from torch import nn

import gradlens
from gradlens import clipping, every
from gradlens.recording.row_ring import RowRing

EVERYTHING: dict[str, Any] = dict.fromkeys(
    ("norms", "update", "smoothness", "landscape", "distance", "fractions"), every(1)
)
X = torch.ones(5, 4, device="meta")


@pytest.fixture(autouse=True)
def _nothing_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """What arrives is read on the host, and has no value here."""
    monkeypatch.setattr(RowRing, "drain", lambda self, everything=False: iter(()))


def net() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).to("meta")
    model.unused = nn.Parameter(torch.ones(3, device="meta"))
    return model


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.1, foreach=False)


def train(recorder: gradlens.Recorder, model: nn.Module, optimizers: list[torch.optim.Optimizer], of: int = 1) -> None:
    with recorder, NoCopies():
        for _ in range(3):
            for optimizer in optimizers:
                optimizer.zero_grad()
            for _ in range(of):
                recorder.loss(lambda x: model(x).square().mean(), X, of=of).backward()
            for optimizer in optimizers:
                optimizer.step()
            recorder.log(accuracy=X.mean())
    assert recorder.skipped == 0


@pytest.mark.parametrize("clip", [None, clipping.fixed(1.0), clipping.autoclip(10)], ids=str)
@pytest.mark.parametrize("estimator", ["same_batch", "segment(3)", "hvp", "consecutive"])
def test_all_measures_together(tmp_path: Path, clip: clipping.ClipRule | None, estimator: str) -> None:
    model = net()
    optimizer = sgd(model.parameters())
    recorder = gradlens.Recorder(model, optimizer, tmp_path, clip=clip, estimator=estimator, **EVERYTHING)
    train(recorder, model, [optimizer])


@pytest.mark.parametrize("clip", [None, clipping.autoclip(10)], ids=str)
def test_several_optimizers_and_accumulation(tmp_path: Path, clip: clipping.ClipRule | None) -> None:
    model = net()
    optimizers = [sgd(model[0].parameters()), sgd([*model[2].parameters(), model.unused])]  # type: ignore[index]
    options = EVERYTHING | {"estimator": "consecutive"}
    train(gradlens.Recorder(model, optimizers, tmp_path, clip=clip, **options), model, optimizers, of=2)


@pytest.mark.parametrize(
    "clip",
    [None, clipping.micro_batch(), clipping.per_sample(1.0), clipping.match_step(clipping.micro_batch())],
    ids=str,
)
def test_micro_batches(tmp_path: Path, clip: clipping.ClipRule | None) -> None:
    model = net()
    optimizer = sgd(model.parameters())
    options = EVERYTHING | {"micro_batches": every(1)}
    train(gradlens.Recorder(model, optimizer, tmp_path, clip=clip, **options), model, [optimizer], of=3)


def test_steps_inside_backward(tmp_path: Path) -> None:
    model = net()
    optimizers = {parameter: sgd([parameter]) for parameter in model.parameters()}

    def release(parameter: torch.Tensor) -> None:
        optimizers[parameter].step()  # type: ignore[index]
        parameter.grad = None

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(release)
    options = EVERYTHING | {"landscape": gradlens.never}
    train(gradlens.Recorder(model, optimizers, tmp_path, **options), model, [])


def test_a_clip_of_the_trainings_own_and_a_whole_set(tmp_path: Path) -> None:
    model = net()
    optimizer = sgd(model.parameters())
    compute: Callable[..., torch.Tensor] = lambda x: model(x).square().mean()  # noqa: E731
    with gradlens.Recorder(model, optimizer, tmp_path, smoothness=gradlens.never) as recorder, NoCopies():
        for _ in range(3):
            optimizer.zero_grad()
            recorder.full_gradient(compute, [X, X[:2]])
            recorder.loss(compute, X).backward()
            recorder.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
    assert recorder.skipped == 0


def test_a_read_is_seen(tmp_path: Path) -> None:
    """The test of the tests: a schedule cannot look at the loss, and a probe that does is counted."""
    model = net()
    optimizer = sgd(model.parameters())
    recorder = gradlens.Recorder(model, optimizer, tmp_path, smoothness=every(1))
    recorder.loss(lambda x: model(x).square().mean() * (2.0 if recorder.skipped else 1.0), X).backward()
    recorder._steps.probes._updates[0].before = lambda _parameters: float(X.sum())  # type: ignore[method-assign, assignment]
    optimizer.step()
    recorder.close()
    assert recorder.skipped > 0
