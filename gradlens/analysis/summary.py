"""One run in a few numbers: what a table's row and a page's tiles show."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from gradlens.store import Run

Floats = NDArray[np.float64]
_NOTHING = np.empty(0, dtype=np.int64), np.empty(0)


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in numbers; NaN where the run does not have them.

    Attributes:
        steps: optimizer steps recorded.
        final_loss: mean training loss over the last 5 % of the steps; NaN once the loss is.
        step_variation: standard deviation over mean of the update norm, the first 5 % of the steps left out.
        clipped: share of the steps whose norm was above the threshold; NaN without a clip.
        nonfinite: steps in which some parameter's gradient norm was NaN or infinite.
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
    names = ("step", "time", "overhead_ms", "nonfinite", "loss", "update_norm", "clipped")
    found = run.several(*names)
    step, time, overhead, nonfinite, loss, moves, clipped = (found.get(name, _NOTHING)[1] for name in names)
    settled = moves[len(moves) // 20 :]
    settled = settled[np.isfinite(settled)]
    settled = settled / max(1.0, settled.max(initial=0.0))  # squares beyond 1e154 would overflow
    between = np.diff(time) if len(overhead) else _NOTHING[1]
    seconds = float(time[-1] - time[0]) if len(time) else np.nan
    return Summary(
        steps=len(step),
        final_loss=_mean(loss[-max(1, len(loss) // 20) :]),
        step_variation=float(settled.std() / settled.mean()) if len(settled) and settled.mean() > 0 else np.nan,
        clipped=_mean(clipped),
        nonfinite=int((nonfinite > 0).sum()),
        overhead=float(np.median(overhead) / 1e3 / np.median(between)) if len(between) and between.any() else np.nan,
        seconds=seconds,
    )


def relative(summary: Summary, baseline: Summary) -> Summary:
    """How far a run's numbers are from a baseline's, as a share of them: 0.1 is 10 % more; NaN where either is missing.

    >>> one = Summary(100, 0.55, 0.2, 0.9, 0, 0.01, 10.0)
    >>> base = Summary(200, 0.5, 0.0, float("nan"), 0, 0.01, 10.0)
    >>> round(relative(one, base).final_loss, 3), relative(one, base).clipped
    (0.1, nan)
    """

    def change(name: str) -> float:
        mine, other = float(getattr(summary, name)), float(getattr(baseline, name))
        return mine / other - 1 if other else np.nan

    return Summary(**{field.name: change(field.name) for field in fields(Summary)})  # type: ignore[arg-type]


def _mean(values: Floats) -> float:
    with np.errstate(over="ignore", invalid="ignore"):  # the sum of numbers near the largest there is: infinite
        return float(values.mean()) if len(values) else np.nan
