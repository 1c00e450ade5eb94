"""The trainings of a sweep in order: by arm, learning rate, size and seed, without those that do not count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.ladders import Cells, Ladder, ladder, tail_mean
from gradlens.analysis.trainings import Training

Rate = tuple[float, bool]
"""Learning rate, and whether it decays."""

NO_SIZE: Final = 0
"""The size of trainings that know none."""


@dataclass(frozen=True, slots=True)
class Arms:
    """Rate -> size -> seed -> training, for each arm.

    Attributes:
        clipped: micro-batch clipping; plain runs where b = B, since they are the same.
        control: the matched-step control.
        pruned: plain runs without the known draggers, under ``NO_SIZE``.
        excluded: name and reason of each training that does not count.
    """

    clipped: Mapping[Rate, Cells]
    control: Mapping[Rate, Cells]
    pruned: Mapping[Rate, Cells]
    excluded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OwnRates:
    """Each size at its own best learning rate.

    A rate at which a seed diverged or learned nothing is not chosen.

    Attributes:
        lr: (m,) the rate of each size.
        at_edge: (m,) whether it is the smallest or largest tried for that size, so that a better one may lie outside.
        values: what it was chosen by, at those rates.
    """

    lr: NDArray[np.float64]
    at_edge: NDArray[np.bool_]
    values: Ladder


def arms_of(trainings: Sequence[Training]) -> Arms:
    """Put trainings in order.

    Left out are those with a reason of their own, without a learning rate or a size, or that end before most others do;
    a second run of what was run already; and whole sizes at a rate where one of the seeds was left out for what it did:
    the seeds that survive would flatter it.
    """
    judged = _ended_early([each if each.excluded else replace(each, excluded=_unplaced(each)) for each in trainings])
    excluded = [f"{each.name}: {each.excluded}" for each in judged if each.excluded]
    broken = {
        ((each.lr, each.decays), each.micro_batch_size, each.arm)
        for each in judged
        if each.excluded.startswith(("it diverged", "it is at chance"))
    }
    found: dict[str, dict[Rate, dict[int, dict[int, Training]]]] = {"clipped": {}, "control": {}, "pruned": {}}
    # Clipped runs come last, so that at b = B they take the place of plain ones.
    for each in sorted(judged, key=lambda each: each.arm == "clipped"):
        rate = each.lr, each.decays
        arm = "clipped" if each.arm == "plain" else each.arm
        if each.excluded or arm == "other":
            continue
        if (rate, each.micro_batch_size, each.arm) in broken:
            excluded.append(f"{each.name}: another seed of its size and rate diverged, or is at chance level.")
            continue
        # Batches without the draggers differ in size; such trainings know no micro-batch.
        size = NO_SIZE if arm == "pruned" else each.micro_batch_size
        row = found[arm].setdefault(rate, {}).setdefault(size, {})
        there = row.get(each.seed)
        if there is not None and there.arm == each.arm:
            excluded.append(f"{each.name}: {there.name} has its arm, size, rate and seed, and counts instead.")
        else:
            row[each.seed] = each
    clipped = {rate: cells for rate, cells in found["clipped"].items() if _is_clipped(cells)}
    return Arms(clipped, found["control"], found["pruned"], tuple(excluded))


def own_rates(arms: Arms, metric: str, larger_is_better: bool) -> OwnRates | None:
    """Choose each size's rate on the seeds' mean: of the metric, or of the gradient norm where none was logged."""
    cells = {rate: found for rate, found in sorted(arms.clipped.items()) if not rate[1]}
    rates = {
        b: [rate for rate in cells if b in cells[rate]] for b in sorted({b for each in cells.values() for b in each})
    }
    if len(cells) < 2:
        return None
    seeds = set.intersection(*(set(row) for each in cells.values() for row in each.values()))
    has_metric = all(np.isfinite(t.metric) for each in cells.values() for row in each.values() for t in row.values())

    def value(each: Training) -> float:
        return each.metric if has_metric else tail_mean(each)

    sign = -1 if has_metric and larger_is_better else 1
    chosen = {
        b: min(having, key=lambda rate: sign * _mean(value(cells[rate][b][seed]) for seed in seeds))
        for b, having in rates.items()
    }
    best = {b: {seed: cells[chosen[b]][b][seed] for seed in seeds} for b in rates}
    quantity = metric if has_metric else "full gradient norm"
    return OwnRates(
        lr=np.array([chosen[b][0] for b in rates]),
        at_edge=np.array([chosen[b] in (having[0], having[-1]) for b, having in rates.items()]),
        values=ladder(quantity, best, value, larger_is_better=sign < 0),
    )


def _unplaced(each: Training) -> str:
    """Why a training has no place in a sweep; empty where it has one."""
    if not (np.isfinite(each.lr) and each.lr > 0):
        return f"its learning rate is {each.lr:g}: record lr, or put it into the config, finite and above 0."
    if each.micro_batch_size < 1 and each.arm != "pruned":
        return "its micro-batch size is not known: record batch_size and micro_batches, or put it into the config."
    return ""


def _is_clipped(cells: Cells) -> bool:
    return any(each.arm == "clipped" for by_seed in cells.values() for each in by_seed.values())


def _ended_early(trainings: Sequence[Training]) -> list[Training]:
    """Trainings of another length than most at their rate are marked."""
    usual: dict[Rate, int] = {}
    for rate in {(each.lr, each.decays) for each in trainings}:
        ends = [int(t.steps[-1]) for t in trainings if (t.lr, t.decays) == rate and len(t.steps) and not t.excluded]
        usual[rate] = max(Counter(ends).items(), key=lambda item: (item[1], item[0]))[0] if ends else 0
    return [
        replace(
            each, excluded=f"it ends at step {each.steps[-1]:,}; most others end at {usual[each.lr, each.decays]:,}."
        )
        if not each.excluded and len(each.steps) and each.steps[-1] != usual[each.lr, each.decays]
        else each
        for each in trainings
    ]


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return float(np.mean(found)) if found else np.nan
