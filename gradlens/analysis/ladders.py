"""A quantity against the micro-batch size: one value for each size and seed, with intervals and its minimum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.trainings import Training
from gradlens.stats.interior_minimum import InteriorMinimum, interior_minimum
from gradlens.stats.mean_interval import MeanInterval, mean_interval

Floats = NDArray[np.float64]
Cells = Mapping[int, Mapping[int, Training]]
"""size -> seed -> training."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """One quantity over the sizes.

    Attributes:
        quantity: what it is, as an axis label.
        sizes: (m,) micro-batch sizes, ascending.
        seeds: (n,) those that every size has.
        values: (m, n) the quantity.
        interval: (m,) mean over seeds with a 95 % interval each, for drawing; sizes are compared by ``minimum``.
        larger_is_better: whether the best is the largest.
        minimum: best size, what is not distinguishable from it, and whether it is shown to be inside. Of a quantity of
            which more is better, its negative is judged.
    """

    quantity: str
    sizes: NDArray[np.int64]
    seeds: tuple[int, ...]
    values: Floats
    interval: MeanInterval
    larger_is_better: bool
    minimum: InteriorMinimum

    @property
    def status(self) -> str:
        """Why there is no best size inside; empty where there is one."""
        return self.minimum.status.replace("minimum", "maximum") if self.larger_is_better else self.minimum.status


def ladder(
    quantity: str, cells: Cells, value: Callable[[Training], float], *, larger_is_better: bool = False
) -> Ladder:
    """Take one number of each training.

    Args:
        quantity: what it is.
        cells: size -> seed -> training.
        value: the number; NaN where there is none.
        larger_is_better: whether the best is the largest.
    """
    sizes = sorted(cells)
    seeds = shared_seeds(cells)
    values = np.array([[value(cells[b][seed]) for seed in seeds] for b in sizes], dtype=np.float64)
    values = values.reshape(len(sizes), len(seeds))
    judged = interior_minimum(sizes, -values if larger_is_better else values)
    shown = mean_interval(values) if values.size else mean_interval(np.full((len(sizes), 1), np.nan))
    return Ladder(quantity, judged.sizes, seeds, values, shown, larger_is_better, judged)


def shared_seeds(cells: Cells) -> tuple[int, ...]:
    """Seeds that every size has, ascending."""
    found = [set(by_seed) for by_seed in cells.values()]
    return tuple(sorted(set.intersection(*found))) if found else ()


def curves(by_seed: Mapping[int, Training], seeds: Sequence[int]) -> tuple[NDArray[np.int64], Floats]:
    """Gradient norms of one size over time, at the steps that all its seeds have.

    Returns:
        (steps,) and (seeds, steps).
    """
    chosen = [by_seed[seed] for seed in seeds]
    if not chosen:
        return np.empty(0, dtype=np.int64), np.empty((0, 0))
    steps = chosen[0].steps
    for each in chosen[1:]:
        steps = np.intersect1d(steps, each.steps)
    return steps, np.stack([each.grad_norm[np.isin(each.steps, steps)] for each in chosen])


def tail_mean(each: Training) -> float:
    """Mean gradient norm over the last quarter of the time."""
    if not len(each.steps):
        return np.nan
    return float(each.grad_norm[each.steps >= 0.75 * each.steps[-1]].mean())


def steps_to(each: Training, level: float) -> float:
    """The first step at which the loss over the set is at the level or below; NaN where none is known to be."""
    reached = np.flatnonzero(each.loss <= level)
    return float(each.steps[reached[0]]) if len(reached) and len(each.loss) == len(each.steps) else np.nan


def common_level(cells: Cells) -> float:
    """A loss that every training comes to: the slowest one's best and 5 % of its size; NaN without losses."""
    lows = [t.loss.min() if len(t.loss) else np.nan for row in cells.values() for t in row.values()]
    slowest = float(max(lows)) if lows and np.isfinite(lows).all() else np.nan
    return slowest + 0.05 * abs(slowest)
