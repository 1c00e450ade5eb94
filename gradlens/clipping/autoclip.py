"""AutoClip: the threshold is a percentile of the gradient norms seen so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from gradlens.clipping.rule import Clip, ClipRule, Floats, Measured, coefficients
from gradlens.stats.running_percentile import RunningPercentile, WindowPercentile


def autoclip(percentile: float, window: int | None = None) -> ClipRule:
    r"""Clip to the p-th percentile of the history of gradient norms.

    The norm of step t enters the history first, then

    .. math:: \eta_t = \mathrm{percentile}_p(\lVert g_0 \rVert, \dots, \lVert g_t \rVert), \qquad
              g_t \leftarrow g_t \, \min(1, \eta_t / \lVert g_t \rVert)

    with linear interpolation, equal to ``numpy.percentile``. The first step is never clipped; p = 100 never clips
    and p = 0 clips to the smallest norm seen. Thresholds follow the gradient's scale: all norms times c give all
    thresholds times c. A NaN or infinite norm has coefficient 1, stays out of the history and leaves the threshold
    where it was (infinite before the first finite norm).

    Args:
        percentile: p in [0, 100]; the paper recommends 10, which clips about 90 % of the steps.
        window: how many norms to look back on; None is the whole run, as in the paper.

    Raises:
        ValueError: if an argument is outside its range.

    References:
        Seetharaman, Wichern, Pardo and Le Roux, "AutoClip: Adaptive gradient clipping for source separation
        networks", MLSP 2020, arXiv 2007.14469, Algorithm 1.

    >>> from gradlens import clipping
    >>> result = clipping.replay(clipping.autoclip(percentile=50), [1.0, 3.0, 2.0])
    >>> result.thresholds.tolist(), result.clipped.tolist()
    ([1.0, 2.0, 2.0], [False, True, False])
    """

    def history(norms: Iterable[float] = ()) -> RunningPercentile | WindowPercentile:
        if window is None:
            return RunningPercentile(percentile, norms)
        return WindowPercentile(percentile, window, norms)

    history()  # an argument outside its range is refused here, not at the first step

    def init(groups: int) -> list[RunningPercentile | WindowPercentile]:
        return [history() for _ in range(groups)]

    def update(
        measured: Measured, state: list[RunningPercentile | WindowPercentile]
    ) -> tuple[Clip, list[RunningPercentile | WindowPercentile]]:
        norms = measured.grad_norms
        thresholds = np.array([_next(past, norm) for past, norm in zip(state, norms.tolist(), strict=True)])
        return Clip(coefficients(norms, thresholds), thresholds), state

    def scan(norms: Floats) -> Floats:
        past = history()
        return np.fromiter((_next(past, norm) for norm in norms.tolist()), np.float64, len(norms))

    def save(state: list[RunningPercentile | WindowPercentile]) -> dict[str, Floats]:
        norms = [past.values for past in state]
        return {
            "norms": np.array([n for each in norms for n in each]),
            "counts": np.array([len(n) for n in norms], float),
        }

    def load(saved: Mapping[str, Floats]) -> list[RunningPercentile | WindowPercentile]:
        ends = np.cumsum(saved["counts"]).astype(int)
        return [history(norms.tolist()) for norms in np.split(saved["norms"], ends[:-1])]

    parameters = {"percentile": float(percentile), "window": window}
    return ClipRule("autoclip", parameters, init, update, scan, save, load)


def _next(past: RunningPercentile | WindowPercentile, norm: float) -> float:
    """The threshold after seeing one more norm."""
    if math.isfinite(norm):
        return past.push(norm)
    return past.value() if len(past) else math.inf
