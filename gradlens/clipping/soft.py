"""Soft saturation: the smooth counterpart of clipping."""

from __future__ import annotations

from gradlens.clipping.arguments import number
from gradlens.clipping.rule import Clip, ClipRule, Measured, stateless


def soft(gamma: float) -> ClipRule:
    r"""Shorten every gradient, long ones most, so that no plain gradient step is longer than gamma.

    .. math:: g \leftarrow g / (1 + \eta \lVert g \rVert / \gamma)

    with the learning rate eta (in a training, of the first parameter group): the step's length saturates at gamma. It
    always acts. The threshold is gamma / eta, the norm that is halved, and that no shortened gradient exceeds; it is
    infinite while the learning rate is 0.

    Args:
        gamma: the longest step, above 0.

    Raises:
        ValueError: if ``gamma`` is not a number above 0; in use, if the learning rate is not known.

    References:
        Zhang, Jin, Fang and Wang, "Improved analysis of clipping algorithms for non-convex optimization",
        arXiv 2010.02519, whose clip min(eta, gamma / norm) it smooths.

    >>> from gradlens import clipping
    >>> result = clipping.replay(clipping.soft(1.0), [1.0, 10.0, 90.0], lr=0.1)
    >>> result.coefficients.round(3).tolist(), result.thresholds.tolist()
    ([0.909, 0.5, 0.1], [10.0, 10.0, 10.0])
    """
    longest = number("gamma", gamma, above=True)

    def decide(measured: Measured) -> Clip:
        if measured.lr is None:
            raise ValueError(f"soft(gamma={longest!r}) needs the learning rate; give lr, one number or one a step.")
        xp, norms = measured.xp, measured.grad_norms
        rates = (xp.zeros_like(norms) + measured.lr) / longest
        finite, moving = xp.isfinite(norms), rates > 0
        factors = xp.where(finite, 1.0 / (1.0 + rates * xp.where(finite, norms, 0.0)), 1.0)
        return Clip(factors, xp.where(moving, 1.0 / xp.where(moving, rates, 1.0), float("inf")))

    return stateless("soft", {"gamma": longest}, decide)
