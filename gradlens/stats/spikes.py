"""Spikes of a series: what stands far above its recent past, by a score that spikes themselves hardly move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
WINDOW: Final = 64
SCORE: Final = 6.0
_MAD_TO_SD: Final = 1.4826  # of a normal distribution
_PIECE: Final = 1 << 19
_WINDOWS: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class Spikes:
    """Where a series spikes.

    Attributes:
        places: (k,) int64, positions of the spikes, ascending.
        scores: (k,) how many robust standard deviations each is above the median of its past.
        scored: (n,) bool, which values could be scored: the finite ones with a full window before them.
    """

    places: NDArray[np.int64]
    scores: Floats
    scored: NDArray[np.bool_]


def find_spikes(
    values: ArrayLike, *, window: int = WINDOW, score: float = SCORE, floor: float = 0.0, relative_floor: float = 0.0
) -> Spikes:
    r"""Values far above the median of the values before them.

    .. math:: z_t = \frac{x_t - m_t}{\max(1.4826 \, \mathrm{MAD}_t,\; f + r |m_t|)}, \qquad
              m_t = \mathrm{median}(x_{t-w}, \dots, x_{t-1}), \quad
              \mathrm{MAD}_t = \mathrm{median}_{s} |x_s - m_t|

    A spike is :math:`z_t >` ``score``. Only the past enters, so that a run under way and the finished run agree on
    every step. Values that are not finite are neither scored nor part of a window. A lasting rise is a spike until half
    the window has seen it.

    False alarms a value, at the defaults, on a stationary Gaussian series (of any mean and scale), counted in ten
    million values each: 2 in a million where they are independent, 7 in 100,000 at an autocorrelation of .9 between
    neighbours, 9 in 10,000 at .99.

    Cost: two rank filters, vectorised; the exact deviation is computed only where a bound from below of it leaves a
    spike possible. Memory: pieces of half a million values, and one byte a value.

    Args:
        values: (n,) numbers.
        window: w, how many finite values to look back on, at least 8.
        score: the least z of a spike, positive.
        floor: f, the least scale, in the unit of the values; what keeps a series that hardly varies from spiking.
        relative_floor: r, the same as a share of the median's size.

    Returns:
        The spikes, their scores, and which values could be scored.

    Raises:
        ValueError: if an argument is outside its range.

    >>> calm = np.tile([1.0, 1.2, 0.9, 1.1], 25)
    >>> calm[90] = 9.0
    >>> find_spikes(calm).places.tolist(), int(find_spikes(calm).scored.sum())
    ([90], 36)
    """
    _check(window, score, floor, relative_floor)
    x = np.asarray(values, dtype=np.float64)
    finite = np.flatnonzero(np.isfinite(x))
    scored = np.zeros(len(x), dtype=np.bool_)
    scored[finite[window:]] = True
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers near the largest there are
        found = [
            _in_piece(x[finite[begin - window : begin + _PIECE]], window, score, (floor, relative_floor), begin)
            for begin in range(window, len(finite), _PIECE)
        ]
    places = np.concatenate([np.empty(0, np.int64), *(place for place, _ in found)])
    return Spikes(finite[places], np.concatenate([np.empty(0), *(each for _, each in found)]), scored)


def _check(window: int, score: float, floor: float, relative_floor: float) -> None:
    if isinstance(window, bool) or not isinstance(window, int) or window < 8:
        raise ValueError(f"window takes a whole number of values, 8 or more; got {window!r}.")
    if not 0 < score < np.inf:
        raise ValueError(f"score must be positive and finite; got {score!r}.")
    if not (0 <= floor < np.inf and 0 <= relative_floor < np.inf):
        raise ValueError(f"floors must be at least 0 and finite; got {floor!r} and {relative_floor!r}.")


def _in_piece(
    x: Floats, window: int, score: float, floors: tuple[float, float], begin: int
) -> tuple[NDArray[np.int64], Floats]:
    """Places, counted from ``begin``, and scores among the values of ``x`` that have a window before them in ``x``."""
    first = window // 2  # where SciPy's window of the first `window` values is centred
    last = first + len(x) - window

    def ranked(rank: int) -> Floats:
        from scipy.ndimage import rank_filter  # a recorder, which needs none of it, does not load SciPy

        return np.asarray(rank_filter(x, rank, size=window)[first:last])

    middle = ranked(window // 2)
    if window % 2 == 0:
        middle = middle + 0.5 * (ranked(window // 2 - 1) - middle)
    # At most half of the window lies strictly between its quartiles, so that their distance bounds the MAD from below.
    least = np.minimum(middle - ranked(window // 4), ranked(window - 1 - window // 4) - middle)
    floor = np.maximum(floors[0] + floors[1] * np.abs(middle), np.finfo(np.float64).tiny)
    maybe = np.flatnonzero(x[window:] - middle > score * np.maximum(_MAD_TO_SD * least, floor) * (1 - 1e-9))
    windows = sliding_window_view(x, window)
    scores = np.empty(len(maybe))
    for start in range(0, len(maybe), _WINDOWS):
        some = maybe[start : start + _WINDOWS]
        spread = np.median(np.abs(windows[some] - middle[some, None]), axis=1)
        scale = np.maximum(_MAD_TO_SD * spread, floor[some])
        scores[start : start + _WINDOWS] = (x[window:][some] - middle[some]) / scale
    kept = scores > score
    return maybe[kept] + begin, scores[kept]
