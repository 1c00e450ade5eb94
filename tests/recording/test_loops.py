"""The right number in every kind of loop: what is recorded equals a float64 computation of the training's own."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import norm64
from torch import nn

import gradlens
from gradlens import clipping, every

# torch's compiler warns of itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method. is deprecated:DeprecationWarning"),
]

STEPS = 12
OVERFLOWS = 5
PERCENTILE = 40.0


def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 30), nn.Tanh(), nn.Linear(30, 3))


class OddNet(nn.Module):
    """Parameters of every kind: shared, complex, empty, frozen, and one that no loss reaches."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.twice = nn.Linear(4, 4)
        self.out = nn.Linear(4, 3)
        self.tied = self.twice.weight
        self.complex = nn.Parameter(torch.randn(3, dtype=torch.complex64))
        self.empty = nn.Parameter(torch.zeros(0, 4))
        self.frozen = nn.Parameter(torch.full((3,), 0.7), requires_grad=False)
        self.unreached = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.twice(torch.tanh(self.twice(x))) + x @ self.tied + self.empty.sum())
        logits: torch.Tensor = self.out(hidden) * self.frozen + (self.complex * (0.3 + 0.4j)).real
        return logits


class SparseNet(nn.Module):
    """A table whose gradient is sparse, and has some entries twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(50, 4, sparse=True)
        self.out = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = (x.abs() * 3).long().clamp(max=49)
        logits: torch.Tensor = self.out(self.table(rows).sum(1))
        return logits


@dataclass
class Truth:
    """What the training's own code sees, in float64."""

    parameters: list[nn.Parameter]
    left: list[float] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)
    moved: list[float] = field(default_factory=list)
    stepped: list[bool] = field(default_factory=list)
    _before: list[torch.Tensor] = field(default_factory=list)

    def norm(self, scale: float = 1.0) -> float:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
        return norm64([torch.view_as_real(g) if g.is_complex() else g for g in dense]) / scale

    def after_backward(self, scale: float = 1.0) -> None:
        self.left.append(self.norm(scale))

    def before_step(self, scale: float = 1.0) -> None:
        self.taken.append(self.norm(scale))
        self._before = [p.detach().clone() for p in self.parameters]

    def after_step(self) -> None:
        moves = [p.detach() - old for p, old in zip(self.parameters, self._before, strict=True)]
        self.moved.append(norm64([torch.view_as_real(m) if m.is_complex() else m for m in moves]))
        self.stepped.append(self.moved[-1] > 0)


@dataclass
class Loop:
    """One kind of training loop, which runs with a recorder or without."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    recorder: gradlens.Recorder
    truth: Truth
    scaler: torch.amp.GradScaler
    data: torch.Generator

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(5, 4, generator=self.data), torch.randint(3, (5,), generator=self.data)

    def compute(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(self.model(x), y)

    def loss(self, **options: Any) -> torch.Tensor:
        loss: torch.Tensor = self.recorder.loss(self.compute, *self.batch(), **options)
        return loss

    def step(self, scale: float = 1.0) -> None:
        self.truth.before_step(scale)
        self.optimizer.step()
        self.truth.after_step()


def plain(loop: Loop, step: int) -> None:
    loop.optimizer.zero_grad(set_to_none=step % 2 == 0)
    loop.loss().backward()
    loop.truth.after_backward()
    loop.step()


def closure(loop: Loop, step: int) -> None:
    def evaluate() -> torch.Tensor:
        loop.optimizer.zero_grad()
        loss = loop.loss()
        loss.backward()
        loop.truth.after_backward()
        loop.truth.before_step()
        return loss

    loop.optimizer.step(evaluate)  # type: ignore[arg-type]
    loop.truth.after_step()


def line_search(loop: Loop, step: int) -> None:
    """LBFGS: the gradient is that of the closure's first evaluation, the update what the whole search comes to."""
    batch = loop.batch()
    evaluations = 0

    def evaluate() -> torch.Tensor:
        nonlocal evaluations
        loop.optimizer.zero_grad()
        loss: torch.Tensor = loop.recorder.loss(loop.compute, *batch)
        loss.backward()
        if evaluations == 0:
            loop.truth.after_backward()
            loop.truth.before_step()
        evaluations += 1
        return loss

    loop.optimizer.step(evaluate)  # type: ignore[arg-type]
    loop.truth.after_step()
    assert evaluations > 1


def accumulation(loop: Loop, step: int) -> None:
    loop.optimizer.zero_grad()
    for _ in range(3):
        loop.loss(of=3).backward()
    loop.truth.after_backward()
    loop.step()


def divided_by_hand(loop: Loop, step: int) -> None:
    """With fewer micro-batches in some steps, as the last of an epoch has, and a clip of the training's own."""
    loop.optimizer.zero_grad()
    parts = 4 if step % 4 else 2
    for _ in range(parts):
        (loop.loss() / parts).backward()
    loop.truth.after_backward()
    if parts == 4:
        nn.utils.clip_grad_norm_(loop.model.parameters(), 0.2)
    loop.step()


def one_sum(loop: Loop, step: int) -> None:
    loop.optimizer.zero_grad()
    (loop.loss() + 0.5 * loop.loss()).backward()
    loop.truth.after_backward()
    nn.utils.clip_grad_norm_(loop.model.parameters(), 0.2)
    loop.step()


def scaled(loop: Loop, step: int) -> None:
    """GradScaler, plain: a step that overflows is not made."""
    loop.optimizer.zero_grad(set_to_none=step % 2 == 0)
    scale = loop.scaler.get_scale()
    (loop.scaler.scale(loop.loss()) * (math.inf if step == OVERFLOWS else 1.0)).backward()
    loop.truth.after_backward(scale)
    loop.truth.before_step(scale)
    loop.scaler.step(loop.optimizer)
    loop.truth.after_step()
    loop.scaler.update()


def scaled_and_clipped(loop: Loop, step: int) -> None:
    loop.optimizer.zero_grad()
    scale = loop.scaler.get_scale()
    (loop.scaler.scale(loop.loss()) * (math.inf if step == OVERFLOWS else 1.0)).backward()
    loop.truth.after_backward(scale)
    loop.scaler.unscale_(loop.optimizer)
    nn.utils.clip_grad_norm_(loop.model.parameters(), 0.2)
    loop.truth.before_step()
    loop.scaler.step(loop.optimizer)
    loop.truth.after_step()
    loop.scaler.update()


def autocast(loop: Loop, step: int) -> None:
    loop.optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loop.loss()
    loss.backward()
    loop.truth.after_backward()
    loop.step()


def clipped_by_hand(loop: Loop, step: int) -> None:
    loop.optimizer.zero_grad()
    loop.loss().backward()
    loop.truth.after_backward()
    nn.utils.clip_grad_norm_(loop.model.parameters(), 0.2)
    loop.step()


def clipped_by_name(loop: Loop, step: int) -> None:
    loop.optimizer.zero_grad()
    loop.loss().backward()
    loop.truth.after_backward()
    loop.recorder.clip_grad_norm_(loop.model.parameters(), 0.2)
    loop.step()


def captured(loop: Loop, step: int) -> None:
    """The recorder sees neither loss nor backward, only torch's function."""
    loop.optimizer.zero_grad()
    loop.compute(*loop.batch()).backward()
    loop.truth.after_backward()
    with loop.recorder.capture_clipping():
        nn.utils.clip_grad_norm_(loop.model.parameters(), 0.2)
    loop.step()


def clamped_by_data(loop: Loop, step: int) -> None:
    """An idiom that passes autograd's version counters by."""
    loop.optimizer.zero_grad()
    loop.loss().backward()
    loop.truth.after_backward()
    for parameter in loop.model.parameters():
        assert parameter.grad is not None
        parameter.grad.data.clamp_(-0.02, 0.02)
    loop.step()


def noise_added(loop: Loop, step: int) -> None:
    loop.optimizer.zero_grad()
    loop.loss().backward()
    loop.truth.after_backward()
    for parameter in loop.model.parameters():
        assert parameter.grad is not None
        parameter.grad.add_(0.5)
    loop.step()


def group_added(loop: Loop, step: int) -> None:
    if step == 4:
        late = nn.Parameter(torch.randn(2, 2, generator=torch.Generator().manual_seed(7)))
        loop.model.register_parameter("late", late)
        loop.optimizer.add_param_group({"params": [late], "lr": 0.2})
        loop.truth.parameters.append(late)
    loop.optimizer.zero_grad()
    late_term = loop.model.late.square().sum() if step >= 4 else 0.0
    (loop.loss() + late_term).backward()
    loop.truth.after_backward()
    loop.step()


def odd_parameters(loop: Loop, step: int) -> None:
    clipped_by_hand(loop, step) if step % 3 == 2 else plain(loop, step)


def sparse_gradients(loop: Loop, step: int) -> None:
    loop.optimizer.zero_grad(set_to_none=step % 2 == 0)
    for _ in range(2):
        loop.loss(of=2).backward()
    loop.truth.after_backward()
    loop.step()


def compiled_model(loop: Loop, step: int) -> None:
    plain(loop, step)


def compiled_step(loop: Loop, step: int) -> None:
    plain(loop, step)


LOOPS: dict[str, Callable[[Loop, int], None]] = {
    each.__name__: each
    for each in (
        plain, closure, line_search, accumulation, divided_by_hand, one_sum, scaled, scaled_and_clipped, autocast,
        clipped_by_hand, clipped_by_name, captured, clamped_by_data, noise_added, group_added,
        odd_parameters, sparse_gradients, compiled_model, compiled_step,
    )
}  # fmt: skip
CASES = [(name, fused) for name in LOOPS for fused in (False, True) if name.startswith("scaled") or not fused]
MODELS: dict[str, Callable[[], nn.Module]] = {"odd_parameters": OddNet, "sparse_gradients": SparseNet}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "line_search": lambda p: torch.optim.LBFGS(p, lr=0.3, max_iter=4),
    "sparse_gradients": lambda p: torch.optim.SGD(p, lr=0.05),
    "compiled_step": lambda p: torch.optim.SGD(p, lr=0.05, foreach=False),
    "odd_parameters": lambda p: torch.optim.RMSprop(p, lr=0.01, foreach=False),
}
OBSERVED = ("line_search",)
"""A clip inside a line search is not defined, and refused."""


def train(root: Path | None, name: str, rule: clipping.ClipRule | None, *, fused: bool) -> tuple[Loop, list[Any]]:
    if name.startswith("compiled"):
        torch._dynamo.reset()
    model = MODELS.get(name, net)()
    make = OPTIMIZERS.get(name, lambda p: torch.optim.Adam(p, lr=0.05, fused=fused))
    optimizer = make(p for p in model.parameters() if p.requires_grad)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=4, enabled=name.startswith("scaled"))
    recorder = gradlens.Recorder(
        model,
        optimizer,
        root or "unused",
        clip=rule,
        norms=every(1),
        update=every(1),
        smoothness=every(3),
        scaler=scaler,
        enabled=root is not None,
    )
    loop = Loop(model, optimizer, recorder, Truth(list(model.parameters())), scaler, torch.Generator().manual_seed(3))
    if name == "compiled_model":
        loop.model = torch.compile(model, backend="aot_eager")  # type: ignore[assignment]
    if name == "compiled_step":
        optimizer.step = torch.compile(optimizer.step, backend="eager")  # type: ignore[method-assign]
    for step in range(STEPS):
        LOOPS[name](loop, step)
    recorder.close()
    gradients = [p.grad.to_dense() if p.grad is not None and p.grad.is_sparse else p.grad for p in model.parameters()]
    state = [*model.state_dict().values(), *gradients, torch.get_rng_state()]
    return loop, [*state, optimizer.state_dict(), scaler.state_dict()]


def close(found: np.ndarray, expected: list[float]) -> bool:
    """Equal to 1e-5, infinite and NaN alike."""
    wanted = np.array(expected)
    finite = np.isfinite(wanted)
    return len(found) == len(wanted) and bool(
        np.allclose(found[finite], wanted[finite], rtol=1e-5, atol=1e-12) and not np.isfinite(found[~finite]).any()
    )


@pytest.mark.parametrize(
    ("name", "fused", "clips"),
    [(name, fused, clips) for name, fused in CASES for clips in (False, True) if not (clips and name in OBSERVED)],
)
def test_every_loop_records_the_right_numbers(tmp_path: Path, name: str, fused: bool, clips: bool) -> None:
    rule = clipping.autoclip(PERCENTILE) if clips else None
    loop, _ = train(tmp_path, name, rule, fused=fused)
    truth, run = loop.truth, gradlens.open_run(loop.recorder.path or "")
    frame = run.steps()
    assert loop.recorder.skipped == 0
    assert frame["step"].tolist() == list(range(STEPS))
    assert frame["stepped"].tolist() == truth.stepped
    unseen = [step % 4 == 0 and step > 0 for step in range(STEPS)] if name == "divided_by_hand" else [False] * STEPS
    left = [t if u else before for u, before, t in zip(unseen, truth.left, truth.taken, strict=True)]
    assert close(frame["grad_norm"].to_numpy(), left)
    history: list[float] = []
    applied, thresholds = [], []
    for taken, stepped in zip(truth.taken, truth.stepped, strict=True):
        if clips and (stepped or fused) and np.isfinite(taken):
            history.append(taken)
            thresholds.append(float(np.percentile(history, PERCENTILE)))
            applied.append(min(taken, thresholds[-1]))
        else:
            applied.append(taken)
    assert close(frame["grad_norm_clipped"].to_numpy(), applied)
    assert close(
        frame["update_norm"].dropna().to_numpy(),
        [m for m, s in zip(truth.moved, truth.stepped, strict=True) if s or fused],
    )
    if clips:
        made = frame[frame["clip_threshold"].notna() & np.isfinite(truth.taken)]
        assert close(made["clip_threshold"].to_numpy(), thresholds)
    per_tensor = run.tensors("grad_norm").groupby("step")["value"].apply(lambda v: math.sqrt(np.nansum(np.square(v))))
    assert close(per_tensor.to_numpy()[np.isfinite(left)], [norm for norm in left if np.isfinite(norm)])


@pytest.mark.parametrize(("name", "fused"), CASES)
def test_observing_changes_no_bit(tmp_path: Path, name: str, fused: bool) -> None:
    _, recorded = train(tmp_path, name, None, fused=fused)
    _, bare = train(None, name, None, fused=fused)
    assert same(recorded, bare)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one.nan_to_num(), other.nan_to_num()) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("name", ["scaled", "scaled_and_clipped"])
def test_a_scaler_that_is_not_named_costs_the_norm_before_a_clip_and_says_so(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = gradlens.Recorder
    monkeypatch.setattr(gradlens, "Recorder", lambda *a, scaler=None, **options: recorder(*a, **options))
    loop, _ = train(tmp_path, name, None, fused=False)
    frame = gradlens.open_run(loop.recorder.path or "").steps()
    made = np.array(loop.truth.stepped)
    assert close(frame["grad_norm"].to_numpy()[made], np.array(loop.truth.taken)[made].tolist())
    assert frame["clip_source"][made].tolist() == ["unknown"] * made.sum()
    assert caplog.text.count("Give Recorder the scaler=") == 1


def test_a_model_whose_loss_is_dropped_keeps_no_recorder_alive(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = gradlens.Recorder(model, optimizer, tmp_path, smoothness=gradlens.never)
    loss = recorder.loss(lambda: model(torch.ones(1, 4)).sum())
    recorder.close()
    gone = weakref.ref(recorder)
    del recorder
    gc.collect()
    assert gone() is None
    loss.backward()  # its hook finds nobody to call


@pytest.mark.parametrize("what", ["the optimizer's step", "the whole iteration"])
def test_a_compiled_step_leaves_the_recorder_out(tmp_path: Path, what: str) -> None:
    traced: list[str] = []

    def backend(graph: torch.fx.GraphModule, _inputs: list[torch.Tensor]) -> Callable[..., Any]:
        traced.extend(str(node.stack_trace) for node in graph.graph.nodes)
        return graph.forward

    def run(*, enabled: bool) -> tuple[gradlens.Recorder, list[torch.Tensor]]:
        torch._dynamo.reset()
        model = net()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        recorder = gradlens.Recorder(
            model, optimizer, tmp_path, update=every(1), smoothness=gradlens.never, enabled=enabled
        )
        data = torch.Generator().manual_seed(3)

        def iteration(x: torch.Tensor) -> None:
            optimizer.zero_grad()
            recorder.loss(lambda x: model(x).square().mean(), x).backward()

        def step() -> None:
            optimizer.step()

        parts = [iteration, step]
        place = what == "the optimizer's step"
        parts[place] = torch.compile(parts[place], backend=backend)
        for _ in range(4):
            parts[0](torch.randn(4, 4, generator=data))  # type: ignore[call-arg]
            parts[1]()  # type: ignore[call-arg]
        recorder.close()
        return recorder, list(model.parameters())

    recorder, weights = run(enabled=True)
    assert not [trace for trace in traced if "gradlens/recording" in trace]
    _, bare = run(enabled=False)
    assert all(map(torch.equal, weights, bare))
    assert recorder.skipped == 0
    assert len(gradlens.open_run(recorder.path or "").series("update_norm")[1]) == 4


def test_a_norm_that_only_a_probe_asked_for_is_known_as_well(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradlens.Recorder(model, optimizer, tmp_path, norms=gradlens.never, smoothness=every(1)) as recorder:
        for _ in range(3):
            optimizer.zero_grad()
            recorder.loss(lambda x: model(x).square().sum(), torch.ones(2, 4)).backward()
            left = norm64([p.grad for p in model.parameters() if p.grad is not None])
            nn.utils.clip_grad_norm_(model.parameters(), left / 2)
            optimizer.step()
    frame = gradlens.open_run(recorder.path or "").steps()
    assert frame["clip_source"].tolist() == ["inferred"] * 3
    assert np.allclose(frame["clip_coef"], 0.5, rtol=1e-5)
    assert frame["grad_norm"].iloc[-1] == pytest.approx(left, rel=1e-6)


def test_a_declared_clip_of_a_norm_that_is_not_finite_stays_declared(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradlens.Recorder(model, optimizer, tmp_path, smoothness=gradlens.never) as recorder:
        (recorder.loss(lambda x: model(x).sum(), torch.ones(2, 4)) * math.inf).backward()
        recorder.clip_grad_norm_(model.parameters(), 0.2)
        optimizer.step()
    row = gradlens.open_run(recorder.path or "").steps().iloc[0]
    assert row["clip_threshold"] == 0.2
    assert not np.isfinite(row["grad_norm"])


def test_a_line_search_that_clips_in_its_closure_declares_its_threshold_once(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
    with gradlens.Recorder(model, optimizer, tmp_path, smoothness=gradlens.never) as recorder:
        evaluations = []

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss: torch.Tensor = recorder.loss(lambda x: model(x).square().sum(), torch.ones(2, 4))
            loss.backward()
            evaluations.append(norm64([p.grad for p in model.parameters() if p.grad is not None]))
            recorder.clip_grad_norm_(model.parameters(), 0.2)
            return loss

        optimizer.step(closure)  # type: ignore[arg-type]
    row = gradlens.open_run(recorder.path or "").steps().iloc[0]
    assert len(evaluations) > 1
    assert row["clip_source"] == "declared"
    assert row["clip_threshold"] == 0.2
    assert row["grad_norm"] == pytest.approx(evaluations[0], rel=1e-6)
    assert row["grad_norm_clipped"] == pytest.approx(0.2, rel=1e-4)
