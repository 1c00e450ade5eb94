r"""Whether a curve has come to rest: the change from the third to the last quarter of its time, over seeds.

.. math:: \Delta = \log \overline{y}_{(3T/4,\,T]} - \log \overline{y}_{(T/2,\,3T/4]}

for each seed, with a t interval over seeds. A curve is called stationary only where the whole interval is small, since
a wide one shows nothing, and where it is not shown to move by more than a little: a power law T^-.3 changes by a tenth
only. A fall slower than T^-.06 passes for rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.mean_interval import FEWEST, mean_interval, too_few

Floats = NDArray[np.float64]

TOLERANCE = 0.1
"""Largest change of the logarithm that the interval may leave open."""

DRIFT = 0.02
"""Largest change that still counts as rest where a change is shown."""


@dataclass(frozen=True, slots=True)
class Stationarity:
    """The change of a curve's tail.

    Attributes:
        change: mean over seeds of the change of the logarithm.
        low: lower end of its 95 % interval; NaN for fewer than three seeds.
        high: upper end.
        stationary: whether the interval lies within the tolerance, and no change of more than ``DRIFT`` is shown.
        falls: whether the tail is shown to fall.
        n: seeds.
        status: empty where stationary, otherwise a sentence.
    """

    change: float
    low: float
    high: float
    stationary: bool
    falls: bool
    n: int
    status: str


def stationarity(steps: ArrayLike, values: ArrayLike, *, tolerance: float = TOLERANCE) -> Stationarity:
    """Ask a curve whether it has come to rest.

    Args:
        steps: (m,) ascending, counted from the start of the training.
        values: (n, m) positive; a row is one seed.
        tolerance: largest change of the natural logarithm that the interval may leave open.

    >>> t = np.arange(100.0)
    >>> seeds = 1 + 0.01 * np.random.default_rng(0).standard_normal((5, 100))
    >>> stationarity(t, seeds).stationary, stationarity(t, seeds / (1 + t)).status
    (True, 'not stationary: over the last quarter of the time it falls by 29 % [29 %, 29 %].')
    """
    quarters = tail_quarters(steps, values)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = mean_interval(np.log(quarters[1]) - np.log(quarters[0]))
    change, low, high, n = float(found.mean), float(found.low), float(found.high), int(found.n)
    shown = low > 0 or high < 0
    rest = n >= FEWEST and max(abs(low), abs(high)) <= tolerance and not (shown and abs(change) > DRIFT)
    return Stationarity(change, low, high, rest, high < 0, n, "" if rest else _why_not(change, low, high, n))


def tail_quarters(steps: ArrayLike, values: ArrayLike) -> Floats:
    """Means over the third and the last quarter of the time.

    Args:
        steps: (m,) ascending.
        values: (n, m) a row a seed.

    Returns:
        (2, n); NaN where a quarter has no point.
    """
    t, y = np.asarray(steps, dtype=np.float64), np.atleast_2d(np.asarray(values, dtype=np.float64))
    end = t[-1] if len(t) else 0.0
    inside = ((t > 0.5 * end) & (t <= 0.75 * end), t > 0.75 * end)
    return np.stack([y[:, chosen].mean(axis=1) if chosen.any() else np.full(len(y), np.nan) for chosen in inside])


def _why_not(change: float, low: float, high: float, n: int) -> str:
    if n < FEWEST:
        return f"not shown to be stationary: {too_few(n)}"
    ends = sorted(abs(math.expm1(end)) for end in (low, high))
    span = f"{abs(math.expm1(change)):.0%} [{ends[0]:.0%}, {ends[1]:.0%}]".replace("%", " %")
    if high < 0 or low > 0:
        way = "falls" if high < 0 else "rises"
        return f"not stationary: over the last quarter of the time it {way} by {span}."
    both = f"{math.expm1(low):+.0%} to {math.expm1(high):+.0%}".replace("%", " %")
    return f"not shown to be stationary: over the last quarter of the time it may change by {both}."
