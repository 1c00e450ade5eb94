"""What only a CUDA device can show: nothing waits for it, the training stays the same, and the numbers are right."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import norm64, same
from torch import nn

import gradlens
from gradlens import clipping, every
from gradlens.recording.device_rules import device_rule
from gradlens.recording.norms import difference_norms, tensor_norms

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")

CARD = torch.device("cuda")
ALL: dict[str, Any] = dict.fromkeys(("norms", "update", "smoothness", "landscape", "distance", "fractions"), every(1))
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, fused=True),
}


@contextmanager
def no_waits() -> Iterator[None]:
    """Whatever of torch makes the host wait for the card raises."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Net(nn.Module):
    """BatchNorm, Dropout and cuDNN's recurrent layers, with a dropout of their own if told."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.recurrent = nn.GRU(6, 8, num_layers=2, batch_first=True, dropout=dropout)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, _ = self.recurrent(self.norm(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        return self.out(self.drop(states[:, -1]))  # type: ignore[no-any-return]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 700), nn.Tanh(), nn.Linear(700, 3)).to(CARD)


def batches(count: int, *shape: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    data = torch.Generator().manual_seed(2)
    return [
        (torch.randn(*shape, generator=data).to(CARD), torch.randint(3, shape[:1], generator=data).to(CARD))
        for _ in range(count)
    ]


# ---- nothing waits ---------------------------------------------------------------------------------------------------


def test_a_wait_is_seen() -> None:
    x = torch.ones(3, device=CARD)
    with no_waits(), pytest.raises(RuntimeError, match="synchroniz"):
        x.sum().item()


@pytest.mark.parametrize(
    "clip", [None, clipping.fixed(1e-3), clipping.autoclip(10), clipping.agc(0.01), clipping.micro_batch()], ids=str
)
@pytest.mark.parametrize("estimator", ["same_batch", "segment(3)", "hvp", "consecutive"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_step_waits_for_the_card(
    tmp_path: Path, clip: clipping.ClipRule | None, estimator: str, precision: str
) -> None:
    model = mlp()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    parts = 2 if isinstance(clip, type(clipping.micro_batch())) else 1
    options = ALL | ({"smoothness": gradlens.never, "landscape": gradlens.never} if parts > 1 else {})

    def compute(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(model(x), y)

    given = batches(8, 16, 4)
    recorder = gradlens.Recorder(model, optimizer, tmp_path, clip=clip, estimator=estimator, **options)
    with no_waits():
        for x, y in given:
            optimizer.zero_grad()
            for _ in range(parts):
                with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
                    loss = recorder.loss(compute, x, y, of=parts)
                loss.backward()
            optimizer.step()
            recorder.log(accuracy=x.mean())
    recorder.close()
    run = gradlens.open_run(recorder.path or "")
    assert recorder.skipped == recorder.dropped == 0
    assert run.series("step")[0].tolist() == list(range(8))
    assert np.allclose(run.series("accuracy")[1], [x.mean().item() for x, _ in given])
    assert ("smoothness" in run.columns) == (parts == 1)


# ---- the training stays the same -------------------------------------------------------------------------------------


@pytest.fixture
def _repeatable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def train(optimizer_name: str, precision: str, root: Path | None, dropout: float = 0.0) -> dict[str, Any]:
    torch.manual_seed(1)
    model = Net(dropout).to(CARD)
    optimizer = OPTIMIZERS[optimizer_name](model.parameters())
    scaler = torch.amp.GradScaler("cuda", init_scale=1024.0, growth_interval=7, enabled=precision == "scaler")
    dtype = torch.float16 if precision == "scaler" else torch.bfloat16

    def compute(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(model(x), y)

    recorder = gradlens.Recorder(
        model, optimizer, root or "unused", norms=every(1), update=every(3), smoothness=every(2),
        enabled=root is not None,
    )  # fmt: skip
    losses = []
    for x, y in batches(40, 5, 4, 6):
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype, enabled=precision != "fp32"):
            loss = recorder.loss(compute, x, y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.detach())
    recorder.close()
    if root is not None:  # the comparison means nothing unless the probes ran
        run = gradlens.open_run(recorder.path or "")
        assert (len(run.series("smoothness")[0]) if "smoothness" in run.columns else 0) >= (0 if dropout else 15)
        assert recorder.skipped == (20 if dropout else 0)
        assert run.series("loss")[1].tolist() == [loss.item() for loss in losses]
        assert run.environment["device"] == torch.cuda.get_device_name()
    return {
        "losses": losses,
        "model": model.state_dict(),
        "gradients": [p.grad for p in model.parameters()],
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "random on the host": torch.get_rng_state(),
        "random on the card": torch.cuda.get_rng_state(),
    }


@pytest.mark.usefixtures("_repeatable")
@pytest.mark.parametrize("optimizer_name", OPTIMIZERS)
@pytest.mark.parametrize("precision", ["fp32", "bf16", "scaler"])
def test_a_training_on_the_card_is_bit_identical(
    optimizer_name: str, precision: str, tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    bare = train(optimizer_name, precision, None)
    assert same(bare, train(optimizer_name, precision, None)), "without a recorder it does not repeat either"
    recorded = train(optimizer_name, precision, tmp_path)
    for part, value in bare.items():
        assert same(value, recorded[part]), part
    count("trainings on a card compared bit for bit", 1)


@pytest.mark.usefixtures("_repeatable")
def test_cudnns_own_dropout_is_left_alone(tmp_path: Path) -> None:
    """Its random state cannot be put back: no probe repeats the loss, and the training stays the same."""
    bare, recorded = (train("sgd", "fp32", root, dropout=0.2) for root in (None, tmp_path))
    for part, value in bare.items():
        assert same(value, recorded[part]), part
    (run,) = gradlens.open_runs(tmp_path)
    assert set(run.steps()["smoothness_method"].dropna()) == {"none: loss does not repeat"}


@pytest.mark.usefixtures("_repeatable")
def test_that_comparison_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = train("sgd", "fp32", None, dropout=0.2)
    monkeypatch.setattr("gradlens.recording.replayed_loss._cudnn_dropout_refused", lambda modes: None)
    with pytest.raises(AssertionError):  # it counts what was refused
        train("sgd", "fp32", tmp_path / "counted", dropout=0.2)
    monkeypatch.setattr(gradlens.Recorder, "skipped", 20)
    assert not same(bare["losses"], train("sgd", "fp32", tmp_path / "seen", dropout=0.2)["losses"])


# ---- the numbers are right -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 511, 5000, 30_000_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["random", "constant"])
def test_norm_is_float64s_to_a_millionth(size: int, dtype: torch.dtype, kind: str) -> None:
    tensor = (torch.randn(size, device=CARD) if kind == "random" else torch.full((size,), 1 / 3, device=CARD)).to(dtype)
    (norm,) = tensor_norms([tensor], CARD)
    assert math.isclose(norm.item(), tensor.double().norm().item(), rel_tol=1e-6)


@pytest.mark.parametrize("value", [1e20, 1e-30, 0.0, math.nan, math.inf])
def test_norms_beyond_the_range_of_float32_squares(value: float) -> None:
    tensor = torch.full((2000,), value, device=CARD)
    (norm,) = tensor_norms([tensor], CARD)
    assert np.isclose(norm.item(), tensor.double().norm().item(), rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_of_a_difference_is_float64s(dtype: torch.dtype) -> None:
    old = torch.randn(10_000_019, device=CARD).to(dtype)
    new = old * 1.02  # an update's: a difference of neighbours is exact in half precision too
    expected = norm64([new.double() - old.double()])
    moved, still = difference_norms([new, old], [old.clone(), old.clone()], CARD).tolist()
    assert moved == pytest.approx(expected, rel=1e-6)
    assert still == 0.0


@pytest.mark.parametrize("percentile", [0, 10, 90, 100])
def test_autoclip_on_the_card_is_the_host_rule(percentile: float) -> None:
    norms = np.random.default_rng(0).lognormal(size=2_500)  # the buffer grows twice
    norms[[0, 1, 500, 2000]] = np.nan, np.inf, np.nan, np.inf
    expected = clipping.replay(clipping.autoclip(percentile), norms)
    twin = device_rule(clipping.autoclip(percentile), CARD)
    state, thresholds = twin.init(1), []
    on_card = torch.from_numpy(norms).to(CARD).unbind()
    with no_waits():
        for norm in on_card:
            clip, state = twin.update(clipping.Measured(norm.reshape(1), xp=torch), state)
            thresholds.append(clip.thresholds.reshape(()))
    assert torch.stack(thresholds).tolist() == pytest.approx(expected.thresholds.ravel().tolist(), rel=1e-12)


def test_every_recorded_number_is_its_float64_twins(tmp_path: Path) -> None:
    """More steps than the ring has places, so that it also waits."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    clip = clipping.autoclip(25)
    recorder = gradlens.Recorder(model, optimizer, tmp_path, clip=clip, update=every(1), smoothness=gradlens.never)
    twin = [parameter.detach().clone() for parameter in model.parameters()]
    grad_norms, update_norms, tensors = [], [], []
    given = batches(150, 16, 4)
    for x, y in given:
        optimizer.zero_grad()
        recorder.loss(lambda x, y: nn.functional.cross_entropy(model(x), y), x, y).backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        optimizer.step()
        grad_norms.append(norm64(gradients))
        tensors.append([norm64([gradient]) for gradient in gradients])
        moved = [p.detach().double() - old.double() for p, old in zip(model.parameters(), twin, strict=True)]
        update_norms.append(norm64(moved))
        twin = [parameter.detach().clone() for parameter in model.parameters()]
    recorder.close()
    run = gradlens.open_run(recorder.path or "")
    assert recorder.skipped == recorder.dropped == 0
    assert np.allclose(run.series("grad_norm")[1], grad_norms, rtol=1e-6)
    assert np.allclose(run.series("update_norm")[1], update_norms, rtol=1e-5)
    expected = clipping.replay(clip, np.array(grad_norms))
    assert np.allclose(run.series("clip_threshold")[1], np.ravel(expected.thresholds), rtol=1e-6, equal_nan=True)
    found = run.tensors("grad_norm")
    assert np.allclose(found["value"], np.ravel(tensors), rtol=1e-6)


def test_smoothness_of_a_quadratic_is_its_eigenvalue(tmp_path: Path, quadratic: Callable[..., nn.Module]) -> None:
    model = quadratic([3.0] * 5).to(CARD)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradlens.Recorder(model, optimizer, tmp_path, smoothness=every(1)) as recorder:
        for _ in range(10):
            optimizer.zero_grad()
            recorder.loss(model).backward()
            optimizer.step()
    values = gradlens.open_run(recorder.path or "").series("smoothness")[1]
    assert len(values) == 10
    assert np.allclose(values, 3.0, rtol=1e-6)


# ---- nothing acknowledged is lost ------------------------------------------------------------------------------------

KILLED = """
import sys, torch, gradlens
torch.manual_seed(3)
model = torch.nn.Linear(4, 2).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
recorder = gradlens.Recorder(model, optimizer, sys.argv[1])
losses = {}
for step in range(100_000):
    optimizer.zero_grad()
    loss = recorder.loss(lambda x: model(x).square().mean(), torch.randn(3, 4, device="cuda"))
    loss.backward()
    optimizer.step()
    losses[step] = loss.item()
    safe = recorder.acknowledged
    if safe in losses:
        print(safe, losses.pop(safe), flush=True)
"""


@pytest.mark.parametrize("told", [1, 40, 300])
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, told: int, count: Callable[[str, int], None]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as training:
        assert training.stdout is not None
        lines = [training.stdout.readline() for _ in range(told)]
        training.send_signal(signal.SIGKILL)
        lines += training.stdout.read().splitlines()
    acknowledged = {int(step): float(loss) for step, loss in (line.split() for line in lines)}
    (run,) = gradlens.open_runs(tmp_path)
    losses = dict(zip(*(values.tolist() for values in run.series("loss")), strict=True))
    assert {step: losses.get(step) for step in acknowledged} == acknowledged
    count("rows acknowledged before a kill of a training on a card", len(acknowledged))
