"""Exact running percentiles, equal to ``numpy.percentile`` bit for bit, at O(log n) a value."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from heapq import heappush, heappushpop, heapreplace
from numbers import Real
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

_AT_ONCE: Final = 1 << 16


def interpolate(below: float, above: float, weight: float) -> float:
    """``below + weight * (above - below)``, rounded as ``numpy.percentile`` rounds it.

    >>> interpolate(1.0, 2.0, 0.25)
    1.25
    """
    difference = above - below
    if weight >= 0.5:
        return above - difference * (1.0 - weight)
    return below + difference * weight


def check_percentile(percentile: float) -> float:
    """The percentile as a float.

    Raises:
        ValueError: outside [0, 100] or not a number.

    >>> check_percentile(10)
    10.0
    """
    if isinstance(percentile, bool) or not isinstance(percentile, Real) or not 0 <= percentile <= 100:
        raise ValueError(f"percentile must be a number from 0 to 100; got {percentile!r}.")
    return float(percentile)


class RunningPercentile:
    r"""The p-th percentile of all values pushed so far, by two heaps.

    With n values and :math:`h = (n - 1) p / 100`, the percentile interpolates linearly between the order
    statistics :math:`\lfloor h \rfloor` and :math:`\lfloor h \rfloor + 1` (from 0), as ``numpy.percentile``
    does. A max-heap holds the lower :math:`\lfloor h \rfloor + 1` values and a min-heap the others, so that both
    order statistics are always at a top: O(log n) a push, no sorting, O(n) floats of memory.

    Args:
        percentile: p in [0, 100].
        values: values to begin with; all must be finite.

    >>> running = RunningPercentile(50)
    >>> [running.push(value) for value in (4.0, 1.0, 3.0)]
    [4.0, 2.5, 3.0]
    """

    __slots__ = ("_above", "_below", "_fraction")

    def __init__(self, percentile: float, values: Iterable[float] = ()) -> None:
        self._fraction = check_percentile(percentile) / 100.0
        self._below: list[float] = []  # the lower values, negated: heapq keeps the smallest on top
        self._above: list[float] = []
        for value in values:
            self.push(value)

    def __len__(self) -> int:
        return len(self._below) + len(self._above)

    @property
    def values(self) -> list[float]:
        """All values pushed so far, sorted ascending."""
        return sorted([-value for value in self._below] + self._above)

    def push(self, value: float) -> float:
        """Add one finite value and return the percentile of all values so far, this one included.

        Raises:
            ValueError: if the value is NaN or infinite; it would poison every later percentile.
        """
        if not math.isfinite(value):
            raise ValueError(f"a running percentile takes finite values; got {value!r}.")
        below, above = self._below, self._above
        # The n values before this one become n + 1: h = n * p / 100, and floor(h) + 1 of them belong below.
        position = (len(below) + len(above)) * self._fraction
        floor = int(position)
        # floor(h) grows by at most one a push, so at most one value changes sides.
        if len(below) == floor:
            heappush(below, -heappushpop(above, value))
        else:
            heappush(above, -heappushpop(below, -value))
        lower = -below[0]
        weight = position - floor
        return interpolate(lower, above[0], weight) if above else lower

    def push_all(self, values: ArrayLike) -> NDArray[np.float64]:
        """The percentile after each of some values, as :meth:`push` gives it, in about half its time.

        The heaps give up their tops one by one; the interpolation between them is that of :func:`interpolate`, all at
        once.

        Args:
            values: (n,) finite numbers.

        Returns:
            (n,) float64.

        Raises:
            ValueError: as :meth:`push`.

        >>> RunningPercentile(50).push_all([4.0, 1.0, 3.0]).tolist()
        [4.0, 2.5, 3.0]
        """
        new = np.asarray(values, dtype=np.float64)
        odd = new[~np.isfinite(new)]
        if len(odd):
            raise ValueError(f"a running percentile takes finite values; got {float(odd[0])!r}.")
        found = np.empty(len(new))
        for begin in range(0, len(new), _AT_ONCE):  # a list of all would take more than the heaps
            piece = new[begin : begin + _AT_ONCE]
            position = (len(self) + np.arange(len(piece))) * self._fraction
            floor = position.astype(np.int64)
            lower, upper = self._tops(piece.tolist(), floor.tolist())
            with np.errstate(over="ignore"):  # as floats do it, of numbers near the largest there are
                weight, difference = position - floor, upper - lower
                near = np.where(weight >= 0.5, upper - difference * (1.0 - weight), lower + difference * weight)
            found[begin : begin + _AT_ONCE] = np.where(np.isnan(upper), lower, near)
        return found

    def _tops(self, values: list[float], floors: list[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The two order statistics after each value; NaN where there is none above."""
        below, above, size = self._below, self._above, len(self._below)
        lower: list[float] = []
        upper: list[float] = []
        add_lower, add_upper = lower.append, upper.append
        for value, floor in zip(values, floors, strict=True):
            if size == floor:
                heappush(below, -heappushpop(above, value))
                size += 1
            elif -value <= below[0]:
                heappush(above, value)
            else:
                heappush(above, -heapreplace(below, -value))
            add_lower(below[0])
            add_upper(above[0] if above else math.nan)
        return -np.array(lower), np.array(upper)

    def value(self) -> float:
        """The percentile of the values so far, NaN before the first."""
        if not self._below:
            return math.nan
        position = (len(self) - 1) * self._fraction
        lower = -self._below[0]
        return interpolate(lower, self._above[0], position - int(position)) if self._above else lower


class WindowPercentile:
    """The p-th percentile of the last ``window`` values, from a sorted list.

    Args:
        percentile: p in [0, 100].
        window: how many values to look back on, at least 1.
        values: values to begin with, oldest first; all must be finite.

    >>> recent = WindowPercentile(100, window=2)
    >>> [recent.push(value) for value in (5.0, 1.0, 3.0)]
    [5.0, 5.0, 3.0]
    """

    __slots__ = ("_fraction", "_order", "_sorted")

    def __init__(self, percentile: float, window: int, values: Iterable[float] = ()) -> None:
        if isinstance(window, bool) or not isinstance(window, int) or window < 1:
            raise ValueError(f"window must be a whole number of steps, 1 or more; got {window!r}.")
        self._fraction = check_percentile(percentile) / 100.0
        self._order: deque[float] = deque(maxlen=window)
        self._sorted: list[float] = []
        for value in values:
            self.push(value)

    def __len__(self) -> int:
        return len(self._order)

    @property
    def values(self) -> list[float]:
        """The values in the window, oldest first."""
        return list(self._order)

    def push(self, value: float) -> float:
        """Add one finite value and return the percentile of the window, this value included.

        Raises:
            ValueError: if the value is NaN or infinite.
        """
        if not math.isfinite(value):
            raise ValueError(f"a running percentile takes finite values; got {value!r}.")
        if len(self._order) == self._order.maxlen:
            del self._sorted[bisect_left(self._sorted, self._order[0])]
        self._order.append(value)
        insort(self._sorted, value)
        return self.value()

    def value(self) -> float:
        """The percentile of the window, NaN before the first value."""
        if not self._sorted:
            return math.nan
        position = (len(self._sorted) - 1) * self._fraction
        floor = int(position)
        lower = self._sorted[floor]
        upper = self._sorted[min(floor + 1, len(self._sorted) - 1)]
        return interpolate(lower, upper, position - floor)
