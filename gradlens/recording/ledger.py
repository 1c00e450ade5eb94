"""The rows of a recording: the one under way, those on their way from the device, and the door to the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gradlens.recording.frozen_weights import estimates
from gradlens.recording.micro_batch_probe import TABLE
from gradlens.recording.row_finisher import RowFinisher
from gradlens.recording.row_ring import RowRing
from gradlens.recording.selection import Selection
from gradlens.recording.step_row import SINGLE_SAMPLES, Part, StepRow
from gradlens.recording.storage import Storage
from gradlens.schedules import Watching
from gradlens.schema import NORMS

_TABLE = "micro_batches/"
"""Begins the names of what belongs to the table of micro-batches, on the way from the device."""


class Ledger:
    """Keeps rows in the order of their steps.

    A row ends when the next step begins. One whose smoothness takes the next step's gradient is held until that was
    measured, and those after it queue behind.

    Args:
        device: where the numbers come from.
        finish: makes columns of arrived numbers.
        storage: where rows go.
        selection: which parameters are kept in detail, and their groups.
        watching: schedules that see what was recorded.

    Attributes:
        row: of the step under way, None between two steps.
        waiting: the row before, while it is held.
        selection: see above.
    """

    def __init__(
        self,
        device: torch.device,
        finish: RowFinisher,
        storage: Storage,
        selection: Selection,
        watching: Sequence[Watching],
    ) -> None:
        self.row: StepRow | None = None
        self.waiting: StepRow | None = None
        self.selection = selection
        self._finish = finish
        self._storage = storage
        self._watching = watching
        self._ring = RowRing(device)

    @property
    def doubtful(self) -> bool:
        """Whether the rows so far leave it open that a gradient is written to without a sign of it."""
        return self._finish.doubtful

    def open(self, step: int) -> StepRow:
        """The row of the step under way; one that is over is sent off first."""
        if self.row is not None and self.row.ended:
            self.end()
            self.drain(step)
        if self.row is None:
            self.row = StepRow(step)
        return self.row

    def end(self) -> None:
        """Send the row off; one whose step is not over is dropped."""
        row, self.row = self.row, None
        if row is not None and row.ended:
            self.let_go("none: no gradient at the next step")
            if row.awaits_next:
                self.waiting = row
            else:
                self._push(row)

    def let_go(self, reason: str | None = None) -> None:
        """Send off the row that is held.

        Args:
            reason: why it has no smoothness; None if it has.
        """
        row, self.waiting = self.waiting, None
        if row is not None:
            row.smoothness = reason or row.smoothness
            self._push(row)

    def drain(self, now: int, *, everything: bool = False) -> None:
        """Hand on what has arrived.

        Args:
            now: the step that comes next.
            everything: wait for the rest as well, at the end of a training.
        """
        if everything:
            self.let_go("none: no gradient at the next step")
        for arrived in self._ring.drain(everything=everything):
            row, norms = self._finish(arrived.scalars, arrived.tensors)
            single = norms.pop(SINGLE_SAMPLES, None)
            if single is not None:
                row |= _at_frozen_weights(single.reshape(arrived.scalars[Part.SAMPLES_SEEN], -1))
            table = {name: norms.pop(f"{_TABLE}{name}") for name in TABLE if f"{_TABLE}{name}" in norms}
            for kind in NORMS & norms.keys():
                row |= self.selection.group_norms(kind, norms[kind], finite=isfinite(row.get(kind) or 0.0))
            for schedule in self._watching:
                schedule.see(now, row)
            detail = {kind: self.selection.detail(values) for kind, values in norms.items()}
            self._storage.append(row, detail, _micro_batches(table, arrived.scalars))

    def _push(self, row: StepRow) -> None:
        host = {"step": row.step, "smoothness_method": row.smoothness, "overhead_ms": row.overhead * 1e3}
        table = dict(row.micro_batches)
        lists = {Part.SAMPLES: table.pop("samples", None), Part.DOMAINS: table.pop("domain", None)}
        tensors = {**row.tensors, **{f"{_TABLE}{name}": values for name, values in table.items()}}
        self._ring.push({**row.scalars, **host, **lists}, tensors)


def _at_frozen_weights(rows: NDArray[np.float64]) -> dict[str, float]:
    """Series of what micro-batch clipping would do, for each size of micro-batch."""
    found: dict[str, float] = {}
    for size, estimate in estimates(rows).items():
        found |= {f"micro_batch_alpha[{size}]": estimate.alpha, f"micro_batch_bias[{size}]": estimate.bias}
        found[f"micro_batch_noise[{size}]"] = estimate.trace
    return found


def _micro_batches(table: dict[str, Any], arrived: Mapping[Any, Any]) -> dict[str, Any]:
    """The columns of the table of micro-batches, as the store takes them."""
    if not table:
        return {}
    samples, domains = arrived[Part.SAMPLES], arrived[Part.DOMAINS]
    found = {name: values.astype(np.float32) for name, values in table.items()}
    if any(size is not None for size in samples):
        found["samples"] = np.array([np.nan if size is None else size for size in samples])
    if any(domain is not None for domain in domains):
        found["domain"] = domains
    return found
