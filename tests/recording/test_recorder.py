"""Each recorded number is the one that its column promises, on the row where it belongs."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import ALWAYS, batches, loss_of, norm64, small_net
from torch import nn

import gradlens
from gradlens import clipping, every


@pytest.mark.parametrize("clip", [None, clipping.fixed(5.0), clipping.autoclip(25)], ids=str)
def test_every_column_equals_an_independent_float64_computation(tmp_path: Path, clip: clipping.ClipRule | None) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.5)
    parameters = list(model.parameters())
    expected: dict[str, list[float]] = {
        name: [] for name in ("loss", "grad_norm", "grad_norm_clipped", "param_norm", "update_norm")
    }
    applied: list[list[torch.Tensor]] = []
    with gradlens.Recorder(model, optimizer, tmp_path, clip=clip, **ALWAYS) as recorder:
        optimizer.register_step_pre_hook(
            lambda *_: applied.append([p.grad.clone() for p in parameters if p.grad is not None])
        )
        for x, y in batches(20):
            optimizer.zero_grad()
            loss = recorder.loss(loss_of(model), x, y)
            loss.backward()
            before = [p.detach().clone() for p in parameters]
            expected["loss"].append(loss.item())
            expected["grad_norm"].append(norm64([p.grad for p in parameters if p.grad is not None]))
            expected["param_norm"].append(norm64(before))
            optimizer.step()
            expected["grad_norm_clipped"].append(norm64(applied[-1]))
            expected["update_norm"].append(norm64([p.detach() - b for p, b in zip(parameters, before, strict=True)]))
    run = gradlens.open_run(recorder.path or "")
    for name, values in expected.items():
        steps, recorded = run.series(name)
        assert steps.tolist() == list(range(20))
        assert np.allclose(recorded, values, rtol=1e-6, atol=0), name
    frame = run.steps()
    assert (frame["samples"] == 8 * (frame["step"] + 1)).all()
    assert set(frame["batch_size"]) == {8}
    if clip is not None:
        replayed = clipping.replay(clip, frame["grad_norm"])
        assert np.array_equal(frame["clip_threshold"], replayed.thresholds)
        assert np.array_equal(frame["clip_coef"], replayed.coefficients)
        assert np.array_equal(frame["clipped"], replayed.clipped)
        assert 0 < replayed.rate < 1
        assert set(frame["clip_source"]) == {"observed"}


def test_autoclip_in_training_is_numpys_percentile_of_the_recorded_norms(tmp_path: Path) -> None:
    for percentile in (0, 1, 10, 50, 90, 100):
        model = small_net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
        with gradlens.Recorder(model, optimizer, tmp_path, clip=clipping.autoclip(percentile)) as recorder:
            for step, (x, y) in enumerate(batches(60)):
                optimizer.zero_grad()
                loss = recorder.loss(loss_of(model), x, y)
                (loss * (math.nan if step == 30 else 1)).backward()
                if step == 30:
                    state = [p.detach().clone() for p in model.parameters()]
                optimizer.step()
                if step == 30:  # a NaN gradient is not clipped away; undo what it did, to go on
                    with torch.no_grad():
                        for p, old in zip(model.parameters(), state, strict=True):
                            p.copy_(old)
        run = gradlens.open_run(recorder.path or "")
        norms, thresholds = run.series("grad_norm")[1], run.series("clip_threshold")[1]
        assert np.isnan(norms[30])
        assert run.steps()["nonfinite"].tolist() == [0] * 30 + [4] + [0] * 29
        assert run.series("clip_coef")[1][30] == 1.0
        for t in range(60):
            history = norms[: t + 1]
            assert thresholds[t] == np.percentile(history[np.isfinite(history)], percentile)


@pytest.mark.parametrize("scale", [1e-12, 1e-5, 1.0, 1e6])
@pytest.mark.parametrize("fraction", [0.3, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_applied_gradient_has_norm_min_of_norm_and_c(scale: float, fraction: float, dtype: torch.dtype) -> None:
    parameters = [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in ((3,), (40, 50), (2, 3, 4))]
    model = nn.ParameterList(parameters)
    optimizer = torch.optim.SGD(parameters, lr=0.0)
    gradients = [scale * torch.randn(p.shape, dtype=dtype) for p in parameters]
    c = fraction * norm64(gradients)
    gradlens.Recorder(model, optimizer, "unused", clip=clipping.fixed(c), enabled=False)
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = g.clone()
    optimizer.step()
    applied = [p.grad for p in parameters if p.grad is not None]
    assert math.isclose(norm64(applied), min(norm64(gradients), c), rel_tol=1e-6)
    if fraction > 1:
        assert all(torch.equal(a, g) for a, g in zip(applied, gradients, strict=True))


def test_a_row_ends_when_the_next_step_begins(tmp_path: Path) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradlens.Recorder(model, optimizer, tmp_path) as recorder:
        for step, (x, y) in enumerate(batches(4)):
            recorder.log(before=step)
            optimizer.zero_grad()
            recorder.loss(loss_of(model), x, y).backward()
            recorder.log(between=torch.tensor(float(step)))
            optimizer.step()
            recorder.log(after=10 * step)
        recorder.log(last=1)
    frame = gradlens.open_run(recorder.path or "").steps()
    # Before the first step there is only that step; later, a number logged after step() belongs to the step taken.
    assert frame["before"].tolist() == pytest.approx([1.0, 2.0, 3.0, np.nan], nan_ok=True)
    assert frame["between"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert frame["after"].tolist() == [0.0, 10.0, 20.0, 30.0]
    assert frame["last"].isna().tolist() == [True, True, True, False]


def test_accumulated_micro_batches_are_one_row(tmp_path: Path) -> None:
    whole, parts = small_net(), small_net()
    recorded = {}
    for name, model, pieces in (("whole", whole, 1), ("parts", parts, 4)):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with gradlens.Recorder(model, optimizer, tmp_path, **ALWAYS) as recorder:
            for x, y in batches(3):
                optimizer.zero_grad()
                for one_x, one_y in zip(x.chunk(pieces), y.chunk(pieces), strict=True):
                    recorder.loss(loss_of(model), one_x, one_y, of=pieces).backward()
                optimizer.step()
        recorded[name] = gradlens.open_run(recorder.path or "").steps()
    for column in ("loss", "grad_norm", "update_norm", "batch_size", "samples"):
        assert np.allclose(recorded["parts"][column], recorded["whole"][column], rtol=1e-5), column
    assert set(recorded["parts"]["micro_batches"]) == {4}
    assert set(recorded["parts"]["smoothness_method"]) == {"none: several losses in this step"}


def test_of_divides_the_loss_and_keeps_the_rest(tmp_path: Path) -> None:
    model = small_net()
    recorder = gradlens.Recorder(model, torch.optim.SGD(model.parameters(), lr=0.1), tmp_path)
    loss, extra = recorder.loss(lambda: (model(torch.ones(1, 4)).sum(), "extra"), of=2)
    assert loss.item() == pytest.approx(model(torch.ones(1, 4)).sum().item() / 2)
    assert extra == "extra"
    recorder.close()


def test_a_line_search_is_measured_at_its_first_evaluation(tmp_path: Path, quadratic: Callable[..., nn.Module]) -> None:
    model = quadratic([1.0, 2.0])
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)
    first = []
    with gradlens.Recorder(model, optimizer, tmp_path, norms=every(1), update=every(1)) as recorder:

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = model()
            loss.backward()
            norms.append(model.theta.grad.norm().item())
            return loss  # type: ignore[no-any-return]

        for _ in range(3):
            norms: list[float] = []
            before = model.theta.detach().clone()
            optimizer.step(closure)
            first.append((norms[0], (model.theta.detach() - before).norm().item()))
    frame = gradlens.open_run(recorder.path or "").steps()
    assert np.allclose(frame[["grad_norm", "update_norm"]], first, rtol=1e-12)


def test_a_line_searchs_own_evaluations_are_not_the_steps(tmp_path: Path) -> None:
    model = small_net()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=5)
    first = []
    with gradlens.Recorder(model, optimizer, tmp_path, smoothness=every(1)) as recorder:
        for x, y in batches(2):
            losses: list[float] = []

            def closure(x: torch.Tensor = x, y: torch.Tensor = y, losses: list[float] = losses) -> torch.Tensor:
                optimizer.zero_grad()
                loss = recorder.loss(loss_of(model), x, y)
                loss.backward()
                losses.append(loss.item())
                return loss  # type: ignore[no-any-return]

            optimizer.step(closure)
            assert len(losses) > 1
            first.append(losses[0])
    frame = gradlens.open_run(recorder.path or "").steps()
    assert frame["loss"].tolist() == first
    assert frame["micro_batches"].tolist() == [1, 1]
    assert frame["samples"].tolist() == [8, 16]
    assert (frame["smoothness"] > 0).all()
    assert recorder.skipped == 0


def test_gradients_of_every_kind(tmp_path: Path) -> None:
    torch.manual_seed(0)
    embedding = nn.Embedding(10, 4, sparse=True)
    weight = nn.Parameter(torch.randn(4, dtype=torch.complex64))
    model = nn.ParameterDict({"embedding": embedding.weight, "complex": weight, "unused": nn.Parameter(torch.ones(2))})
    model["empty"] = nn.Parameter(torch.ones(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gradlens.Recorder(model, optimizer, "unused", clip=clipping.fixed(0.5), enabled=False)
    with gradlens.Recorder(model, optimizer, tmp_path, norms=every(1), update=every(1)) as recorder:
        vectors = embedding(torch.tensor([1, 1, 3])).to(torch.complex64)
        loss = recorder.loss(lambda: (vectors * weight).abs().square().sum() + model["empty"].sum())
        loss.backward()
        assert embedding.weight.grad is not None
        left = [embedding.weight.grad.coalesce().values().clone(), torch.view_as_real(weight.grad.clone())]
        optimizer.step()
    applied = [embedding.weight.grad.coalesce().values(), torch.view_as_real(weight.grad)]  # type: ignore[arg-type]
    assert norm64(applied) == pytest.approx(0.5, rel=1e-6)
    run = gradlens.open_run(recorder.path or "")
    assert run.series("grad_norm")[1][0] == pytest.approx(norm64(left), rel=1e-6)  # before the first recorder's clip
    assert run.series("grad_norm_clipped")[1][0] == pytest.approx(0.5, rel=1e-6)
    assert run.steps()["clip_source"].tolist() == ["inferred"]
    for kind, truth in (("grad_norm", left), ("grad_norm_clipped", applied)):
        by_name = run.tensors(kind).set_index("name")["value"]
        assert by_name["embedding"] == pytest.approx(norm64(truth[:1]), rel=1e-6)
    assert by_name["empty"] == 0.0
    assert np.isnan(by_name["unused"])
    assert run.series("nonfinite")[1].tolist() == [0.0]


def test_a_step_without_gradients_is_a_row_without_norms(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradlens.Recorder(model, optimizer, tmp_path, clip=clipping.autoclip(10), update=every(1)) as recorder:
        optimizer.step()
    frame = gradlens.open_run(recorder.path or "").steps()
    assert "grad_norm" not in frame
    assert frame["update_norm"].tolist() == [0.0]
    (record,) = caplog.records
    assert "found no gradient at step 0: was loss.backward() called before step(), and no" in record.getMessage()
