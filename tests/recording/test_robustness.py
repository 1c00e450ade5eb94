"""The recorder refuses at once or never: what fails later costs rows, not the training."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import batches, loss_of, norm64, small_net
from torch import nn
from torch_process import TorchProcess

import gradlens
from gradlens import clipping, every


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
    monkeypatch.setattr("gradlens.recording.storage.PATIENCE", 5.0)  # on a machine under load too
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    with gradlens.Recorder(model, optimizer, tmp_path) as recorder:
        for x, y in batches(5):
            recorder.loss(loss_of(model), x, y).backward()
            last = recorder.acknowledged
            seen.append(last)
            assert last == -1 or gradlens.open_run(recorder.path or "").series("step")[0][-1] >= last
            optimizer.step()
    assert all(step - 2 <= last < step for step, last in enumerate(seen))  # a row is written while the next step runs
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
        monkeypatch.setattr(recorder._steps.probes._updates[0], "before", broken)
        for x, y in batches(3):
            recorder.loss(loss_of(model), x, y).backward()
            optimizer.step()
    assert recorder.skipped >= 3
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert "skipped a measurement at step 0 (RuntimeError: broken probe). Training goes on" in warnings[0]


@pytest.mark.parametrize("fails", [False, True])
def test_watch_closes_when_the_process_ends(tmp_path: Path, torch_process: TorchProcess, fails: bool) -> None:
    script = f"""
import torch, gradlens
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
gradlens.watch(model, optimizer, {str(tmp_path)!r}, name="watched")
for _ in range(3):
    optimizer.zero_grad(); model(torch.ones(1, 2)).sum().backward(); optimizer.step()
{"raise SystemError('training failed')" if fails else ""}
"""
    result = torch_process.run(script)
    assert (result.returncode != 0) == fails
    (run,) = gradlens.open_runs(tmp_path)
    assert (run.name, run.status) == ("watched", "stopped" if fails else "finished")
    assert run.series("grad_norm")[0].tolist() == [0, 1, 2]


def test_a_forked_child_leaves_the_run_to_its_parent(tmp_path: Path, torch_process: TorchProcess) -> None:
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
    assert torch_process.run(script).returncode == 0
    (run,) = gradlens.open_runs(tmp_path)
    assert (run.status, len(run.series("step")[0])) == ("finished", 1)


MODEL = nn.Linear(2, 1)
SGD = torch.optim.SGD(MODEL.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("arguments", "options", "why"),
    [
        ((3, SGD, "r"), {}, r"model must be a torch\.nn\.Module, or a mapping of names to several; got int\."),
        (({}, SGD, "r"), {}, r"model must be a torch\.nn\.Module, or a mapping of names to several; got dict\."),
        ((MODEL, 3, "r"), {}, r"optimizer must be a torch\.optim\.Optimizer, or several in a list; got int\."),
        ((MODEL, [SGD, 3], "r"), {}, r"optimizer must be a torch\.optim\.Optimizer, or several in a list; got int"),
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
    with pytest.raises(ValueError, match="the optimizer holds none of this model's parameters"):
        gradlens.Recorder(nn.Linear(2, 1), SGD, tmp_path)
    recorder = gradlens.Recorder(MODEL, SGD, tmp_path)
    with pytest.raises(TypeError, match=r"takes the function and its inputs, .* got Tensor\."):
        recorder.loss(torch.ones(()))  # type: ignore[arg-type]
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


def test_a_root_that_is_no_folder_is_refused_in_a_sentence(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters())
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file is a file"):
        gradlens.Recorder(model, optimizer, tmp_path / "file")
    with pytest.raises(TypeError, match="root takes the folder"):
        gradlens.Recorder(model, optimizer, None)  # type: ignore[arg-type]
