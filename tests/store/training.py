"""Real trainings in processes of their own, to be killed: they tell through a pipe what was acknowledged."""

import os
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import gradlens
from gradlens import clipping, every
from gradlens.store import Run

torch.set_num_threads(1)
_TOLD = struct.Struct("<qd")


def net() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    return model, torch.optim.SGD(model.parameters(), lr=0.05)


def micro_batches(step: int, loss: float) -> dict[str, Any]:
    """What is recorded beside a row of this step and loss, of another number of micro-batches in each step."""
    count = step % 4
    return {"loss": [loss] * count, "samples": [step] * count, "domain": [f"domain {step % 3}"] * count}


def with_micro_batches(recorder: gradlens.Recorder) -> None:
    """Let each row of a recorder bring micro-batches that tell its step and loss."""
    storage = recorder._storage
    if storage is not None:
        append = storage.append
        storage.append = lambda row, tensors, *_: append(row, tensors, micro_batches(row["step"], row["loss"]))  # type: ignore[method-assign]


def micro_batches_of(run: Run) -> bool:
    """Whether a run has exactly the micro-batches of its rows."""
    losses = zip(*(values.tolist() for values in run.series("loss")), strict=True) if run.columns else ()
    known = [
        (step, place, float(np.float32(loss)), step, f"domain {step % 3}")
        for step, loss in losses
        for place in range(step % 4)
    ]
    frame = run.micro_batches()[["step", "micro_batch", "loss", "samples", "domain"]]
    return list(frame.itertuples(index=False, name=None)) == known


def train(root: Path, told: int, *, steps: int = 10_000, resume: Path | None = None, pause: float = 0.0) -> None:
    """Train, and write (acknowledged step, its loss) to ``told`` after each; ends by being killed."""
    model, optimizer = net()
    recorder = gradlens.Recorder(
        model, optimizer, root, name="killed", clip=clipping.autoclip(percentile=50), update=every(3), resume=resume
    )
    with_micro_batches(recorder)
    first = recorder._steps.step
    losses: dict[int, float] = {}
    data = torch.Generator().manual_seed(first)
    for step in range(first, first + steps):
        x, y = torch.randn(3, 4, generator=data), torch.randint(2, (3,), generator=data)
        optimizer.zero_grad()
        loss = recorder.loss(lambda x, y: nn.functional.cross_entropy(model(x), y), x, y)
        loss.backward()
        optimizer.step()
        recorder.log(mine=os.getpid())
        losses[step] = float(loss.detach())
        safe = recorder.acknowledged
        if safe in losses:
            os.write(told, _TOLD.pack(safe, losses.pop(safe)))
        if pause:
            time.sleep(pause)


def warm() -> None:
    """Import here, once, what every child would import anew: torch brings a good part of itself at the first step."""
    model, optimizer = net()
    with (
        tempfile.TemporaryDirectory() as root,
        gradlens.Recorder(model, optimizer, root, clip=clipping.autoclip(percentile=50)) as recorder,
    ):
        recorder.loss(lambda: model(torch.ones(1, 4)).sum()).backward()
        optimizer.step()


warm()


def fork_training(root: Path, **options: object) -> tuple[int, int]:
    """A child that trains; gives its process id and the end of the pipe to read."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            train(root, write, **options)  # type: ignore[arg-type]
        finally:
            sys.stderr.flush()
            os._exit(3)
    os.close(write)
    return child, read


def told(read: int) -> dict[int, float]:
    """What a training that is over had said: step -> loss, of rows that were acknowledged."""
    data = b""
    while part := os.read(read, 1 << 16):
        data += part
    os.close(read)
    whole = len(data) - len(data) % _TOLD.size
    return dict(_TOLD.iter_unpack(data[:whole]))
