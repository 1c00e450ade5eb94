"""Where a recorder's rows go: the run under way, the sessions it has had, and what became of their rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlens.clipping import describe
from gradlens.store import PATIENCE, RunWriter, open_run, written_to
from gradlens.store.frames import NONE, MicroBatches

logger = logging.getLogger("gradlens")


class Storage:
    """The run that a recorder writes, through one session after the other.

    Args:
        root: folder of runs.
        name: what people call a new run.
        description: config, clip rule and environment.
        parameters: what is measured, see :class:`gradlens.store.RunWriter`.
        wait: whether a step may wait some milliseconds until its row is acknowledged.
        max_bytes: see :class:`gradlens.Recorder`.
        resume: a run folder to go on with; None begins a run.

    Raises:
        OSError: if the run folder cannot be made.
        ValueError: if the folder to resume is no run.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        description: Mapping[str, Any],
        parameters: list[tuple[str, tuple[int, ...], str, int]],
        *,
        wait: bool,
        max_bytes: int | None,
        resume: Path | None,
    ) -> None:
        self._description, self._parameters = description, parameters
        self._options: dict[str, Any] = {"patience": PATIENCE if wait else 0.0, "max_bytes": max_bytes}
        self._lost = 0
        if resume is None:
            self._writer = RunWriter.create(root, name, description, parameters, **self._options)
            return
        before = open_run(resume).clip  # says so where it is no run
        if before != description.get("clip"):
            logger.warning(
                "gradlens: %s was recorded under %s, and goes on under %s; the run says the first.",
                resume.name, describe(before), describe(description.get("clip")),
            )  # fmt: skip
        if written_to(resume):
            logger.warning(
                "gradlens: a living process writes to %s; both go on, and of a step that both write the newer counts.",
                resume,
            )
        self._writer = self._session_of(resume)

    @property
    def path(self) -> Path:
        """The run folder, where it is now."""
        return self._writer.path

    @property
    def acknowledged(self) -> int:
        """Step of the last row that survives the death of the process, -1 before the first."""
        return self._writer.acknowledged

    @property
    def dropped(self) -> int:
        """Rows lost, in all sessions so far."""
        return self._lost + self._writer.dropped

    def append(
        self,
        row: Mapping[str, Any],
        tensors: Mapping[str, NDArray[np.floating[Any]]],
        micro_batches: MicroBatches = NONE,
    ) -> None:
        """Hand over one complete row; never raises for what the disk does."""
        self._writer.append(row, {kind: values.astype(np.float32) for kind, values in tensors.items()}, micro_batches)

    def go_on(self, run: str | None) -> None:
        """Write to another run under the same root, if it is there; else to this one, in a new session if it has rows.

        Args:
            run: the folder's name, as a checkpoint has it; None for this one.

        Raises:
            ValueError: if the run cannot be read.
            OSError: if it cannot be written to.
        """
        old = self._writer
        there = run is not None and (self.path.parent / run / "run.json").is_file()
        folder = self.path.parent / str(run) if there else self.path
        if run is not None and not there:
            logger.warning(
                "gradlens: the checkpoint's run %s is not in %s; recording goes on in %s.",
                run, self.path.parent, self.path.name,
            )  # fmt: skip
        if folder == self.path and not old.rows:
            return
        self._writer = self._session_of(folder)
        if not old.rows and old.session == 0:  # begun by this process, and nothing in it
            old.discard()
        else:
            old.close("stopped")
        self._lost += old.dropped

    def rename_parameters(self, parameters: list[tuple[str, tuple[int, ...], str, int]]) -> None:
        """Go on in a new session, whose per-parameter norms are of these parameters."""
        self._parameters = parameters
        old = self._writer
        self._writer = self._session_of(self.path)
        old.close("stopped")
        self._lost += old.dropped

    def last(self) -> tuple[int, int, NDArray[np.float64]]:
        """Where the run ended: its last step, the samples seen by then (-1 and 0 if none), and its gradient norms."""
        found = open_run(self.path).several("step", "samples", "grad_norm")
        nothing = np.empty(0, np.int64), np.empty(0)
        steps, samples, norms = (found.get(name, nothing) for name in ("step", "samples", "grad_norm"))
        last = int(steps[0][-1]) if len(steps[0]) else -1
        seen = int(samples[1][-1]) if len(samples[1]) and np.isfinite(samples[1][-1]) else 0
        return last, seen, norms[1]

    def close(self, outcome: str) -> None:
        """Write what waits, and note how the session ended."""
        self._writer.close(outcome)
        if self.dropped:
            logger.info("gradlens lost %d rows of %s: %s.", self.dropped, self.path, self._writer.last_error)

    def _session_of(self, folder: Path) -> RunWriter:
        return RunWriter.resume(folder, self._description, self._parameters, **self._options)
