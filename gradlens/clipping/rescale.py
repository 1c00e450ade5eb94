"""Gradient scaling: the norm is kept in a range."""

from __future__ import annotations

from math import isinf

from gradlens.clipping.arguments import number
from gradlens.clipping.rule import Clip, ClipRule, Measured, coefficients, stateless


def rescale(low: float, high: float) -> ClipRule:
    r"""Scale the gradient so that its norm lies in a range.

    .. math:: g \leftarrow g \, \min(h, \max(l, \lVert g \rVert)) / \lVert g \rVert

    A gradient shorter than ``low`` becomes longer; zero stays zero, and so does
    what a number cannot lengthen so far. The threshold is ``high``, so that ``clipped`` says
    which steps it shortened. Loss scaling of mixed precision is another thing: it guards half precision against
    underflow and is taken out again before the update; torch's ``GradScaler`` does it, handed to the recorder as
    ``Recorder(scaler=)``.

    Args:
        low: l, at least 0.
        high: h, at least ``low``; infinity never shortens.

    Raises:
        ValueError: if they are no numbers in that order.

    >>> from gradlens import clipping
    >>> result = clipping.replay(clipping.rescale(1.0, 2.0), [0.5, 1.5, 4.0])
    >>> result.coefficients.tolist(), result.clipped.tolist()
    ([2.0, 1.0, 0.5], [False, False, True])
    """
    least, most = number("low", low), number("high", high)
    if most < least or isinf(least):
        raise ValueError(f"low must be finite, and high at least low; got low={least!r} and high={most!r}.")

    def decide(measured: Measured) -> Clip:
        xp, norms = measured.xp, measured.grad_norms
        thresholds = xp.zeros_like(norms) + most
        short = (norms > _VANISHING * least) & (norms < least)
        lengthened = xp.where(short, least / xp.where(short, norms, 1.0), 1.0)
        return Clip(lengthened * coefficients(norms, thresholds, xp), thresholds)

    return stateless("rescale", {"low": least, "high": most}, decide)


_VANISHING = 1e-37
"""Of what it is to become: a factor of more than its inverse is none that single precision has."""
