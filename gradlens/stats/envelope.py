"""Fewer points, no spike lost: the minimum and maximum of each stretch of a long series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Envelope:
    """A series thinned for drawing.

    Attributes:
        x: (k,) positions kept, ascending.
        y: (k,) values at those positions, finite.
        points: how many finite points the series had.
        nonfinite_x: (j,) every position whose value was NaN or infinite; none is ever thinned away.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    points: int
    nonfinite_x: NDArray[np.float64]


def envelope(x: ArrayLike, y: ArrayLike, limit: int = 4000) -> Envelope:
    """Keep at most ``limit`` points of a series: the first, last, lowest and highest of each stretch.

    Args:
        x: (n,) positions, ascending.
        y: (n,) values.
        limit: most points kept, at least 8.

    Returns:
        The points kept, at their own positions; all of them where they fit.

    >>> spike = envelope(range(10_000), [0.0] * 5_000 + [9.0] + [0.0] * 4_999, limit=100)
    >>> spike.y.max(), len(spike.x) <= 100, spike.points
    (np.float64(9.0), True, 10000)
    """
    if limit < 8:
        raise ValueError(f"limit must be at least 8; got {limit!r}.")
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    finite = np.isfinite(ys)
    nonfinite_x = xs[~finite]
    xs, ys = xs[finite], ys[finite]
    n = len(ys)
    if n <= limit:
        return Envelope(xs, ys, n, nonfinite_x)
    edges = np.linspace(0, n, limit // 4 + 1).astype(np.int64)
    starts, ends = edges[:-1], edges[1:]
    stretches = [(begin, ys[begin:end]) for begin, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    extremes = [begin + int(place) for begin, part in stretches for place in (part.argmin(), part.argmax())]
    keep = np.unique(np.concatenate([starts, ends - 1, extremes]))
    return Envelope(xs[keep], ys[keep], n, nonfinite_x)
