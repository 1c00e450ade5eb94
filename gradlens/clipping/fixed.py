"""Clipping by a fixed norm."""

from __future__ import annotations

from gradlens.clipping.arguments import number
from gradlens.clipping.rule import ClipRule, stateless, up_to


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
    threshold = number("max_norm", max_norm)

    return stateless("fixed", {"max_norm": threshold}, up_to(threshold))
