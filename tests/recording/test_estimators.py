"""Each estimator against a closed form, each promise of leaving nothing behind, each way to hold gradients."""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import ALWAYS, NoCopies, RestlessNet, batches, everything, norm64, same, small_net
from torch import nn

import gradlens
from gradlens.recording import replayed_loss
from gradlens.recording.consecutive import ConsecutiveProbe, _hold, _overwritten
from gradlens.recording.replayed_loss import ReplayedLoss
from gradlens.recording.smoothness import NOISE_EVERY, HvpProbe, SameBatchProbe, SegmentProbe, SmoothnessProbe

CPU = torch.device("cpu")

PROBES: dict[str, Callable[..., SmoothnessProbe]] = {
    "same_batch": SameBatchProbe,
    "segment": lambda *args: SegmentProbe(*args, points=3),
    "hvp": HvpProbe,
}
EVALUATIONS = {"same_batch": 3, "segment": 5, "hvp": 2}
"""Of a first probe, which repeats one."""


def estimate(probe: SmoothnessProbe, call: Callable[[], Any], update: Callable[[], Any]) -> float:
    probe.remember(call)
    probe.before_update()
    with torch.no_grad():
        update()
    change = probe.after_update().item()
    probe.forget()
    return change


class Free(nn.Module):
    """One parameter vector in float64."""

    def __init__(self, start: list[float]) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(start, dtype=torch.float64))


# ---- closed forms ----------------------------------------------------------------------------------------------------


def test_on_a_quadratic_all_four_agree(quadratic: Callable[..., nn.Module]) -> None:
    eigenvalues = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    step = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    expected = ((eigenvalues * step).norm() / step.norm()).item()
    for name, make in PROBES.items():
        model = quadratic(eigenvalues.tolist())
        change = estimate(make(model, [model.theta], CPU), model, lambda model=model: model.theta.add_(step))
        assert math.isclose(change / step.norm().item(), expected, rel_tol=1e-9), name
    model = quadratic(eigenvalues.tolist())
    probe = ConsecutiveProbe(CPU)
    probe.keep(torch.autograd.grad(model(), [model.theta]), 1.0)
    model.theta.data.add_(step)
    found = probe.change(torch.autograd.grad(model(), [model.theta]))
    assert found is not None
    assert math.isclose(found[0].item() / step.norm().item(), expected, rel_tol=1e-9)


@pytest.mark.parametrize(("start", "step"), [([1.0, -2.0], [0.5, -0.25]), ([0.3, 1.0], [-0.4, -0.7])])
def test_on_a_quartic(start: list[float], step: list[float]) -> None:
    """f = sum x^4 / 4, with gradient x^3; the segment's maximum is at its end, or, on the way down, before it."""
    x, d = np.array(start), np.array(step)
    expected = {
        "same_batch": np.linalg.norm((x + d) ** 3 - x**3),
        "segment": max(np.linalg.norm((x + k / 3 * d) ** 3 - x**3) / (k / 3) for k in (1, 2, 3)),
        "hvp": np.linalg.norm(3 * x**2 * d),
    }
    outwards = start[0] * step[0] > 0
    assert bool(expected["segment"] == expected["same_batch"]) is outwards
    for name, make in PROBES.items():
        model = Free(start)
        change = estimate(
            make(model, [model.theta], CPU),
            lambda model=model: (model.theta**4).sum() / 4,
            lambda model=model: model.theta.add_(torch.tensor(step, dtype=torch.float64)),
        )
        assert math.isclose(change, expected[name], rel_tol=1e-9), name


def test_on_logistic_regression() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(20, 3)), rng.choice([-1.0, 1.0], 20)
    w, d = rng.normal(size=3), 0.3 * rng.normal(size=3)

    def sigmoid(w: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(labels * (features @ w)))

    def gradient(w: np.ndarray) -> np.ndarray:
        return -(labels * sigmoid(w)) @ features / 20

    curvature = sigmoid(w) * (1 - sigmoid(w))
    expected = {
        "same_batch": np.linalg.norm(gradient(w + d) - gradient(w)),
        "segment": max(np.linalg.norm(gradient(w + k / 3 * d) - gradient(w)) / (k / 3) for k in (1, 2, 3)),
        "hvp": np.linalg.norm(features.T @ (curvature * (features @ d)) / 20),
    }
    for name, make in PROBES.items():
        model = Free(w.tolist())
        margin = torch.from_numpy(labels[:, None] * features)
        change = estimate(
            make(model, [model.theta], CPU),
            lambda model=model, margin=margin: nn.functional.softplus(-margin @ model.theta).mean(),
            lambda model=model: model.theta.add_(torch.from_numpy(d)),
        )
        assert math.isclose(change, expected[name], rel_tol=1e-9), name


def test_as_the_step_shrinks_same_batch_tends_to_hvp_at_first_order() -> None:
    x, y = batches(1)[0]

    def ratio(size: float) -> float:
        def one(name: str) -> float:
            torch.manual_seed(3)
            random.seed(3)
            np.random.seed(3)  # noqa: NPY002
            model = RestlessNet()
            parameters = list(model.parameters())
            moves = [torch.randn_like(p) for p in parameters]

            def update() -> None:
                for parameter, move in zip(parameters, moves, strict=True):
                    if parameter.requires_grad:
                        parameter.add_(move, alpha=size)

            probe = PROBES[name](model, parameters, CPU)
            return estimate(probe, lambda: nn.functional.cross_entropy(model(x), y), update)

        return one("same_batch") / one("hvp")

    errors = [abs(ratio(size) - 1) for size in (1e-3, 1e-4, 1e-5)]
    assert errors[0] < 0.1
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.1)


def test_a_segment_of_one_point_is_same_batch_to_the_bit() -> None:
    def changes(make: Callable[..., SmoothnessProbe]) -> list[float | None]:
        torch.manual_seed(0)
        model = small_net()
        parameters = list(model.parameters())
        probe = make(model, parameters, CPU)
        (x, y), found = batches(1)[0], []
        probe.remember(lambda: nn.functional.cross_entropy(model(x) * torch.rand(1), y))
        noise = probe.before_update()
        with torch.no_grad():
            for parameter in parameters:
                parameter.mul_(0.99)
        found = [probe.after_update().item(), None if noise is None else noise.item()]
        assert probe._start == []
        return found

    assert changes(SameBatchProbe) == changes(lambda *args: SegmentProbe(*args, points=1))


@pytest.mark.parametrize("points", [0, -1, True, 2.0])
def test_points_are_counted(points: Any) -> None:
    with pytest.raises(
        ValueError, match=rf"^points takes the number of points on a step, 1 or more; got {points!r}\.$"
    ):
        SegmentProbe(nn.Linear(1, 1), [], CPU, points=points)


def test_hvp_of_a_loss_without_curvature_is_zero() -> None:
    model = Free([1.0, 2.0])
    for call in (lambda: model.theta.sum(), lambda: model.theta[0] * 3.0 + torch.relu(model.theta[1])):
        assert estimate(HvpProbe(model, [model.theta], CPU), call, lambda: model.theta.add_(0.1)) == 0


def test_the_noise_is_a_repeats() -> None:
    """A loss that grows by one with each evaluation: f_k = k |theta|^2 / 2, at 2 theta."""
    seen = {}
    for name, make in PROBES.items():
        model = Free([3.0, 4.0])
        probe = make(model, [model.theta], CPU)
        noises = []
        for _ in range(NOISE_EVERY + 1):
            counts = iter(range(1, 100))
            probe.remember(lambda model=model, counts=counts: next(counts) * model.theta.square().sum() / 2)
            early = probe.before_update()
            model.theta.data.mul_(2)
            probe.after_update()
            assert early is None or early is probe.noise
            noises.append(None if probe.noise is None else probe.noise.item())
            model.theta.data.div_(2)
        assert noises[1:-1] == [None] * (NOISE_EVERY - 1)
        assert noises[0] == noises[-1]
        seen[name] = noises[0]
    assert seen == {"same_batch": 5.0, "segment": 15.0, "hvp": 5.0}


# ---- nothing is left behind ------------------------------------------------------------------------------------------


class Planted(Exception):  # noqa: N818 - planted, not met
    """The failure of the user's code."""


def restless(fail_at: int | None = None) -> tuple[nn.Module, Callable[[], torch.Tensor]]:
    """A net in the middle of its training, and a loss that misbehaves as much as it can, and fails when told to."""
    model = RestlessNet()
    x, y = batches(1)[0]
    nn.functional.cross_entropy(model(x), y).backward()
    calls = iter(range(100))

    def compute() -> torch.Tensor:
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward(retain_graph=True)  # into .grad
        model.norm.eval()
        if next(calls) == fail_at:
            raise Planted
        model.norm.train()
        return loss

    return model, compute


def step_of(model: nn.Module) -> None:
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.data.add_(parameter.grad, alpha=-0.1)


@pytest.mark.parametrize(
    ("name", "fail_at"), [(n, k) for n, count in EVALUATIONS.items() for k in (*range(count), None)]
)
def test_everything_is_as_before(name: str, fail_at: int | None) -> None:
    model, compute = restless(fail_at)
    probe = PROBES[name](model, list(model.parameters()), CPU)
    probe.remember(compute)
    model.drop.eval()  # between the loss and its probe
    raised = 0
    for measure in (probe.before_update, probe.after_update):
        before = everything(model)
        try:
            found = measure()
            assert found is None or found.isfinite()
        except Planted:
            raised += 1
        now = everything(model)
        for part, value in before.items():
            assert same(value, now[part]), part
        assert [m.training for m in (model.norm, model.drop)] == [True, False]
        if raised:
            break
        step_of(model)
    assert raised == (fail_at is not None)
    probe.forget()
    assert not probe.armed
    assert (probe._start, probe.noise, probe._replay._random) == ([], None, None)


class Cube(torch.autograd.Function):
    """Says that it can be differentiated once; autograd looks no further where the incoming slope is a constant."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
        return slope * 3 * ctx.saved_tensors[0] ** 2


class HiddenCube(torch.autograd.Function):
    """Its backward pass leaves autograd, and does not say so."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(3 * slope.detach().numpy() * ctx.saved_tensors[0].detach().numpy() ** 2)


@pytest.mark.parametrize("function", [Cube, HiddenCube])
@pytest.mark.parametrize("power", [1, 2])  # the slope that comes in is a constant, or depends on the parameters
def test_an_operation_without_second_derivative_raises_and_leaves_everything_as_before(
    function: type[torch.autograd.Function], power: int
) -> None:
    model, _ = restless()
    x, _ = batches(1)[0]
    probe = HvpProbe(model, list(model.parameters()), CPU)
    probe.remember(lambda: (function.apply(model(x)) ** power).sum())
    probe.before_update()
    step_of(model)
    before = everything(model)
    with pytest.raises(RuntimeError, match=r"^the gradient of this loss cannot be differentiated: an operation of it "):
        probe.after_update()
    assert same(before, everything(model))


BREAKS = {
    "gradients": ("gradients_shielded", lambda parameters: nullcontext()),
    "values": ("buffers_shielded", lambda model: nullcontext()),
    "training": ("modes_shielded", lambda model, modes: nullcontext()),
    "torch": ("random_state.restore", lambda state: None),
}


@pytest.mark.parametrize("part", BREAKS)
def test_the_comparison_can_fail(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break each promise once: the test above must see it."""
    place, broken = BREAKS[part]
    monkeypatch.setattr(f"{replayed_loss.__name__}.{place}", broken)
    with pytest.raises(AssertionError, match=part):
        test_everything_is_as_before("same_batch", 1)


@pytest.mark.parametrize("name", PROBES)
def test_a_graph_that_waits_for_its_backward_survives_a_move_of_its_parameters(name: str) -> None:
    """A second loss has saved a parameter that the update leaves alone: its version must not change either."""
    model = Free([1.0, 2.0])
    other = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    waiting = (other**2).sum()
    probe = PROBES[name](model, [model.theta, other], CPU)
    estimate(probe, lambda: (model.theta**4).sum() * other.sum(), lambda: model.theta.add_(0.1))
    waiting.backward()
    assert other.grad is not None
    assert other.grad.item() == 6.0


def test_gradients_and_products_are_of_the_present_values_in_the_steps_own_state() -> None:
    model, _ = restless()
    x, y = batches(1)[0]
    parameters = list(model.parameters())
    replay = ReplayedLoss(model, parameters, CPU)

    def compute() -> torch.Tensor:
        return nn.functional.cross_entropy(model(x), y)

    states = {name: value.clone() for name, value in model.state_dict().items()}
    replay.remember(compute)
    expected_loss = compute()
    needed = [p for p in parameters if p.requires_grad]
    expected = torch.autograd.grad(expected_loss, needed, allow_unused=True)
    model.load_state_dict(states)
    model.eval()
    loss, gradients = replay.loss_and_gradients()
    assert loss.item() == expected_loss.item()
    assert not loss.requires_grad
    assert same([g for p, g in zip(parameters, gradients, strict=True) if p.requires_grad], list(expected))
    # the Hessian is symmetric: <u, H v> = <v, H u>, and it is what a central difference of gradients tends to
    u, v = ([torch.randn_like(p) if p.requires_grad else None for p in parameters] for _ in range(2))
    products = [replay.hessian_product(direction) for direction in (u, v)]
    dots = [
        sum(float((a * b).sum()) for a, b in zip(one, two, strict=True) if a is not None and b is not None)
        for one, two in ((v, products[0]), (u, products[1]))
    ]
    assert math.isclose(*dots, rel_tol=1e-9)
    ends = []
    for sign in (1, -1):
        for parameter, move in zip(parameters, v, strict=True):
            if move is not None:
                parameter.data.add_(move, alpha=1e-5 * sign)
        ends.append(replay.gradients())
        for parameter, move in zip(parameters, v, strict=True):
            if move is not None:
                parameter.data.sub_(move, alpha=1e-5 * sign)
    for one, two, product in zip(*ends, products[1], strict=True):
        if product is not None:
            assert torch.allclose((one - two) / 2e-5, product, rtol=1e-5, atol=1e-7)


def test_nothing_can_be_replayed_before_it_is_remembered() -> None:
    replay = ReplayedLoss(nn.Linear(1, 1), [], CPU)
    with pytest.raises(RuntimeError, match=r"^no loss was remembered for this step$"):
        replay.gradients()


def test_half_precision_inside_compute_is_refused_by_each() -> None:
    model = small_net()
    (x, y) = batches(1)[0]

    def compute() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return nn.functional.cross_entropy(model(x).float(), y)

    for make in PROBES.values():
        before = everything(model)
        with pytest.raises(replayed_loss.HalfPrecisionError, match="autocast is switched on inside"):
            estimate(make(model, list(model.parameters()), CPU), compute, lambda: None)
        assert same(before, everything(model))


def test_cudnns_dropout_is_refused_before_a_random_state_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does to a training is seen on a card only: see test_on_a_card.py."""
    model = nn.GRU(2, 3, num_layers=2, dropout=0.5)
    replay = ReplayedLoss(model, list(model.parameters()), CPU)
    replay.remember(lambda: model(torch.ones(4, 2))[0].sum())
    replay.gradients()  # the CPU's is torch's own
    replay.devices = {torch.device("cuda")}
    for name in ("capture", "restore"):
        monkeypatch.setattr(f"gradlens.recording.random_state.{name}", None)
    with pytest.raises(replayed_loss.UnrepeatableError, match=r"stack one-layer modules with nn\.Dropout between them"):
        replay.gradients()


@pytest.mark.parametrize("changed", ["eval", "no dropout", "one layer", "without cuDNN"])
def test_other_recurrent_layers_are_replayed_on_a_card(changed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = 1 if changed == "one layer" else 2
    model = nn.LSTM(2, 3, num_layers=layers, dropout=0.5 if layers > 1 and changed != "no dropout" else 0.0)
    model.train(changed != "eval")
    monkeypatch.setattr(torch.backends.cudnn, "enabled", changed != "without cuDNN")
    replay = ReplayedLoss(model, list(model.parameters()), CPU)
    replay.remember(lambda: model(torch.ones(4, 2))[0].sum())
    replay.devices = {torch.device("cuda")}
    monkeypatch.setattr("gradlens.recording.random_state.capture", lambda devices: None)
    monkeypatch.setattr("gradlens.recording.random_state.restore", lambda state: None)
    assert all(gradient is not None for gradient in replay.gradients())


@pytest.mark.parametrize("name", PROBES)
def test_nothing_is_read_by_the_host(name: str) -> None:
    """On meta tensors every host read raises: a tensor there has no value to read."""
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.BatchNorm1d(8), nn.Linear(8, 1)).to("meta")
    parameters = [*model.parameters(), nn.Parameter(torch.ones(3, device="meta"))]
    x = torch.ones(5, 4, device="meta")
    probe = PROBES[name](model, parameters, torch.device("meta"))
    with NoCopies():
        probe.remember(lambda: model(x).square().mean())
        probe.before_update()
        change = probe.after_update()
    for found in (change, probe.noise):
        assert found is not None
        assert (found.shape, found.dtype, found.device.type) == ((), torch.float64, "meta")


# ---- successive batches ----------------------------------------------------------------------------------------------


def gradients_of(parameters: list[nn.Parameter]) -> list[torch.Tensor | None]:
    return [parameter.grad for parameter in parameters]


@pytest.fixture
def training() -> Iterator[Callable[..., tuple[list[nn.Parameter], list[Any]]]]:
    """Train, compare each step with the next, and hand back what the probe and a copying twin found."""

    def train(
        probe: ConsecutiveProbe,
        *,
        clip: str = "none",
        set_to_none: bool = True,
        update: Callable[[list[nn.Parameter]], None] | None = None,
    ) -> list[tuple[float | None, float]]:
        model = small_net()
        parameters = [*model.parameters(), nn.Parameter(torch.ones(2))]
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        found, twin = [], None
        for x, y in batches(6):
            optimizer.zero_grad(set_to_none=set_to_none)
            nn.functional.cross_entropy(model(x), y).backward()
            now = [g.clone() for g in gradients_of(parameters) if g is not None]
            if twin is not None:
                change = probe.change(gradients_of(parameters))
                expected = norm64([a.double() - b.double() for a, b in zip(now, twin, strict=True)])
                found.append((None if change is None else change[0].item(), expected))
            assert same(now, [g for g in gradients_of(parameters) if g is not None])
            twin = now
            if clip == "by value":
                probe.keep(gradients_of(parameters), copy=True)
                nn.utils.clip_grad_value_(parameters, 1e-3)
            elif clip == "by norm":
                for gradient in gradients_of(parameters):
                    if gradient is not None:
                        gradient.mul_(0.3)
                probe.keep(gradients_of(parameters), torch.tensor(0.3, dtype=torch.float64))
            else:
                probe.keep(gradients_of(parameters), 1.0)
            (update or (lambda _: optimizer.step()))(parameters)
        return found

    return train


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("clip", ["none", "by norm", "by value"])
def test_consecutive_is_its_copying_twin(training: Callable[..., Any], clip: str, copies: bool) -> None:
    probe = ConsecutiveProbe(CPU)
    probe.copies = copies
    found = training(probe, clip=clip)
    assert len(found) == 5
    for change, expected in found:
        assert change == pytest.approx(expected, rel=1e-6)
    assert probe.copies is copies


def test_consecutive_holds_gradients_and_lets_go_of_them() -> None:
    probe = ConsecutiveProbe(CPU)
    gradient = torch.ones(3)
    probe.keep([gradient], 1.0)
    assert probe.armed
    assert probe._held[0].tensor.data_ptr() == gradient.data_ptr()
    probe.change([torch.zeros(3)])
    assert not probe.armed
    assert probe.change([torch.zeros(3)]) is None
    probe.keep([gradient], copy=True)
    assert probe._held[0].tensor.data_ptr() != gradient.data_ptr()
    assert probe.copies is False  # one clip that no factor undoes says nothing of the next


def _nesterov(parameters: list[nn.Parameter]) -> None:
    """As torch's foreach SGD writes to gradients."""
    torch._foreach_add_([p.grad for p in parameters if p.grad is not None], 0.1)


def _old_style_decay(parameters: list[nn.Parameter]) -> None:
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.data.add_(parameter.data, alpha=1e-3)


@pytest.mark.parametrize(
    "how",
    [{"set_to_none": False}, {"update": _nesterov}, {"update": _old_style_decay}],
    ids=["zeroed in place", "written by the optimizer", "written past autograd"],
)
def test_a_held_gradient_that_was_written_to_gives_no_number_and_copies_from_then_on(
    training: Callable[..., Any], how: dict[str, Any]
) -> None:
    probe = ConsecutiveProbe(CPU)
    found = training(probe, **how)
    assert found[0][0] is None
    assert probe.copies
    for change, expected in found[1:]:
        assert change == pytest.approx(expected, rel=1e-6)


def test_a_bucket_that_is_used_again_is_seen_by_its_address() -> None:
    """As a gradient that is a view of a communication bucket: new tensor, same memory, no count of writes."""
    probe = ConsecutiveProbe(CPU)
    bucket = np.ones(4, np.float32)
    probe.keep([torch.from_numpy(bucket)], 1.0)
    bucket[:] = [1, -1, 1, -1]  # the norm is kept
    assert probe.change([torch.from_numpy(bucket)]) is None
    assert probe.copies
    probe.copies = False
    gradient = torch.ones(3)
    probe.keep([gradient], 1.0)
    gradient.neg_()  # the norm is kept here, too
    assert probe.change([torch.ones(3)]) is None
    freed = torch.ones(3)
    held = _hold(freed, copy=False)
    assert not _overwritten(held, None)
    freed.untyped_storage().resize_(0)  # as a sharded training hands memory back
    assert _overwritten(held, None)


def test_where_the_host_does_not_look_a_changed_norm_is_nan() -> None:
    probe = ConsecutiveProbe(CPU)
    probe._host_looks = False
    gradients = [torch.ones(3), torch.ones(2)]
    for written in (False, True):
        probe.keep(gradients, 1.0)
        if written:
            gradients[0].data.add_(1)
        found = probe.change([torch.zeros(3), None])
        assert found is not None
        assert bool(found[0].isnan()) is written
        assert found[1].isnan().tolist() == [written, written]


def test_missing_sparse_and_scaled_gradients() -> None:
    probe = ConsecutiveProbe(CPU)
    sparse = [
        torch.sparse_coo_tensor(torch.tensor([[i]]), torch.tensor([v]), (9,), check_invariants=True)
        for i, v in ((1, 3.0), (4, 4.0))
    ]
    one = torch.tensor([1.0])
    probe.keep([sparse[0], None, one, None, 2 * one], 2.0)
    found = probe.change([8 * sparse[1], None, None, 8 * one, 8 * one], 8.0)
    assert found is not None
    norm, norms = found
    assert norms.dtype == torch.float64
    assert np.allclose(norms, [math.hypot(1.5, 4.0), math.nan, 0.5, 1.0, 0.0], equal_nan=True)
    assert norm.item() == pytest.approx(math.sqrt(1.5**2 + 16 + 0.25 + 1))
    probe.keep([None], 1.0)
    assert probe.change([None]) is None
    assert not probe.copies
    probe.keep([one], 1.0)
    with pytest.raises(ValueError, match="zip"):
        probe.change([one, one])
    probe.keep([torch.tensor([math.nan])], 1.0)
    found = probe.change([one])
    assert found is not None
    assert found[0].isnan()


def test_consecutive_reads_nothing_on_the_host() -> None:
    meta = torch.device("meta")
    probe = ConsecutiveProbe(meta)
    with NoCopies():
        for copies in (False, True):
            probe.copies = copies
            probe.keep([torch.ones(3, device=meta), None, None], torch.ones((), device=meta, dtype=torch.float64))
            found = probe.change([torch.ones(3, device=meta), torch.ones(2, device=meta), None])
            assert found is not None
            assert [part.shape for part in found] == [(), (3,)]
            assert {(part.dtype, part.device.type) for part in found} == {(torch.float64, "meta")}
    assert probe.copies


@pytest.mark.parametrize("estimator", ["same_batch", "segment(3)", "hvp"])
def test_a_recorder_takes_each_estimator_and_changes_no_bit(
    tmp_path: Path, quadratic: Callable[..., nn.Module], estimator: str
) -> None:
    eigenvalues = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)

    def train(*, enabled: bool) -> tuple[gradlens.Recorder, list[torch.Tensor], list[torch.Tensor]]:
        model = quadratic(eigenvalues.tolist())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.5)
        points, moves = [], []
        options: dict[str, Any] = {"estimator": estimator, "landscape": gradlens.every(5), "enabled": enabled, **ALWAYS}
        with gradlens.Recorder(model, optimizer, tmp_path, etas=(0.1, 0.2), **options) as recorder:
            for _ in range(20):
                optimizer.zero_grad()
                recorder.loss(model).backward()
                points.append(model.theta.detach().clone())
                optimizer.step()
                moves.append(model.theta.detach() - points[-1])
        return recorder, points, moves

    recorder, points, moves = train(enabled=True)
    assert all(map(torch.equal, points, train(enabled=False)[1]))
    assert recorder.skipped == 0
    run = gradlens.open_run(recorder.path or "")
    assert set(run.steps()["smoothness_method"]) == {estimator.partition("(")[0]}
    expected = [float((eigenvalues * d).norm() / d.norm()) for d in moves]
    assert np.allclose(run.series("smoothness")[1], expected, rtol=1e-9)
    steps, beta = run.series("landscape_beta")
    assert steps.tolist() == [0, 5, 10, 15]
    slopes = [eigenvalues * points[step] for step in steps]
    assert np.allclose(beta, [float((eigenvalues * g).norm() / g.norm()) for g in slopes], rtol=1e-6)
    losses = [
        [float((eigenvalues * (points[step] - eta * slope) ** 2).sum() / 2) for eta in (0.1, 0.2)]
        for step, slope in zip(steps, slopes, strict=True)
    ]
    assert np.allclose(run.series("landscape_loss_min")[1], [min(each) for each in losses], rtol=1e-9)
    assert np.allclose(run.series("landscape_loss_max")[1], [max(each) for each in losses], rtol=1e-9)


def test_an_unknown_estimator_is_refused(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for name in ("segments", "segment(0)", "next", 3):
        with pytest.raises(ValueError, match=r"estimator takes|points takes"):
            gradlens.Recorder(model, optimizer, tmp_path, estimator=name)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="etas takes step sizes"):
        gradlens.Recorder(model, optimizer, tmp_path, etas=[0.0])
    assert list(tmp_path.iterdir()) == []
