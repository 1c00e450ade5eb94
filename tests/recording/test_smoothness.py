"""Smoothness lies where a closed form says, whatever the loop does; where there is none, the row says why."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import ALWAYS, batches, loss_of, small_net
from torch import nn

import gradlens
from gradlens import clipping, every


def test_smoothness_on_a_quadratic_lies_between_the_eigenvalues(
    tmp_path: Path, quadratic: Callable[..., nn.Module]
) -> None:
    eigenvalues = [0.5, 1.0, 4.0]
    model = quadratic(eigenvalues)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    with gradlens.Recorder(model, optimizer, tmp_path, **ALWAYS) as recorder:
        moves = []
        for _ in range(30):
            optimizer.zero_grad()
            recorder.loss(model).backward()
            before = model.theta.detach().clone()
            optimizer.step()
            moves.append(model.theta.detach() - before)
    run = gradlens.open_run(recorder.path or "")
    smoothness = run.series("smoothness")[1]
    expected = [float((torch.tensor(eigenvalues) * d).norm() / d.norm()) for d in moves]
    assert len(smoothness) == 30
    assert np.allclose(smoothness, expected, rtol=1e-9)
    assert (smoothness >= 0.5 * (1 - 1e-9)).all()
    assert (smoothness <= 4.0 * (1 + 1e-9)).all()
    rounding = np.finfo(np.float64).eps * run.series("grad_norm")[1] / run.series("update_norm")[1]
    assert np.allclose(run.series("smoothness_noise")[1], rounding, rtol=1e-9)


@pytest.mark.parametrize("eigenvalue", [0.25, 3.0])
def test_smoothness_in_one_dimension_is_the_curvature_whatever_the_clip(
    tmp_path: Path, quadratic: Callable[..., nn.Module], eigenvalue: float
) -> None:
    model = quadratic([eigenvalue])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with gradlens.Recorder(model, optimizer, tmp_path, clip=clipping.fixed(1e-3), **ALWAYS) as recorder:
        for _ in range(10):
            optimizer.zero_grad()
            recorder.loss(model).backward()
            optimizer.step()
    assert np.allclose(gradlens.open_run(recorder.path or "").series("smoothness")[1], eigenvalue, rtol=1e-9)


@pytest.mark.parametrize("spoil", ["clips by hand", "forgets zero_grad", "refills its buffer", "regularises by hand"])
def test_smoothness_is_right_whatever_happens_to_the_gradient(
    tmp_path: Path, quadratic: Callable[..., nn.Module], spoil: str
) -> None:
    model = quadratic([1.0, 2.0, 3.0])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    static = torch.ones(())
    with gradlens.Recorder(model, optimizer, tmp_path, **ALWAYS) as recorder:
        for step in range(20):
            if spoil != "forgets zero_grad":
                optimizer.zero_grad()
            recorder.loss(lambda x: model() * x, static).backward()
            if spoil == "clips by hand" and step:
                nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            if spoil == "refills its buffer" and step:
                static.fill_(1.0)
            if spoil == "regularises by hand" and step:
                model.theta.grad.add_(100 * model.theta.detach())
            optimizer.step()
    smoothness = gradlens.open_run(recorder.path or "").series("smoothness")[1]
    assert len(smoothness) == 20
    assert (smoothness >= 1 - 1e-9).all()
    assert (smoothness <= 3 + 1e-9).all()


def test_autocast_inside_compute_is_refused(tmp_path: Path) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def compute(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return nn.functional.cross_entropy(model(x).float(), y)

    with gradlens.Recorder(model, optimizer, tmp_path, smoothness=every(1)) as recorder:
        for x, y in batches(3):
            optimizer.zero_grad()
            recorder.loss(compute, x, y).backward()
            optimizer.step()
    frame = gradlens.open_run(recorder.path or "").steps()
    assert set(frame["smoothness_method"]) == {"none: half precision inside compute"}
    assert "smoothness" not in frame


def test_under_autocast_both_ends_are_measured_in_full_precision(tmp_path: Path) -> None:
    def smoothness(enabled: bool) -> np.ndarray:
        model = small_net()
        # The update must be the same in both runs: a sign step does not feel the rounding of its gradient's size.
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        with gradlens.Recorder(model, optimizer, tmp_path, norms=every(1), smoothness=every(1)) as recorder:
            for x, y in batches(5):
                optimizer.zero_grad()
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
                    loss = recorder.loss(loss_of(model), x, y)
                loss.backward()
                optimizer.step()
        return gradlens.open_run(recorder.path or "").series("smoothness")[1]

    assert np.allclose(smoothness(True), smoothness(False), rtol=0.02)


def _reason(
    tmp_path: Path, model: nn.Module, lr: float, call: Callable[..., object], **options: object
) -> tuple[list[str], int]:
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    with gradlens.Recorder(model, optimizer, tmp_path, **ALWAYS) as recorder:
        for _ in range(2):
            optimizer.zero_grad()
            call(recorder)
            optimizer.step()
    frame = gradlens.open_run(recorder.path or "").steps()
    assert "smoothness" not in frame
    return frame["smoothness_method"].tolist(), recorder.skipped


def test_a_missing_smoothness_has_its_reason(tmp_path: Path, quadratic: Callable[..., nn.Module]) -> None:
    model = quadratic([1.0, 2.0])
    draws = iter(range(1, 100))
    calls = iter(range(100))

    def plain(recorder: gradlens.Recorder) -> None:
        recorder.loss(model).backward()

    def bare(recorder: gradlens.Recorder) -> None:
        model().backward()

    def changing(recorder: gradlens.Recorder) -> None:
        recorder.loss(lambda: next(draws) * model()).backward()

    runaway = quadratic([1.0])

    def infinite(recorder: gradlens.Recorder) -> None:
        recorder.loss(lambda: runaway() * 1e308 * 1e3).backward()

    def out_of_memory() -> torch.Tensor:
        if next(calls) % 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return model()  # type: ignore[no-any-return]

    def failing() -> torch.Tensor:
        if next(calls) % 2:
            raise KeyError("gone")
        return model()  # type: ignore[no-any-return]

    assert _reason(tmp_path, model, 0.0, plain) == (["none: zero step"] * 2, 0)
    assert _reason(tmp_path, model, 0.1, bare) == (["none: no recorder.loss in this step"] * 2, 0)
    assert _reason(tmp_path, model, 0.1, changing) == (["none: loss does not repeat"] * 2, 0)
    assert _reason(tmp_path, model, 1e-3, lambda r: r.loss(out_of_memory).backward()) == (
        ["none: out of memory"] * 2,
        2,
    )
    calls = iter(range(100))
    assert _reason(tmp_path, model, 1e-3, lambda r: r.loss(failing).backward()) == (["none: probe failed"] * 2, 2)
    assert _reason(tmp_path, runaway, 0.1, infinite)[0] == ["none: gradient is not finite"] * 2
