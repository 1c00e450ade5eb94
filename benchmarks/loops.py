"""Trainings that are recorded in different ways, each in a process of its own that is told how many steps to take.

``python -m benchmarks.loops CONTESTANT TASK DEVICE FOLDER`` serves. A loop is made by a function that takes the task
and an empty folder, and returns the step, a function of its number, and what to do at the end.
"""

import gc
import importlib.metadata
import itertools
import os
import sys
import time
from functools import partial
from pathlib import Path

import torch

import gradlens
from benchmarks import peers, tasks
from benchmarks.processes import PEERS
from benchmarks.serving import serve
from gradlens import clipping
from gradlens.recording import Recorder

WARM = 2
"""Steps of a turn that come first and are not measured."""
TURN = 20
"""Steps of a turn, those included."""
SETTLE = 5
"""Steps before the first turn, so that the steps of `PERIOD` come at 5 and 15 in each turn."""
PERIOD = 10
"""The recorder's default for updates."""

_MOST = 1e-3  # clips always: a rule that never acts would be spared the multiplication


def _nothing():
    return {}


def bare(task, _folder):
    """No recording."""

    def step(_number):
        task.optimizer.zero_grad()
        task.compute(*next(task.batches)).backward()
        task.optimizer.step()

    return step, _nothing


def torch_clip(task, _folder):
    """``clip_grad_norm_``."""
    parameters = task.parameters

    def step(_number):
        task.optimizer.zero_grad()
        task.compute(*next(task.batches)).backward()
        torch.nn.utils.clip_grad_norm_(parameters, _MOST)
        task.optimizer.step()

    return step, _nothing


def naive(task, _folder):
    """A norm a tensor and the loss, each read by the host when it is there, and appended to a list."""
    parameters, kept = task.parameters, []

    def step(_number):
        task.optimizer.zero_grad()
        loss = task.compute(*next(task.batches))
        loss.backward()
        kept.append([loss.item(), *(p.grad.norm().item() for p in parameters)])
        task.optimizer.step()

    return step, _nothing


def logged(task, folder, peer):
    """The norms at once and in one read, then the peer's call."""
    sink, parameters = peers.LOG[peer](folder / "log"), task.parameters
    names = [*(name for name, _ in task.model.named_parameters()), "grad_norm", "loss"]
    group = task.optimizer.param_groups[0]

    def step(number):
        task.optimizer.zero_grad()
        loss = task.compute(*next(task.batches))
        loss.backward()
        norms = torch.stack(torch._foreach_norm([p.grad for p in parameters]))
        found = torch.cat([norms, torch.stack([torch.linalg.vector_norm(norms), loss.detach()])]).tolist()
        task.optimizer.step()
        sink.log(number, {"lr": group["lr"], **dict(zip(names, found, strict=True))})

    def end():
        sink.close()
        return {"version": sink.version}

    return step, end


def cockpit(task, _folder):
    """Cockpit's GradNorm, UpdateSize and Loss at every step."""
    from cockpit import Cockpit, quantities
    from cockpit.utils.schedules import linear

    every = linear(1)  # not gradlens.every: it is asked about step -1 too
    watching = Cockpit(
        task.parameters, [kind(every) for kind in (quantities.GradNorm, quantities.UpdateSize, quantities.Loss)]
    )

    def step(number):
        task.optimizer.zero_grad()
        x, y = next(task.batches)
        loss = task.compute(x, y)
        told = {"batch_size": len(x), "individual_losses": None, "loss": loss, "optimizer": task.optimizer}
        with watching(number, info=told):
            loss.backward(create_graph=watching.create_graph(number))
        task.optimizer.step()

    return step, lambda: {"version": importlib.metadata.version("cockpit-for-pytorch")}


def recorded(task, folder, **options):
    """gradlens, without smoothness probes."""
    recorder = Recorder(task.model, task.optimizer, folder, smoothness=gradlens.never, **options)

    def step(_number):
        task.optimizer.zero_grad()
        recorder.loss(task.compute, *next(task.batches)).backward()
        task.optimizer.step()

    def end():
        recorder.close()
        run = gradlens.open_run(recorder.path)
        if recorder.dropped or recorder.skipped:
            raise RuntimeError(f"gradlens dropped {recorder.dropped} rows and skipped {recorder.skipped} measurements")
        overhead = run.series("overhead_ms")[1].tolist()
        kinds = [kind for kind in ("grad_norm", "update_norm", "param_norm") if len(run.tensors(kind))]
        return {"overhead_ms": overhead, "series": len(run.columns) + len(kinds) * len(task.parameters)}

    return step, end


LOOPS = {
    "bare": bare,
    "torch clip": torch_clip,
    "naive loop": naive,
    "W&B": partial(logged, peer="W&B"),
    "TensorBoard": partial(logged, peer="TensorBoard"),
    "Cockpit": cockpit,
    "norms": partial(recorded, update=gradlens.never),
    "default": recorded,
    "full": partial(recorded, update=gradlens.every(1)),
    "clips": partial(recorded, update=gradlens.never, clip=clipping.fixed(_MOST)),
}


class Training:
    """A loop that takes steps, and measures each.

    Args:
        contestant: name of the loop.
        task: name of the task.
        device: to train on.
        folder: to write in.
    """

    def __init__(self, contestant, task, device, folder):
        torch.set_num_threads(os.cpu_count())
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.version = torch.__version__
        self._task = tasks.make(task, torch.device(device))
        self._on_card = device == "cuda"
        self._step, self._end = LOOPS[contestant](self._task, self.folder)
        self._taken = 0
        self._take(SETTLE)
        self._make_room()

    def turn(self, steps):
        """Nanoseconds of each step but the first `WARM`."""
        self._take(WARM)
        taken = self._take(steps - WARM)
        self._make_room()
        return taken

    def close(self):
        """Memory between two due steps, and what the loop says at its end."""
        if self._on_card:
            torch.cuda.reset_peak_memory_stats()
        self._take(PERIOD - SETTLE - 1)  # a turn ends 5 steps before the next that is due
        found = {"resident": _resident()}
        if self._on_card:
            torch.cuda.synchronize()
            found["peak"] = torch.cuda.max_memory_allocated()
        self._task.optimizer.zero_grad()
        found["tensors"] = _tensors()
        return found | self._end()

    def _make_room(self):
        """The next one's batch needs the card's memory."""
        if self._on_card:
            self._task.optimizer.zero_grad()
            torch.cuda.empty_cache()

    def _take(self, steps):
        """Nanoseconds of each step: between events on a card, which nothing waits for meanwhile."""
        gc.collect()
        marks = [self._mark()]
        for _ in range(steps):
            self._step(self._taken)
            self._taken += 1
            marks.append(self._mark())
        if not self._on_card:
            return [late - early for early, late in itertools.pairwise(marks)]
        torch.cuda.synchronize()
        return [round(1e6 * early.elapsed_time(late)) for early, late in itertools.pairwise(marks)]

    def _mark(self):
        if not self._on_card:
            return time.perf_counter_ns()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _resident():
    """Bytes of the process that are in memory, None where the machine does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _tensors():
    """Bytes of all tensors that Python still holds."""
    gc.collect()
    held = (item for item in gc.get_objects() if issubclass(type(item), torch.Tensor))
    storages = (tensor.untyped_storage() for tensor in held)
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


if __name__ == "__main__":
    # At the end of the path, so that torch and NumPy are this environment's.
    sys.path += map(str, PEERS.parents[1].glob("lib/python*/site-packages"))
    serve(partial(Training, *sys.argv[1:]), Training.turn)
