"""AutoClip: the threshold is a percentile of the gradient norms seen so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradlens.clipping.arguments import number
from gradlens.clipping.rule import Clip, ClipRule, Floats, Measured, coefficients
from gradlens.stats.running_percentile import RunningPercentile, WindowPercentile


def autoclip(
    percentile: float, window: int | None = None, *, ema: float | None = None, exclude_current: bool = False
) -> ClipRule:
    r"""Clip to the p-th percentile of the history of gradient norms.

    The norm of step t enters the history first, then

    .. math:: \eta_t = \mathrm{percentile}_p(\lVert g_0 \rVert, \dots, \lVert g_t \rVert), \qquad
              g_t \leftarrow g_t \, \min(1, \eta_t / \lVert g_t \rVert)

    with linear interpolation, equal to ``numpy.percentile``. The first step is never clipped; p = 100 never clips
    and p = 0 clips to the smallest norm seen. Thresholds follow the gradient's scale: all norms times c give all
    thresholds times c. A NaN or infinite norm has coefficient 1, stays out of the history and leaves the threshold
    where it was (infinite before the first finite norm).

    Memory: every finite norm, about 32 bytes each on the host, at most ``window`` of them.

    Args:
        percentile: p in [0, 100]; the paper recommends 10, which clips about 90 % of the steps.
        window: how many norms to look back on; None is the whole run, as in the paper.
        ema: smooths the threshold, :math:`\eta_t \leftarrow \beta \eta_{t-1} + (1 - \beta) \mathrm{percentile}_t`, the
            first one as it is; beta in [0, 1), None is no smoothing, as in the paper.
        exclude_current: take the percentile of the norms before step t; the first step is never clipped. With p = 100
            it then clips what is longer than all before.

    Raises:
        TypeError: if ``exclude_current`` is no bool.
        ValueError: if an argument is outside its range.

    References:
        Seetharaman, Wichern, Pardo and Le Roux, "AutoClip: Adaptive gradient clipping for source separation
        networks", MLSP 2020, arXiv 2007.14469, Algorithm 1.

    >>> from gradlens import clipping
    >>> result = clipping.replay(clipping.autoclip(percentile=50), [1.0, 3.0, 2.0])
    >>> result.thresholds.tolist(), result.clipped.tolist()
    ([1.0, 2.0, 2.0], [False, True, False])
    >>> clipping.replay(clipping.autoclip(50, ema=0.5, exclude_current=True), [1.0, 3.0, 2.0]).thresholds.tolist()
    [inf, 1.0, 1.5]
    """
    if ema is not None and number("ema", ema, most=1.0) == 1.0:
        raise ValueError("ema must be below 1, or None; with 1 the first threshold would stay for good.")
    if not isinstance(exclude_current, bool):
        raise TypeError(f"exclude_current must be True or False; got {exclude_current!r}.")
    beta = 0.0 if ema is None else float(ema)

    def start(norms: Iterable[float] = (), threshold: float = math.inf) -> _Adaptive:
        history = (
            RunningPercentile(percentile, norms) if window is None else WindowPercentile(percentile, window, norms)
        )
        return _Adaptive(history, threshold, beta, exclude_current)

    start()  # an argument outside its range is refused here, not at the first step

    def init(groups: int) -> list[_Adaptive]:
        return [start() for _ in range(groups)]

    def update(measured: Measured, state: list[_Adaptive]) -> tuple[Clip, list[_Adaptive]]:
        norms = measured.grad_norms
        thresholds = np.array([group.next(norm) for group, norm in zip(state, norms.tolist(), strict=True)])
        return Clip(coefficients(norms, thresholds), thresholds), state

    def scan(measured: Measured) -> Clip:
        norms = measured.grad_norms
        thresholds = np.empty_like(norms)
        for group in range(norms.shape[1]):
            if window is None and not beta and not exclude_current:
                thresholds[:, group] = _percentiles(norms[:, group], percentile)
            else:
                after = start().next
                thresholds[:, group] = np.fromiter(map(after, norms[:, group].tolist()), np.float64, len(norms))
        return Clip(coefficients(norms, thresholds), thresholds)

    def save(state: list[_Adaptive]) -> dict[str, Floats]:
        norms = [group.history.values for group in state]
        return {
            "norms": np.array([n for each in norms for n in each]),
            "counts": np.array([len(n) for n in norms], float),
            "thresholds": np.array([group.threshold for group in state]),
        }

    def load(saved: Mapping[str, Floats]) -> list[_Adaptive]:
        groups = zip(*unpacked(saved, percentile), strict=True)
        return [start(norms.tolist(), threshold) for norms, threshold in groups]

    parameters: dict[str, Any] = {"percentile": float(percentile), "window": window}
    parameters |= {"ema": None if ema is None else beta, "exclude_current": exclude_current}
    return ClipRule("autoclip", parameters, init, update, scan, save, load)


def _percentiles(norms: Floats, percentile: float) -> Floats:
    """The threshold at each step, the one before where the norm is not finite: as :class:`_Adaptive` one by one."""
    finite = np.isfinite(norms)
    known = np.concatenate([[math.inf], RunningPercentile(percentile).push_all(norms[finite])])
    return np.asarray(known[finite.cumsum()])


@dataclass(slots=True)
class _Adaptive:
    """The threshold of one group."""

    history: RunningPercentile | WindowPercentile
    threshold: float
    beta: float
    exclude_current: bool

    def next(self, norm: float) -> float:
        """The threshold for one more norm."""
        if not math.isfinite(norm):
            return self.threshold
        if self.exclude_current:
            new = self.history.value() if len(self.history) else math.inf
            self.history.push(norm)
        else:
            new = self.history.push(norm)
        if self.beta and self.threshold < math.inf:
            new = self.beta * self.threshold + (1.0 - self.beta) * new
        self.threshold = new
        return new


def unpacked(saved: Mapping[str, Floats], percentile: float) -> tuple[list[Floats], list[float]]:
    """What ``autoclip``'s ``save`` packed: the history and the last threshold of each group.

    Args:
        saved: the arrays; an early version wrote no thresholds, which were then the percentile of the history.
        percentile: p.

    >>> unpacked({"norms": np.array([1.0, 3.0, 7.0]), "counts": np.array([2.0, 1.0])}, 50)[1]
    [2.0, 7.0]
    """
    ends = np.cumsum(saved["counts"]).astype(int)
    norms = np.split(saved["norms"], ends[:-1])
    if "thresholds" in saved:
        return norms, saved["thresholds"].tolist()
    return norms, [float(np.percentile(each, percentile)) if len(each) else math.inf for each in norms]
