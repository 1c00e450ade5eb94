"""Each sample's own gradient: closed forms, and plain loops over batches of one; taking them changes nothing."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import NoCopies, RestlessNet, everything, same
from torch import Tensor, nn

import gradlens
from gradlens import every, per_sample_gradients
from gradlens.recording.per_sample import in_chunks

B = 5


@pytest.fixture(autouse=True)
def _double() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def one_by_one(model: nn.Module, compute: Callable[..., Any], *inputs: Tensor) -> dict[str, Tensor]:
    """The naive twin: B backward passes into ``.grad``."""
    found: dict[str, list[Tensor]] = {name: [] for name, _ in model.named_parameters()}
    for index in range(len(inputs[0])):
        model.zero_grad(set_to_none=True)
        compute(*(tensor[index : index + 1] for tensor in inputs)).backward()
        for name, parameter in model.named_parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            found[name].append(gradient.to_dense() if gradient.is_sparse else gradient)
    model.zero_grad(set_to_none=True)
    return {name: torch.stack(gradients) for name, gradients in found.items()}


class Counted:
    """A compute that counts its calls: one for all samples, or one for each."""

    def __init__(self, compute: Callable[..., Any]) -> None:
        self.compute, self.calls = compute, 0

    def __call__(self, *inputs: Any) -> Any:
        self.calls += 1
        return self.compute(*inputs)


class Cube(torch.autograd.Function):
    """A custom function in the old manner, which ``torch.func`` refuses."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 3 * ctx.saved_tensors[0] ** 2 * gradient


def tied() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    return model


class Recurrent(nn.Module):
    def __init__(self, *, own_state: bool) -> None:
        super().__init__()
        self.own_state, self.gru = own_state, nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x, None if self.own_state else x.new_zeros(1, len(x), 3) + 0 * x.sum())[0]


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.linear(x)
        return hidden.exp() if hidden.sum() > 0 else hidden


class Cubic(Branching):
    def forward(self, x: Tensor) -> Tensor:
        return Cube.apply(self.linear(x))


class Captured(Branching):
    """Reaches its weight past its own attribute, so that nothing can be put in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.held = [self.linear.weight]

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.held[0].T + self.linear.bias) ** 2


def rows() -> Tensor:
    return torch.randn(B, 4)


def sequences() -> Tensor:
    return torch.randn(B, 6, 4)


def images() -> Tensor:
    return torch.randn(B, 2, 8, 8)


def tokens() -> Tensor:
    return torch.randint(9, (B, 7))


NETS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), rows, 1),
    "conv": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.GroupNorm(1, 3)), images, 1),
    "embedding": (lambda: nn.Sequential(nn.Embedding(9, 3), nn.LayerNorm(3)), tokens, 1),
    "attention": (lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True), sequences, 1),
    "gru": (lambda: Recurrent(own_state=False), sequences, None),
    "tied": (tied, rows, 1),
    "batch norm in eval": (lambda: nn.Sequential(nn.BatchNorm1d(4).eval(), nn.Linear(4, 2)), rows, 1),
    "gru with a state of its own": (lambda: Recurrent(own_state=True), sequences, 1 + B),
    "sparse embedding": (lambda: nn.Embedding(9, 3, sparse=True), tokens, 1 + B),
    "control flow": (Branching, rows, 1 + B),
    "custom function": (Cubic, rows, 1 + B),
    "captured weight": (Captured, rows, 1 + B),
}


@pytest.mark.parametrize("name", NETS)
def test_is_what_a_loop_gives(name: str) -> None:
    make, draw, calls = NETS[name]
    model, x = make(), draw()
    weights = torch.randn_like(model(x))  # a loss that tells the samples apart
    compute = Counted(lambda x, w: (w * model(x) + model(x) ** 2).mean())
    found = per_sample_gradients(model, compute, x, weights)
    counted = compute.calls
    expected = one_by_one(model, compute, x, weights)
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert value.abs().max() > 0
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-12)
    if calls is not None:
        assert counted == calls


def test_least_squares() -> None:
    """The gradient of (w . x - y)^2 / 2 is (w . x - y) x."""
    model = nn.Linear(3, 1, bias=False)
    x, y = torch.randn(B, 3), torch.randn(B)
    w = model.weight.detach()[0]
    expected = ((x @ w) - y)[:, None] * x
    found = per_sample_gradients(model, lambda x, y: (((model(x)[:, 0] - y) ** 2).mean() / 2, "more"), x, y=y)
    torch.testing.assert_close(found["weight"][:, 0], expected, rtol=1e-12, atol=0)


def test_their_mean_is_the_gradient_of_the_batch() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    x, y = rows(), torch.randint(3, (B,))

    def compute(x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(x), y)

    found = per_sample_gradients(model, compute, x, y)
    whole = torch.autograd.grad(compute(x, y), list(model.parameters()))
    for rows_, gradient in zip(found.values(), whole, strict=True):
        torch.testing.assert_close(rows_.mean(0), gradient, rtol=1e-9, atol=1e-12)


def test_chunks_are_the_whole_in_pieces() -> None:
    for model in (nn.Linear(4, 3), Branching()):
        x = rows()
        parameters = dict(model.named_parameters())
        chunks = list(in_chunks(model, lambda x, m=model: m(x).square().mean(), (x,), {}, parameters, size=2))
        assert [len(next(iter(chunk.values()))) for chunk in chunks] == [2, 2, 1]
        for name, value in per_sample_gradients(model, lambda x, m=model: m(x).square().mean(), x).items():
            torch.testing.assert_close(torch.cat([chunk[name] for chunk in chunks]), value, rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", [None, 1, 4])
@pytest.mark.parametrize("branching", [False, True])
def test_each_sample_has_a_mask_of_its_own(branching: bool, size: int | None) -> None:
    """The gradient of the masked sum is the mask."""
    model = nn.Sequential(nn.Linear(64, 1, bias=False), nn.Dropout(0.5))
    drop, weight = model[1], model[0].weight

    def compute(x: Tensor) -> Tensor:
        if branching and x.sum() < 0:
            raise AssertionError
        return (drop(x) * model[0].weight).sum()

    x = torch.ones(16, 64)
    gradients = torch.cat([part["w"] for part in in_chunks(model, compute, (x,), {}, {"w": weight}, size)])[:, 0]
    assert sorted(gradients.unique().tolist()) == [0.0, 2.0]
    assert len({tuple(row.tolist()) for row in gradients}) == 16
    assert gradients.mean().item() == pytest.approx(1.0, abs=5 / 32)  # five standard errors


def test_only_those_asked_for_and_zero_where_nothing_reaches() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2), nn.Linear(2, 1))
    model[1].bias.requires_grad_(False)
    x = rows()

    def compute(x: Tensor) -> Tensor:
        return model[1](model[0](x)).square().mean()

    everything_there = per_sample_gradients(model, compute, x)
    assert list(everything_there) == ["0.weight", "0.bias", "1.weight", "2.weight", "2.bias"]
    assert not everything_there["2.weight"].any()
    some = per_sample_gradients(model, compute, x, parameters=["1.weight", "0.bias"])
    assert list(some) == ["0.bias", "1.weight"]
    assert all(torch.equal(value, everything_there[name]) for name, value in some.items())


def test_other_inputs_go_to_every_sample() -> None:
    model = nn.Linear(4, 1, bias=False)
    x, y = rows(), rows()

    def compute(batch: dict[str, Any], scale: Tensor, kind: str) -> Tensor:
        assert kind == "mean"
        assert len(batch["x"]) == len(batch["more"][0]) == 1
        return (model(batch["x"]) + model(batch["more"][0])).mean() * scale

    found = per_sample_gradients(model, compute, {"x": x, "more": [y]}, torch.tensor(3.0), kind="mean")
    torch.testing.assert_close(found["weight"][:, 0], 3 * (x + y))


class Counting(nn.Module):
    """Counts in a buffer that it replaces, which can be vectorised, and may write to one in place, which cannot."""

    def __init__(self, *, remembers: bool) -> None:
        super().__init__()
        self.remembers, self.linear = remembers, nn.Linear(4, 3)
        self.register_buffer("count", torch.ones(()))
        self.register_buffer("state", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.linear(x) * self.state.clone() * self.count
        self.count = self.count + 1
        if self.remembers:
            self.state.copy_(hidden.detach()[0])
        return hidden


@pytest.mark.parametrize("remembers", [False, True])
def test_each_sample_begins_with_the_buffers_as_they_are(remembers: bool) -> None:
    model, x = Counting(remembers=remembers), rows()
    before = everything(model)
    compute = Counted(lambda x: model(x).square().sum())
    found = per_sample_gradients(model, compute, x)
    now = everything(model)
    assert all(same(value, now[part]) for part, value in before.items())
    assert compute.calls == (1 + B if remembers else 1)
    expected = 2 * (x @ model.linear.weight.T + model.linear.bias)
    torch.testing.assert_close(found["linear.bias"], expected)


def test_a_backward_pass_inside_compute_adds_to_no_gradient() -> None:
    """Of w . x plus the squared length of its gradient by x, |w|^2: x + 2 w."""
    model = nn.Linear(4, 1, bias=False)

    def compute(x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        (model(x).sum()).backward(create_graph=True, inputs=[x, model.weight])
        assert x.grad is not None
        return model(x).sum() + x.grad.square().sum()

    model.weight.grad = torch.ones(1, 4)
    x = rows()
    before = everything(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of backward with create_graph
        found = per_sample_gradients(model, compute, x)
    torch.testing.assert_close(found["weight"][:, 0], x + 2 * model.weight.detach())
    now = everything(model)
    assert all(same(value, now[part]) for part, value in before.items())


def test_a_loop_draws_as_the_users_own_would() -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), Branching()), rows()
    state = torch.get_rng_state()
    found = per_sample_gradients(model, lambda x: model(x).square().mean(), x)
    torch.set_rng_state(state)
    expected = one_by_one(model, lambda x: model(x).square().mean(), x)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_where_gradients_are_switched_off_they_are_taken_all_the_same() -> None:
    for model in (nn.Linear(4, 3), Branching(), Captured()):
        x = rows()
        expected = one_by_one(model, lambda x, m=model: m(x).square().mean(), x)
        with torch.no_grad():
            found = per_sample_gradients(model, lambda x, m=model: m(x).square().mean(), x)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value)


def test_inputs_that_require_a_gradient_are_still_taken_at_once() -> None:
    model, x = nn.Linear(4, 3), rows().requires_grad_()
    compute = Counted(lambda x: model(x).square().mean())
    per_sample_gradients(model, compute, x)
    assert compute.calls == 1
    assert x.grad is None


class Quiet(RestlessNet):
    """Restless, but for the batch statistics, which tie samples together."""

    def __init__(self) -> None:
        super().__init__()
        self.norm.eval()


def dropping() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.3), nn.Linear(6, 3))


class Planted(Exception):  # noqa: N818 - planted, not met
    """The failure of the user's code."""


@pytest.mark.parametrize("fail_at", [0, 1, 3, None])
@pytest.mark.parametrize("make", [Quiet, dropping])
def test_everything_is_as_before(make: Callable[[], nn.Module], fail_at: int | None) -> None:
    model, x, y = make(), rows(), torch.randint(3, (B,))
    nn.functional.cross_entropy(model(x), y).backward()
    calls = iter(range(100))

    def compute(x: Tensor, y: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(model(x), y)
        model.eval()
        if fail_at is not None and next(calls) >= fail_at:
            raise Planted
        return loss

    waiting = sum((parameter**2).sum() for parameter in model.parameters() if parameter.requires_grad)
    before = everything(model)
    if fail_at is None or (make is dropping and fail_at):
        assert all(value.isfinite().all() for value in per_sample_gradients(model, compute, x, y).values())
    else:
        with pytest.raises(Planted):
            per_sample_gradients(model, compute, x, y)
    now = everything(model)
    for part, value in before.items():
        assert same(value, now[part]), part
    waiting.backward()  # autograd refuses it if the weights it saved count as written to


def test_a_chunk_that_is_waited_for_leaves_the_model_alone() -> None:
    model, x = dropping(), rows()
    before = everything(model)
    next(in_chunks(model, lambda x: model(x).square().mean(), (x,), {}, dict(model.named_parameters()), 2))
    now = everything(model)
    assert all(same(value, now[part]) for part, value in before.items())


def test_nothing_is_read_by_the_host() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).to("meta")
    x = torch.ones(B, 4, device="meta")
    with NoCopies():
        found = per_sample_gradients(model, lambda x: model(x).square().mean(), x)
    assert {value.device.type for value in found.values()} == {"meta"}


def test_batch_statistics_are_refused() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    sentence = (
        "per-sample gradients are not defined with BatchNorm over the batch: each sample's loss depends on the others; "
        "got {} in that mode. Call its eval(), or use GroupNorm or LayerNorm."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence.format('1'))}$"):
        per_sample_gradients(model, lambda x: model(x).mean(), rows())
    alone = nn.BatchNorm1d(4, track_running_stats=False).eval()
    with pytest.raises(ValueError, match=f"^{re.escape(sentence.format('the model'))}$"):
        per_sample_gradients(alone, lambda x: alone(x).mean(), rows())


def refused(error: type[Exception], sentence: str, *arguments: Any, **named: Any) -> None:
    with pytest.raises(error, match=f"^{re.escape(sentence)}$"):
        per_sample_gradients(*arguments, **named)


def test_wrong_arguments_are_refused_in_sentences() -> None:
    model = nn.Linear(4, 1)
    x = rows()

    def compute(*inputs: Any) -> Tensor:
        return model(x).mean()

    refused(TypeError, "model must be a torch.nn.Module; got int.", 3, compute, x)
    refused(
        TypeError,
        "per_sample_gradients takes the model, the function and its inputs, as in "
        "per_sample_gradients(model, compute, x, y); got Tensor for the function.",
        model,
        model(x).mean(),
    )
    takes = "parameters takes names of the model's parameters that require a gradient, at least one; "
    refused(ValueError, takes + "got 'w', and there are weight, bias.", model, compute, x, parameters="w")
    refused(ValueError, takes + "got none.", model, compute, x, parameters=[])
    refused(ValueError, takes + "got none.", nn.Linear(4, 1).requires_grad_(False), compute, x)
    refused(
        TypeError,
        "per-sample gradients take tensors, numbers and text, or lists, tuples and dicts of them; got ndarray, which "
        "cannot be cut into samples.",
        model,
        compute,
        x,
        np.ones(3),
    )
    none = "per-sample gradients take inputs with a tensor of samples among them; got none."
    refused(ValueError, none, model, compute)
    refused(ValueError, none, model, compute, torch.tensor(1.0), "mean")
    sizes = (
        "every tensor among the inputs must have one entry for each sample in its first dimension, and at least one; "
        "got first dimensions {}."
    )
    refused(ValueError, sizes.format([5, 3]), model, compute, x, torch.ones(3))
    refused(ValueError, sizes.format([0]), model, compute, torch.ones(0, 4))
    refused(
        TypeError,
        "compute must return the loss, or a tuple that begins with it: a tensor with one element; got a tensor of "
        "shape (1, 2).",
        nn.Linear(4, 2),
        lambda x: torch.ones(1, 2) * x.mean(),
        x,
    )


def test_what_a_module_keeps_is_what_it_was(tmp_path: Path) -> None:
    """Activations for an auxiliary loss, a recurrent state, a list and a counter, in plain attributes."""

    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 1)
            self.calls, self.seen, self.state = 0, [], torch.zeros(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.layer(x) + self.state
            self.calls += 1
            self.seen.append(out)
            self.kept = out
            self.state = out.detach().mean(0)
            return out

    def train(*, enabled: bool) -> tuple[list[float], int, int]:
        torch.manual_seed(0)
        model = Keeping()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        losses = []
        every_probe = {"smoothness": every(1), "landscape": every(2), "frozen_weights": every(1)}
        with gradlens.Recorder(model, optimizer, tmp_path, enabled=enabled, **every_probe) as recorder:
            for _ in range(4):
                optimizer.zero_grad()
                loss = recorder.loss(lambda x: model(x).square().mean(), torch.ones(6, 3))
                loss.backward()
                optimizer.step()
                losses.append(loss.item() + model.kept.norm().item() + sum(s.sum().item() for s in model.seen))
        assert recorder.skipped == 0
        return losses, model.calls, len(model.seen)

    assert train(enabled=True) == train(enabled=False)


def test_a_table_with_a_largest_norm_is_what_it_was() -> None:
    model = nn.Sequential(nn.Embedding(7, 4, max_norm=0.5), nn.Flatten(), nn.Linear(4, 1))
    before = model[0].weight.detach().clone()
    per_sample_gradients(model, lambda x: model(x).mean(), torch.arange(6)[:, None])
    assert torch.equal(model[0].weight, before)
