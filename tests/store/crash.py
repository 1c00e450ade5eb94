"""A disk that dies in the middle of an operation, and the law that a run must obey whatever happens to it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import gradlens
from gradlens.store import Disk, Run, session
from gradlens.store.session import Session

PARAMETERS = [("a", (2, 2), "float32", 0), ("b", (3,), "float32", 0), ("c", (), "float32", 1)]
FRACTIONS = (0, 1, 30, 50, 99)


class Crash(BaseException):
    """The process is dead; no handler of an exception may run anything on the disk after it."""


class DyingDisk(Disk):
    """Dies at its ``at``-th operation, with ``percent`` of that operation done."""

    def __init__(self, at: int = -1, percent: int = 0) -> None:
        super().__init__()
        self.at = at
        self.percent = percent
        self.operations: list[str] = []
        self.targets: list[str] = []
        self.turns: list[Session] = []
        self._open: set[int] = set()

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if (
            name.startswith("_")
            or name in ("write", "temporary", "owns")
            or not callable(found)
            or not hasattr(Disk, name)
        ):
            return found
        return lambda *arguments: self._operate(name, found, arguments)

    def _operate(self, name: str, operation: Any, arguments: tuple[Any, ...]) -> Any:
        number = len(self.operations)
        self.operations.append(name)
        self.targets.append(str(arguments[0]))
        if self.at >= 0 and number > self.at:
            raise Crash
        if number != self.at:
            result = operation(*arguments)
            if name == "create":
                self._open.add(result)
            elif name == "close":
                self._open.discard(arguments[0])
            return result
        if name == "append":
            handle, data = arguments
            os.write(handle, data[: len(data) * self.percent // 100])
        elif self.percent >= 50:  # done, but nobody hears of it
            result = operation(*arguments)
            if name == "create":
                self._open.add(result)
            elif name == "close":
                self._open.discard(arguments[0])
        raise Crash

    def bury(self) -> None:
        """What the system does when a process has died: its files are closed, and its locks let go."""
        for handle in self._open:
            os.close(handle)
        self._open.clear()
        for turn in self.turns:  # a session holds its folder, too, past any disk
            if turn._folder >= 0:
                os.close(turn._folder)
        self.turns.clear()


def row(step: int, turn: int) -> dict[str, Any]:
    """A row that tells which step and session it is of."""
    entries: dict[str, Any] = {"step": step, "loss": step + 1000.0 * turn, "clipped": step % 2 == 0}
    if step % 3 == 0:
        entries["smoothness_method"] = "none: zero step"
    if step > 6:
        entries["late"] = float("nan") if step % 5 == 0 else step / 7
    return entries


def tensors(step: int, turn: int) -> dict[str, np.ndarray]:
    """Tensors that tell the same."""
    return {"grad_norm": (np.arange(3) + 10 * step + 1000 * turn).astype(np.float32)} if step % 2 == 0 else {}


def micro_batches(step: int, turn: int) -> dict[str, Any]:
    """Micro-batches that tell the same, of another number in each step, in two of three."""
    count = 0 if step % 3 == 1 else step % 4 + 1
    columns = {"loss": np.arange(count) + 10 * step + 1000 * turn, "samples": [step] * count}
    return columns | {"domain": [None, "even", f"step {step}"][:count] + ["more"] * (count - 3)} if count else {}


def record(turn: Session, number: int, steps: Iterable[int], acknowledged: list[int]) -> None:
    """What the two threads of a writer do, one after the other."""
    for seq, step in enumerate(steps):
        turn.append(seq, row(step, number), tensors(step, number), micro_batches(step, number))
        acknowledged.append(step)
        if turn.waiting:
            turn.seal()
            turn.compact(2)
    turn.rotate()
    turn.seal()
    turn.compact(1)
    turn.beat({"rows": len(acknowledged), "dropped": 0, "last_error": None, "closed": "finished"})
    turn.close()


def begin(disk: Disk, root: Path) -> Session:
    return mortal(disk, session.start(disk, root, "crashing", {}, PARAMETERS))


def mortal(disk: Disk, turn: Session) -> Session:
    """A session that is buried with its disk, should that die."""
    if isinstance(disk, DyingDisk):
        disk.turns.append(turn)
    return turn


def check(run: Run, turns: dict[int, tuple[list[int], int]]) -> int:
    """Every acknowledged row is there once, with its numbers; none is there that nobody wrote.

    Args:
        run: the run.
        turns: session -> (acknowledged steps, the step that was being written, if any more).

    Returns:
        How many rows there are.
    """
    frame = run.steps(superseded=True) if run.columns else None
    rows = [] if frame is None else list(frame.itertuples(index=False))
    seen: dict[int, list[int]] = {turn: [] for turn in turns}
    for each in rows:
        assert each.loss == each.step + 1000.0 * each.session
        assert each.clipped == (each.step % 2 == 0)
        method = getattr(each, "smoothness_method", None)  # none of them may have one
        assert (method == "none: zero step") == (each.step % 3 == 0)
        if each.step > 6 and each.step % 5:
            assert each.late == each.step / 7
        seen[each.session].append(each.step)
    for turn, (acknowledged, under_way) in turns.items():
        assert seen[turn] in (acknowledged, [*acknowledged, under_way]), (turn, seen[turn], acknowledged)
    start = {turn: min(steps) for turn, steps in seen.items() if steps}
    limit = {turn: min((first for later, first in start.items() if later > turn), default=1 << 60) for turn in turns}
    truth = sorted((step, turn) for turn, steps in seen.items() for step in steps if step < limit[turn])
    if rows:
        step, loss = run.series("loss")
        assert list(zip(step.tolist(), loss.tolist(), strict=True)) == [(s, s + 1000.0 * t) for s, t in truth]
        assert run.steps()["step"].tolist() == step.tolist()
        assert sum(entry["count"] for entry in run.pyramid("loss")) == len(truth)
        late = run.pyramid("late") if "late" in run.columns else []
        assert sum(entry["count"] + entry["nonfinite"] for entry in late) == sum(step > 6 for step, _ in truth)
    values = run.tensors("grad_norm")
    expected = [(s, n, v) for s, t in truth for n, v in zip("abc", tensors(s, t).get("grad_norm", ()), strict=False)]
    assert list(values.itertuples(index=False, name=None)) == expected
    assert measured(run.micro_batches()) == [each[:-1] for step, turn in truth for each in told(step, turn)]
    everything = run.micro_batches(superseded=True)
    written = sorted((step, turn) for turn, steps in seen.items() for step in steps)
    assert measured(everything, "session") == [each for step, turn in written for each in told(step, turn)]
    alive = dict(truth)
    assert everything["superseded"].tolist() == [
        alive.get(step) != turn for step, turn in written for _ in told(step, turn)
    ]
    return len(rows)


def told(step: int, turn: int) -> list[tuple[Any, ...]]:
    """Step, place, loss, samples, domain and session of each micro-batch that a step should have."""
    columns = micro_batches(step, turn).values()
    return [(step, place, *values, turn) for place, values in enumerate(zip(*columns, strict=True))]


def measured(frame: Any, *more: str) -> list[tuple[Any, ...]]:
    """The same, of those that a run has."""
    columns = [frame[name].tolist() for name in ("step", "micro_batch", "loss", "samples", "domain", *more)]
    columns[4] = [text if isinstance(text, str) else None for text in columns[4]]
    return list(zip(*columns, strict=True))


_OF_ITS_TIME = re.compile(rb'"(created|heartbeat|run_id)": [^,}\n]*')


def left_on_disk(root: Path) -> tuple[tuple[str, bytes | None], ...]:
    """Every name and byte under a root of one run, but for its times, its id and the marks of its temporaries.

    What differs in these alone is the same to a reader and to whoever resumes the run.
    """
    found = []
    for path in sorted(root.rglob("*")):
        name = re.sub(r"\.[^.]+\.tmp$", ".tmp", "/".join(path.relative_to(root).parts[1:]))
        data = path.read_bytes() if path.is_file() else None
        found.append((name, _OF_ITS_TIME.sub(b"", data) if data and ".json" in name else data))
    return tuple(found)


def open_only(root: Path) -> Run | None:
    """The one run under a root, None if there is none yet."""
    runs = gradlens.open_runs(root)
    assert not runs.problems
    assert len(runs) <= 1
    return runs[0] if runs else None
