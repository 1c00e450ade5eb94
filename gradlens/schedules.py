"""When to measure: a schedule is a function from the step (an int, from 0) to a bool."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

Schedule = Callable[[int], bool]


@runtime_checkable
class Watching(Protocol):
    """A schedule that depends on what was recorded; a value of its own for each recorder."""

    def __call__(self, step: int) -> bool:
        """Whether the step is due."""

    def see(self, now: int, row: Mapping[str, Any]) -> None:
        """Take note of a row that has arrived; ``now`` is the step that comes next."""


def every(k: int) -> Schedule:
    """Due at steps 0, k, 2k, ...

    Args:
        k: the spacing in steps, at least 1.

    Raises:
        ValueError: if ``k`` is not a positive integer.

    >>> [step for step in range(9) if every(4)(step)]
    [0, 4, 8]
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"every(k) takes a whole number of steps, 1 or more; got {k!r}.")
    return lambda step: step % k == 0


def never(step: int) -> bool:  # noqa: ARG001 - a schedule that ignores the step
    """Never due.

    >>> never(0)
    False
    """
    return False


def log_spaced(per_decade: int = 20) -> Schedule:
    """Due at step 0 and at about ``per_decade`` steps in each decade, as on a logarithmic axis.

    Step ``t >= 1`` is due when ``floor(per_decade * log10(t))`` differs from that of ``t - 1``.

    Args:
        per_decade: how many steps in each factor of ten, at least 1.

    Raises:
        ValueError: if ``per_decade`` is not a positive integer.

    >>> [step for step in range(120) if log_spaced(4)(step)]
    [0, 1, 2, 4, 6, 10, 18, 32, 57, 100]
    """
    if isinstance(per_decade, bool) or not isinstance(per_decade, int) or per_decade < 1:
        raise ValueError(f"log_spaced(per_decade) takes a whole number, 1 or more; got {per_decade!r}.")

    def bin_of(step: int) -> int:
        # The largest k with 10**(k / per_decade) <= step, without trusting the rounding of log10.
        k = int(per_decade * len(str(step)))
        while 10 ** (k / per_decade) > step:
            k -= 1
        return k

    return lambda step: step < 2 or bin_of(step) != bin_of(step - 1)


def on_spike(name: str = "grad_norm", *, factor: float = 3.0, window: int = 100, hold: int = 10) -> Schedule:
    """Due for some steps once a number stands out: looks closer where something happened.

    A value is a spike when it is not finite, or more than ``factor`` times the median of the ``window`` finite values
    before it, of which there must be ten. The host learns of it when the row arrives: on the CPU as the next step
    begins, on an accelerator some steps later. The steps that then follow are due.

    Args:
        name: a column of the step table, or a number of your own that you log.
        factor: how far above the median a spike is, more than 1.
        window: how many values to look back on, at least 10.
        hold: how many steps are due after a spike, at least 1.

    Raises:
        TypeError: if ``name`` is no text.
        ValueError: if a number is outside its range.

    >>> schedule = on_spike(hold=2)
    >>> for step, norm in enumerate([1.0] * 12 + [9.0, 1.0, 1.0]):
    ...     schedule.see(step + 1, {"grad_norm": norm})
    >>> [step for step in range(20) if schedule(step)]
    [13, 14]
    """
    if not isinstance(name, str):
        raise TypeError(f'on_spike takes the name of a column, such as "grad_norm"; got {name!r}.')
    if not factor > 1:
        raise ValueError(f"factor must be more than 1; got {factor!r}.")
    for what, value, least in (("window", window, 10), ("hold", hold, 1)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{what} takes a whole number, {least} or more; got {value!r}.")
    return _OnSpike(name, factor, window, hold)


class _OnSpike:
    """See :func:`on_spike`."""

    def __init__(self, name: str, factor: float, window: int, hold: int) -> None:
        self._name, self._factor, self._hold = name, factor, hold
        self._past: deque[float] = deque(maxlen=window)
        self._begin = self._end = 0

    def __call__(self, step: int) -> bool:
        return self._begin <= step < self._end

    def see(self, now: int, row: Mapping[str, Any]) -> None:
        value = row.get(self._name)
        if not isinstance(value, (int, float)):
            return
        finite = math.isfinite(value)
        enough = len(self._past) >= 10
        if not finite or (enough and value > self._factor * statistics.median(self._past)):
            self._begin = self._begin if now < self._end else now
            self._end = now + self._hold
        if finite:
            self._past.append(value)
