"""One recorded training, read from its folder while it is written, after a crash, or for good."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gradlens.schema import TENSOR_KINDS, is_text
from gradlens.store import blocks, files, layout, segments, series, snapshot
from gradlens.store.errors import RunError
from gradlens.store.layout import BLOCK
from gradlens.store.pyramid import Summaries
from gradlens.store.segments import Segment
from gradlens.store.series import KEYS, Series
from gradlens.store.snapshot import Snapshot
from gradlens.store.tables import column_order

if TYPE_CHECKING:
    import pandas as pd

Answer = TypeVar("Answer")

HEARTBEAT_SECONDS: Final = 60.0
MAX_FRAME_BYTES: Final = 4 << 30
_FOOTPRINT_VALUES = 1 << 22
_PATIENCE = 20


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One process's turn at a run.

    Attributes:
        number: 0 for the first.
        first_step: the smallest step that it wrote, None if it wrote none.
        rows: rows of it that can be read.
        lost: rows that it could not write: by its own count, or missing in the numbering of those that are there.
        last_error: what the disk said last.
        closed: ``finished``, ``stopped``, or None if it never closed.
        heartbeat: when it last said that it lived, seconds since 1970.
    """

    number: int
    first_step: int | None
    rows: int
    lost: int
    last_error: str | None
    closed: str | None
    heartbeat: float | None


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a run takes on disk.

    Attributes:
        segments: sealed segments.
        logs: active logs.
        bytes: of all its files.
        points: recorded numbers: scalars, and per-tensor values.
    """

    segments: int
    logs: int
    bytes: int
    points: int


@dataclass(frozen=True)
class Run:
    """One recorded training, read from its folder. Opening it reads ``run.json`` only; each question looks anew.

    Parts of it that are damaged are left out and named in ``problems``. Where a run was resumed, the newest session's
    rows count: those that an older session wrote from that step on are superseded, and given only where asked for.

    Attributes:
        path: the run folder.
        run_id: the folder's generated id.
        name: what people call it.
        config: what the user gave as ``config``.
        clip: the clip rule's spec, None if the run only observed.
        environment: versions, device, precision and optimizer of the recording.
        created: seconds since 1970.
    """

    path: Path
    run_id: str
    name: str
    config: Mapping[str, Any]
    clip: Mapping[str, Any] | None
    environment: Mapping[str, Any]
    created: float
    _health: Mapping[int, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    _problems: tuple[str, ...] = field(default=(), repr=False)

    def __repr__(self) -> str:
        return f"Run({self.name!r}, {self.run_id}, {self.status})"

    # ---- how it is doing ---------------------------------------------------------------------------------------------

    @property
    def status(self) -> str:
        """``finished``, ``stopped`` or ``running``: derived from how the newest session closed and its heartbeat."""
        if not self._health:
            return "stopped"
        newest = self._health[max(self._health)]
        closed = newest.get("closed")
        if closed in ("finished", "stopped"):
            return str(closed)
        beat = files.number(newest.get("heartbeat"))
        return "running" if beat is not None and abs(time.time() - beat) < HEARTBEAT_SECONDS else "stopped"

    @property
    def dropped(self) -> int:
        """Rows that the recorder could not write, by its own count."""
        return sum(_count(health.get("dropped")) for health in self._health.values())

    @property
    def optimizer(self) -> Mapping[str, Any]:
        """``class`` and ``defaults`` of the optimizer recorded; empty where the run does not say."""
        optimizer = self.environment.get("optimizer")
        return optimizer if isinstance(optimizer, dict) else {}

    @property
    def bytes(self) -> int:
        """Size of the run's files on disk."""
        return sum(files.size(folder) for folder in (self.path, *(self.path / table for table in layout.TABLES)))

    @property
    def stamp(self) -> tuple[tuple[str, int, int, int], ...]:
        """Name, inode, size and time of each of the run's files: another once any of them has changed or grown."""
        return tuple(file for folder in ("", *layout.TABLES) for file in _stats(self.path, folder))

    @property
    def thinned(self) -> tuple[int, int] | None:
        """First and last step of the blocks whose per-tensor detail gave way to summaries (``max_bytes``); or None."""

        def look(found: Snapshot) -> tuple[int, int] | None:
            ends: list[int] = []
            for segment in found.tensors:
                try:
                    rows = segment.read(["block", "offsets"])
                except RunError:
                    continue
                bare = rows["block"].filter(pc.equal(pc.list_value_length(rows["offsets"]), 0))
                ends += [end for end in pc.min_max(bare).as_py().values() if end is not None]
            return (min(ends) * BLOCK, max(ends) * BLOCK + BLOCK - 1) if ends else None

        return self._ask(look)

    @property
    def footprint(self) -> Footprint:
        """What the run takes on disk, and for how many numbers."""

        def look(found: Snapshot) -> Footprint:
            points = 0
            for segment in found.steps:
                points += _points(segment)
            for segment in found.tensors:
                with contextlib.suppress(RunError):
                    points += sum(blocks.value_counts(segment).tolist())
            for session in found.sessions:
                points += sum(g.scalars.size - len(g.seqs) for g in found.fresh(session, layout.STEPS))
                points += sum(g.tensors.size for g in found.fresh(session, layout.TENSORS))
            return Footprint(len(found.steps) + len(found.tensors), len(found.logs), self.bytes, points)

        return self._ask(look)

    @property
    def sessions(self) -> tuple[SessionInfo, ...]:
        """Each process's turn at the run, oldest first."""
        return self._ask(lambda found: tuple(self._session(found, n) for n in sorted({*found.sessions, *self._health})))

    def _session(self, found: Snapshot, number: int) -> SessionInfo:
        health = self._health.get(number, {})
        segments = list(found.segments(number, layout.STEPS))
        fresh = found.fresh(number, layout.STEPS)
        rows = sum(s.rows for s in segments) + sum(len(group.seqs) for group in fresh)
        ends = [s.name.last for s in segments] + [int(group.seqs.max()) for group in fresh]
        missing = max(ends) + 1 - rows if ends and not found.problems else 0
        error, closed = files.text(health.get("last_error")), health.get("closed")
        return SessionInfo(
            number,
            found.starts.get(number),
            rows,
            max(missing, _count(health.get("dropped"))),
            error or None,
            closed if closed in ("finished", "stopped") else None,
            files.number(health.get("heartbeat")),
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for each part of the run that is missing, damaged, lost or not gradlens'.

        Names what a look at each file's end, and reading so far, have found; :meth:`verify` reads everything.
        """
        found = self._ask(lambda found: found)
        said = [*self._problems, *found.problems, *self._named_parameters()[1]]
        said += [sentence for segment in (*found.steps, *found.tensors) for sentence in segment.damage]
        sessions = self.sessions
        for session in sessions:
            of = f" in session {session.number}" if len(sessions) > 1 else ""
            if session.lost:
                why = f": {session.last_error}" if session.last_error else ""
                said.append(f"{session.lost:,} rows lost while recording{of}{why}.")
            elif session.last_error:
                said.append(f"the disk failed while recording{of}, but no row was lost: {session.last_error}.")
        return tuple(said)

    def verify(self) -> tuple[str, ...]:
        """Read every byte of the run once; returns ``problems``, complete."""

        def read(found: Snapshot) -> None:
            for segment in (*found.steps, *found.tensors):
                try:
                    segment.check()
                except RunError:
                    continue

        self._ask(read)
        return self.problems

    # ---- what it recorded --------------------------------------------------------------------------------------------

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the recorded series: gradlens' own in their order, then the user's."""
        return self._ask(series.columns)

    def series(self, name: str) -> Series:
        """One recorded quantity against the step.

        Args:
            name: a column of the step table, or any name given to ``recorder.log``.

        Returns:
            (steps, values): (n,) int64 and (n,) float64, ascending in step, nulls dropped, NaN and Inf kept.

        Raises:
            KeyError: if the run has no such series.
            ValueError: if the column holds text.
        """
        _check_numeric(name)
        found = self.several(name)
        if name not in found:
            raise KeyError(self._no_series(name))
        return found[name]

    def several(self, *names: str) -> dict[str, Series]:
        """Those of several series that the run has, from one look at its files; each as :meth:`series` gives it."""

        def read(found: Snapshot) -> dict[str, Series]:
            wanted = [name for name in series.columns(found) if name in names and not is_text(name)]
            return {name: series.series(found, name) for name in wanted}

        return self._ask(read)

    def pyramid(self, name: str) -> Summaries:
        """A series in blocks of 256 steps, at a cost that hardly grows with the run's length.

        Args:
            name: as for :meth:`series`.

        Returns:
            (blocks,) with fields ``block`` (steps 256 * block to 256 * block + 255), ``min``, ``max``, ``mean`` and
            ``last`` of the finite values (NaN if there are none), their ``count``, the number ``nonfinite`` of NaN and
            infinite values, and in ``odd`` the place in the block of the first of them.

        Raises:
            KeyError: if the run has no such series.
            ValueError: if the column holds text.
        """
        _check_numeric(name)

        def read(found: Snapshot) -> Summaries:
            if name not in series.columns(found):
                raise KeyError(self._no_series(name))
            return series.summaries(found, name)

        return self._ask(read)

    def steps(self, *, superseded: bool = False) -> pd.DataFrame:
        """The step table as a data frame, one row a step.

        Args:
            superseded: give also the rows that a later session replaced, and say in a column ``superseded`` which.

        Raises:
            RunError: if the run has no readable rows, or more than a data frame should hold.
        """

        def read(found: Snapshot) -> pa.Table:
            rows, names = series.rows(found), series.columns(found)
            if 8 * rows * len(names) > MAX_FRAME_BYTES:
                raise RunError(
                    f"run {self.name!r} has {rows:,} rows of {len(names):,} columns, too many for a data frame; "
                    "read the series you need with run.series(name)."
                )
            parts = [part for session in found.sessions for part in series.tables(found, session)]
            if not any(part.num_rows for part in parts):
                raise RunError(f"run {self.name!r} has no readable rows in {self.path / layout.STEPS}.")
            table = pa.concat_tables(parts, promote_options="default")
            table = table.select(column_order(table.column_names))
            step, session, seq = (table[key].to_numpy() for key in KEYS)
            newest = series.newest_rows(found, step, session, seq)
            if not superseded:
                return table.take(pa.array(newest))
            if "superseded" in names:  # the user's own gives way
                table = table.drop_columns(["superseded"])
            alive = np.zeros(len(step), np.bool_)
            alive[newest] = True
            order = np.lexsort((seq, session, step))
            return table.append_column("superseded", pa.array(~alive)).take(pa.array(order))

        return _frame(self._ask(read))

    def tensors(self, kind: str, name: str | None = None) -> pd.DataFrame:
        """A per-parameter quantity as a long data frame.

        Args:
            kind: ``"grad_norm"``, ``"update_norm"`` or ``"param_norm"``.
            name: of one parameter; all if None.

        Returns:
            Columns ``step`` (int64), ``name`` (text) and ``value`` (float32), ordered by step, then parameter. Steps
            whose detail was thinned (``max_bytes``) are left out; :meth:`tensor_blocks` has their summaries.

        Raises:
            ValueError: for another kind.
            RunError: if they are more than a data frame should hold.
        """
        low, high = self._chosen(kind, name)
        rows = self._ask(
            lambda found: blocks.blocks(found, kind, low, high, ("parameter", "block", "offsets", "values"))
        )
        return self._long(rows)

    def tensor_blocks(self, kind: str, name: str | None = None) -> pd.DataFrame:
        """A per-parameter quantity in blocks of 256 steps.

        Args:
            kind: as for :meth:`tensors`.
            name: as for :meth:`tensors`.

        Returns:
            Columns ``step`` (of the block's begin), ``name``, ``min``, ``max``, ``mean``, ``last`` of the finite
            values; a block that two sessions or segments share has a row from each.

        Raises:
            ValueError: for another kind.
        """
        low, high = self._chosen(kind, name)
        wanted = ("parameter", "block", "min", "max", "mean", "last")
        rows = self._ask(lambda found: blocks.blocks(found, kind, low, high, wanted))
        if rows is None:
            return self._long(None).rename(columns={"value": "mean"})
        rows = rows.sort_by([("block", "ascending"), ("parameter", "ascending")])
        columns = {"step": rows["block"].to_numpy() * BLOCK, "name": self._named(rows["parameter"].to_numpy())}
        return _frame(pa.table({**columns, **{name: rows[name] for name in wanted[2:]}}))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the recorded parameters, in the model's order."""
        return self._named_parameters()[0]

    def _named_parameters(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the newest session that tells them, and a sentence for each file that cannot be read."""
        problems: list[str] = []
        for session in sorted({0, *self._health}, reverse=True):
            try:
                return segments.names_in(layout.parameters_file(self.path, session)), tuple(problems)
            except FileNotFoundError:
                continue
            except RunError as error:
                problems.append(str(error))
        return (), tuple(problems)

    # ---- within ------------------------------------------------------------------------------------------------------

    def _ask(self, question: Callable[[Snapshot], Answer]) -> Answer:
        """Answer from a snapshot; files that are replaced meanwhile mean that one must look again."""
        for attempt in range(_PATIENCE):
            try:
                return question(snapshot.take(self.path))
            except FileNotFoundError:
                time.sleep(0.002 * attempt)
        raise RunError(f"{self.path} changes faster than it can be read; try again.")

    def _no_series(self, name: str) -> str:
        return f"run {self.name!r} has no series {name!r}; it has {', '.join(self.columns) or 'no rows'}."

    def _chosen(self, kind: str, name: str | None) -> tuple[int, int]:
        """The range of parameters asked for."""
        if kind not in TENSOR_KINDS:
            raise ValueError(f"expected one of the kinds {', '.join(TENSOR_KINDS)}; got {kind!r}.")
        if name is None:
            return 0, 1 << 31
        names = self.parameters
        if name not in names:
            raise ValueError(f"run {self.name!r} has no parameter {name!r}; it has {', '.join(names[:20]) or 'none'}.")
        return names.index(name), names.index(name) + 1

    def _named(self, parameters: NDArray[np.int32]) -> NDArray[np.object_]:
        names = np.array([*self.parameters, "?"], dtype=object)
        return names[np.where((parameters >= 0) & (parameters < len(names)), parameters, len(names) - 1)]

    def _long(self, rows: pa.Table | None) -> pd.DataFrame:
        if rows is None or not pc.sum(pc.list_value_length(rows["values"])).as_py():
            empty = pa.table({"step": pa.array([], pa.int64()), "name": pa.array([], pa.string())})
            return _frame(empty.append_column("value", pa.array([], pa.float32())))
        counts = pc.list_value_length(rows["values"]).to_numpy()
        step = np.repeat(rows["block"].to_numpy() * BLOCK, counts) + pc.list_flatten(rows["offsets"]).to_numpy()
        parameter = np.repeat(rows["parameter"].to_numpy(), counts)
        value = pc.list_flatten(rows["values"]).to_numpy()
        order = np.lexsort((np.arange(len(step)), parameter, step))
        step, parameter, value = step[order], parameter[order], value[order]
        newest = np.append((np.diff(step) != 0) | (np.diff(parameter) != 0), True)
        return _frame(pa.table({"step": step[newest], "name": self._named(parameter[newest]), "value": value[newest]}))


def _stats(run: Path, folder: str) -> list[tuple[str, int, int, int]]:
    """Name, inode, size and time of the files in a run's folder, hidden ones left out; of those that can be had."""
    found = []
    with contextlib.suppress(OSError), os.scandir(run / folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and not entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    stat = entry.stat(follow_symlinks=False)
                    name = f"{folder}/{entry.name}" if folder else entry.name
                    found.append((name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return sorted(found)


def _check_numeric(name: str) -> None:
    if is_text(name):
        raise ValueError(f"{name} holds text; read it with run.steps()[{name!r}].")


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _points(segment: Segment) -> int:
    """How many numbers a segment of step records holds, read some columns at a time; damaged ones left out."""
    names = [name for name in segment.columns if name not in KEYS]
    some = max(1, _FOOTPRINT_VALUES // max(1, segment.rows))
    points = 0
    for begin in range(0, len(names), some):
        chosen = names[begin : begin + some]
        try:
            points += _numbers(segment, chosen)
        except RunError:  # one of them is damaged; the others count
            for name in chosen:
                with contextlib.suppress(RunError):
                    points += _numbers(segment, [name])
    return points


def _numbers(segment: Segment, names: list[str]) -> int:
    return sum(len(column) - int(column.null_count) for column in segment.read(names).columns)


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
