"""Clipping by a fixed norm."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np

from gradlens.clipping.rule import Clip, ClipRule, Floats, Measured, coefficients


def fixed(max_norm: float) -> ClipRule:
    r"""Scale the gradient down to a fixed norm when it is longer.

    .. math:: g \leftarrow g \, \min(1, c / \lVert g \rVert)

    Args:
        max_norm: c, in the gradient's own unit, at least 0; infinity never clips.

    Raises:
        ValueError: if ``max_norm`` is negative or not a number.

    References:
        Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", arXiv 1211.5063.

    >>> from gradlens import clipping
    >>> clipping.replay(clipping.fixed(1.0), [0.5, 4.0]).coefficients.tolist()
    [1.0, 0.25]
    """
    if isinstance(max_norm, bool) or not isinstance(max_norm, Real) or math.isnan(max_norm) or max_norm < 0:
        raise ValueError(f"max_norm must be a number, 0 or more; got {max_norm!r}.")
    threshold = float(max_norm)

    def init(groups: int) -> Floats:
        return np.full(groups, threshold)

    def update(measured: Measured, state: Floats) -> tuple[Clip, Floats]:
        return Clip(coefficients(measured.grad_norms, state), state), state

    def scan(norms: Floats) -> Floats:
        return np.full(len(norms), threshold)

    return ClipRule("fixed", {"max_norm": threshold}, init, update, scan)
