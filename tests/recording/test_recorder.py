"""Each recorded number is the one that its column promises, on the row where it belongs."""

import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gradlens
from gradlens import clipping, every

ALWAYS = {"norms": every(1), "update": every(1), "smoothness": every(1)}


def norm64(tensors: list[torch.Tensor]) -> float:
    """The naive twin: every entry in float64, one sum."""
    return math.sqrt(sum(float((t.double() ** 2).sum()) for t in tensors))


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 700), nn.Tanh(), nn.Linear(700, 3))


def loss_of(model: nn.Module) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return lambda x, y: nn.functional.cross_entropy(model(x), y)


def batches(count: int, size: int = 8) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    return [
        (torch.randn(size, 4, generator=generator), torch.randint(3, (size,), generator=generator))
        for _ in range(count)
    ]


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
        optimizer.step()
    assert embedding.weight.grad is not None
    applied = [embedding.weight.grad.coalesce().values(), torch.view_as_real(weight.grad)]  # type: ignore[arg-type]
    assert norm64(applied) == pytest.approx(0.5, rel=1e-6)
    run = gradlens.open_run(recorder.path or "")
    assert run.series("grad_norm")[1][0] == pytest.approx(0.5, rel=1e-6)  # measured after the first recorder's clip
    by_name = run.tensors("grad_norm").set_index("name")["value"]
    assert by_name["embedding"] == pytest.approx(norm64(applied[:1]), rel=1e-6)
    assert by_name["empty"] == 0.0
    assert np.isnan(by_name["unused"])
    assert run.series("nonfinite")[1].tolist() == [0.0]


def test_a_step_without_gradients_is_a_row_without_norms(tmp_path: Path) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradlens.Recorder(model, optimizer, tmp_path, clip=clipping.autoclip(10), update=every(1)) as recorder:
        optimizer.step()
    frame = gradlens.open_run(recorder.path or "").steps()
    assert "grad_norm" not in frame
    assert frame["update_norm"].tolist() == [0.0]


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


def test_disabled_records_nothing_and_still_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for options, variable in (({"enabled": False}, ""), ({}, "1")):
        monkeypatch.setenv("GRADLENS_DISABLED", variable)
        model = small_net()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        with gradlens.Recorder(model, optimizer, tmp_path / "root", clip=clipping.fixed(1e-3), **options) as recorder:  # type: ignore[arg-type]
            x, y = batches(1)[0]
            before = [p.detach().clone() for p in model.parameters()]
            recorder.loss(loss_of(model), x, y).backward()
            recorder.log(anything=1.0)
            optimizer.step()
        moved = norm64([p.detach() - b for p, b in zip(model.parameters(), before, strict=True)])
        assert moved == pytest.approx(1e-3, rel=1e-3)
        assert recorder.path is None
        assert not (tmp_path / "root").exists()
    monkeypatch.delenv("GRADLENS_DISABLED")


def test_acknowledged_follows_what_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlens.store.writer.SEAL_ROWS", 2)
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    with gradlens.Recorder(model, optimizer, tmp_path) as recorder:
        for x, y in batches(5):
            recorder.loss(loss_of(model), x, y).backward()
            seen.append(recorder.acknowledged)
            optimizer.step()
    assert seen == [-1, -1, 1, 1, 3]
    assert recorder.acknowledged == 4


def test_an_exception_in_the_training_ends_the_run_as_stopped(tmp_path: Path) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    recorder = gradlens.Recorder(model, optimizer, tmp_path)

    def training() -> None:
        with recorder:
            recorder.loss(lambda: model(torch.ones(1, 4)).sum()).backward()
            optimizer.step()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        training()
    run = gradlens.open_run(recorder.path or "")
    assert run.status == "stopped"
    assert len(run.series("step")[0]) == 1


def test_what_users_log_cannot_collide_with_what_probes_note(tmp_path: Path) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradlens.Recorder(model, optimizer, tmp_path, smoothness=every(1)) as recorder:
        x, y = batches(1)[0]
        recorder.loss(loss_of(model), x, y).backward()
        optimizer.step()
        recorder.log(_noise=5.0, _moved=6.0, MOVED=7.0)
    frame = gradlens.open_run(recorder.path or "").steps()
    assert frame[["_noise", "_moved", "MOVED"]].iloc[0].tolist() == [5.0, 6.0, 7.0]
    assert frame["smoothness"][0] > 0


def test_the_clip_is_part_of_the_overhead(tmp_path: Path) -> None:
    rule = clipping.fixed(1.0)

    def slow(measured: clipping.Measured, state: object) -> object:
        time.sleep(0.05)
        return rule.update(measured, state)

    slow_rule = clipping.ClipRule("fixed", rule.parameters, rule.init, slow, rule.scan)  # type: ignore[arg-type]
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradlens.Recorder(model, optimizer, tmp_path, clip=slow_rule) as recorder:
        for x, y in batches(3):
            recorder.loss(loss_of(model), x, y).backward()
            optimizer.step()
    assert (gradlens.open_run(recorder.path or "").series("overhead_ms")[1] > 50).all()


def test_a_recording_that_fails_does_not_reach_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken probe")

    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradlens.Recorder(model, optimizer, tmp_path, update=every(1)) as recorder:
        monkeypatch.setattr(recorder._probes._update, "before", broken)
        for x, y in batches(3):
            recorder.loss(loss_of(model), x, y).backward()
            optimizer.step()
    assert recorder.skipped >= 3
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert "skipped a measurement at step 0 (RuntimeError: broken probe). Training goes on" in warnings[0]


@pytest.mark.parametrize("fails", [False, True])
def test_watch_closes_when_the_process_ends(tmp_path: Path, fails: bool) -> None:
    script = f"""
import torch, gradlens
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
gradlens.watch(model, optimizer, {str(tmp_path)!r}, name="watched")
for _ in range(3):
    optimizer.zero_grad(); model(torch.ones(1, 2)).sum().backward(); optimizer.step()
{"raise SystemError('training failed')" if fails else ""}
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (result.returncode != 0) == fails
    (run,) = gradlens.open_runs(tmp_path)
    assert (run.name, run.status) == ("watched", "stopped" if fails else "finished")
    assert run.series("grad_norm")[0].tolist() == [0, 1, 2]


def test_a_forked_child_leaves_the_run_to_its_parent(tmp_path: Path) -> None:
    script = f"""
import os, sys, torch, gradlens
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
gradlens.watch(model, optimizer, {str(tmp_path)!r})
model(torch.ones(1, 2)).sum().backward(); optimizer.step()
if os.fork() == 0:
    sys.exit(0)
os.wait()
(run,) = gradlens.open_runs({str(tmp_path)!r})
assert run.status == "running", run.status
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)
    (run,) = gradlens.open_runs(tmp_path)
    assert (run.status, len(run.series("step")[0])) == ("finished", 1)


MODEL = nn.Linear(2, 1)
SGD = torch.optim.SGD(MODEL.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("arguments", "options", "why"),
    [
        ((3, SGD, "r"), {}, r"model must be a torch\.nn\.Module; got int\."),
        ((MODEL, 3, "r"), {}, r"optimizer must be a torch\.optim\.Optimizer; got int\."),
        ((MODEL, SGD, "r"), {"name": 3}, r"name must be text; got int\."),
        (
            (MODEL, SGD, "r"),
            {"clip": 1.0},
            r"clip must be a rule such as gradlens\.clipping\.autoclip\(percentile=10\)",
        ),
        ((MODEL, SGD, "r"), {"norms": 10}, r"norms must be a schedule such as gradlens\.every\(10\); got 10\."),
        ((MODEL, SGD, "r"), {"config": [1]}, r"config must be a mapping such as a dict; got list\."),
    ],
)
def test_wrong_arguments_raise_at_once(arguments: tuple, options: dict, why: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=why):
        gradlens.Recorder(*arguments[:2], tmp_path / "r", **options)
    assert not (tmp_path / "r").exists()


def test_wrong_calls_raise_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="LBFGS evaluates its closure several times"):
        gradlens.Recorder(MODEL, torch.optim.LBFGS(MODEL.parameters()), tmp_path, clip=clipping.fixed(1.0))
    recorder = gradlens.Recorder(MODEL, SGD, tmp_path)
    with pytest.raises(ValueError, match=r"of takes the number of micro-batches in the step, 1 or more; got 0\."):
        recorder.loss(lambda: None, of=0)
    with pytest.raises(TypeError, match=r"compute must return the loss.*got a tensor of shape \(2,\)\."):
        recorder.loss(lambda: torch.ones(2))
    with pytest.raises(TypeError, match=r"compute must return the loss.*got NoneType\."):
        recorder.loss(lambda: None)
    with pytest.raises(ValueError, match="'grad_norm' is a column that gradlens fills itself"):
        recorder.log(grad_norm=1.0)
    with pytest.raises(TypeError, match=r"log\(x=\.\.\.\) takes a number or a tensor with one element; got \(3,\)\."):
        recorder.log(x=torch.ones(3))
    for value in ("one", None, np.array([1, 2]), 10**400):
        with pytest.raises(TypeError, match=r"log\(x=\.\.\.\) takes a number or a tensor with one element; got "):
            recorder.log(x=value)  # type: ignore[arg-type]
    for name in ("", "a\nb", "\ud800"):
        with pytest.raises(ValueError, match="a logged name must be printable text; got"):
            recorder.log(**{name: 1.0})
    recorder.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        gradlens.Recorder(MODEL, SGD, tmp_path / "file")
