"""One run in a few numbers: what a table's row and a page's tiles show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlens.store import Run

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in numbers; NaN where the run does not have them.

    Attributes:
        steps: optimizer steps recorded.
        final_loss: mean training loss over the last 5 % of the steps.
        step_variation: standard deviation over mean of the update norm, the first 5 % of the steps left out.
        clipped: share of the steps whose norm was above the threshold; NaN without a clip.
        nonfinite: steps with a NaN or infinite gradient norm.
        overhead: share of the wall time between rows that gradlens took, medians.
        seconds: wall time from the first row to the last.
    """

    steps: int
    final_loss: float
    step_variation: float
    clipped: float
    nonfinite: int
    overhead: float
    seconds: float


def summarize(run: Run) -> Summary:
    """Reduce a run to a few numbers. Never raises for a run without rows: they are NaN then."""
    loss, moves, clipped = _values(run, "loss"), _values(run, "update_norm"), _values(run, "clipped")
    time, overhead, norms = _values(run, "time"), _values(run, "overhead_ms"), _values(run, "grad_norm")
    settled = moves[len(moves) // 20 :]
    settled = settled[np.isfinite(settled)]
    between = np.diff(time)
    seconds = float(time[-1] - time[0]) if len(time) else np.nan
    return Summary(
        steps=len(time),
        final_loss=_mean(loss[-max(1, len(loss) // 20) :]),
        step_variation=float(settled.std() / settled.mean()) if len(settled) and settled.mean() > 0 else np.nan,
        clipped=_mean(clipped),
        nonfinite=int((~np.isfinite(norms)).sum()),
        overhead=float(np.median(overhead) / 1e3 / np.median(between)) if len(between) and between.any() else np.nan,
        seconds=seconds,
    )


def _values(run: Run, name: str) -> Floats:
    return run.series(name)[1] if name in run.columns else np.empty(0)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else np.nan
