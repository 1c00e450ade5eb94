"""Bands as recorded, and what a real probe leaves is read back."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import gradlens
from gradlens import analysis
from gradlens.store import Run

WriteRun = Callable[..., Run]


def test_bands_and_their_medians_are_those_recorded(write_run: WriteRun) -> None:
    due = np.arange(300) % 10 == 0
    columns = {
        "landscape_loss_min": 1.0 - np.arange(300) / 1000,
        "landscape_loss_max": 1.5 + np.arange(300) / 1000,
        "landscape_grad_change_min": np.full(300, 0.1),
        "landscape_grad_change_max": np.repeat([1.0, 2.0, 3.0], 100),
        "landscape_beta": np.repeat([4.0, 8.0, 16.0], 100),
    }
    columns["landscape_beta"][20] = np.inf
    given = {
        name: [v if is_due else None for v, is_due in zip(values, due, strict=True)] for name, values in columns.items()
    }
    found = analysis.landscape(write_run(steps=300, loss=np.full(300, 2.0), **given))
    assert found.steps.tolist() == list(range(0, 300, 10))
    for name in ("loss_min", "loss_max", "grad_change_min", "grad_change_max", "beta"):
        assert np.array_equal(getattr(found, name), columns[f"landscape_{name}"][due])
    assert found.grad_change_by_phase == (1.0, 2.0, 3.0)
    assert found.beta_by_phase == (4.0, 8.0, 16.0)
    # The band's width is .5 + step / 500; the first third's middle probes are at 40 and 50.
    assert found.loss_width_by_phase[0] == pytest.approx((0.5 + 45 / 500) / 2)
    assert (found.nonfinite, found.n, found.status, found.clipped) == (1, 30, "", False)


def test_on_a_quadratic_beta_is_the_curvature_along_the_gradient(tmp_path: Path) -> None:
    """H = diag(1, 3): beta = ||H d|| / ||d||, and the recorded band is that of the closed form."""
    curvature = torch.tensor([1.0, 3.0], dtype=torch.float64)
    theta = torch.nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))
    model = torch.nn.Module()
    model.theta = theta
    optimizer = torch.optim.SGD([theta], lr=0.1)
    with gradlens.Recorder(model, optimizer, tmp_path, landscape=gradlens.every(1), etas=[0.1, 0.2]) as recorder:
        starts = []
        for _ in range(4):
            starts.append(theta.detach().clone())
            optimizer.zero_grad()
            recorder.loss(lambda: 0.5 * (curvature * theta**2).sum()).backward()
            optimizer.step()
    found = analysis.landscape(gradlens.open_run(recorder.path))
    for place, start in enumerate(starts):
        slope = curvature * start
        losses = [0.5 * (curvature * (start - eta * slope) ** 2).sum().item() for eta in (0.1, 0.2)]
        assert found.beta[place] == pytest.approx(((curvature * slope).norm() / slope.norm()).item())
        assert (found.loss_min[place], found.loss_max[place]) == pytest.approx((min(losses), max(losses)))


def test_a_run_without_probes_says_so(write_run: WriteRun) -> None:
    found = analysis.landscape(write_run(steps=20))
    assert found.status == (
        "run 'run' recorded nothing along its gradients; record it with landscape=gradlens.every(200), and the loss "
        "through recorder.loss."
    )
    assert (found.n, len(found.beta)) == (0, 0)
    assert np.isnan(found.beta_by_phase).all()
