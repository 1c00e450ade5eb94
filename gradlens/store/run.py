"""One recorded training, read from its folder while it is written, after a crash, or for good."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradlens.schema import TENSOR_KINDS, is_text
from gradlens.store import blocks, files, layout, records, segments, series, snapshot, state
from gradlens.store.errors import RunError
from gradlens.store.pyramid import Summaries
from gradlens.store.series import Series
from gradlens.store.snapshot import Snapshot
from gradlens.store.state import Footprint, SessionInfo
from gradlens.store.tables import MICRO_BATCH_SCHEMA, column_order
from gradlens.store.tensor_grid import TensorGrid, tensor_grid

if TYPE_CHECKING:
    import pandas as pd

Answer = TypeVar("Answer")

HEARTBEAT_SECONDS: Final = 60.0
MAX_FRAME_BYTES: Final = 4 << 30
_PATIENCE = 20


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
    _held: list[Snapshot] | None = field(default=None, repr=False, compare=False)

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
        return sum(state.counted(health.get("dropped")) for health in self._health.values())

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
        return tuple(file for folder in ("", *layout.TABLES) for file in state.stats(self.path, folder))

    @property
    def thinned(self) -> tuple[int, int] | None:
        """First and last step of the blocks whose per-tensor detail gave way to summaries (``max_bytes``); or None."""
        return self._ask(state.thinned)

    @property
    def footprint(self) -> Footprint:
        """What the run takes on disk, and for how many numbers."""
        return self._ask(lambda found: state.footprint(found, self.bytes))

    @property
    def sessions(self) -> tuple[SessionInfo, ...]:
        """Each process's turn at the run, oldest first."""

        def look(found: Snapshot) -> tuple[SessionInfo, ...]:
            numbers = sorted({*found.sessions, *self._health})
            return tuple(state.session_info(found, number, self._health.get(number, {})) for number in numbers)

        return self._ask(look)

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for each part of the run that is missing, damaged, lost or not gradlens'.

        Names what a look at each file's end, and reading so far, have found; :meth:`verify` reads everything.
        """
        found = self._ask(lambda found: found)
        said = [*self._problems, *found.problems, *self._named_parameters()[1]]
        said += [sentence for segment in found.all_segments for sentence in segment.damage]
        return (*said, *state.losses(self.sessions))

    def verify(self) -> tuple[str, ...]:
        """Read every byte of the run once; returns ``problems``, complete."""

        def read(found: Snapshot) -> None:
            for segment in found.all_segments:
                try:
                    segment.check()
                except RunError:
                    continue

        self._ask(read)
        return self.problems

    def held(self) -> Run:
        """The same run, which looks at its folder once, when it is first asked, and answers from that look ever after.

        For many questions to files that are known not to change: who holds a run watches its ``stamp``. Rows that no
        segment has yet are looked at anew all the same, and so is a folder whose files have gone.
        """
        return replace(self, _held=[])

    # ---- what it recorded --------------------------------------------------------------------------------------------

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the recorded series: gradlens' own in their order, then the user's."""
        return self._ask(series.columns)

    def series(self, name: str, between: tuple[int, int] | None = None) -> Series:
        """One recorded quantity against the step.

        Args:
            name: a column of the step table, or any name given to ``recorder.log``.
            between: first and last step wanted; all if None. What lies far from them is not read.

        Returns:
            (steps, values): (n,) int64 and (n,) float64, ascending in step, nulls dropped, NaN and Inf kept.

        Raises:
            KeyError: if the run has no such series.
            ValueError: if the column holds text.
        """
        _check_numeric(name)

        def read(found: Snapshot) -> Series:
            if name not in series.columns(found):
                raise KeyError(self._no_series(name))
            return series.series(found, name, between)

        return self._ask(read)

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

    @property
    def dense(self) -> range | None:
        """Its steps, if it has each of some consecutive ones once, as trainings have; None if not, or nobody knows.

        Of such a run the counts in :meth:`pyramid` are those of :meth:`series`. Costs a look at each file's end.
        """
        return self._ask(series.dense)

    def steps(self, *, superseded: bool = False) -> pd.DataFrame:
        """The step table as a data frame, one row a step.

        Args:
            superseded: give also the rows that a later session replaced, and say in a column ``superseded`` which.

        Raises:
            RunError: if the run has no readable rows, or more than a data frame should hold.
        """

        def read(found: Snapshot) -> pa.Table:
            names = series.columns(found)
            self._check_size(
                records.count(found, layout.STEPS), len(names), "read the series you need: run.series(name)"
            )
            rows = records.rows(found, layout.STEPS)
            if rows is None:
                raise RunError(f"run {self.name!r} has no readable rows in {self.path / layout.STEPS}.")
            own = [name for name in rows.column_names if not (superseded and name == records.SUPERSEDED)]
            rows = rows.select(column_order(own))  # of two of this name, the user's gives way
            return records.in_order(found, layout.STEPS, rows, superseded=superseded)

        return _frame(self._ask(read))

    def micro_batches(self, *, superseded: bool = False) -> pd.DataFrame:
        """The micro-batches of the steps in which they were measured, as a data frame, one row each.

        Args:
            superseded: give also those of steps that a later session replaced, and say in two last columns in which
                ``session`` they were recorded, and which are ``superseded``.

        Returns:
            Columns ``step`` (int64), ``micro_batch`` (int32, the index in the step from 0), ``loss``, ``grad_norm``,
            ``scale``, ``cosine``, ``clip_coef`` (float32), ``samples`` (int64) and ``domain`` (text), ordered by step,
            then index; what was not measured is null. Without rows where the run recorded none.

        Raises:
            RunError: if they are more than a data frame should hold.
        """
        names = [name for name in MICRO_BATCH_SCHEMA.names if name not in ("session", "seq")]
        names += ["session", records.SUPERSEDED] if superseded else []

        def read(found: Snapshot) -> pa.Table:
            rows = records.count(found, layout.MICRO_BATCHES)
            self._check_size(rows, len(names), "export them: gradlens export parquet --micro-batches")
            read = records.rows(found, layout.MICRO_BATCHES)
            read = MICRO_BATCH_SCHEMA.empty_table() if read is None else read
            return records.in_order(found, layout.MICRO_BATCHES, read, superseded=superseded).select(names)

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
        return _frame(blocks.values(rows, self.parameters))

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
        rows = self._ask(lambda found: blocks.blocks(found, kind, low, high, ("parameter", "block", *blocks.SUMMARIES)))
        return _frame(blocks.summaries(rows, self.parameters))

    def tensor_grid(self, kind: str, edges: NDArray[np.int64], *, detail: bool) -> TensorGrid:
        """A per-parameter quantity over stretches of steps, however many parameters and steps there are.

        Args:
            kind: as for :meth:`tensors`.
            edges: (stretches + 1,) int64 steps, ascending; a stretch is from one edge to before the next.
            detail: read every value; otherwise the summaries of 256 steps, which cost a tenth.

        Returns:
            (parameters, stretches) each of the smallest, largest and mean finite value, in the order of ``parameters``,
            and of whether one (of summaries: a whole block) was NaN or infinite. What cannot be read is left out.

        Raises:
            ValueError: for another kind.
        """
        self._chosen(kind, None)
        names = len(self.parameters)
        return self._ask(lambda found: tensor_grid(found, kind, names, edges, detail=detail))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the recorded parameters, in the model's order."""
        return self._named_parameters()[0]

    def _named_parameters(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the newest session that tells them, and a sentence for each file that cannot be read."""
        problems: list[str] = []
        for session in sorted({0, *self._health}, reverse=True):
            try:
                names = segments.names_in(layout.parameters_file(self.path, session))
            except FileNotFoundError:
                continue
            except RunError as error:
                problems.append(str(error))
                continue
            if names:
                return names, tuple(problems)
        return (), tuple(problems)

    # ---- within ------------------------------------------------------------------------------------------------------

    def _ask(self, question: Callable[[Snapshot], Answer]) -> Answer:
        """Answer from a snapshot; files that are replaced meanwhile mean that one must look again."""
        for attempt in range(_PATIENCE):
            try:
                return question(self._look())
            except FileNotFoundError:
                if self._held:
                    self._held.clear()
                time.sleep(0.002 * attempt)
        raise RunError(f"{self.path} changes faster than it can be read; try again.")

    def _look(self) -> Snapshot:
        if self._held is None:
            return snapshot.take(self.path)
        held = self._held[:1]  # another thread may clear it
        if not held:
            held = [snapshot.take(self.path)]
            if not held[0].logs:  # their rows would stay in memory
                self._held[:] = held
        return held[0]

    def _check_size(self, rows: int, columns: int, advice: str) -> None:
        if 8 * rows * columns > MAX_FRAME_BYTES:
            raise RunError(
                f"run {self.name!r} has {rows:,} rows of {columns:,} columns, too many for a data frame; {advice}."
            )

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


def _check_numeric(name: str) -> None:
    if is_text(name):
        raise ValueError(f"{name} holds text; read it with run.steps()[{name!r}].")


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    return frame
