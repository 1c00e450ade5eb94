"""What the factories refuse."""

from __future__ import annotations

import math
from numbers import Real


def number(name: str, value: float, *, least: float = 0.0, above: bool = False, most: float = math.inf) -> float:
    """The value as a float.

    Args:
        name: of the argument.
        value: what was given.
        least: the smallest value that is allowed.
        above: whether ``least`` itself is not.
        most: the largest value that is allowed.

    Raises:
        ValueError: if it is no number in the range.

    >>> number("max_norm", 1)
    1.0
    """
    in_range = not isinstance(value, bool) and isinstance(value, Real) and least <= value <= most
    if not in_range or (above and value == least):
        low = f"above {least:g}" if above else f"{least:g} or more"
        if most < math.inf:
            low = f"above {least:g}, at most {most:g}" if above else f"from {least:g} to {most:g}"
        raise ValueError(f"{name} must be a number, {low}; got {value!r}.")
    return float(value)


def count(name: str, value: int, *, least: int) -> int:
    """The value, a whole number.

    Raises:
        ValueError: if it is no whole number, or less than ``least``.

    >>> count("warmup", 25, least=1)
    25
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of steps, {least} or more; got {value!r}.")
    return value
