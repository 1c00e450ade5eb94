"""Series of one run, read at the steps of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradlens.store import Run

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]
Series = tuple[Steps, Floats]
NOTHING: Series = (np.empty(0, dtype=np.int64), np.empty(0))


def at_steps(series: Series, steps: Steps) -> Floats:
    """(n,) a series at given steps, NaN where it has no value.

    Args:
        series: (m,) ascending steps, and values.
        steps: (n,) steps wanted.

    >>> at_steps((np.array([0, 2, 4]), np.array([1.0, 2.0, 3.0])), np.array([2, 3, 9])).tolist()
    [2.0, nan, nan]
    """
    known, values = series
    if not len(known):
        return np.full(len(steps), np.nan)
    place = np.minimum(np.searchsorted(known, steps), len(known) - 1)
    return np.where(known[place] == steps, values[place], np.nan)


def last_finite(run: Run, name: str) -> float:
    """The last finite value of a series, from its summaries: a read that hardly grows with the run; NaN without one."""
    if name not in run.columns:
        return float("nan")
    last = run.pyramid(name)["last"]
    finite = last[np.isfinite(last)]
    return float(finite[-1]) if len(finite) else float("nan")
