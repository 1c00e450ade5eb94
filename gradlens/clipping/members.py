"""Rules over groups of parameters, turned into rules over the parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from gradlens.clipping.per_group import Globs
from gradlens.clipping.rule import Array, Clip, ClipRule, Measured, State


class Members:
    """Which parameters each group has.

    Args:
        groups: for each group, the indices of its parameters; no parameter is in two.
        parameters: how many there are.
        asarray: makes the arrays that ``xp`` works on, where they are needed.

    >>> members = Members([[0, 2]], 3)
    >>> members.norms(np.array([3.0, 9.0, 4.0])).tolist(), members.spread(np.array([0.5]), 1.0).tolist()
    ([5.0], [0.5, 1.0, 0.5])
    """

    def __init__(
        self, groups: Sequence[Sequence[int]], parameters: int, asarray: Callable[[Any], Array] = np.asarray
    ) -> None:
        belongs = np.zeros((len(groups), parameters), bool)
        group_of = np.full(parameters, len(groups))
        for index, group in enumerate(groups):
            belongs[index, group] = True
            group_of[list(group)] = index
        self.groups = len(groups)
        self._belongs, self._group_of = asarray(belongs), asarray(group_of)

    def norms(self, norms: Array, xp: Any = np) -> Array:
        """The norm of each group from those of parameters, (parameters,) -> (groups,); NaN is without a gradient."""
        there = self._belongs & ~xp.isnan(norms)
        return xp.where(there.any(axis=-1), xp.sqrt((xp.where(there, norms, 0.0) ** 2).sum(axis=-1)), float("nan"))

    def spread(self, values: Array, alone: float, xp: Any = np) -> Array:
        """Each parameter's group's value, (groups,) -> (parameters,); ``alone`` for one in no group."""
        return xp.concatenate([values, xp.zeros_like(values[:1]) + alone])[self._group_of]


def over_parameters(rule: ClipRule, names: Sequence[str], asarray: Callable[[Any], Array] = np.asarray) -> ClipRule:
    """The same rule with the parameters as its groups, in use and in memory the same.

    In the norms that it takes, NaN is a parameter without a gradient, infinity one whose gradient is not finite. The
    threshold of a parameter is the norm at which its group would be at the group's.

    Args:
        rule: any but those on micro-batches; rules on units and entries are left as they are.
        names: of the parameters.
        asarray: see :class:`Members`.

    Raises:
        ValueError: if the pattern of a group matches no parameter, or a parameter is in two groups.

    >>> from gradlens import clipping
    >>> rule = over_parameters(clipping.chain(clipping.per_parameter(clipping.fixed(3.0)), clipping.fixed(4.0)), "ab")
    >>> rule.update(Measured(np.array([6.0, 4.0])), rule.init(2))[0].coefficients.round(3).tolist()
    [0.471, 0.707]
    """
    if rule.name in ("chain", "match_step") and rule.scope != "global" and rule.remake is not None:
        return rule.remake(*(over_parameters(part, names, asarray) for part in rule.parts))
    if rule.scope == "global":
        return _over(rule, Members([range(len(names))], len(names), asarray))
    if rule.scope == "group":
        return _over(rule, Members(matching_names(rule.parameters["groups"], names), len(names), asarray))
    return rule


def matching_names(groups: Mapping[str, Globs], names: Sequence[str]) -> list[list[int]]:
    """For each group, the indices of the names that its shell patterns match.

    Raises:
        ValueError: if a pattern matches none, or a name is in two groups.

    >>> matching_names({"encoder": "enc.*", "head": ["head"]}, ["enc.weight", "head", "enc.bias"])
    [[0, 2], [1]]
    """
    group_of: dict[int, str] = {}
    for group, globs in groups.items():
        for glob in (globs,) if isinstance(globs, str) else globs:
            found = [index for index, name in enumerate(names) if fnmatchcase(name, glob)]
            if not found:
                some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
                raise ValueError(f"groups[{group!r}]: {glob!r} matches no parameter; their names are {some}")
            for index in found:
                if group_of.setdefault(index, group) != group:
                    raise ValueError(
                        f"a parameter belongs to one group of a clip rule; {names[index]!r} is in "
                        f"{group_of[index]!r} and {group!r}."
                    )
    return [sorted(index for index, own in group_of.items() if own == group) for group in groups]


def _over(rule: ClipRule, members: Members) -> ClipRule:
    def init(parameters: int) -> State:  # noqa: ARG001 - how many groups, the members say
        return rule.init(members.groups)

    def update(measured: Measured, state: State) -> tuple[Clip, State]:
        xp = measured.xp
        norms = members.norms(measured.grad_norms, xp)
        clip, after = rule.update(replace(measured, grad_norms=norms), state)
        there = xp.isfinite(norms) & (norms > 0) & xp.isfinite(clip.thresholds)
        share = xp.where(there, clip.thresholds / xp.where(there, norms, 1.0), float("inf"))
        shares = members.spread(share, float("inf"), xp)
        finite = xp.isfinite(shares)
        own = xp.where(xp.isfinite(measured.grad_norms), measured.grad_norms, 0.0)
        thresholds = xp.where(finite, xp.where(finite, shares, 0.0) * own, shares)
        factors = xp.where(xp.isfinite(measured.grad_norms), members.spread(clip.coefficients, 1.0, xp), 1.0)
        return Clip(factors, thresholds), after

    return replace(rule, init=init, update=update, scan=None, scope="parameter")
