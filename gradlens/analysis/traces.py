"""A series of a run as it can be drawn at any zoom, at a cost that hardly grows with the run's length.

From afar a series is read from its pyramid, whose blocks of 256 steps know their smallest, largest and mean value;
close up, from the recorded values themselves. Either way no spike is lost, and a moving average is the same curve at
every zoom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from gradlens.analysis.clocks import STEP, positions, steps_between
from gradlens.stats import envelope
from gradlens.store import Run
from gradlens.store.layout import BLOCK
from gradlens.store.pyramid import Summaries

Floats = NDArray[np.float64]
Window = tuple[float, float]
MOST_POINTS = 18_000
"""In a panel of many curves."""
_LEAD = 6
"""Spans of the average that are read before a window; what lies further back has hardly any weight."""
_NOTHING = np.empty(0)


@dataclass(frozen=True, slots=True)
class Detail:
    """How closely each curve of a panel is looked at, so that many of them are still quick.

    Attributes:
        stretches: into how many parts a window is cut at most, each keeping its smallest and largest value.
        rows: of runs with more points than this, the values themselves are not read, only the blocks of 256 steps.
    """

    stretches: int = 1000
    rows: int = 4_000_000

    @classmethod
    def of(cls, runs: int) -> Detail:
        """For so many curves that share a panel.

        >>> Detail.of(2), Detail.of(100)
        (Detail(stretches=1000, rows=2000000), Detail(stretches=60, rows=40000))
        """
        runs = max(1, runs)
        return cls(max(32, min(1000, MOST_POINTS // (3 * runs))), cls().rows // runs)


@dataclass(frozen=True, slots=True)
class Trace:
    """A series over a window, thinned.

    Attributes:
        name: of the series.
        clock: what x counts, as in ``"step"`` or ``"time"``.
        x: (k,) ascending.
        y: (k,) values as recorded or, from afar, the smallest and the largest of each stretch in turn; finite.
        smooth_x: (j,) ascending.
        smooth_y: (j,) the moving average; empty where there is none.
        odd_x: (m,) where values are NaN or infinite; from afar, the first such place of each block of 256 steps.
        points: finite values in the window.
        nonfinite: NaN and infinite values in the window.
        last: the newest finite value in the window; NaN without one.
        whole: whether y are the values themselves, every one of them.
        status: empty, or a sentence that says why there is nothing.
    """

    name: str
    clock: str
    x: Floats
    y: Floats
    smooth_x: Floats
    smooth_y: Floats
    odd_x: Floats
    points: int
    nonfinite: int
    last: float
    whole: bool
    status: str = ""

    @property
    def drawn(self) -> int:
        """How many of its points are kept."""
        return len(self.x)


@dataclass(frozen=True, slots=True)
class Spread:
    """Several traces as one: their mean, lowest and highest at each x; NaN where there is none.

    Attributes:
        x: (k,) ascending, common to all.
        mean: (k,) mean of the traces that reach that far.
        low: (k,) the lowest of them.
        high: (k,) the highest of them.
        count: (k,) how many they are.
    """

    x: Floats
    mean: Floats
    low: Floats
    high: Floats
    count: NDArray[np.int64]


def trace(
    run: Run,
    name: str,
    *,
    clock: str = STEP,
    window: Window | None = None,
    detail: Detail | None = None,
    smoothing: float = 0.02,
) -> Trace:
    r"""A series of a run over a window of what x counts.

    The moving average is the bias-corrected exponential one, :math:`s_t = \sum_i w^{t-i} x_i / \sum_i w^{t-i}` with
    :math:`1/(1-w)` the smoothing's share of all points; before the window it runs over means of blocks.

    Args:
        run: the run.
        name: of the series.
        clock: ``"step"``, or a series that counts up along the run: see :data:`gradlens.schema.CLOCKS`.
        window: first and last x; all if None.
        detail: how closely to look; as closely as for one curve if None.
        smoothing: span of the average as a share of the series, 0 for none.

    Returns:
        The trace; ``status`` says so where the run has no such series, or no such clock.
    """
    try:
        blocks = run.pyramid(name)
    except (KeyError, ValueError):
        return _empty(name, clock, f"run {run.name!r} recorded no {name}.")
    detail = Detail() if detail is None else detail
    if clock != STEP and clock not in run.columns:
        return _empty(name, clock, f"run {run.name!r} recorded no {clock}, so its {name} has no place on this axis.")
    first, last = (0, _END) if window is None else steps_between(run, clock, window)
    begin, end = np.searchsorted(blocks["block"], (first // BLOCK, last // BLOCK + 1))
    inside = blocks[begin:end]
    points = int(blocks["count"].sum())
    span = smoothing * points
    whole = len(inside) == len(blocks)
    far = len(inside) > detail.stretches // (2 if whole else 1) or points > detail.rows
    if far and len(inside):
        weight = (1 - 1 / span) ** (points / len(blocks)) if span > 2 else 0.0
        seen = _from_afar(blocks[:end], int(begin), detail.stretches, weight, first, last)
    else:
        seen = _close_up(run, name, blocks, detail.stretches, span, first, last)
    x, y, smooth_x, smooth_y, odd = seen.arrays
    places = positions(run, clock, np.concatenate([x, smooth_x, odd]))
    at, then = len(x), len(x) + len(smooth_x)
    return Trace(name, clock, places[:at], y, places[at:then], smooth_y, places[then:], *seen.counts)


_END = 1 << 62


@dataclass(frozen=True, slots=True)
class _Seen:
    """Arrays against the step, and what a trace counts."""

    arrays: tuple[Floats, Floats, Floats, Floats, Floats]
    counts: tuple[int, int, float, bool]


def _from_afar(blocks: Summaries, begins: int, stretches: int, weight: float, first: int, last: int) -> _Seen:
    """Blocks up to the end of a window that begins at one of them; ``weight`` is that of the average, a block."""
    inside = blocks[begins:]
    number, count = inside["block"], inside["count"].astype(np.int64)
    wide = -(-int(number[-1] - number[0] + 1) // stretches)
    starts = np.flatnonzero(np.append(True, np.diff((number - number[0]) // wide) != 0))
    low, high = np.fmin.reduceat(inside["min"], starts), np.fmax.reduceat(inside["max"], starts)
    ends = np.append(starts[1:], len(inside)) - 1
    final = number[ends] * BLOCK + np.maximum(0, count[ends] + inside["nonfinite"][ends] - 1)
    begin = number[starts] * BLOCK
    some = np.isfinite(low)
    turn = np.arange(len(low)) % 2 == 0  # a stretch goes up, the next down: the line between them stays short
    y = np.stack([np.where(turn, low, high), np.where(turn, high, low)], axis=1)[some].ravel()
    x = np.stack([begin + (final - begin) // 3, begin + 2 * (final - begin) // 3], axis=1)[some].ravel()
    smooth_x, smooth_y = _NOTHING, _NOTHING
    if weight:
        mean = _block_average(blocks, weight)[begins + ends]
        smooth_x, smooth_y = final[np.isfinite(mean)], mean[np.isfinite(mean)]
    odd = inside[inside["nonfinite"] > 0]
    odd_at = odd["block"] * BLOCK + odd["odd"]
    some = np.flatnonzero(count)
    arrays = (
        np.clip(x, first, last).astype(np.float64), y, np.clip(smooth_x, first, last).astype(np.float64), smooth_y,
        odd_at[(odd_at >= first) & (odd_at <= last)].astype(np.float64),
    )  # fmt: skip
    last_value = float(inside["last"][some[-1]]) if len(some) else np.nan
    counts = int(count.sum()), int(inside["nonfinite"].sum()), last_value
    return _Seen(arrays, (*counts, False))


def _close_up(run: Run, name: str, blocks: Summaries, stretches: int, span: float, first: int, last: int) -> _Seen:
    steps_a_point = BLOCK * len(blocks) / max(1, int(blocks["count"].sum()))
    begin = int(max(0, first - _LEAD * span * steps_a_point)) // BLOCK * BLOCK
    steps, values = run.series(name, None if (first, last) == (0, _END) else (begin, last))
    smooth = _NOTHING
    if span > 2:
        smooth = _average(values, 1 - 1 / span, blocks[: np.searchsorted(blocks["block"], begin // BLOCK)])
    shown = (steps >= first) & (steps <= last)
    steps, values = steps[shown], values[shown]
    raw = envelope(steps, values, max(8, 2 * stretches))
    finite = values[np.isfinite(values)]
    smooth_x, smooth_y = _NOTHING, _NOTHING
    if len(smooth):
        thin = envelope(steps, smooth[shown], max(8, stretches))
        smooth_x, smooth_y = thin.x, thin.y
    counts = raw.points, len(values) - raw.points, float(finite[-1]) if len(finite) else np.nan
    return _Seen((raw.x, raw.y, smooth_x, smooth_y, raw.nonfinite_x), (*counts, len(raw.x) == raw.points))


def _average(values: Floats, weight: float, before: Summaries) -> Floats:
    """The moving average of values that come after some blocks."""
    counts = before["count"].astype(np.float64)
    after = counts.sum() - np.cumsum(counts)
    share = counts * weight ** (after + counts / 2)
    total0 = float((share * np.where(counts > 0, before["mean"], 0.0)).sum())
    mass0 = float(share.sum())
    finite = np.isfinite(values)
    total, _ = lfilter([1.0], [1.0, -weight], np.where(finite, values, 0.0), zi=[weight * total0])
    mass, _ = lfilter([1.0], [1.0, -weight], finite.astype(np.float64), zi=[weight * mass0])
    with np.errstate(invalid="ignore", divide="ignore"):
        averages: Floats = np.where(mass > 0, np.asarray(total) / np.asarray(mass), np.nan)
    return averages


def _block_average(blocks: Summaries, weight: float) -> Floats:
    """The moving average at the end of each block, from the blocks' means."""
    counts = blocks["count"].astype(np.float64)
    sums = np.where(counts > 0, counts * blocks["mean"], 0.0)
    total, mass = lfilter([1.0], [1.0, -weight], np.stack([sums, counts]))
    with np.errstate(invalid="ignore", divide="ignore"):
        averages: Floats = np.where(mass > 0, total / mass, np.nan)
    return averages


def _empty(name: str, clock: str, status: str) -> Trace:
    return Trace(name, clock, _NOTHING, _NOTHING, _NOTHING, _NOTHING, _NOTHING, 0, 0, np.nan, True, status)


def spread(traces: Sequence[Trace], points: int = 400) -> Spread:
    """Mean, lowest and highest of several traces, each read along the line that is drawn of it.

    Args:
        traces: with the same clock; those without values are passed over.
        points: how many x there are.
    """
    lines = [(t.smooth_x, t.smooth_y) if len(t.smooth_x) else (t.x, t.y) for t in traces if t.drawn]
    lines = [(x, y) for x, y in lines if len(x)]
    if not lines:
        return Spread(_NOTHING, _NOTHING, _NOTHING, _NOTHING, np.empty(0, np.int64))
    x = np.linspace(min(line[0][0] for line in lines), max(line[0][-1] for line in lines), points)
    rows = np.stack([np.interp(x, *line, left=np.nan, right=np.nan) for line in lines])
    count = np.isfinite(rows).sum(axis=0)
    some = count > 0
    total = np.where(np.isfinite(rows), rows, 0.0).sum(axis=0)
    return Spread(
        x=x[some],
        mean=(total / np.maximum(count, 1))[some],
        low=np.fmin.reduce(rows[:, some], axis=0),
        high=np.fmax.reduce(rows[:, some], axis=0),
        count=count[some],
    )
