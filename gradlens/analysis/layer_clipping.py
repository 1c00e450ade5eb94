"""Which layers would a rule clip, if each had a threshold of its own?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.thresholds import COUNTERFACTUAL, rates
from gradlens.clipping import ClipRule, replay
from gradlens.store import Run

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]
KIND = "grad_norm"


@dataclass(frozen=True, slots=True)
class LayerClipping:
    """A rule replayed over each layer's own norms.

    Attributes:
        rule: the rule, as text.
        names: (layers,) of the parameters, or of the rule's groups.
        rate: (layers,) share of its finite norms above its own threshold.
        rate_by_phase: (layers, 3) the same for each third of its steps.
        mean_coefficient: (layers,) mean factor over its finite norms.
        median_norm: (layers,) median of its finite norms.
        threshold: (layers,) its last finite threshold, NaN without any.
        nonfinite: (layers,) how many of its norms are NaN or infinite.
        n: (layers,) how many norms it has.
        asked: how many layers were asked for; more than there are names where some were left out.
        status: empty, or a sentence that says why there is no answer.
        note: what the numbers do not say.
    """

    rule: str
    names: tuple[str, ...]
    rate: Floats
    rate_by_phase: Floats
    mean_coefficient: Floats
    median_norm: Floats
    threshold: Floats
    nonfinite: Steps
    n: Steps
    asked: int = 0
    status: str = ""
    note: str = COUNTERFACTUAL


def layer_clipping(
    run: Run, rule: ClipRule, *, include: str | Sequence[str] = "*", most: int | None = None
) -> LayerClipping:
    """Replay a rule over the norms of each parameter, or of each of the rule's groups, by itself.

    Memory: one layer's series at a time. A step without a gradient is NaN, and counts as not finite; steps whose detail
    was thinned (``max_bytes``) are not among a layer's steps.

    Args:
        run: a run with per-parameter gradient norms.
        rule: one that acts on the global norm, which each parameter then gets for itself; ``per_parameter(rule)``, the
            same; or ``per_group(rule, groups)``, for each group the norm of its parameters together.
        include: shell pattern or patterns of the parameters to look at; not with ``per_group``, whose groups say it.
        most: of more layers than these, so many evenly spread over the model's order, so that the time is bounded.

    Returns:
        What the rule would have clipped, a layer at a time, in the model's order.

    Raises:
        ValueError: if the rule's layers are not independent of each other, or norms do not determine it.
    """
    own = _rule_of_a_layer(rule)
    groups = rule.parameters.get("groups") if rule.name == "per_group" else None
    every = _chosen(run, groups, include)
    names = _spread(every, most)
    layers = [] if not names else [_Layer.of(own, norms) for norms in _norms(run, names)]
    some = [(name, layer) for name, layer in zip(names, layers, strict=True) if layer.n]
    return LayerClipping(
        rule=repr(rule),
        names=tuple(name for name, _ in some),
        rate=np.array([layer.rate for _, layer in some]),
        rate_by_phase=np.array([layer.rate_by_phase for _, layer in some]).reshape(-1, 3),
        mean_coefficient=np.array([layer.mean_coefficient for _, layer in some]),
        median_norm=np.array([layer.median_norm for _, layer in some]),
        threshold=np.array([layer.threshold for _, layer in some]),
        nonfinite=np.array([layer.nonfinite for _, layer in some], dtype=np.int64),
        n=np.array([layer.n for _, layer in some], dtype=np.int64),
        asked=len(every),
        status="" if some else _why_none(run),
    )


@dataclass(frozen=True, slots=True)
class _Layer:
    """One layer's share of the result."""

    rate: float
    rate_by_phase: tuple[float, ...]
    mean_coefficient: float
    median_norm: float
    threshold: float
    nonfinite: int
    n: int

    @classmethod
    def of(cls, rule: ClipRule, norms: Floats) -> _Layer:
        found = replay(rule, norms)
        finite = np.isfinite(norms)
        some = bool(finite.any())
        known = found.thresholds[np.isfinite(found.thresholds)]
        return cls(
            rate=found.rate,
            rate_by_phase=rates(finite, found.clipped),
            mean_coefficient=float(found.coefficients[finite].mean()) if some else float("nan"),
            median_norm=float(np.median(norms[finite])) if some else float("nan"),
            threshold=float(known[-1]) if len(known) else float("nan"),
            nonfinite=found.nonfinite,
            n=len(norms),
        )


def _rule_of_a_layer(rule: ClipRule) -> ClipRule:
    if rule.name in ("per_parameter", "per_group"):
        return rule.parts[0]
    if rule.scope != "global":
        raise ValueError(
            "layers are replayed one by one: give a rule that acts on the global norm, per_parameter(rule) or "
            f"per_group(rule, groups); got {rule}."
        )
    return rule


def _chosen(run: Run, groups: Mapping[str, Sequence[str]] | None, include: str | Sequence[str]) -> dict[str, list[str]]:
    """The parameters of each layer."""
    if groups is None:
        return {name: [name] for name in matching(run.parameters, include)}
    found = {group: matching(run.parameters, globs) for group, globs in groups.items()}
    return {group: names for group, names in found.items() if names}


def _spread(layers: dict[str, list[str]], most: int | None) -> dict[str, list[str]]:
    """So many of the layers, from the first to the last."""
    if most is None or len(layers) <= most:
        return layers
    names = list(layers)
    return {names[place]: layers[names[place]] for place in np.linspace(0, len(names) - 1, most).astype(int).tolist()}


def matching(names: Sequence[str], patterns: str | Sequence[str]) -> list[str]:
    """Names that one of some shell patterns fits.

    >>> matching(["a.weight", "a.bias", "b.weight"], ["b.*", "*.bias"])
    ['a.bias', 'b.weight']
    """
    globs = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    return [name for name in names if any(fnmatchcase(name, glob) for glob in globs)]


def _norms(run: Run, layers: Mapping[str, Sequence[str]]) -> Iterator[Floats]:
    """The norms of each layer over its steps: of several parameters, the root of the sum of their squares."""
    for names in layers.values():
        steps, squares = np.empty(0, np.int64), np.empty(0)
        for name in names:
            frame = run.tensors(KIND, name)
            own = frame["value"].to_numpy(dtype=np.float64)
            steps, squares = _added(steps, squares, frame["step"].to_numpy(dtype=np.int64), own * own)
        yield np.sqrt(squares)


def _added(steps: Steps, squares: Floats, at: Steps, more: Floats) -> tuple[Steps, Floats]:
    """The sum of two series by step; a step that only one has is that one's."""
    if np.array_equal(steps, at):
        return steps, squares + more
    union = np.union1d(steps, at)
    total = np.zeros(len(union))
    total[np.searchsorted(union, steps)] += squares
    total[np.searchsorted(union, at)] += more
    return union, total


def _why_none(run: Run) -> str:
    if not run.parameters:
        return f"run {run.name!r} names no parameters; record them with norms=gradlens.every(1)."
    return (
        f"run {run.name!r} has no gradient norms of the parameters asked for; it has {', '.join(run.parameters[:6])}"
        f"{', ...' if len(run.parameters) > 6 else ''}."
    )
