"""What a run's steps are counted in: steps, epochs, seconds, samples or tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.schema import CLOCKS
from gradlens.store import Run
from gradlens.store.layout import BLOCK

Floats = NDArray[np.float64]
STEP = CLOCKS[0]
TIME = "time"
_FEW_BLOCKS = 32


def clocks(runs: Sequence[Run]) -> tuple[str, ...]:
    """The clocks that at least one of some runs recorded, steps first."""
    recorded = {name for run in runs for name in run.columns}
    return tuple(name for name in CLOCKS if name == STEP or name in recorded)


def positions(run: Run, clock: str, steps: ArrayLike) -> Floats:
    """Where steps lie on a clock; seconds count from the run's first row.

    Args:
        run: a run that recorded the clock.
        clock: one of :data:`CLOCKS`.
        steps: (n,) steps.

    Returns:
        (n,) float64, interpolated between the rows that have the clock.
    """
    wanted = np.asarray(steps, dtype=np.float64)
    if clock == STEP or not len(wanted):
        return wanted
    at, values = _anchors(run, clock)
    return np.interp(wanted, at, values) if len(at) else np.full(len(wanted), np.nan)


def steps_between(run: Run, clock: str, window: tuple[float, float]) -> tuple[int, int]:
    """First and last step whose place on a clock may lie in a window."""
    low, high = window
    if clock == STEP:
        return max(0, int(np.ceil(low))), max(0, int(np.floor(high)))
    at, values = _anchors(run, clock)
    if not len(at):
        return 0, 0
    first = np.interp(low, values, at) if low > values[0] else 0.0
    last = np.interp(high, values, at) if high < values[-1] else at[-1]
    return int(np.ceil(first)), int(np.floor(last))


def _anchors(run: Run, clock: str) -> tuple[Floats, Floats]:
    """(k,) steps and what the clock said there, neither of them ever falling."""
    blocks = run.pyramid(clock)
    if len(blocks) <= _FEW_BLOCKS:
        steps, values = run.series(clock)
        finite = np.isfinite(values)
        at, said = steps[finite].astype(np.float64), values[finite]
    else:
        blocks = blocks[blocks["count"] > 0]
        begin = blocks["block"] * BLOCK
        at = np.stack([begin, begin + np.maximum(1, blocks["count"].astype(np.int64) - 1)], axis=1).ravel()
        said = np.stack([blocks["min"], blocks["max"]], axis=1).ravel()
    said = np.maximum.accumulate(said) if len(said) else said
    return np.asarray(at, dtype=np.float64), said - said[0] if clock == TIME and len(said) else said
