"""When to measure: a schedule is a function from the step (an int, from 0) to a bool."""

from __future__ import annotations

from collections.abc import Callable

Schedule = Callable[[int], bool]


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
