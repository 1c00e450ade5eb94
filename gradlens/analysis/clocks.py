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


def span(run: Run, clock: str = STEP) -> tuple[float, float]:
    """Where a run begins and ends on a clock; (0, 0) without rows, or without the clock."""
    if clock not in run.columns:
        return 0.0, 0.0
    if clock == STEP and TIME in run.columns:
        ends = _anchors(run, TIME)[0][[0, -1]] if len(run.pyramid(TIME)) else np.empty(0)
    elif clock == STEP:
        ends = np.asarray(run.series(STEP)[0][[0, -1]], dtype=np.float64)
    else:
        ends = _anchors(run, clock)[1]
    return (float(ends[0]), float(ends[-1])) if len(ends) else (0.0, 0.0)


def reach(spans: Sequence[tuple[float, float]], window: tuple[float, float] | None, share: float) -> float | None:
    """The x up to which to draw where only a share of what is shown shall be; None for all of it.

    >>> reach([(0.0, 100.0)], None, 1.0), reach([(0.0, 100.0), (50.0, 200.0)], None, 0.5)
    (None, 100.0)
    """
    if share >= 1 or not spans:
        return None
    low, high = window or (min(each[0] for each in spans), max(each[1] for each in spans))
    return low + max(0.0, share) * (high - low)


def steps_shown(
    run: Run, clock: str, window: tuple[float, float] | None, until: float | None
) -> tuple[int, int] | None:
    """First and last step that are drawn of a run; None for all."""
    if window is None and until is None:
        return None
    low, high = window or span(run, clock)
    return steps_between(run, clock, (low, high if until is None else min(high, until)))


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
