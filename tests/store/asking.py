"""Everything a reader can ask of a run, what the right answers are, and a process of its own to ask in."""

from __future__ import annotations

import faulthandler
import importlib
import json
import math
import os
import resource
import select
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from gradlens.analysis import summarize
from gradlens.schema import TENSOR_KINDS
from gradlens.store import Run, RunError, snapshot
from gradlens.store.export_rows import micro_batch_slices, step_slices
from gradlens.store.export_tensors import tensor_slices
from gradlens.store.segments import ends

MOST_SECONDS: Final = 5.0
"""Of this process alone: what waits, and works not, is seen by ``HANGS_SECONDS``."""
MOST_BYTES: Final = 1 << 30
HANGS_SECONDS: Final = 30.0
TEXTS: Final = ("clip_source", "smoothness_method")
MEASURED: Final = ("loss", "grad_norm", "samples", "domain")
"""Of a micro-batch, in the runs that are damaged."""
_MOST_COLUMNS = 20
_ADDRESS_SPACE = 6 << 30  # what the system refuses shows as "malloc of size ... failed"; what it gives, in the RSS

Numbers = tuple[np.ndarray, np.ndarray]


# ---- asking ----------------------------------------------------------------------------------------------------------


@dataclass
class Answers:
    """What a run answers."""

    series: dict[str, Numbers] = field(default_factory=dict)
    pyramids: dict[str, np.ndarray] = field(default_factory=dict)
    frames: list[pd.DataFrame] = field(default_factory=list)
    tensors: dict[str, pd.DataFrame] = field(default_factory=dict)
    blocks: dict[str, pd.DataFrame] = field(default_factory=dict)
    micro_batches: list[pd.DataFrame] = field(default_factory=list)
    parameters: tuple[str, ...] = ()
    slices: dict[str, Numbers] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many numbers it gave."""
        return (
            sum(len(values) for _, values in (*self.series.values(), *self.slices.values()))
            + sum(int(entries["count"].sum() + entries["nonfinite"].sum()) for entries in self.pyramids.values())
            + sum(frame.notna().to_numpy().sum() for frame in (*self.frames, *self.micro_batches))
            + sum(len(frame) for frame in (*self.tensors.values(), *self.blocks.values()) if frame is not None)
            + len(self.parameters)
        )


def ask(run: Run) -> Answers:
    """Ask a run everything. Raises what no reader may raise."""
    found = Answers()
    assert run.status in ("finished", "stopped", "running")
    assert isinstance(run.name, str)
    assert isinstance(repr(run), str)
    assert run.dropped >= 0
    assert isinstance(run.optimizer, Mapping)
    assert run.bytes >= 0
    assert isinstance(run.stamp, tuple)
    assert all(session.rows >= 0 and session.lost >= 0 for session in run.sessions)
    names = run.columns
    names = names if len(names) <= _MOST_COLUMNS else (*names[: _MOST_COLUMNS - 3], *names[-3:])
    assert isinstance(summarize(run).steps, int)
    found.series = run.several(*names)
    for name in names:
        if name in TEXTS:
            assert _told(lambda name=name: run.series(name), ValueError) is None
            assert _told(lambda name=name: run.pyramid(name), ValueError) is None
    for name in list(found.series)[::2]:
        found.pyramids[name] = run.pyramid(name)
    for name in list(found.series)[-1:]:
        found.series[name] = run.series(name)
    assert _told(lambda: run.series("no such series"), KeyError) is None
    for superseded in (False, True):
        frame = _told(lambda superseded=superseded: run.steps(superseded=superseded), RunError)
        found.frames += [] if frame is None else [frame]
    for superseded in (False, True):
        frame = _told(lambda superseded=superseded: run.micro_batches(superseded=superseded), RunError)
        found.micro_batches += [] if frame is None else [frame]
    found.parameters = run.parameters
    for kind in TENSOR_KINDS[:1]:
        found.tensors[kind] = _told(lambda kind=kind: run.tensors(kind), RunError)
        found.blocks[kind] = _told(lambda kind=kind: run.tensor_blocks(kind), RunError)
    for name in found.parameters[:1]:
        _told(lambda name=name: run.tensors("grad_norm", name), RunError)
    _told(lambda: run.footprint, RunError)
    _told(lambda: run.thinned, RunError)
    found.slices = _told(lambda: _sliced(run), RunError) or {}
    found.problems = run.verify()
    assert all(isinstance(text, str) for text in found.problems)
    return found


def _sliced(run: Run) -> dict[str, Numbers]:
    """The step table as an export gives it: each column's steps and values, nulls left out."""
    tables = list(step_slices(run))
    found = {}
    for name in tables[0].column_names if tables else ():
        if name not in TEXTS and len(found) < _MOST_COLUMNS:
            parts = [table.select({"step", name}).drop_null() for table in tables]
            pairs = [(part["step"].to_numpy(), part[name].cast("float64", safe=False).to_numpy()) for part in parts]
            found[name] = np.concatenate([s for s, _ in pairs]), np.concatenate([v for _, v in pairs])
    for kind in TENSOR_KINDS[:1]:
        for _ in tensor_slices(run, kind):
            pass
    for _ in micro_batch_slices(run):
        pass
    return found


def _told(question: Callable[[], Any], documented: type[Exception]) -> Any:
    """The answer, or None where the question raises what it may raise, with a sentence."""
    try:
        return question()
    except documented as error:
        sentence = str(error.args[0])
        assert sentence[-1] in ".]", sentence
        assert len(sentence) > 20, sentence
        return None


def forget() -> None:
    """Let no answer come from what was read before."""
    for kept in vars(ends).values():
        if hasattr(kept, "cache_clear"):
            kept.cache_clear()
    snapshot._scans.clear()


# ---- what is right ---------------------------------------------------------------------------------------------------

Row = Mapping[str, Any]


class Truth:
    """What was recorded.

    Args:
        parts: rows of each file, in the order of their steps; null where missing or None.
        tensors: kind -> (step, parameter, value).
        blocks: kind -> (step, parameter, min, max, mean, last) as the files hold them.
        parameters: the names.
        micro_batches: step, index, loss, gradient norm, samples and domain of each that counts, None where missing.
    """

    def __init__(
        self,
        parts: Sequence[Sequence[Row]],
        tensors: Mapping[str, Iterable[tuple[int, str, float]]],
        blocks: Mapping[str, Iterable[tuple[Any, ...]]],
        parameters: Sequence[str],
        micro_batches: Iterable[tuple[Any, ...]] = (),
    ) -> None:
        rows = [row for part in parts for row in part]
        names = {name for row in rows for name in row}
        self.rows = len(rows)
        self.texts = {name: {row["step"]: row.get(name) for row in rows} for name in names if name in TEXTS}
        self.series: dict[str, Numbers] = {}
        self.pyramids: dict[str, dict[int, list[tuple[float, ...]]]] = {}
        for name in names - set(TEXTS):
            kept = [[(row["step"], float(row[name])) for row in part if row.get(name) is not None] for part in parts]
            flat = [pair for part in kept for pair in part]
            self.series[name] = np.array([s for s, _ in flat]), np.array([v for _, v in flat])
            self.pyramids[name] = {}
            for block in {step // 256 for step, _ in flat}:
                mine = [[(s, v) for s, v in part if s // 256 == block] for part in kept]
                subsets = [[part for i, part in enumerate(mine) if bits >> i & 1] for bits in range(1, 1 << len(mine))]
                self.pyramids[name][block] = [summary([p for part in s for p in part]) for s in subsets if any(s)]
        self.tensors = {kind: {(s, n): v for s, n, v in values} for kind, values in tensors.items()}
        self.blocks = {kind: set(map(_hashable, rows)) for kind, rows in blocks.items()}
        self.parameters = tuple(parameters)
        self.micro_batches = {tuple(each[:2]): _hashable(each[2:]) for each in micro_batches}


def summary(pairs: Sequence[tuple[int, float]]) -> tuple[float, ...]:
    """Minimum, maximum, mean, last, count, nonfinite, odd of (step, value)."""
    finite = [value for _, value in pairs if math.isfinite(value)]
    odd = [step % 256 for step, value in pairs if not math.isfinite(value)]
    four = (min(finite), max(finite), math.fsum(finite) / len(finite), finite[-1]) if finite else (math.nan,) * 4
    return (*four, len(finite), len(odd), odd[0] if odd else 0)


def wrong(found: Answers, truth: Truth) -> list[str]:
    """Each number that is not what was recorded at its step."""
    said = []
    for name, (steps, values) in (*found.series.items(), *found.slices.items()):
        if (np.diff(steps) <= 0).any():
            said.append(f"steps of {name} do not ascend")
        said += [f"{name} at step {step}" for step in _differing(truth.series.get(name), steps, values)]
    for name, entries in found.pyramids.items():
        for entry in entries:
            known = truth.pyramids.get(name, {}).get(int(entry["block"]), [])
            given = tuple(float(entry[f]) for f in ("min", "max", "mean", "last", "count", "nonfinite", "odd"))
            if not any(np.allclose(given, each, rtol=1e-12, atol=0, equal_nan=True) for each in known):
                said.append(f"summary of {name} in block {entry['block']}: {given}")
    for whole_frame in found.frames:
        superseded = whole_frame.get("superseded")
        frame = whole_frame if superseded is None else whole_frame[~superseded]
        steps = frame["step"].to_numpy()
        if len(set(steps.tolist())) < len(steps):
            said.append("a step twice")
        for name in set(frame.columns) - {"superseded"}:
            if name in TEXTS:
                known = truth.texts.get(name, {})
                given = [None if pd.isna(text) else text for text in frame[name]]
                bad = [s for s, text in zip(steps.tolist(), given, strict=True) if known.get(s, "") != text]
            else:
                values = frame[name].astype("float64").to_numpy()
                steps_known, known_values = truth.series.get(name, (np.empty(0, np.int64), np.empty(0)))
                whole = np.full(truth.rows, np.nan)
                all_steps = truth.series["step"][0]
                whole[np.searchsorted(all_steps, steps_known)] = known_values
                bad = _differing((all_steps, whole), steps, values)
            said += [f"{name} in the frame at step {step}" for step in bad]
    for kind, frame in found.tensors.items():
        if frame is None:
            continue
        known = truth.tensors.get(kind, {})
        if len(frame) == len(known) and frame["name"].iloc[:1].tolist() != ["?"]:
            keys = list(zip(frame["step"], frame["name"], strict=True))
            values = np.array([known.get(key, math.inf) for key in keys], np.float32)
            bad = ~((values == frame["value"]) | (np.isnan(values) & frame["value"].isna())).to_numpy(bool)
            said += [f"{kind} of {keys[i]}" for i in np.flatnonzero(bad)]
            continue
        at_step: dict[int, list[float]] = {}
        for (step, _), value in known.items():
            at_step.setdefault(step, []).append(value)
        for step, name, value in frame.itertuples(index=False):
            right = [known[step, name]] if (step, name) in known else at_step.get(step, []) if name == "?" else []
            if not any(_same(value, each) for each in right):
                said.append(f"{kind} of {name} at step {step}: {value}")
    for kind, frame in found.blocks.items():
        if frame is None:
            continue
        known = truth.blocks.get(kind, set())
        anonymous = {(row[0], *row[2:]) for row in known}
        for row in map(_hashable, frame.itertuples(index=False)):
            if row not in known and not (row[1] == "?" and (row[0], *row[2:]) in anonymous):
                said.append(f"block {row} of {kind}")
    for whole_frame in found.micro_batches:
        superseded = whole_frame.get("superseded")
        frame = whole_frame if superseded is None else whole_frame[~superseded]
        keys = list(zip(frame["step"].tolist(), frame["micro_batch"].tolist(), strict=True))
        if keys != sorted(set(keys)):
            said.append("micro-batches that do not ascend")
        rows = frame[list(MEASURED)].astype(object).itertuples(index=False, name=None)
        for key, row in zip(keys, rows, strict=True):
            given = tuple("nan" if pd.isna(value) else value for value in row)
            if truth.micro_batches.get(key) != given:
                said.append(f"micro-batch {key}: {given}")
    if found.parameters not in ((), truth.parameters):
        said.append(f"parameters {found.parameters}")
    return said


def _differing(known: Numbers | None, steps: np.ndarray, values: np.ndarray) -> list[int]:
    if known is None or len(known[0]) == 0:
        return steps.tolist()
    place = np.minimum(np.searchsorted(known[0], steps), len(known[0]) - 1)
    there, right = known[0][place], known[1][place]
    same = (there == steps) & ((right == values) | (np.isnan(right) & np.isnan(values)))
    return steps[~same].tolist()


def _same(a: float, b: float) -> bool:
    return bool(a == b or (a != a and b != b))


def _hashable(row: Iterable[Any]) -> tuple[Any, ...]:
    return tuple("nan" if value is None or value != value else value for value in row)


# ---- in a process of its own -----------------------------------------------------------------------------------------


class Worker:
    """A process that runs functions of these test modules, so that a crash, a hang or a memory blow-up is seen.

    Attributes:
        killed: what ended a process by a signal, or had to be ended because it hung.
    """

    def __init__(self) -> None:
        self.killed: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = b""

    def run(self, function: str, cases: Sequence[Any], *arguments: Any) -> list[dict[str, Any]]:
        """Call ``module:function(case, *arguments)`` for each case, JSON in and out; ``failed`` says what is wrong."""
        results: list[dict[str, Any]] = []
        while len(results) < len(cases):
            process = self._process = self._process or self._start()
            assert process.stdin is not None
            process.stdin.write(json.dumps([function, cases[len(results) :], arguments]).encode() + b"\n")
            process.stdin.flush()
            while len(results) < len(cases) and (answer := self._hear(process)) is not None:
                results.append(answer)
                if answer["bytes"] > MOST_BYTES:  # as much as it ever had: the next case needs a new process
                    break
            else:
                if len(results) < len(cases):
                    process.kill()
                    self.killed.append(f"{cases[len(results)]} ended its process with {process.wait()}")
                    results.append({"failed": self.killed[-1]})
            if len(results) < len(cases):
                self.close()
        return results

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process, self._heard = None, b""

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-W", "error", __file__]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def _hear(self, process: subprocess.Popen[bytes]) -> dict[str, Any] | None:
        assert process.stdout is not None
        while b"\n" not in self._heard:
            ready, _, _ = select.select([process.stdout], [], [], HANGS_SECONDS)
            part = os.read(process.stdout.fileno(), 1 << 16) if ready else b""
            if not part:
                return None
            self._heard += part
        line, self._heard = self._heard.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer


def serve() -> None:
    """What the process does: a line in, a line out for each case."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing else may write there
    for line in sys.stdin:
        name, cases, arguments = json.loads(line)
        module, function = name.split(":")
        call = getattr(importlib.import_module(module), function)
        for case in cases:
            output.write(json.dumps(_guarded(call, case, arguments)) + "\n")
            output.flush()


def peak_bytes() -> int:
    """The most memory that this process had resident."""
    try:  # getrusage would give a child the peak of the parent that forked it
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) << 10
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _guarded(call: Callable[..., dict[str, Any]], case: Any, arguments: Sequence[Any]) -> dict[str, Any]:
    begin = time.process_time()
    with warnings.catch_warnings():
        try:
            result = call(case, *arguments)
        except BaseException:  # whatever it is, it is the answer
            result = {"failed": f"{case}: {traceback.format_exc(limit=-6)}"}
    result["seconds"] = time.process_time() - begin
    result["bytes"] = peak_bytes()
    taken = result.get("asking", result["seconds"])
    if taken > MOST_SECONDS:
        result.setdefault("failed", f"{case} took {taken:.1f} s of a processor")
    if result["bytes"] > MOST_BYTES:
        result.setdefault("failed", f"{case} took {result['bytes'] >> 20} MiB")
    return result


if __name__ == "__main__":
    serve()
