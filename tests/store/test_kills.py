"""Trainings that are killed at random moments lose nothing that was acknowledged."""

import os
import random
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch_process import TorchProcess
from training import fork_training, micro_batches_of, told

import gradlens
from gradlens.store import Run

Count = Callable[[str, int], None]
KILLS = 1000 if os.environ.get("GRADLENS_SOAK") else 50
SHARDS = 5


def kill(child: int, number: int = signal.SIGKILL) -> int:
    os.kill(child, number)
    _, status = os.waitpid(child, 0)
    return status


def lost(run: Run, acknowledged: dict[int, float]) -> int:
    """Rows that were acknowledged and are not there, or not with their numbers."""
    there = dict(zip(*(values.tolist() for values in run.series("loss")), strict=True)) if run.columns else {}
    return sum(there.get(step) != loss for step, loss in acknowledged.items())


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_training_killed_at_random_loses_nothing_acknowledged(
    shard: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: Count
) -> None:
    monkeypatch.setattr("gradlens.store.session.SEAL_ROWS", 20)  # so that a kill may hit sealing and merging too
    monkeypatch.setattr("gradlens.store.session.BLOCK", 4)
    monkeypatch.setattr("gradlens.store.session.COMPACT_ABOVE", 2)
    monkeypatch.setattr("gradlens.store.writer.TICK_SECONDS", 0.01)
    when = random.Random(shard)
    rows = losses = 0
    resume: Path | None = None
    for number in range(KILLS // SHARDS):
        root = tmp_path / str(number // 5)  # four of five go on where the one before was killed
        if number % 5 == 0:
            resume = None
        child, read = fork_training(root, resume=resume)
        if number % 5:  # the first of five may die before it has begun, the others go on for a while whatever the load
            select.select([read], [], [], 10)
        time.sleep(when.uniform(0.02, 0.35))
        kill(child)
        acknowledged = told(read)
        runs = gradlens.open_runs(root) if root.exists() else ()
        for run in runs:
            losses += lost(run, acknowledged)
            assert run.problems == (), run.problems
            steps, norms = run.series("grad_norm") if run.columns else (np.empty(0), np.empty(0))
            assert np.array_equal(steps, np.arange(len(steps)))
            assert np.isfinite(norms).all()
            assert micro_batches_of(run)
            if run.columns:
                frame = run.tensors("grad_norm")
                assert len(frame) == 4 * len(steps)
                assert (frame.groupby("step")["value"].apply(np.linalg.norm) / norms).sub(1).abs().max() < 1e-5
            resume = run.path
        assert runs or not acknowledged
        rows += len(acknowledged)
    assert losses == 0
    assert rows > 10 * (KILLS // SHARDS)
    count("kills survived (SIGKILL of a training), of which acknowledged rows lost: 0", KILLS // SHARDS)
    count("rows acknowledged before a kill", rows)


SCRIPT = """
import os, sys, time
import torch, gradlens
from gradlens import every
model = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
recorder = gradlens.Recorder(model, optimizer, sys.argv[1], name="same name")
for step in range(40):
    optimizer.zero_grad()
    recorder.loss(lambda x: model(x).square().mean(), torch.full((2, 3), float(os.getpid() % 1000 + step))).backward()
    optimizer.step()
    recorder.log(mine=os.getpid())
while recorder.acknowledged < 38:  # the row of step 39 is open
    time.sleep(0.01)
print(os.getpid(), recorder.acknowledged, flush=True)
ENDING
"""


@pytest.mark.parametrize(
    ("ending", "number", "status"),
    [
        ("time.sleep(60)", signal.SIGTERM, "stopped"),
        ("time.sleep(60)", signal.SIGINT, "stopped"),
        ("sys.exit()", None, "finished"),
        ("raise SystemError", None, "stopped"),
        ("os._exit(1)", None, "stopped"),
    ],
)
def test_however_a_process_ends_without_close_nothing_acknowledged_is_lost(
    ending: str, number: int | None, status: str, tmp_path: Path, torch_process: TorchProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    process = torch_process.start(SCRIPT.replace("ENDING", ending), str(tmp_path))
    _, acknowledged = process.stdout.readline().split()
    if number is not None:
        process.send_signal(number)
    code = process.end().returncode
    assert code == -number if number is not None else code == (ending != "sys.exit()")
    (run,) = gradlens.open_runs(tmp_path)
    assert run.series("mine")[0].tolist()[: int(acknowledged) + 1] == list(range(int(acknowledged) + 1))
    assert int(acknowledged) == 38
    monkeypatch.setattr("gradlens.store.run.HEARTBEAT_SECONDS", 0.0)
    assert run.status == status
    if status == "finished" or number == signal.SIGINT or "SystemError" in ending:
        assert len(run.series("mine")[0]) == 40  # the exit handler drained it


def test_eight_processes_with_one_name_make_eight_runs(tmp_path: Path) -> None:
    children = [fork_training(tmp_path, steps=40) for _ in range(8)]
    for child, read in children:
        assert len(told(read)) > 20
        os.waitpid(child, 0)
    runs = gradlens.open_runs(tmp_path)
    assert [run.name for run in runs] == ["killed"] * 8
    for run in runs:
        assert run.problems == ()
        assert run.steps()["mine"].nunique() == 1
        assert run.series("step")[0].tolist()[:30] == list(range(30))
    assert {run.series("mine")[1][0] for run in runs} == {float(child) for child, _ in children}


def test_eight_processes_that_resume_one_run_take_eight_sessions(tmp_path: Path) -> None:
    child, read = fork_training(tmp_path, steps=5, pause=0.01)
    os.waitpid(child, 0)
    told(read)
    (run,) = gradlens.open_runs(tmp_path)
    children = [fork_training(tmp_path, steps=30, pause=0.005, resume=run.path) for _ in range(8)]
    heard = {}
    for child, read in children:
        heard[child] = told(read)
        os.waitpid(child, 0)
    run = gradlens.open_run(run.path)
    frame = run.steps(superseded=True)
    assert [info.number for info in run.sessions] == list(range(9))
    for session, rows in frame.groupby("session"):
        assert rows["step"].is_unique, session
    # Every session's rows are whole: what each process was told is in exactly one of them.
    by_session = {
        s: dict(zip(rows["step"], rows["loss"], strict=True)) for s, rows in frame.groupby("session") if s > 0
    }
    for acknowledged in heard.values():
        assert acknowledged
        homes = [s for s, there in by_session.items() if all(there.get(step) == v for step, v in acknowledged.items())]
        assert len(homes) >= 1
    assert not frame[~frame["superseded"]]["step"].duplicated().any()


def test_a_forked_child_records_nothing_and_says_so_once(tmp_path: Path, torch_process: TorchProcess) -> None:
    script = f"""
import os, sys, logging, torch, gradlens
from torch.utils.data import DataLoader, TensorDataset
logging.basicConfig()
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
recorder = gradlens.Recorder(model, optimizer, {str(tmp_path)!r})
def step():
    optimizer.zero_grad()
    recorder.loss(lambda: model(torch.ones(1, 2)).sum()).backward()
    optimizer.step()
loader = DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=2, num_workers=2, multiprocessing_context="fork")
for batch in loader:
    step()
assert len(list(loader)) == 4
if os.fork() == 0:
    for _ in range(5):
        step()
    sys.exit(0)
os.wait()
step()
recorder.close()
"""
    result = torch_process.run(script)
    assert result.returncode == 0
    (run,) = gradlens.open_runs(tmp_path)
    assert (run.status, run.series("step")[0].tolist()) == ("finished", list(range(5)))
    assert run.problems == ()
    assert result.stderr.count("records in the process that made the recorder only") == 1
