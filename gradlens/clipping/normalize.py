"""Normalised gradient."""

from __future__ import annotations

from gradlens.clipping.arguments import number
from gradlens.clipping.rule import Clip, ClipRule, Measured, stateless


def normalize(eps: float = 1e-6) -> ClipRule:
    r"""Bring every gradient to length one.

    .. math:: g \leftarrow g / (\lVert g \rVert + \varepsilon)

    It always acts: a gradient shorter than 1 becomes longer, up to 1/eps times. The threshold is its target, 1, so that
    ``clipped`` says which steps it shortened.

    Args:
        eps: above 0; a gradient of that norm becomes half as long as the others.

    Raises:
        ValueError: if ``eps`` is not a number above 0.

    References:
        Hazan, Levy and Shalev-Shwartz, "Beyond convexity: Stochastic quasi-convex optimization", arXiv 1507.02030.

    >>> from gradlens import clipping
    >>> result = clipping.replay(clipping.normalize(), [0.5, 4.0])
    >>> result.coefficients.round(4).tolist(), result.clipped.tolist()
    ([2.0, 0.25], [False, True])
    """
    added = number("eps", eps, above=True)
    least = max(0.0, 1e-37 - added)  # of what is shorter the factor would be none that single precision has

    def decide(measured: Measured) -> Clip:
        xp, norms = measured.xp, measured.grad_norms
        finite = xp.isfinite(norms)
        factors = xp.where(finite, 1.0 / xp.where(finite & (norms > least), norms + added, least + added), 1.0)
        return Clip(factors, xp.ones_like(norms))

    return stateless("normalize", {"eps": added}, decide)
