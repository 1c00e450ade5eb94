"""The pruning effect: micro-batch clipping less what has its step length, and less what has its draggers removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.ladders import Cells, shared_seeds, tail_mean
from gradlens.analysis.sweep_cells import NO_SIZE, Arms
from gradlens.analysis.trainings import Training
from gradlens.stats.mean_interval import MeanInterval, mean_interval, too_few


@dataclass(frozen=True, slots=True)
class PruningEffect:
    """Differences at one learning rate, paired by seed.

    Attributes:
        quantity: of what: the held-out metric, ``metric[domain]``, or the full gradient norm.
        versus: ``control``, which has the same step length at every step; or ``pruned``, which has no known draggers.
        lr: the learning rate, the first where it decays.
        decays: whether it does.
        sizes: (m,) micro-batch sizes below the batch size.
        difference: (m,) micro-batch clipping less the other, with 95 % intervals that hold together.
        status: empty, or why it says nothing.
    """

    quantity: str
    versus: Literal["control", "pruned"]
    lr: float
    decays: bool
    sizes: NDArray[np.int64]
    difference: MeanInterval
    status: str


def pruning_effects(arms: Arms, metric: str) -> tuple[PruningEffect, ...]:
    """Every quantity against every control that was run.

    Args:
        arms: the trainings in order.
        metric: the name of the held-out metric.
    """
    found = []
    for rate, cells in sorted(arms.clipped.items()):
        below = {
            b: row for b, row in cells.items() if any(t.arm == "clipped" and b < t.batch_size for t in row.values())
        }
        for versus, others in (("control", arms.control.get(rate, {})), ("pruned", _for_all(arms, rate, below))):
            shared = sorted(set(below) & set(others))
            if not shared:
                continue
            pair = {b: below[b] for b in shared}, {b: others[b] for b in shared}
            for quantity, value in _quantities(pair, metric, versus):
                difference = _differences(*pair, value)
                n = int(difference.n.min())
                why = too_few(n)
                sizes = np.array(shared, dtype=np.int64)
                found.append(PruningEffect(quantity, versus, *rate, sizes, difference, why))  # type: ignore[arg-type]
    return tuple(found)


def _for_all(arms: Arms, rate: tuple[float, bool], below: Cells) -> Cells:
    """Pruned runs know no micro-batch: the same ones stand against every size."""
    row = arms.pruned.get(rate, {}).get(NO_SIZE)
    return dict.fromkeys(below, row) if row else {}


def _quantities(pair: Sequence[Cells], metric: str, versus: str) -> list[tuple[str, Callable[[Training], float]]]:
    """What all the trainings have."""
    every = [t for cells in pair for row in cells.values() for t in row.values()]
    # The gradient over the whole set says nothing of a training that leaves a part of it out.
    found: list[tuple[str, Callable[[Training], float]]] = []
    if versus == "control":
        found.append(("full gradient norm", tail_mean))
    if any(np.isfinite(t.metric) for t in every):
        found.append((metric, lambda t: t.metric))
    domains = set.intersection(*(set(t.domains) for t in every)) if every else set()
    by_domain = (partial(_of_domain, domain=domain) for domain in sorted(domains))
    found += [(f"{metric}[{value.keywords['domain']}]", value) for value in by_domain]
    return found


def _of_domain(each: Training, domain: str) -> float:
    return each.domains[domain]


def _differences(cells: Cells, others: Cells, value: Callable[[Training], float]) -> MeanInterval:
    seeds = [set(shared_seeds({0: cells[b], 1: others[b]})) for b in sorted(cells)]
    every = sorted(set.union(*seeds))
    differences = np.array(
        [
            [value(cells[b][s]) - value(others[b][s]) if s in own else np.nan for s in every]
            for b, own in zip(sorted(cells), seeds, strict=True)
        ]
    ).reshape(len(seeds), -1)
    if not differences.size:
        differences = np.full((len(seeds), 1), np.nan)
    return mean_interval(differences, comparisons=len(seeds))
