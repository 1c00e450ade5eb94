"""The landscape along a gradient against closed forms; looking at it changes nothing."""

import math
import random
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
import torch
from nets import NoCopies, RestlessNet, batches, everything, same
from torch import nn

from gradlens.recording.landscape import Landscape, LandscapeProbe

CPU = torch.device("cpu")
ETAS = [0.1, 0.2, 0.5]


def measure(model: nn.Module, call: Callable[[], Any], etas: list[float] = ETAS) -> Landscape:
    probe = LandscapeProbe(model, list(model.parameters()), CPU, etas)
    assert not probe.armed
    probe.remember(call)
    assert probe.armed
    found = probe.measure()
    probe.forget()
    assert not probe.armed
    return found


def test_on_a_quadratic(quadratic: Callable[..., nn.Module]) -> None:
    """L = theta' H theta / 2: L(theta - eta d) = theta' H (1 - eta H)^2 theta / 2; the gradient changes by eta H d."""
    h = np.array([0.5, 1.0, 4.0])
    model = quadratic(h.tolist())
    d = h * 1.0
    losses = [(h * (1 - eta * h) ** 2).sum() / 2 for eta in ETAS]
    changes = [eta * np.linalg.norm(h * d) for eta in ETAS]
    expected = min(losses), max(losses), min(changes), max(changes), np.linalg.norm(h * d) / np.linalg.norm(d)
    found = astuple(measure(model, model))
    assert np.allclose([value.item() for value in found], expected, rtol=1e-9, atol=0)
    assert {(value.shape, value.dtype) for value in found} == {((), torch.float64)}


def test_on_a_quartic_beta_is_the_largest_over_the_grid() -> None:
    model = nn.Module()
    model.theta = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    x = np.array([1.0, -2.0])
    d = x**3
    changes = [np.linalg.norm((x - eta * d) ** 3 - d) for eta in ETAS]
    betas = [change / (eta * np.linalg.norm(d)) for change, eta in zip(changes, ETAS, strict=True)]
    assert betas.index(max(betas)) not in (1, 2)  # of several grid points, not the last
    found = measure(model, lambda: (model.theta**4).sum() / 4)
    assert found.beta.item() == pytest.approx(max(betas), rel=1e-9)
    assert found.grad_change_min.item() == pytest.approx(min(changes), rel=1e-9)
    assert found.grad_change_max.item() == pytest.approx(max(changes), rel=1e-9)


def test_the_points_are_on_the_steps_own_batch_with_its_random_numbers() -> None:
    """Against a twin that trains one plain SGD step for each eta."""
    x, y = batches(1)[0]

    def begin() -> RestlessNet:
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)  # noqa: NPY002
        return RestlessNet()

    def twin(eta: float) -> float:
        model = begin()
        states = {name: value.clone() for name, value in model.state_dict().items()}
        random_states = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002
        nn.functional.cross_entropy(model(x), y).backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        model.load_state_dict(states)
        torch.set_rng_state(random_states[0])
        random.setstate(random_states[1])
        np.random.set_state(random_states[2])  # noqa: NPY002
        for name, parameter in model.named_parameters():
            if gradients[name] is not None:
                parameter.data.add_(gradients[name], alpha=-eta)
        return nn.functional.cross_entropy(model(x), y).item()

    model = begin()
    found = measure(model, lambda: nn.functional.cross_entropy(model(x), y))
    losses = [twin(eta) for eta in ETAS]
    assert (found.loss_min.item(), found.loss_max.item()) == (min(losses), max(losses))


def test_what_is_not_finite_shows() -> None:
    model = nn.Module()
    model.theta = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    found = measure(model, lambda: torch.log(model.theta).sum(), [0.5, 5.0])  # at 2 - 5 / 2 there is none
    assert found.loss_min.isnan()
    flat = measure(model, lambda: (model.theta * 0).sum())
    assert flat.beta.isnan()
    assert flat.grad_change_max.item() == 0


class Planted(Exception):  # noqa: N818 - planted, not met
    """The failure of the user's code."""


@pytest.mark.parametrize("fail_at", [0, 1, 2, 3, None])
def test_everything_is_as_before(fail_at: int | None) -> None:
    model = RestlessNet()
    x, y = batches(1)[0]
    nn.functional.cross_entropy(model(x), y).backward()
    calls = iter(range(100))

    def compute() -> torch.Tensor:
        loss = nn.functional.cross_entropy(model(x), y)
        model.norm.eval()
        if next(calls) == fail_at:
            raise Planted
        model.norm.train()
        return loss

    waiting = (model.inner.weight**2).sum()
    before = everything(model)
    if fail_at is None:
        assert all(math.isfinite(value.item()) for value in astuple(measure(model, compute)))
    else:
        with pytest.raises(Planted):
            measure(model, compute)
    now = everything(model)
    for part, value in before.items():
        assert same(value, now[part]), part
    assert next(calls) == (4 if fail_at is None else fail_at + 1)
    waiting.backward()  # autograd refuses it if the weights it saved count as written to


def test_nothing_is_read_by_the_host() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.BatchNorm1d(8), nn.Linear(8, 1)).to("meta")
    x = torch.ones(5, 4, device="meta")
    probe = LandscapeProbe(model, list(model.parameters()), torch.device("meta"), ETAS)
    with NoCopies():
        probe.remember(lambda: model(x).square().mean())
        found = probe.measure()
    assert {(value.shape, value.device.type) for value in astuple(found)} == {((), "meta")}


@pytest.mark.parametrize("etas", [[], [0.1, 0.0], [-1.0], [math.inf], [math.nan]])
def test_etas_are_positive(etas: list[float]) -> None:
    with pytest.raises(ValueError, match=r"^etas takes step sizes, at least one, each positive and finite; got \["):
        LandscapeProbe(nn.Linear(1, 1), [], CPU, etas)
