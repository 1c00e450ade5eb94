"""Observing changes nothing: training with and without the recorder is the same, bit for bit."""

import random
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import same
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
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3, line_search_fn="strong_wolfe"),
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
        noise = 0.5
        if not torch.compiler.is_compiling():  # a compiler does not trace these
            noise = random.random() + np.random.random()  # noqa: NPY002 - user code that draws from the global states
        states, _ = self.recurrent(x * (1 + 0.01 * noise))
        return self.out(self.drop(states[:, -1])) * self.frozen


def train(
    optimizer_name: str, root: Path | None, *, precision: str = "fp32", loop: str = "plain", steps: int = 40
) -> dict[str, Any]:
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    model = Net()
    forward = torch.compile(model, backend="aot_eager") if loop == "compile" else model
    optimizer = OPTIMIZERS[optimizer_name](model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=7, enabled=precision == "scaler")
    data = torch.Generator().manual_seed(2)
    losses = []
    parts = 3 if loop == "accumulation" else 1

    def compute(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = forward(x)
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
    for step in range(steps):
        batches = [(torch.randn(5, 4, 6, generator=data), torch.randint(3, (5,), generator=data)) for _ in range(parts)]
        overflows = precision == "scaler" and step == 11

        def evaluate(batches: list[Any] = batches, step: int = step, overflows: bool = overflows) -> torch.Tensor:
            optimizer.zero_grad(set_to_none=step % 2 == 0)
            for x, y in batches:
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                    loss, logits = recorder.loss(compute, x, y, of=parts)
                assert logits.shape == (5, 3)
                (scaler.scale(loss) * (float("inf") if overflows else 1.0)).backward()
            return loss  # type: ignore[no-any-return]

        if loop == "closure" or optimizer_name == "lbfgs":
            losses.append(optimizer.step(evaluate).item())
        else:
            losses.append(evaluate().item())
            if loop == "clip":
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()
        recorder.log(loss_again=losses[-1])
    state = {
        "losses": losses,
        "model": model.state_dict(),
        "gradients": [p.grad for p in model.parameters()],
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1],  # noqa: NPY002
        "python": random.getstate(),
        "training": [module.training for module in model.modules()],
    }
    recorder.close()
    if root is not None:
        _check_that_the_probes_ran(recorder, precision, loop, optimizer_name, steps, losses)
    return state


def _check_that_the_probes_ran(
    recorder: gradlens.Recorder, precision: str, loop: str, optimizer_name: str, steps: int, losses: list[float]
) -> None:
    """The comparison means nothing unless they did."""
    run = gradlens.open_run(recorder.path or "")
    assert recorder.skipped == 0
    taken = steps
    left_out = [11] if precision == "scaler" else []  # the step that overflows
    assert np.flatnonzero(run.series("stepped")[1] == 0).tolist() == left_out
    assert run.series("step")[0].tolist() == list(range(taken))
    assert run.series("update_norm")[0].tolist() == list(range(0, taken, 3))
    if loop == "accumulation":
        assert "smoothness" not in run.columns  # several losses a step
    elif optimizer_name != "lbfgs" and precision != "scaler":
        assert run.series("smoothness")[0].tolist() == list(range(0, taken, 2))
        assert run.series("loss")[1].tolist() == losses
        # A repeat changes nothing: the noise floor is the rounding of the gradient alone.
        frame = run.steps().iloc[::6]
        if loop != "clip":
            rounding = np.finfo(np.float32).eps * frame["grad_norm"] / frame["update_norm"]
            assert np.allclose(frame["smoothness_noise"], rounding, rtol=1e-12)
    else:
        assert len(run.series("smoothness")[0]) > 0


CASES = [
    (optimizer, precision, loop)
    for optimizer in OPTIMIZERS
    for precision in ("fp32", "bf16", "scaler")
    for loop in ("plain", "closure", "accumulation", "clip")
    # A GradScaler takes no closure; LBFGS is nothing but one, and evaluates it as often as it likes.
    if not (precision == "scaler" and (loop == "closure" or optimizer == "lbfgs"))
    and not (optimizer == "lbfgs" and loop != "closure")
] + [("adam", "fp32", "compile"), ("momentum", "scaler", "compile")]


# torch's compiler warns of itself when it traces the repeated forward pass of a probe.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize(("optimizer_name", "precision", "loop"), CASES)
def test_weights_states_losses_and_random_states_are_bit_identical(
    optimizer_name: str, precision: str, loop: str, tmp_path: Path, count: Callable[[str, int], None]
) -> None:
    options: dict[str, Any] = {"precision": precision, "loop": loop, "steps": 14 if loop == "compile" else 40}
    bare = train(optimizer_name, None, **options)
    recorded = train(optimizer_name, tmp_path, **options)
    for part, value in bare.items():
        assert same(value, recorded[part]), part
    count("trainings compared bit for bit with and without the recorder", 1)


def test_the_comparison_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break each promise once: the test above must see it."""
    bare = train("sgd", None)
    with monkeypatch.context() as broken:
        # Dropout masks and batches' noise then come from elsewhere: no probe repeats its loss.
        broken.setattr("torch.set_rng_state", lambda state: None)
        with pytest.raises(KeyError, match="no series 'smoothness'"):
            train("sgd", tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr("gradlens.recording.replayed_loss.buffers_shielded", nullcontext)
        disturbed = train("sgd", tmp_path)
        assert not same(bare["model"], disturbed["model"])  # BatchNorm's statistics have seen batches twice
    with monkeypatch.context() as broken:
        broken.setattr("random.setstate", lambda state: None)
        with pytest.raises((AssertionError, KeyError)):
            train("sgd", tmp_path)


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
    assert other._steps.probes._updates[0]._before == []
    assert gradlens.open_run(recorder.path or "").series("step")[0].tolist() == steps.tolist() == [0]
