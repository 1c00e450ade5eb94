"""Every number is the right one, or null with a reason: extremes, and parameters of every kind."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gradlens
from gradlens import clipping, every
from gradlens.store import Run, RunWriter

ALWAYS = {"norms": every(1), "update": every(1), "smoothness": every(1)}


def record(root: Path, model: nn.Module, loss: Callable[[], torch.Tensor], lr: float = 1.0, **options: object) -> Run:
    """One step of plain gradient descent."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    with gradlens.Recorder(model, optimizer, root, **{**ALWAYS, **options}) as recorder:  # type: ignore[arg-type]
        recorder.loss(loss).backward()
        optimizer.step()
    assert recorder.skipped == 0
    return gradlens.open_run(recorder.path or "")


class Holder(nn.Module):
    """Parameters under names of their own."""

    def __init__(self, **parameters: torch.Tensor) -> None:
        super().__init__()
        for name, value in parameters.items():
            self.register_parameter(
                name, nn.Parameter(value, requires_grad=value.dtype.is_floating_point or value.is_complex())
            )


def only(run: Run) -> dict[str, float]:
    return {name: values[0] for name, (_, values) in run.several(*run.columns).items() if len(values)}


def tensor_values(run: Run, kind: str) -> dict[str, float]:
    frame = run.tensors(kind)
    return dict(zip(frame["name"], frame["value"], strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", [1e20, 1e-30, 1.0])
def test_norms_far_from_one_are_right(dtype: torch.dtype, size: float, tmp_path: Path) -> None:
    model = Holder(w=torch.zeros(1000, dtype=dtype))
    gradient = torch.full((1000,), size, dtype=dtype)
    run = record(tmp_path, model, lambda: (model.w * gradient).sum(), lr=1e-3, smoothness=gradlens.never)
    expected = math.sqrt(1000) * float(gradient[0].double())
    assert only(run)["grad_norm"] == pytest.approx(expected, rel=1e-6)
    assert tensor_values(run, "grad_norm")["w"] == pytest.approx(np.float32(expected), rel=1e-6)
    moved = model.w.detach().double().norm().item()
    assert only(run)["update_norm"] == pytest.approx(moved, rel=1e-6)


def test_a_half_precision_overflow_is_an_infinite_norm_and_counted(tmp_path: Path) -> None:
    model = Holder(w=torch.zeros(3, dtype=torch.float16), v=torch.zeros(2, dtype=torch.float16))
    large = torch.tensor([6e4, 1.0, 1.0], dtype=torch.float16)
    run = record(tmp_path, model, lambda: (model.w * large * 4).sum() + model.v.sum(), smoothness=gradlens.never)
    row = only(run)
    assert row["grad_norm"] == math.inf
    assert row["nonfinite"] == 1
    assert tensor_values(run, "grad_norm") == {"w": math.inf, "v": pytest.approx(math.sqrt(2), rel=1e-6)}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_is_said_and_clips_nothing(value: float, tmp_path: Path) -> None:
    model = Holder(w=torch.ones(3))
    run = record(tmp_path, model, lambda: (model.w * value).sum(), clip=clipping.autoclip(10))
    row = only(run)
    assert row["grad_norm"] == pytest.approx(abs(value), nan_ok=True)
    assert (row["nonfinite"], row["clip_coef"], row["clip_threshold"], row["clipped"]) == (1, 1.0, math.inf, 0)
    assert "smoothness" not in row
    assert run.steps()["smoothness_method"][0] == "none: gradient is not finite"


def test_a_step_of_length_zero_has_no_smoothness(tmp_path: Path) -> None:
    model = Holder(w=torch.ones(3))
    run = record(tmp_path, model, lambda: model.w.square().sum(), lr=0.0)
    assert only(run)["update_norm"] == 0.0
    assert run.steps()["smoothness_method"][0] == "none: zero step"
    assert "smoothness" not in only(run)


def test_a_step_without_gradients_has_no_norm(tmp_path: Path) -> None:
    model = Holder(w=torch.ones(3))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with gradlens.Recorder(model, optimizer, tmp_path, **ALWAYS) as recorder:
        optimizer.step()
    run = gradlens.open_run(recorder.path or "")
    assert run.series("step")[0].tolist() == [0]
    assert "grad_norm" not in only(run)
    assert only(run)["update_norm"] == 0.0


def test_frozen_shared_empty_complex_and_half_used_parameters(tmp_path: Path) -> None:
    model = Holder(
        used=torch.tensor([3.0, 4.0]),
        unused=torch.ones(2),
        empty=torch.zeros(0),
        complex=torch.tensor([1 + 1j, 2 - 2j]),
        scalar=torch.tensor(2.0),
    )
    model.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
    model.shared = model.used  # one parameter under two names

    def half_the_squares() -> torch.Tensor:
        squares = model.used.square().sum() + model.complex.abs().square().sum() + model.scalar**2
        return squares / 2 + model.empty.sum()

    run = record(tmp_path, model, half_the_squares, lr=0.5)
    norms = tensor_values(run, "grad_norm")
    assert math.isnan(norms.pop("unused"))
    assert math.isnan(norms.pop("frozen"))
    assert norms == {"used": 5.0, "empty": 0.0, "complex": pytest.approx(math.sqrt(10), rel=1e-6), "scalar": 2.0}
    expected = math.sqrt(25 + 10 + 4)
    row = only(run)
    assert row["grad_norm"] == pytest.approx(expected, rel=1e-6)
    assert row["update_norm"] == pytest.approx(expected / 2, rel=1e-6)  # w <- w - lr * w
    assert row["smoothness"] == pytest.approx(1.0, rel=1e-6)  # f is half a sum of squares
    assert row["nonfinite"] == 0


def test_sparse_gradients(tmp_path: Path) -> None:
    model = nn.Embedding(10, 2, sparse=True)
    nn.init.ones_(model.weight)
    run = record(tmp_path, model, lambda: model(torch.tensor([1, 1, 4])).sum(), lr=0.1, clip=clipping.fixed(1.0))
    row = only(run)
    assert row["grad_norm"] == pytest.approx(math.sqrt(2 * 4 + 2 * 1), rel=1e-6)  # row 1 twice, row 4 once
    assert row["grad_norm_clipped"] == pytest.approx(1.0, rel=1e-6)
    assert row["update_norm"] == pytest.approx(0.1, rel=1e-5)


def test_a_million_parameter_names(tmp_path: Path, count: Callable[[str, int], None]) -> None:
    names = 1_000_000
    parameters = [(f"layers.{index}.weight", (2,), "float32", 0) for index in range(names)]
    begin = time.monotonic()
    writer = RunWriter.create(tmp_path, "many", {}, parameters, patience=0)
    values = np.arange(names, dtype=np.float32)
    for step in range(3):
        writer.append({"step": step, "loss": 1.0}, {"grad_norm": values + step})
    writer.close("finished")
    run = gradlens.open_run(writer.path)
    assert len(run.parameters) == names
    assert run.tensors("grad_norm", "layers.777777.weight")["value"].tolist() == [777777.0, 777778.0, 777779.0]
    assert writer.dropped == 0
    assert time.monotonic() - begin < 60
    count("parameter names in one run", names)
