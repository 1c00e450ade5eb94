"""The matched-step control: the step length of another rule, in the direction of the plain gradient."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from gradlens.clipping.rule import Array, Clip, ClipRule, Measured, State, total_norm


def match_step(reference: ClipRule) -> ClipRule:
    r"""Rescale the plain gradient to the norm that the reference rule would have left.

    .. math:: g \leftarrow g \, \lVert \mathrm{clip}(g) \rVert / \lVert g \rVert, \qquad
              \lVert \mathrm{clip}(g) \rVert = \Bigl( \sum_i (c_i n_i)^2 \Bigr)^{1/2}

    A control: what is left of the reference's effect when its step length is kept and its direction is not. Its groups
    are the reference's, all with the same coefficient; the threshold of one is the norm that it is brought to, infinite
    where nothing is shortened. Of a rule that acts on the global norm it is that rule. For a rule on micro-batches the
    sum of the clipped micro-batch gradients has to be measured: the recorder does, norms alone do not say. Memory: the
    reference's; of a rule on units or entries, also a copy of the gradients meanwhile.

    Args:
        reference: the rule to compare with, by its own memory of the gradients that this training sees.

    Raises:
        TypeError: if it is no rule.

    >>> from gradlens import clipping
    >>> rule = clipping.match_step(clipping.per_parameter(clipping.fixed(1.0)))
    >>> result = clipping.replay(rule, [[0.6, 8.0]])
    >>> bool(abs(result.coefficients[0, 0] * (0.6**2 + 8.0**2) ** 0.5 - (0.6**2 + 1.0) ** 0.5) < 1e-12)
    True
    """
    if not isinstance(reference, ClipRule):
        raise TypeError(f"match_step takes a rule such as gradlens.clipping.micro_batch(); got {reference!r}.")
    scan = reference.scan

    def matched(clip: Clip, measured: Measured) -> Clip:
        if reference.scope == "global":
            return clip
        xp, norms = measured.xp, measured.grad_norms
        factor = matching(total_norm(norms, xp), total_norm(clip.coefficients * norms, xp), xp)
        factors = xp.where(xp.isfinite(norms), factor, 1.0)
        return Clip(factors, xp.where(factors < 1.0, factors * norms, math.inf))

    def update(measured: Measured, state: State) -> tuple[Clip, State]:
        if reference.scope == "micro_batch":
            raise ValueError(
                f"match_step({reference}) needs the norm of the sum of the clipped micro-batch gradients, which their "
                "norms do not determine; it has to be measured."
            )
        clip, after = reference.update(measured, state)
        return matched(clip, measured), after

    def replayed(measured: Measured) -> Clip:
        assert scan is not None  # noqa: S101 - see below
        return matched(scan(measured), measured)

    # Parameters in no group are rescaled too, and norms of groups do not show them.
    determined = scan is not None and reference.scope not in ("group", "micro_batch")
    return replace(
        reference,
        name="match_step", parameters={}, parts=(reference,), remake=match_step,
        update=update, scan=replayed if determined else None,
    )  # fmt: skip


def matching(norm: Array, wanted: Array, xp: Any) -> Array:
    """The factor that brings a norm to another, 1 where the norm is zero or not finite.

    >>> import numpy as np
    >>> matching(np.array([4.0, 0.0]), np.array([1.0, 0.0]), np).tolist()
    [0.25, 1.0]
    """
    usable = xp.isfinite(norm) & (norm > 0)
    return xp.where(usable, wanted / xp.where(usable, norm, 1.0), 1.0)
