"""Local clipping: a threshold for each group of parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from gradlens.clipping.per_parameter import acting_globally
from gradlens.clipping.rule import ClipRule

Globs = str | Sequence[str]


def per_group(rule: ClipRule, groups: Mapping[str, Globs]) -> ClipRule:
    r"""Apply a rule to each group of parameters by itself, with a threshold and a memory of its own.

    .. math:: n_k = \Bigl( \sum_{i \in k} \lVert g_i \rVert^2 \Bigr)^{1/2}, \qquad
              g_i \leftarrow c_k(n_k) \, g_i \quad (i \in k)

    Parameters in no group are left alone. The direction of the whole gradient changes. Memory: the rule's, once per
    group. A replay takes norms of groups, (steps, groups), in the order of ``groups``.

    Args:
        rule: one that acts on the global norm.
        groups: name of a group -> shell pattern or patterns of its parameters' names, as in ``"encoder.*"``. Which
            parameters there are turns out where the rule is used: there, a pattern without any is refused, and so is a
            parameter in two groups.

    Raises:
        TypeError: if ``groups`` is no such mapping.
        ValueError: if it is empty, or the rule does not act on the global norm.

    >>> from gradlens import clipping
    >>> rule = clipping.per_group(clipping.fixed(1.0), {"encoder": "encoder.*", "rest": ["head.*", "norm.*"]})
    >>> clipping.replay(rule, [[2.0, 0.5]]).coefficients.tolist()
    [[0.5, 1.0]]
    """
    acting_globally("per_group", rule)
    if not isinstance(groups, Mapping):
        raise TypeError(f'groups takes names and patterns, such as {{"encoder": "encoder.*"}}; got {groups!r}.')
    if not groups:
        raise ValueError("groups holds no group; name at least one, or use per_parameter.")
    patterns = {name: (globs,) if isinstance(globs, str) else tuple(globs) for name, globs in groups.items()}
    for name, globs in patterns.items():
        if not isinstance(name, str) or not globs or not all(isinstance(glob, str) for glob in globs):
            raise TypeError(f"groups takes a name and one or more patterns for each group; got {name!r}: {globs!r}.")
    return replace(
        rule,
        name="per_group", parameters={"groups": patterns}, parts=(rule,), scope="group",
        remake=partial(per_group, groups=patterns),
    )  # fmt: skip
