"""Several rules, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import reduce
from typing import Any

from gradlens.clipping.rule import Clip, ClipRule, Floats, Measured, State

_FINEST = ("entry", "unit", "parameter")


def chain(*rules: ClipRule) -> ClipRule:
    r"""Apply rules in this order; the second sees what the first left.

    .. math:: g \leftarrow c_2(c_1 g) \, c_1 \, g

    Coefficients multiply. The threshold is the norm before the chain above which one of the rules clips. Rules with
    different groups can be chained for training (``chain(value(1.0), fixed(5.0))``); norms do not determine what such
    a chain does, so that it cannot be replayed. Memory: that of the rules.

    Args:
        rules: at least one; none that acts on micro-batches, which are clipped before there is a step's gradient.

    Raises:
        TypeError: if one is no rule.
        ValueError: if there is none, or one acts on micro-batches.

    >>> from gradlens import clipping
    >>> result = clipping.replay(clipping.chain(clipping.autoclip(100, window=2), clipping.fixed(3.0)), [2.0, 4.0])
    >>> result.coefficients.tolist(), result.thresholds.tolist()
    ([1.0, 0.75], [2.0, 3.0])
    """
    for rule in rules:
        if not isinstance(rule, ClipRule):
            raise TypeError(f"chain takes rules such as gradlens.clipping.fixed(1.0); got {rule!r}.")
        if rule.scope == "micro_batch":
            raise ValueError(f"chain takes rules for the gradient of a step; {rule} clips micro-batches before that.")
    if not rules:
        raise ValueError("chain takes at least one rule; got none.")
    scopes = {rule.scope for rule in rules}
    scans = [rule.scan for rule in rules]

    def init(groups: int) -> list[State]:
        return [rule.init(groups) for rule in rules]

    def update(measured: Measured, state: list[State]) -> tuple[Clip, list[State]]:
        after: list[State] = []

        def link(rule: ClipRule, own: State) -> Callable[[Measured], Clip]:
            def decide(seen: Measured) -> Clip:
                clip, new = rule.update(seen, own)
                after.append(new)
                return clip

            return decide

        return _linked(map(link, rules, state), measured), after

    def scan(measured: Measured) -> Clip:
        return _linked((each for each in scans if each is not None), measured)

    def save(state: list[State]) -> dict[str, Floats]:
        saved = (rule.save(own) for rule, own in zip(rules, state, strict=True))
        return {f"{index}.{key}": values for index, each in enumerate(saved) for key, values in each.items()}

    def load(saved: Mapping[str, Floats]) -> list[State]:
        return [
            rule.load({key.removeprefix(f"{index}."): saved[key] for key in saved if key.startswith(f"{index}.")})
            for index, rule in enumerate(rules)
        ]

    return ClipRule(
        "chain", {}, init, update, None if None in scans or len(scopes) > 1 else scan, save, load,
        scope=scopes.pop() if len(scopes) == 1 else next(s for s in _FINEST if s in scopes | {"parameter"}),
        parts=rules, remake=chain,
    )  # fmt: skip


def _linked(links: Iterable[Callable[[Measured], Clip]], measured: Measured) -> Clip:
    def then(done: Clip, link: Callable[[Measured], Clip]) -> Clip:
        xp: Any = measured.xp
        clip = link(replace(measured, grad_norms=done.coefficients * measured.grad_norms))
        # Below its threshold a rule that always acts has a factor of its own, and the next threshold is seen through
        # that; above, it clips anyway.
        clipped = measured.grad_norms > done.thresholds
        seen = clip.thresholds / xp.where(clipped, 1.0, done.coefficients)
        return Clip(done.coefficients * clip.coefficients, xp.where(seen < done.thresholds, seen, done.thresholds))

    first, *rest = links
    return reduce(then, rest, first(measured))
