"""Where an axis has its ticks, and what they say: round numbers that fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

Tick = tuple[float, str]

_DIGIT: Final = 0.55
"""Width of a digit over the size of the type."""

_RAISED: Final = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_ROUND: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_DECADES: Final = (2, 3, 4, 5, 10, 20, 50, 100)
_WITHIN_A_DECADE: Final = ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))


def ticks(
    low: float, high: float, length: float, size: float, scale: Literal["linear", "log"] = "linear", *, upright: bool
) -> tuple[Tick, ...]:
    """Round positions between two limits, as many as have room beside each other.

    Args:
        low: one end of the axis, positive where the scale is ``"log"``.
        high: the other end.
        length: of the axis, in points.
        size: of the type, in points.
        scale: of the axis.
        upright: whether the axis is, so that labels stand above each other.

    Returns:
        Positions and labels, ascending; at least two where two round numbers are between the limits and fit.

    >>> ticks(0.0, 10_000.0, 80.0, 7.0, upright=False)
    ((0.0, '0'), (5000.0, '5,000'), (10000.0, '10,000'))
    >>> [text for _, text in ticks(0.02, 3.0, 100.0, 7.0, "log", upright=True)]
    ['0.02', '0.05', '0.1', '0.2', '0.5', '1', '2']
    """
    low, high = min(low, high), max(low, high)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return ()
    choices = _log_choices(low, high) if scale == "log" and low > 0 else _linear_choices(low, high)
    for choice in choices:
        if _fits(choice, low, high, length, size, log=scale == "log" and low > 0, upright=upright):
            return choice
    return ()


def thinned(
    named: Sequence[Tick], low: float, high: float, length: float, size: float,
    scale: Literal["linear", "log"] = "linear", *, upright: bool,
) -> tuple[Tick, ...]:  # fmt: skip
    """Every tick that is named, or every second, third, ..., as many as have room; arguments as for :func:`ticks`.

    They are named in any order: rows from the top are named at falling positions.

    >>> thinned([(1.0, "1"), (2.0, "2"), (4.0, "4"), (8.0, "8")], 1.0, 8.0, 30.0, 7.0, "log", upright=False)
    ((1.0, '1'), (4.0, '4'))
    >>> thinned([(0.0, "top"), (-1.0, "below")], -1.6, 0.6, 60.0, 7.0, upright=True)
    ((0.0, 'top'), (-1.0, 'below'))
    """
    log = scale == "log" and low > 0
    for step in range(1, len(named)):
        if _fits(named[::step], low, high, length, size, log=log, upright=upright):
            return tuple(named[::step])
    return tuple(named[:1])


def _fits(
    choice: Sequence[Tick], low: float, high: float, length: float, size: float, *, log: bool, upright: bool
) -> bool:
    if not choice:
        return False
    choice = sorted(choice)
    at = np.array([position for position, _ in choice])
    share = np.log(at / low) / math.log(high / low) if log else (at - low) / (high - low)
    widths = np.array([size * 1.6 if upright else size * (_DIGIT * _letters(text) + 1.0) for _, text in choice])
    gaps = np.diff(share * length)
    return bool((gaps >= (widths[1:] + widths[:-1]) / 2).all())


def _letters(text: str) -> float:
    """How many digits' width a label takes: an exponent is small, a point or comma thin."""
    return len(text) - 0.5 * sum(text.count(mark) for mark in ",.") - 0.4 * sum(text.count(x) for x in _RAISED)


def _linear_choices(low: float, high: float) -> list[tuple[Tick, ...]]:
    """From many ticks to few."""
    choices = []
    rough = 10.0 ** math.floor(math.log10((high - low) / 10))
    for step in [rough * unit * decade for decade in (1.0, 10.0) for unit in _ROUND[:-1]]:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        at = [index * step for index in range(first, last + 1)]
        if len(at) > 1 and len(at) <= 9:
            choices.append(tuple(zip(at, plain(at, step), strict=True)))
    if not choices:
        choices.append(((low, f"{low:.3g}"), (high, f"{high:.3g}")))
    return [*choices, choices[-1][:1]]


def plain(at: Sequence[float], step: float) -> list[str]:
    """Numbers with as many decimals as their distance needs.

    >>> plain([-0.5, 0.0, 0.5], 0.5), plain([0.0, 2e-5], 2e-5)
    (['−0.5', '0.0', '0.5'], ['0', '2e−5'])
    """
    largest = max(abs(x) for x in at)
    if largest and (largest < 1e-3 or largest >= 1e7):
        return [_exponent(x, 1 + max(1, math.ceil(math.log10(largest / step)))) for x in at]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if not math.isclose(step * 10**decimals, round(step * 10**decimals)):  # a step of 0.25
        decimals += 1
    return [f"{x if abs(x) > step / 2 else 0.0:,.{decimals}f}".replace("-", "−") for x in at]


def _exponent(x: float, digits: int = 3) -> str:
    if x == 0:
        return "0"
    mantissa, _, power = f"{x:.{digits}e}".partition("e")
    return f"{float(mantissa):.{digits + 1}g}e{int(power)}".replace("-", "−")


def _log_choices(low: float, high: float) -> list[tuple[Tick, ...]]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = range(first, last + 1)
    choices = [
        *(tuple(_log_tick(unit, power) for power in powers for unit in units) for units in _WITHIN_A_DECADE),
        *(tuple(_log_tick(1, power) for power in powers if power % step == 0) for step in _DECADES),
    ]
    within = [tuple(tick for tick in choice if low * (1 - 1e-9) <= tick[0] <= high * (1 + 1e-9)) for choice in choices]
    enough = [choice for choice in within if 1 < len(choice) <= 9]
    return [*(enough or _linear_choices(low, high)), *(choice[:1] for choice in within if choice)]


def _log_tick(unit: int, power: int) -> Tick:
    at = unit * 10.0**power
    if -3 <= power <= 3:
        return at, f"{at:,.{max(0, -power)}f}"
    return at, f"10{_raised(power)}" if unit == 1 else _exponent(at)


def _raised(power: int) -> str:
    return ("⁻" if power < 0 else "") + "".join(_RAISED[int(digit)] for digit in str(abs(power)))
