"""Which runs of a comparison of strategies count: one a seed, of one length, at a known learning rate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gradlens.analysis.strategy_measures import Measures
from gradlens.clipping import describe


def strategy_name(each: Measures) -> str:
    """Its clip rule in words. Micro-batch clipping is another strategy at every micro-batch size."""
    words = describe(each.run.clip)
    if each.run.config.get("draggers") == "removed":
        words += ", draggers removed"
    return f"{words}, b = {each.micro_batch_size}" if "micro-batch" in words else words


def judged(found: Sequence[Measures]) -> list[Measures]:
    """The same runs; those that must not be compared say why in ``excluded``.

    Left out are runs without a seed or a learning rate, runs that end at another step than most, and, of several with
    one strategy, rate and seed, all but the first: a seed counted twice is no second seed.
    """
    ends = Counter(each.end for each in found if not each.excluded)
    usual = max(ends.items(), key=lambda item: (item[1], item[0]))[0] if ends else 0
    first: dict[tuple[str, float, int], str] = {}
    marked = []
    for each in found:
        why = each.excluded or _why_not(each, usual)
        if not why and each.seed is not None:
            key = strategy_name(each), each.lr, each.seed
            why = f"it repeats seed {each.seed} of {first[key]!r}, which counts." if key in first else ""
            first.setdefault(key, each.run.name)
        marked.append(replace(each, excluded=why))
    return marked


def counted(arm: Sequence[Measures]) -> list[Measures]:
    """Without those that say nothing of the strategy: a run that broke says that its rate is too high."""
    return [each for each in arm if np.isfinite(each.lr) and (each.broke or not each.excluded)]


def choose_rate(arm: Sequence[Measures], *, by_metric: bool, larger_is_better: bool) -> float:
    """The rate with the best mean over seeds; NaN for none.

    Of the rates at which every seed is usable, those with the most seeds: means over others would not be of the same.
    """
    some = counted(arm)
    broken = {each.lr for each in some if each.broke}
    sign = -1 if by_metric and larger_is_better else 1
    values = {
        lr: [each.final if by_metric else each.loss for each in some if each.lr == lr]
        for lr in sorted({each.lr for each in some} - broken)
    }
    most = max(map(len, values.values()), default=0)
    means = {lr: sign * float(np.mean(found)) for lr, found in values.items() if len(found) == most}
    usable = {lr: mean for lr, mean in means.items() if np.isfinite(mean)}
    return min(usable, key=lambda lr: usable[lr]) if usable else np.nan


def at_rate(arm: Sequence[Measures], lr: float) -> list[Measures]:
    """Those that count at a rate, by seed."""
    return sorted((each for each in arm if each.lr == lr and not each.excluded), key=lambda each: each.seed or 0)


def rates_tried(arm: Sequence[Measures], lr: float) -> tuple[float, ...]:
    """Those with as many seeds as the chosen one, ascending; all where none was chosen."""
    some = counted(arm)
    seeds = {rate: sum(each.lr == rate for each in some) for rate in sorted({each.lr for each in some})}
    return tuple(rate for rate, n in seeds.items() if np.isnan(lr) or n >= seeds[lr])


def _why_not(each: Measures, usual: int) -> str:
    if each.seed is None:
        return "its config has no seed: nobody knows whether it repeats another run."
    if not np.isfinite(each.lr):
        return "it has no learning rate, recorded or as a number in its config."
    if each.end != usual:
        return f"it ends at step {each.end:,}; most others end at {usual:,}."
    return ""
