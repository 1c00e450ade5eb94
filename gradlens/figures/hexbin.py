"""Counting points in hexagons: one lattice for paper and page."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlens.figures.figure import Hexbin

Floats = NDArray[np.float64]

PANEL_ASPECT = 0.62
"""Height over width of a panel, for which the hexagons are regular."""


@dataclass(frozen=True, slots=True)
class Hexagons:
    """Occupied hexagons.

    Attributes:
        centres: (k, 2) in data coordinates.
        counts: (k,) points in each, all positive.
        corners: (6, 2) offsets of the corners from a centre.
    """

    centres: Floats
    counts: NDArray[np.int64]
    corners: Floats


def hexagons(mark: Hexbin) -> Hexagons:
    """Count the points of a mark on a hexagonal lattice spanning its limits.

    The lattice is two rectangular ones, shifted by half a cell; a point belongs to the nearer centre.

    >>> mark = Hexbin(np.array([0.5, 0.5]), np.array([0.5, 0.5]), "clipped", (0.0, 1.0), (0.0, 1.0))
    >>> hexagons(mark).counts.tolist()
    [2]
    """
    (x_low, x_high), (y_low, y_high) = mark.x_limits, mark.y_limits
    rows = max(1, round(mark.columns * PANEL_ASPECT / math.sqrt(3)))
    width, height = (x_high - x_low) / mark.columns, (y_high - y_low) / rows
    x, y = (mark.x - x_low) / width, (mark.y - y_low) / height
    corner = np.stack([np.round(x), np.round(y)], axis=1)
    middle = np.stack([np.floor(x), np.floor(y)], axis=1) + 0.5
    to_corner = (x - corner[:, 0]) ** 2 + 3 * (y - corner[:, 1]) ** 2
    to_middle = (x - middle[:, 0]) ** 2 + 3 * (y - middle[:, 1]) ** 2
    cells = np.where((to_corner < to_middle)[:, None], corner, middle)
    centres, counts = np.unique(cells, axis=0, return_counts=True)
    corners = np.array([(0.5, -0.5), (0.5, 0.5), (0.0, 1.0), (-0.5, 0.5), (-0.5, -0.5), (0.0, -1.0)])
    return Hexagons(
        centres=centres * (width, height) + (x_low, y_low),
        counts=counts,
        corners=corners * (width, height / 3),
    )
