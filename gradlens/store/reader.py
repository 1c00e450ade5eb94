"""The reading side of runs: what is broken is skipped and named, never raised into the other runs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gradlens.schema import SCHEMA_VERSION, STEP_COLUMNS, TENSOR_KINDS
from gradlens.store import layout, segments
from gradlens.store.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

Series = tuple[NDArray[np.int64], NDArray[np.float64]]

HEARTBEAT_SECONDS = 60.0
_KEYS = ("step", "session", "seq")
_MAX_JSON = 4 << 20
_MAX_DEPTH = 12


@dataclass(frozen=True)
class Run:
    """One recorded training, read from its folder. Opening it reads ``run.json`` only.

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
    _health: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return f"Run({self.name!r}, {self.run_id}, {self.status})"

    @property
    def status(self) -> str:
        """``finished``, ``stopped`` or ``running``: derived from how the last session closed and its heartbeat."""
        closed = self._health.get("closed")
        if closed in ("finished", "stopped"):
            return str(closed)
        beat = self._health.get("heartbeat")
        alive = isinstance(beat, (int, float)) and time.time() - beat < HEARTBEAT_SECONDS
        return "running" if alive else "stopped"

    @property
    def dropped(self) -> int:
        """Rows that the recorder could not write, by its own count."""
        dropped = self._health.get("dropped")
        return dropped if isinstance(dropped, int) else 0

    @property
    def optimizer(self) -> Mapping[str, Any]:
        """``class`` and ``defaults`` of the optimizer recorded; empty where the run does not say."""
        return _mapping(self.environment.get("optimizer"))

    @property
    def bytes(self) -> int:
        """Size of the run's files on disk."""
        folders = (self.path, self.path / layout.STEPS, self.path / layout.TENSORS)
        return sum(segments.size(folder) for folder in folders)

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for each part of the run that is missing, damaged or not gradlens'."""
        found: list[str] = []
        for folder in (layout.STEPS, layout.TENSORS):
            found += segments.find(self.path / folder).problems
        for path in segments.find(self.path / layout.STEPS).good:
            if not set(_KEYS) <= set(segments.names(path)):
                found.append(f"{path} holds no step records, whatever its name says; it is ignored.")
        error = self._health.get("last_error")
        if self.dropped:
            found.append(f"{self.dropped:,} rows lost while recording: {error}.")
        elif error:
            found.append(f"a part of the run beside its step records could not be written: {error}.")
        return tuple(found)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the recorded series: gradlens' own in their order, then the user's."""
        present = segments.columns(self.path / layout.STEPS, _KEYS)
        return tuple(name for name in STEP_COLUMNS if name in present) + tuple(sorted(present - STEP_COLUMNS.keys()))

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
        if name in STEP_COLUMNS and STEP_COLUMNS[name].dtype == "category":
            raise ValueError(f"{name} holds text; read it with run.steps()[{name!r}].")
        found = self.several(name)
        if name not in found:
            raise KeyError(f"run {self.name!r} has no series {name!r}; it has {', '.join(self.columns) or 'no rows'}.")
        return found[name]

    def several(self, *names: str) -> dict[str, Series]:
        """Those of several series that the run has, from one reading of its files; each as :meth:`series` gives it."""
        wanted = [name for name in self.columns if name in names]
        if not wanted:
            return {}
        table = self._steps_table(tuple(dict.fromkeys((*_KEYS, *wanted))))
        found = {}
        for name in wanted:
            present = table.filter(pc.is_valid(table[name]))
            found[name] = present["step"].to_numpy(), present[name].cast(pa.float64()).to_numpy()
        return found

    def steps(self) -> pd.DataFrame:
        """The step table as a data frame, one row a step."""
        return _frame(self._steps_table(tuple(dict.fromkeys((*_KEYS, *self.columns)))))

    def tensors(self, kind: str) -> pd.DataFrame:
        """A per-parameter quantity as a long data frame.

        Args:
            kind: ``"grad_norm"``, ``"update_norm"`` or ``"param_norm"``.

        Returns:
            Columns ``step`` (int64), ``name`` (text) and ``value`` (float32), ordered by step, then parameter.

        Raises:
            ValueError: for another kind.
        """
        if kind not in TENSOR_KINDS:
            raise ValueError(f"expected one of the kinds {', '.join(TENSOR_KINDS)}; got {kind!r}.")
        names = ("parameter", "kind", "block", "session", "offsets", "values")
        parts = segments.load(self.path / layout.TENSORS, names, names)
        table = pa.concat_tables(parts) if parts else None
        rows = table.filter(pc.equal(table["kind"], kind)) if table is not None else None
        return self._long(rows)

    def _long(self, rows: pa.Table | None) -> pd.DataFrame:
        if rows is None or rows.num_rows == 0:
            empty = pa.table({"step": pa.array([], pa.int64()), "name": pa.array([], pa.string())})
            return _frame(empty.append_column("value", pa.array([], pa.float32())))
        counts = pc.list_value_length(rows["values"]).to_numpy()
        start = np.repeat(rows["block"].to_numpy() * layout.BLOCK, counts)
        step = start + pc.list_flatten(rows["offsets"]).to_numpy()
        parameter = np.repeat(rows["parameter"].to_numpy(), counts)
        session = np.repeat(rows["session"].to_numpy(), counts)
        value = pc.list_flatten(rows["values"]).to_numpy()
        order = np.lexsort((session, parameter, step))
        step, parameter, value = step[order], parameter[order], value[order]
        newest = np.append((np.diff(step) != 0) | (np.diff(parameter) != 0), True)
        names = np.array([*self.parameters, "?"], dtype=object)
        known = np.minimum(parameter[newest], len(names) - 1)
        return _frame(pa.table({"step": step[newest], "name": names[known], "value": value[newest]}))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the recorded parameters, in the model's order."""
        path = layout.parameters_file(self.path, 0)
        try:
            return tuple(segments.read(path, ("name",))["name"].to_pylist())
        except (RunError, FileNotFoundError):
            return ()

    def _steps_table(self, columns: Sequence[str]) -> pa.Table:
        """The named columns, one row a step: where a step was written twice, the newest session's."""
        parts = segments.load(self.path / layout.STEPS, columns, _KEYS)
        if not parts:
            raise RunError(f"run {self.name!r} has no readable rows in {self.path / layout.STEPS}.")
        table = pa.concat_tables(parts, promote_options="default")
        step = table["step"].to_numpy()
        order = np.lexsort((table["seq"].to_numpy(), table["session"].to_numpy(), step))
        newest = np.append(np.diff(step[order]) != 0, True)
        return table.take(pa.array(order[newest])).select([name for name in columns if name in table.column_names])


@dataclass(frozen=True)
class Runs(Sequence[Run]):
    """The runs found under a root, oldest first.

    Attributes:
        root: the folder searched.
        problems: a sentence for each run that could not be opened.
    """

    root: Path
    items: tuple[Run, ...]
    problems: tuple[str, ...]

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Run, ...]: ...
    def __getitem__(self, index: int | slice) -> Run | tuple[Run, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"Runs({str(self.root)!r}, {len(self)} runs, {len(self.problems)} problems)"


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open one run folder.

    Raises:
        RunError: if it is not a run folder, or its ``run.json`` cannot be read.
    """
    folder = Path(path)
    if not folder.exists():
        raise RunError(f"{folder} does not exist; give the folder of a run, which holds a {layout.RUN_FILE}.")
    if not folder.is_dir():
        raise RunError(f"{folder} is a file; give the folder of a run, which holds a {layout.RUN_FILE}.")
    if not (folder / layout.RUN_FILE).is_file():
        raise RunError(
            f"{folder} is not a run: it holds no {layout.RUN_FILE}. If runs lie inside: gradlens list {folder}"
        )
    entries = _read_json(folder / layout.RUN_FILE)
    version = entries.get("schema_version")
    if not isinstance(version, int):
        raise RunError(f"{folder / layout.RUN_FILE} is not gradlens': it names no schema version. The run is skipped.")
    if version > SCHEMA_VERSION:
        raise RunError(
            f"{folder / layout.RUN_FILE}: expected schema version {SCHEMA_VERSION} or older, got {version}; "
            "a newer gradlens wrote it: update to read it."
        )
    clip, created = entries.get("clip"), entries.get("created")
    return Run(
        path=folder,
        run_id=str(entries.get("run_id", folder.name)),
        name=str(entries.get("name", folder.name)),
        config=_mapping(entries.get("config")),
        clip=clip if isinstance(clip, dict) else None,
        environment=_mapping(entries.get("environment")),
        created=float(created) if isinstance(created, (int, float)) else 0.0,
        _health=_health(folder),
    )


def open_runs(root: str | os.PathLike[str]) -> Runs:
    """Find every run under a folder, at any depth; symbolic links are not followed.

    A run that cannot be opened is left out and named in ``problems``. An empty folder gives no runs.

    Raises:
        RunError: if the root itself is missing or is not a folder.
    """
    folder = Path(root)
    if not folder.exists():
        raise RunError(f"{folder} does not exist; give the folder that your recorder writes to.")
    if not folder.is_dir():
        raise RunError(f"{folder} is a file; give the folder that your recorder writes to.")
    runs: list[Run] = []
    problems: list[str] = []
    for candidate in _run_folders(folder, problems):
        try:
            runs.append(open_run(candidate))
        except RunError as error:
            problems.append(str(error))
    runs.sort(key=lambda run: (run.created, run.run_id))
    return Runs(folder, tuple(runs), tuple(problems))


def _run_folders(root: Path, problems: list[str], depth: int = 0) -> Iterator[Path]:
    if (root / layout.RUN_FILE).is_file():
        yield root
        return
    if depth > _MAX_DEPTH:
        return
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except OSError as error:
        problems.append(f"{root} cannot be listed: {error.strerror}.")
        return
    for entry in entries:
        if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
            yield from _run_folders(Path(entry.path), problems, depth + 1)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON:
            raise RunError(f"{path} is larger than {_MAX_JSON >> 20} MiB; a gradlens file of this name is small.")
        entries = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{path} cannot be read: {error}. The run is skipped.") from error
    if not isinstance(entries, dict):
        raise RunError(f"{path}: expected a JSON object, got {type(entries).__name__}. The run is skipped.")
    return entries


def _health(folder: Path) -> dict[str, Any]:
    try:
        return _read_json(layout.health_file(folder, 0))
    except RunError:
        return {}


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
