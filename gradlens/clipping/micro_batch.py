"""Micro-batch clipping: every micro-batch of a step is brought down to the shortest."""

from __future__ import annotations

from gradlens.clipping.rule import Clip, ClipRule, Measured, coefficients, stateless


def micro_batch() -> ClipRule:
    r"""Scale the gradient of each micro-batch of a step to the smallest norm among them.

    .. math:: \rho = \min_j \lVert g_j \rVert, \qquad g_j \leftarrow g_j \, \rho / \lVert g_j \rVert

    Its groups are the micro-batches of one step; the update is made with the mean of what is left. There is no
    threshold to choose: rho is the threshold. A micro-batch whose norm is not finite counts for nothing in rho and
    keeps coefficient 1. One micro-batch a step is no clipping; micro-batches of one sample clip per sample.

    References:
        Wang, "Revisit Micro-batch Clipping: Adaptive Data Pruning via Gradient Manipulation", ICLR 2025, arXiv
        2408.16204, algorithm 1.

    >>> from gradlens import clipping
    >>> result = clipping.replay(clipping.micro_batch(), [[4.0, 1.0, 2.0]])
    >>> result.coefficients.tolist(), result.thresholds.tolist()
    ([[0.25, 1.0, 0.5]], [[1.0, 1.0, 1.0]])
    """

    def decide(measured: Measured) -> Clip:
        xp, norms = measured.xp, measured.grad_norms
        smallest = xp.amin(xp.where(xp.isfinite(norms), norms, float("inf")), axis=-1, keepdims=True)
        thresholds = xp.zeros_like(norms) + smallest
        return Clip(coefficients(norms, thresholds, xp), thresholds)

    return stateless("micro_batch", {}, decide, scope="micro_batch")
