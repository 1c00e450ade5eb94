"""Is smoothness tied to the gradient norm of one part of the model? By recorded group, or by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.alignment import NOTHING, at_steps
from gradlens.analysis.norm_smoothness import MIN_PROBES
from gradlens.stats import Correlation, LineFit, correlate, detrend, nonnegative_line
from gradlens.store import Run

Floats = NDArray[np.float64]
_GROUP = "grad_norm["

GLOBAL_SMOOTHNESS = (
    "The smoothness is that of the whole model along its whole step; only the gradient norms are of the parts. A "
    "part's r says how well its norm goes with the whole model's smoothness, not with a smoothness of its own."
)
"""What every answer by group says."""


@dataclass(frozen=True, slots=True)
class GroupSmoothness:
    """One part of the model.

    Attributes:
        name: of the group or layer.
        raw: correlation of the logs of its gradient norm and of the global smoothness.
        detrended: the same, a cubic trend in the step removed from each.
        line: least-squares line of the global smoothness over its norm.
        n: probes with a positive norm of it.
    """

    name: str
    raw: Correlation
    detrended: Correlation
    line: LineFit
    n: int


@dataclass(frozen=True, slots=True)
class SmoothnessByGroup:
    """The answer for one run.

    Attributes:
        groups: its parts, in the order in which they were recorded.
        source: ``recorded groups``, or ``layers`` made of the parameters' names up to their last dot.
        note: that the smoothness is global.
        status: empty, or a sentence that says why there is no answer.
    """

    groups: tuple[GroupSmoothness, ...]
    source: str
    note: str = GLOBAL_SMOOTHNESS
    status: str = ""


def smoothness_by_group(run: Run, *, tries: int = 399) -> SmoothnessByGroup:
    """Correlate each part's gradient norm with the global smoothness.

    Groups that the run recorded are used; without them the per-parameter norms are put together by layer, one parameter
    read at a time.

    Args:
        run: a run with smoothness probes.
        tries: resamples of the block bootstrap behind each interval.

    Returns:
        Correlations by part; ``status`` says so where the run cannot answer.
    """
    steps, smoothness = run.several("smoothness").get("smoothness", NOTHING)
    usable = np.isfinite(smoothness) & (smoothness > 0)
    steps, smoothness = steps[usable], smoothness[usable]
    recorded = [name for name in run.columns if name.startswith(_GROUP)]
    source = "recorded groups" if recorded else "layers"
    if len(steps) < MIN_PROBES:
        why = f"run {run.name!r} has {len(steps)} smoothness probes with a positive value; r needs {MIN_PROBES}."
        return SmoothnessByGroup((), source, status=why)
    norms = _recorded(run, recorded, steps) if recorded else _layers(run, steps)
    groups = tuple(_group(name, steps, norm, smoothness, tries) for name, norm in norms)
    why = "" if groups else f"run {run.name!r} recorded no gradient norms of groups or parameters."
    return SmoothnessByGroup(groups, source, status=why)


def _recorded(run: Run, names: list[str], steps: NDArray[np.int64]) -> Iterator[tuple[str, Floats]]:
    for name in names:
        yield name[len(_GROUP) : -1], at_steps(run.series(name), steps)


def _layers(run: Run, steps: NDArray[np.int64]) -> Iterator[tuple[str, Floats]]:
    members: dict[str, list[str]] = {}
    for name in run.parameters:
        members.setdefault(name.rpartition(".")[0] or name, []).append(name)
    for layer, names in members.items():
        squares = np.zeros(len(steps))
        for name in names:
            table = run.tensors("grad_norm", name)
            values = table["value"].to_numpy(dtype=np.float64), table["step"].to_numpy(dtype=np.int64)
            squares += at_steps((values[1], values[0]), steps) ** 2
        if np.isfinite(squares).any():
            yield layer, np.sqrt(squares)


def _group(name: str, steps: NDArray[np.int64], norm: Floats, smoothness: Floats, tries: int) -> GroupSmoothness:
    kept = np.isfinite(norm) & (norm > 0)
    steps, norm, smoothness = steps[kept], norm[kept], smoothness[kept]
    x, y = np.log(norm), np.log(smoothness)
    enough = len(steps) >= MIN_PROBES
    return GroupSmoothness(
        name=name,
        raw=correlate(x, y, tries=tries),
        detrended=correlate(detrend(x, steps), detrend(y, steps), tries=tries) if enough else correlate(x, y),
        line=nonnegative_line(norm, smoothness, tries=tries),
        n=len(steps),
    )
