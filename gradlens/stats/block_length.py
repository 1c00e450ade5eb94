"""How far a series depends on its own past: block length of a bootstrap, and the variance of a mean.

References:
    Politis and White, "Automatic block-length selection for the dependent bootstrap", Econometric Reviews, 2004,
    with the correction of Patton, Politis and White, 2009.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

FEW_BLOCKS = 50
"""Independent blocks below which a bootstrap interval is too narrow, by what ``Correlation.caveat`` says."""


def few_blocks(n: int, block: int) -> str:
    """Empty, or a clause that says of an interval that it rests on few independent blocks.

    >>> few_blocks(600, 100), few_blocks(600, 2)
    ('only about 6 independent blocks, so its interval is likely too narrow', '')
    """
    blocks = n / block if block else 0.0
    narrow = 0 < blocks < FEW_BLOCKS
    return f"only about {blocks:.0f} independent blocks, so its interval is likely too narrow" * narrow


def block_length(series: ArrayLike) -> int:
    r"""Block length for a circular block bootstrap of the mean of a stationary series.

    .. math:: b = \left(\frac{2 G^2}{D}\right)^{1/3} n^{1/3},\quad
              G = \sum_k \lambda(k/M)\,|k|\,R(k),\quad D = \tfrac{4}{3}\Big(\sum_k \lambda(k/M) R(k)\Big)^2

    with R the autocovariance, :math:`\lambda` the flat-top window and M twice the lag after which the
    autocorrelation stays insignificant.

    Args:
        series: (n,) finite numbers.

    Returns:
        The block length, from 1 to :math:`\min(3\sqrt n, n/3)`.

    >>> rng = np.random.default_rng(0)
    >>> white = rng.standard_normal(2000)
    >>> walk = np.convolve(rng.standard_normal(2100), np.ones(100), "valid")[:2000]
    >>> block_length(white) <= 5, block_length(walk) > 50
    (True, True)
    """
    x = np.asarray(series, dtype=np.float64)
    n = len(x)
    longest = max(1, math.ceil(min(3 * math.sqrt(n), n / 3)))
    if n < _FEWEST or not np.any(x - x.mean()):
        return 1
    found = _Dependence.of(x)
    if found.spectrum <= 0:
        return 1
    length = (2 * found.slope**2 / (4 / 3 * found.spectrum**2)) ** (1 / 3) * n ** (1 / 3)
    return int(min(longest, max(1, round(length))))


def long_run_variance(series: ArrayLike) -> float:
    r"""N times the variance of the mean of a stationary series: :math:`\sum_k \lambda(k/M) R(k)`, as above.

    Args:
        series: (n,) finite numbers.

    Returns:
        The variance; at least a tenth of that of independent numbers, since the sum may come out negative.

    >>> x = np.random.default_rng(0).standard_normal(4000)
    >>> moving = x[1:] + x[:-1]  # its variance is 2, its long-run variance 4
    >>> bool(1.8 < moving.var() < 2.2), bool(3.5 < long_run_variance(moving) < 4.5)
    (True, True)
    """
    x = np.asarray(series, dtype=np.float64)
    plain = float(x.var()) if len(x) else math.nan
    return max(_Dependence.of(x).spectrum, plain / 10) if len(x) >= _FEWEST and plain > 0 else plain


_FEWEST = 8


@dataclass(frozen=True, slots=True)
class _Dependence:
    """Sums over the autocovariance of a series.

    Attributes:
        spectrum: that of the autocovariance, its long-run variance.
        slope: that of its product with the lag.
    """

    spectrum: float
    slope: float

    @classmethod
    def of(cls, values: Floats) -> _Dependence:
        n, x = len(values), values - values.mean()
        patience = max(5, math.ceil(math.sqrt(math.log10(n))))
        lags = min(n - 1, math.ceil(math.sqrt(n)) + patience)
        covariance = np.array([np.dot(x[: n - k], x[k:]) / n for k in range(lags + 1)])
        small = np.abs(covariance[1:] / covariance[0]) < 2 * math.sqrt(math.log10(n) / n)
        runs = np.convolve(small, np.ones(patience), "valid") == patience
        significant = int(np.argmax(runs)) if runs.any() else int(np.flatnonzero(~small)[-1]) + 1
        window = min(2 * max(1, significant), lags)
        k = np.arange(1, window + 1)
        weighted = np.minimum(1.0, 2 * (1 - k / window)) * covariance[1 : window + 1]
        return cls(float(covariance[0] + 2 * weighted.sum()), 2 * float((k * weighted).sum()))
