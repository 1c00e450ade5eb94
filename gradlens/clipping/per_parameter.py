"""Local clipping: a threshold for each parameter."""

from __future__ import annotations

from dataclasses import replace

from gradlens.clipping.rule import ClipRule


def per_parameter(rule: ClipRule) -> ClipRule:
    r"""Apply a rule to each parameter tensor by itself, with a threshold and a memory of its own.

    .. math:: g_i \leftarrow c_i(\lVert g_i \rVert) \, g_i

    The direction of the whole gradient changes. Memory: the rule's, once per parameter.

    Args:
        rule: one that acts on the global norm, such as ``autoclip(10)`` or a ``chain`` of such.

    Raises:
        ValueError: if the rule acts on something else already.

    >>> from gradlens import clipping
    >>> result = clipping.replay(clipping.per_parameter(clipping.fixed(1.0)), [[2.0, 0.5], [4.0, 8.0]])
    >>> result.coefficients.tolist()
    [[0.5, 1.0], [0.25, 0.125]]
    """
    return replace(
        acting_globally("per_parameter", rule),
        name="per_parameter", parameters={}, parts=(rule,), remake=per_parameter, scope="parameter",
    )  # fmt: skip


def acting_globally(name: str, rule: ClipRule) -> ClipRule:
    """The rule, if its groups are independent of each other and may be anything.

    Raises:
        TypeError: if it is no rule.
        ValueError: if its groups are something of their own.

    >>> from gradlens import clipping
    >>> acting_globally("per_parameter", clipping.fixed(1.0))
    fixed(max_norm=1.0)
    """
    if not isinstance(rule, ClipRule):
        raise TypeError(f"{name} takes a rule such as gradlens.clipping.autoclip(percentile=10); got {rule!r}.")
    if rule.scope != "global":
        raise ValueError(
            f"{name} takes a rule that acts on the global norm; {rule} has groups of its own ({rule.scope})."
        )
    return rule
