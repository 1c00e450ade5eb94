"""Clipping by value."""

from __future__ import annotations

from gradlens.clipping.arguments import number
from gradlens.clipping.rule import ClipRule, stateless, up_to


def value(v: float) -> ClipRule:
    r"""Clamp each entry of the gradient.

    .. math:: g_k \leftarrow \max(-v, \min(v, g_k))

    Its groups are single entries; the norm of one is its absolute value. The real and the imaginary part of a complex
    entry are two entries. As applied, an infinite entry becomes v or -v, and a NaN stays. The direction changes.
    Norms do not determine what it does: it cannot be replayed.

    Args:
        v: at least 0, in the gradient's own unit.

    Raises:
        ValueError: if ``v`` is negative or not a number.

    References:
        Mikolov, "Statistical language models based on neural networks", PhD thesis, Brno 2012.

    >>> import numpy as np
    >>> from gradlens import clipping
    >>> rule = clipping.value(1.0)
    >>> rule.update(clipping.Measured(np.array([0.5, 4.0])), rule.init(2))[0].coefficients.tolist()
    [1.0, 0.25]
    """
    threshold = number("v", v)

    return stateless("value", {"v": threshold}, up_to(threshold), replayed=False, scope="entry")
