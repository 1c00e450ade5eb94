"""A run goes on in a new session: from a checkpoint, or from where its rows end."""

import io
import logging
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import ALWAYS, batches, loss_of, norm64, small_net
from torch_process import TorchProcess

import gradlens
from gradlens import clipping, every
from gradlens.clipping import Measured
from gradlens.recording.apply_clip import Clipper
from gradlens.store import RunWriter

RULE = clipping.autoclip(percentile=30)


class Training:
    """A training that can be checkpointed, with its recorder."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.model = small_net()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        options = {"clip": RULE, **ALWAYS, **options}
        self.recorder = gradlens.Recorder(self.model, self.optimizer, root, **options)

    def run(self, steps: range) -> None:
        data = batches(steps.stop)
        for step in steps:
            x, y = data[step]
            self.optimizer.zero_grad()
            self.recorder.loss(loss_of(self.model), x, y).backward()
            self.optimizer.step()

    def checkpoint(self) -> io.BytesIO:
        file = io.BytesIO()
        parts = (self.model, self.optimizer, self.recorder)
        torch.save([part.state_dict() for part in parts], file)
        file.seek(0)
        return file

    def restore(self, file: io.BytesIO) -> None:
        model, optimizer, recorder = torch.load(file, weights_only=True)  # plain numbers and tensors only
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)
        self.recorder.load_state_dict(recorder)


COLUMNS = ["step", "loss", "grad_norm", "grad_norm_clipped", "clip_threshold", "update_norm", "smoothness", "samples"]


def whole(root: Path) -> Any:
    training = Training(root)
    training.run(range(12))
    training.recorder.close()
    return gradlens.open_run(training.recorder.path or "").steps()[COLUMNS]


@pytest.mark.parametrize("way", ["resume=", "load_state_dict alone", "resume= without a checkpoint"])
def test_a_resumed_run_is_the_run_that_was_never_interrupted(way: str, tmp_path: Path) -> None:
    first = Training(tmp_path / "runs")
    first.run(range(7))
    saved = first.checkpoint()
    if way != "resume= without a checkpoint":
        first.run(range(7, 10))  # it went on after the checkpoint, and died
    path = first.recorder.path
    assert path is not None
    first.recorder.close("stopped")
    second = Training(tmp_path / "runs", resume=None if way == "load_state_dict alone" else path)
    second.restore(saved) if way != "resume= without a checkpoint" else (
        second.model.load_state_dict(first.model.state_dict()),
        second.optimizer.load_state_dict(first.optimizer.state_dict()),
    )
    second.run(range(7, 12))
    second.recorder.close()
    assert second.recorder.path == path
    assert len(gradlens.open_runs(tmp_path / "runs")) == 1  # the folder begun in vain is gone
    run = gradlens.open_run(path)
    expected = whole(tmp_path / "whole")
    frame = run.steps()[COLUMNS]
    assert np.array_equal(frame.to_numpy(), expected.to_numpy(), equal_nan=True)
    assert run.series("session")[1].tolist() == [0] * 7 + [1] * 5
    everything = run.steps(superseded=True)
    kept = [7, 8, 9] if way != "resume= without a checkpoint" else []
    assert everything[everything["superseded"]]["step"].tolist() == kept
    assert run.tensors("grad_norm")["step"].value_counts().tolist() == [4] * 12
    first_info, second_info = run.sessions
    assert (first_info.first_step, first_info.rows, first_info.closed) == (0, 7 + len(kept), "stopped")
    assert (second_info.first_step, second_info.rows, second_info.closed) == (7, 5, "finished")
    assert run.status == "finished"
    assert run.problems == ()


def test_rows_of_a_branch_that_was_left_do_not_count_even_before_they_are_replaced(tmp_path: Path) -> None:
    first = Training(tmp_path)
    first.run(range(4))
    saved = first.checkpoint()
    first.run(range(4, 12))
    first.recorder.close()
    second = Training(tmp_path)
    second.restore(saved)
    run = gradlens.open_run(second.recorder.path or "")
    assert run.series("step")[0].tolist() == list(range(12))  # nothing new is there yet
    second.run(range(4, 6))
    second.recorder.close()
    assert run.series("step")[0].tolist() == list(range(6))
    assert set(run.tensors("update_norm")["step"]) == set(range(6))
    assert run.pyramid("loss")["count"].tolist() == [6]
    assert len(run.steps(superseded=True)) == 14


def test_the_first_probe_after_the_gap_sees_no_weights_of_before_it(tmp_path: Path) -> None:
    """Loading a checkpoint in place moves the weights between two steps: no update may be measured across it."""
    training = Training(tmp_path)
    training.run(range(3))
    saved = training.checkpoint()
    training.run(range(3, 6))
    training.restore(saved)
    before = [p.detach().clone() for p in training.model.parameters()]
    training.run(range(3, 4))
    moved = norm64([p.detach() - b for p, b in zip(training.model.parameters(), before, strict=True)])
    training.recorder.close()
    run = gradlens.open_run(training.recorder.path or "")
    steps, updates = run.series("update_norm")
    assert steps.tolist() == [0, 1, 2, 3]
    assert updates[3] == pytest.approx(moved, rel=1e-6)
    assert [info.number for info in run.sessions] == [0, 1]
    assert run.steps(superseded=True)["superseded"].sum() == 3


def test_a_checkpoint_of_a_run_that_is_not_here_continues_in_the_new_run(tmp_path: Path) -> None:
    first = Training(tmp_path / "there")
    first.run(range(5))
    saved = first.checkpoint()
    first.recorder.close()
    second = Training(tmp_path / "here")
    path = second.recorder.path
    second.restore(saved)
    second.run(range(5, 8))
    second.recorder.close()
    assert second.recorder.path == path
    assert gradlens.open_run(path or "").series("step")[0].tolist() == [5, 6, 7]


def test_another_rule_begins_without_a_history_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = Training(tmp_path)
    first.run(range(3))
    saved = first.checkpoint()
    first.recorder.close()
    second = Training(tmp_path, clip=clipping.fixed(1.0))
    second.restore(saved)
    second.recorder.close()
    assert "the checkpoint's clip rule is another one" in caplog.text


def test_a_run_that_a_living_process_writes_is_resumed_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Training(tmp_path)
    first.run(range(3))
    assert first.recorder._storage is not None
    first.recorder._storage._writer.flush()
    second = Training(tmp_path, resume=first.recorder.path)
    second.run(range(2, 4))
    second.recorder.close()
    first.recorder.close()  # writes the row of its step 2, which was still open
    assert "a living process writes to" in caplog.text
    run = gradlens.open_run(first.recorder.path or "")
    assert run.series("session")[1].tolist() == [0, 0, 1, 1]
    assert run.steps(superseded=True)["step"].tolist() == [0, 1, 2, 2, 3]


def test_a_run_that_was_killed_a_moment_ago_is_resumed_without_a_warning(
    tmp_path: Path, torch_process: TorchProcess, caplog: pytest.LogCaptureFixture
) -> None:
    assert torch_process.run(KILLED, str(tmp_path)).returncode == -signal.SIGKILL
    (path,) = tmp_path.iterdir()
    assert gradlens.open_run(path).status == "running"  # its heartbeat is young
    Training(tmp_path, resume=path).recorder.close()
    assert "living process" not in caplog.text


KILLED = """
import os, signal, sys, torch, gradlens
model = torch.nn.Linear(2, 1)
recorder = gradlens.Recorder(model, torch.optim.SGD(model.parameters()), sys.argv[1])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_checkpoint_whose_run_is_not_there_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = Training(tmp_path / "here")
    first.run(range(3))
    state = first.recorder.state_dict()
    first.recorder.close()
    other = Training(tmp_path / "elsewhere")
    other.recorder.load_state_dict(state)
    other.recorder.close()
    assert f"the checkpoint's run {state['run']} is not in {tmp_path / 'elsewhere'}" in caplog.text


@pytest.mark.parametrize("rule", [RULE, clipping.autoclip(10, window=5), clipping.fixed(2.0)], ids=str)
def test_a_rules_state_survives_saving_and_loading(rule: clipping.ClipRule) -> None:
    norms = np.exp(np.random.default_rng(0).standard_normal((200, 3)))
    norms[[3, 50], [0, 2]] = np.nan, np.inf
    straight, broken = rule.init(3), rule.init(3)
    for step, row in enumerate(norms):
        expected, straight = rule.update(Measured(row), straight)
        if step == 99 and rule.save is not None and rule.load is not None:
            broken = rule.load({name: values.copy() for name, values in rule.save(broken).items()})
        found, broken = rule.update(Measured(row), broken)
        assert np.array_equal(found.thresholds, expected.thresholds)


def test_a_resumed_rule_goes_on_from_the_norms_that_were_recorded() -> None:
    norms = np.exp(np.random.default_rng(0).standard_normal(60))
    host = Clipper(RULE, ["w"], torch.device("cpu"))
    assert host.see(norms[:40])
    again = Clipper(RULE, ["w"], torch.device("cpu"))
    again.load_state_dict(host.state_dict())
    expected = clipping.replay(RULE, norms).thresholds[40:]
    parameter = torch.nn.Parameter(torch.ones(1))
    for clipper in (host, again):
        found = []
        for norm in norms[40:]:
            parameter.grad = torch.tensor([norm], dtype=torch.float32)
            found.append(clipper.clip([parameter], torch.tensor([norm]), lr=0.1)["clip_threshold"].item())
        assert np.allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (None, r"expected what recorder\.state_dict\(\) gave; got something else\."),
        ({}, r"expected what recorder\.state_dict\(\) gave"),
        ({"version": 9, "run": None, "step": 0, "samples": 0, "clip": None}, "of version 1, got 9"),
        ({"version": 1, "run": "../x", "step": 0, "samples": 0, "clip": None}, "expected the id of a run"),
    ],
)
def test_what_is_no_state_is_refused(state: Any, why: str, tmp_path: Path) -> None:
    training = Training(tmp_path)
    with pytest.raises(ValueError, match=why):
        training.recorder.load_state_dict(state)
    training.recorder.close()


def test_what_cannot_be_resumed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, why in ((tmp_path / "none", "does not exist"), (tmp_path / "empty", r"holds no run\.json")):
        with pytest.raises(ValueError, match=why):
            Training(tmp_path, resume=folder)
    with pytest.raises(TypeError, match="resume takes a run folder"):
        Training(tmp_path, resume=3)
    with pytest.raises(ValueError, match="max_bytes takes a positive whole number of bytes"):
        Training(tmp_path, max_bytes=0)


def test_max_bytes_thins_the_oldest_detail_and_never_the_step_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("gradlens.store.session.SEAL_ROWS", 256)
    parameters = [(f"p{index}", (2,), "float32", 0) for index in range(40)]
    rng = np.random.default_rng(0)
    values = np.exp(rng.standard_normal((2048, 40))).astype(np.float32)
    most = 250_000
    writer = RunWriter.create(tmp_path, "thin", {}, parameters, max_bytes=most)
    for step in range(2048):
        writer.append({"step": step, "loss": float(step)}, {"grad_norm": values[step]})
    writer.close("finished")
    run = gradlens.open_run(writer.path)
    assert run.bytes <= most
    assert run.series("loss")[1].tolist() == list(range(2048))
    kept = run.tensors("grad_norm", "p7")
    assert kept["step"].tolist() == list(range(kept["step"].min(), 2048))  # the oldest went first
    assert 0 < len(kept) < 2048
    assert np.array_equal(kept["value"], values[kept["step"], 7])
    blocks = run.tensor_blocks("grad_norm", "p7")
    assert blocks["step"].tolist() == list(range(0, 2048, 256))
    by_block = values[:, 7].reshape(-1, 256)
    assert np.array_equal(blocks["max"], by_block.max(axis=1))
    assert np.array_equal(blocks["last"], by_block[:, -1])
    assert np.allclose(blocks["mean"], by_block.mean(axis=1))
    assert run.verify() == ()


def test_every_is_due_at_the_same_steps_after_a_resume(tmp_path: Path) -> None:
    first = Training(tmp_path, update=every(4))
    first.run(range(6))
    first.recorder.close()
    second = Training(tmp_path, update=every(4), resume=first.recorder.path)
    second.run(range(6, 10))
    second.recorder.close()
    assert gradlens.open_run(second.recorder.path or "").series("update_norm")[0].tolist() == [0, 4, 8]


def test_a_checkpoint_of_another_run_leaves_the_resumed_one_as_it_is(tmp_path: Path) -> None:
    runs = []
    for _ in range(2):
        training = Training(tmp_path)
        training.run(range(3))
        runs.append((training.recorder.path, training.checkpoint()))
        training.recorder.close()
    (one, _), (other, saved) = runs
    third = Training(tmp_path, resume=one)
    third.restore(saved)
    third.run(range(3, 5))
    third.recorder.close()
    assert third.recorder.path == other
    assert gradlens.open_run(one or "").series("step")[0].tolist() == [0, 1, 2]
    assert gradlens.open_run(other or "").series("step")[0].tolist() == [0, 1, 2, 3, 4]


def test_a_recorder_that_is_disabled_counts_on_for_the_next_one(tmp_path: Path) -> None:
    first = Training(tmp_path)
    first.run(range(3))
    saved, path = first.checkpoint(), first.recorder.path
    first.recorder.close()
    second = Training(tmp_path, enabled=False)
    second.restore(saved)
    second.run(range(3, 6))
    saved = second.checkpoint()
    third = Training(tmp_path)
    third.restore(saved)
    third.run(range(6, 8))
    third.recorder.close()
    assert third.recorder.path == path
    run = gradlens.open_run(path or "")
    assert run.series("step")[0].tolist() == [0, 1, 2, 6, 7]
    assert run.series("samples")[1].tolist() == [8.0, 16.0, 24.0, 56.0, 64.0]


def test_going_back_in_a_run_of_its_own_begins_a_session(tmp_path: Path) -> None:
    training = Training(tmp_path)
    training.run(range(6))
    training.recorder.load_state_dict({**training.recorder.state_dict(), "run": None, "step": 2})
    training.run(range(2, 4))
    training.recorder.close()
    run = gradlens.open_run(training.recorder.path or "")
    assert run.series("session")[1].tolist() == [0, 0, 1, 1]
    assert run.pyramid("loss")["count"].tolist() == [4]


def test_a_memory_of_another_window_is_not_taken_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = Training(tmp_path, clip=clipping.autoclip(30, window=2))
    first.run(range(3))
    saved = first.checkpoint()
    first.recorder.close()
    second = Training(tmp_path)
    second.restore(saved)
    second.recorder.close()
    assert "another one" in caplog.text
    with pytest.raises(ValueError, match='close takes "finished" or "stopped"; got \'crashed\''):
        second.recorder.close("crashed")
