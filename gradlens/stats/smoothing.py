"""Exponential smoothing that is right from the first point."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ema(values: ArrayLike, weight: float) -> NDArray[np.float64]:
    r"""Bias-corrected exponential moving average.

    .. math:: s_t = \frac{\sum_{i \le t} w^{t-i} x_i}{\sum_{i \le t} w^{t-i}}

    The division makes the early values a true weighted mean, instead of a ramp up from the first point.
    Non-finite values carry no weight: the mean passes over them.

    Args:
        values: (n,) numbers.
        weight: w in [0, 1); 0 returns the values themselves.

    Returns:
        (n,) float64; NaN until the first finite value.

    Raises:
        ValueError: if the weight is outside [0, 1).

    >>> ema([1.0, 3.0], 0.5).round(3).tolist()
    [1.0, 2.333]
    """
    if not 0 <= weight < 1:
        raise ValueError(f"weight must be at least 0 and below 1; got {weight!r}.")
    x = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(x)
    from scipy.signal import lfilter  # a recorder, which needs none of it, does not load SciPy

    total = lfilter([1.0], [1.0, -weight], np.where(finite, x, 0.0))
    mass = lfilter([1.0], [1.0, -weight], finite.astype(np.float64))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(mass > 0, np.asarray(total) / np.asarray(mass), np.nan)
