"""Observing changes nothing: training with and without the recorder is the same, bit for bit."""

import random
import weakref
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gradlens
from gradlens import every

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=1e-3),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-2),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2),
}


class Net(nn.Module):
    """BatchNorm, Dropout, a recurrent layer and a frozen parameter: whatever a repeated forward pass could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.recurrent = nn.GRU(6, 8, batch_first=True)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(8, 3)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        noise = random.random() + np.random.random()  # noqa: NPY002 - user code that draws from the global states
        states, _ = self.recurrent(x * (1 + 0.01 * noise))
        return self.out(self.drop(states[:, -1])) * self.frozen


def train(optimizer_name: str, root: Path | None, *, closure: bool, autocast: bool) -> dict[str, Any]:
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    model = Net()
    optimizer = OPTIMIZERS[optimizer_name](model.parameters())
    data = torch.Generator().manual_seed(2)
    losses = []

    def compute(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = model(x)
        return nn.functional.cross_entropy(logits, y), logits

    recorder = gradlens.Recorder(
        model,
        optimizer,
        root or "unused",
        norms=every(1),
        update=every(3),
        smoothness=every(2),
        enabled=root is not None,
    )
    for step in range(40):
        x, y = torch.randn(5, 4, 6, generator=data), torch.randint(3, (5,), generator=data)

        def evaluate(x: torch.Tensor = x, y: torch.Tensor = y, step: int = step) -> torch.Tensor:
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                loss, logits = recorder.loss(compute, x, y)
            assert logits.shape == (5, 3)
            loss.backward()
            return loss  # type: ignore[no-any-return]

        if closure:
            losses.append(optimizer.step(evaluate).item())
        else:
            losses.append(evaluate().item())
            optimizer.step()
        recorder.log(loss_again=losses[-1])
    state = {
        "losses": losses,
        "model": model.state_dict(),
        "gradients": [p.grad for p in model.parameters()],
        "optimizer": optimizer.state_dict(),
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1],  # noqa: NPY002
        "python": random.getstate(),
        "training": [module.training for module in model.modules()],
    }
    recorder.close()
    if root is not None:
        run = gradlens.open_run(recorder.path or "")
        # The comparison means nothing unless the probes did run.
        assert run.series("smoothness")[0].tolist() == list(range(0, 40, 2))
        # A repeat changes nothing: the noise floor is the rounding of the gradient alone.
        frame = run.steps().iloc[::6]
        rounding = np.finfo(np.float32).eps * frame["grad_norm"] / frame["update_norm"]
        assert np.allclose(frame["smoothness_noise"], rounding, rtol=1e-12)
        assert run.series("update_norm")[0].tolist() == list(range(0, 40, 3))
        assert run.series("loss")[1].tolist() == losses
        assert recorder.skipped == 0
    return state


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, np.ndarray):
        return bool((one == other).all())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("optimizer_name", OPTIMIZERS)
@pytest.mark.parametrize("loop", ["plain", "closure", "autocast"])
def test_weights_states_losses_and_random_states_are_bit_identical(
    optimizer_name: str, loop: str, tmp_path: Path
) -> None:
    options = {"closure": loop == "closure", "autocast": loop == "autocast"}
    bare = train(optimizer_name, None, **options)
    recorded = train(optimizer_name, tmp_path, **options)
    for part, value in bare.items():
        assert same(value, recorded[part]), part


def test_the_comparison_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break each promise once: the test above must see it."""
    bare = train("sgd", None, closure=False, autocast=False)
    with monkeypatch.context() as broken:
        # Dropout masks and batches' noise then come from elsewhere: no probe repeats its loss.
        broken.setattr("torch.set_rng_state", lambda state: None)
        with pytest.raises(KeyError, match="no series 'smoothness'"):
            train("sgd", tmp_path, closure=False, autocast=False)
    with monkeypatch.context() as broken:
        broken.setattr("gradlens.recording.smoothness._buffers_shielded", nullcontext)
        disturbed = train("sgd", tmp_path, closure=False, autocast=False)
        assert not same(bare["model"], disturbed["model"])  # BatchNorm's statistics have seen batches twice
    with monkeypatch.context() as broken:
        broken.setattr("random.setstate", lambda state: None)
        with pytest.raises((AssertionError, KeyError)):
            train("sgd", tmp_path, closure=False, autocast=False)


def test_a_graph_that_waits_for_its_backward_survives_a_probe(tmp_path: Path) -> None:
    """Two heads share a scale that is a buffer; the second loss is formed before the first head's step."""

    def gradients(enabled: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        body = nn.Linear(3, 2)
        body.register_buffer("scale", torch.tensor(2.0))
        heads = [nn.Linear(2, 1), nn.Linear(2, 1)]
        x = torch.randn(4, 3)
        optimizers = [torch.optim.SGD(head.parameters(), lr=0.1) for head in heads]
        for head in heads:
            head.body = body
        recorders = [
            gradlens.Recorder(h, o, tmp_path, smoothness=every(1), enabled=enabled)
            for h, o in zip(heads, optimizers, strict=True)
        ]
        losses = [
            recorder.loss(lambda x, head=head: head(body(x) * body.scale).square().mean(), x)
            for recorder, head in zip(recorders, heads, strict=True)
        ]
        for loss, optimizer, recorder in zip(losses, optimizers, recorders, strict=True):
            loss.backward()
            optimizer.step()
            recorder.close()
            assert recorder.skipped == 0
        return [p.grad for p in body.parameters() if p.grad is not None]

    assert same(gradients(False), gradients(True))


def test_close_leaves_nothing_behind(tmp_path: Path) -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradlens.Recorder(model, optimizer, tmp_path) as recorder:
        recorder.loss(lambda: model(torch.ones(2, 3)).sum()).backward()
        optimizer.step()
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    recorder.close()  # a second time does nothing
    steps = gradlens.open_run(recorder.path or "").series("step")[0]
    recorder.loss(lambda: model(torch.ones(2, 3)).sum()).backward()
    optimizer.step()
    recorder.log(late=1.0)
    batch = torch.ones(2, 3)
    held = weakref.ref(batch)
    with gradlens.Recorder(model, optimizer, tmp_path, update=every(1), smoothness=every(1)) as other:
        other.loss(lambda x: model(x).sum(), batch)
    del batch
    assert held() is None
    assert other._probes._update._before == []
    assert gradlens.open_run(recorder.path or "").series("step")[0].tolist() == steps.tolist() == [0]
