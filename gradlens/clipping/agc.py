"""Adaptive gradient clipping, unit by unit."""

from __future__ import annotations

from gradlens.clipping.arguments import number
from gradlens.clipping.rule import Clip, ClipRule, Measured, coefficients, stateless


def agc(lam: float = 0.01, eps: float = 1e-3) -> ClipRule:
    r"""Keep each unit's gradient small beside the unit's weights.

    .. math:: G_i \leftarrow G_i \, \min\bigl(1, \lambda \max(\lVert W_i \rVert, \varepsilon) / \lVert G_i \rVert \bigr)

    A unit is a row of a matrix or an output filter: one index of the first dimension, all others together. A vector or
    a single number is one unit. The paper leaves the last linear layer alone; this clips all parameters it is given.
    Norms of whole parameters do not determine it: a replay needs those of the units, of the gradient and of the
    weights.

    Args:
        lam: the largest ratio, at least 0.
        eps: the least that a weight norm counts as, so that units that are zero can move; at least 0.

    Raises:
        ValueError: if an argument is outside its range; in use, if the norms of the weights are not known.

    References:
        Brock, De, Smith and Simonyan, "High-performance large-scale image recognition without normalization",
        arXiv 2102.06171, equation 3.

    >>> from gradlens import clipping
    >>> result = clipping.replay(clipping.agc(), [[0.5, 0.02, 0.02]], param_norms=[[1.0, 5.0, 0.0]])
    >>> result.coefficients.tolist(), result.thresholds.tolist()
    ([[0.02, 1.0, 0.0005]], [[0.01, 0.05, 1e-05]])
    """
    ratio, least = number("lam", lam), number("eps", eps)

    def decide(measured: Measured) -> Clip:
        if measured.param_norms is None:
            raise ValueError(
                f"agc(lam={ratio!r}, eps={least!r}) needs the norms of units (rows, output filters), of their gradient "
                "and, as param_norms, of their weights; a run records those of whole parameters."
            )
        thresholds = ratio * measured.xp.clip(measured.param_norms, least, None)
        return Clip(coefficients(measured.grad_norms, thresholds, measured.xp), thresholds)

    return stateless("agc", {"lam": ratio, "eps": least}, decide, scope="unit")
