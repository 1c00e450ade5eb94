"""The clip of DP-SGD, without its noise."""

from __future__ import annotations

from gradlens.clipping.arguments import number
from gradlens.clipping.rule import ClipRule, stateless, up_to


def per_sample(max_norm: float) -> ClipRule:
    r"""Clip the gradient of each micro-batch of a step by a fixed norm.

    .. math:: g_j \leftarrow g_j \, \min(1, C / \lVert g_j \rVert)

    Its groups are the micro-batches of one step; the update is made with the mean of what is left. Micro-batches of one
    sample make it the clip of differentially private SGD; no noise is added, so nothing is private.

    Args:
        max_norm: C, at least 0; infinity never clips.

    Raises:
        ValueError: if ``max_norm`` is negative or not a number.

    References:
        Abadi et al., "Deep learning with differential privacy", arXiv 1607.00133, algorithm 1.

    >>> from gradlens import clipping
    >>> clipping.replay(clipping.per_sample(2.0), [[4.0, 1.0]]).coefficients.tolist()
    [[0.5, 1.0]]
    """
    threshold = number("max_norm", max_norm)

    return stateless("per_sample", {"max_norm": threshold}, up_to(threshold), scope="micro_batch")
