"""Clipping strategies side by side: what each does to the training, what it costs, where it ran, how stable it was.

Each strategy is judged at its own learning rate, chosen on the mean over seeds among the rates at which no seed
diverged or learned nothing. A pair at a rate that suits one of them says little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.strategy_measures import (
    Applicability,
    Measures,
    StabilityCounts,
    applicability,
    measures,
    stability_counts,
)
from gradlens.analysis.strategy_runs import at_rate, choose_rate, judged, rates_tried, strategy_name
from gradlens.analysis.trainings import OWN_KEYS, of_one_task
from gradlens.clipping import describe
from gradlens.stats.mean_interval import MeanInterval, mean_interval, too_few
from gradlens.store import Run

Floats = NDArray[np.float64]

RULE_KEYS: Final = frozenset({"percentile", "max_norm", "rule", "strategy"})
"""Keys of a config that say again what the clip rule is."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """One strategy at its own learning rate.

    Attributes:
        name: its clip rule in words, with the micro-batch size where that matters.
        lr: the learning rate chosen; NaN where none is usable.
        rates: those tried with as many seeds, ascending.
        doubt: empty, or what makes the choice doubtful: one rate only, or an edge of the grid.
        seeds: of the runs at that rate, ascending.
        loss: final training loss, mean over the last 5 % of the steps: mean over seeds and 95 % interval.
        final: the metric at the end.
        best: the best that it was.
        speed: steps to the loss that every strategy reaches.
        norm: median gradient norm after clipping.
        ms: milliseconds a step between recorded rows, those of the recorder included.
        overhead_ms: those of the recorder, clip included.
        stability: summed over the runs at that rate.
        ran_on: models, optimizers and batches of all its runs.
        excluded: runs that do not count, at any rate, and why: those that diverged or learned nothing, ended early,
            repeat a seed, or lack one.
    """

    name: str
    lr: float
    rates: tuple[float, ...]
    doubt: str
    seeds: tuple[int, ...]
    loss: MeanInterval
    final: MeanInterval
    best: MeanInterval
    speed: MeanInterval
    norm: MeanInterval
    ms: MeanInterval
    overhead_ms: MeanInterval
    stability: StabilityCounts
    ran_on: Applicability
    excluded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One strategy less the baseline, each at its own rate, paired by seed; intervals hold together over strategies.

    Attributes:
        name: the strategy.
        baseline: what it is compared with.
        loss: of the final training loss.
        final: of the metric at the end.
        status: empty, or why it says nothing.
    """

    name: str
    baseline: str
    loss: MeanInterval
    final: MeanInterval
    status: str


@dataclass(frozen=True, slots=True)
class StrategyComparison:
    """The answer for the runs of one task.

    Attributes:
        metric: name of the metric; empty where none was logged.
        larger_is_better: whether more of it is better.
        chosen_by: what learning rates were chosen by; empty where no run counts.
        level: the loss of ``Strategy.speed``.
        strategies: in order of their names, the one without clipping first.
        differences: each other strategy less the first.
        doubts: what to bear in mind.
        status: empty, or why there is no answer; strategies are named all the same where runs were left out.
    """

    metric: str = ""
    larger_is_better: bool = True
    chosen_by: str = "final training loss"
    level: float = np.nan
    strategies: tuple[Strategy, ...] = ()
    differences: tuple[Difference, ...] = ()
    doubts: tuple[str, ...] = ()
    status: str = ""


def compare_strategies(
    runs: Sequence[Run], *, metric: str = "test_accuracy", larger_is_better: bool = True
) -> StrategyComparison:
    """Compare clip rules on the runs of one task, several learning rates and seeds each.

    Args:
        runs: with ``seed`` in their config, and ``lr`` there or recorded.
        metric: a series that was logged, by which learning rates are chosen; the final training loss where it is not in
            every run.
        larger_is_better: whether more of it is better.

    >>> compare_strategies([]).status
    'no runs were given.'
    """
    status = "no runs were given." if not runs else of_one_task([r.config for r in runs], OWN_KEYS | RULE_KEYS)
    if status:
        return StrategyComparison(status=status)
    found = judged([measures(run, metric, larger_is_better=larger_is_better) for run in runs])
    finals = [each.final for each in found if not each.excluded]
    by_metric = bool(finals) and bool(np.isfinite(finals).all())
    arms: dict[str, list[Measures]] = {}
    for each in found:
        arms.setdefault(strategy_name(each), []).append(each)
    chosen = {
        name: choose_rate(arm, by_metric=by_metric, larger_is_better=larger_is_better) for name, arm in arms.items()
    }
    level = _common_level([each for name, arm in arms.items() for each in at_rate(arm, chosen[name])])
    order = sorted(arms, key=lambda name: (name != describe(None), name))
    strategies = tuple(_strategy(name, arms[name], chosen[name], level) for name in order)
    best = {name: {each.seed or 0: each for each in at_rate(arms[name], chosen[name])} for name in order}
    return StrategyComparison(
        metric=metric if by_metric else "",
        larger_is_better=larger_is_better,
        chosen_by=metric if by_metric else "final training loss" if finals else "",
        level=level,
        strategies=strategies,
        differences=tuple(
            _difference(name, order[0], best, comparisons=len(order) - 1, by_metric=by_metric) for name in order[1:]
        ),
        doubts=_doubts(strategies),
        status="" if finals else f"none of the {len(runs)} runs can be compared: {_reasons(found)}",
    )


def _common_level(chosen: Sequence[Measures]) -> float:
    lows = [each.smoothed.min() for each in chosen if len(each.smoothed)]
    highest = float(max(lows, default=np.nan))
    return highest + 0.05 * abs(highest)


def _strategy(name: str, arm: Sequence[Measures], lr: float, level: float) -> Strategy:
    at = at_rate(arm, lr)
    rates = rates_tried(arm, lr)

    def over(values: Sequence[float]) -> MeanInterval:
        return mean_interval(list(values) or [np.nan])

    return Strategy(
        name=name,
        lr=lr,
        rates=rates,
        doubt=_doubt(lr, rates),
        seeds=tuple(each.seed or 0 for each in at),
        loss=over([each.loss for each in at]),
        final=over([each.final for each in at]),
        best=over([each.best for each in at]),
        speed=over([each.steps_to(level) for each in at]),
        norm=over([each.clipped_norm for each in at]),
        ms=over([each.ms for each in at]),
        overhead_ms=over([each.overhead_ms for each in at]),
        stability=stability_counts([each.run for each in at]),
        ran_on=applicability([each.run for each in arm]),
        excluded=tuple(f"{each.run.name}: {each.excluded}" for each in arm if each.excluded),
    )


def _doubt(lr: float, rates: Sequence[float]) -> str:
    if np.isnan(lr):
        return "no learning rate at which every seed learned"
    if len(rates) == 1:
        return "one learning rate only"
    if lr in (rates[0], rates[-1]):
        return f"best at the {'lowest' if lr == rates[0] else 'highest'} rate tried"
    return ""


def _difference(
    name: str, baseline: str, best: Mapping[str, Mapping[int, Measures]], *, comparisons: int, by_metric: bool
) -> Difference:
    seeds = sorted(set(best[name]) & set(best[baseline]))
    pairs = [(best[name][seed], best[baseline][seed]) for seed in seeds]
    loss = [one.loss - other.loss for one, other in pairs] or [np.nan]
    final = [one.final - other.final for one, other in pairs] or [np.nan]
    return Difference(
        name,
        baseline,
        _interval(loss, comparisons),
        _interval(final, comparisons),
        too_few(len(seeds), "paired seed") or _all_equal(final if by_metric else loss),
    )


def _interval(differences: Sequence[float], comparisons: int) -> MeanInterval:
    """None where all are equal: a spread of 0 would make it a point."""
    found = mean_interval(differences, comparisons=comparisons)
    none = np.full_like(found.mean, np.nan)
    return replace(found, low=none, high=none) if _all_equal(differences) else found


def _all_equal(differences: Sequence[float]) -> str:
    if np.ptp(differences) > 1e-9 * np.max(np.abs(differences)) or not np.isfinite(differences).all():
        return ""
    return (
        f"all paired differences are {differences[0]:+.3g}: the seeds do not differ, so that there is no interval. "
        "Does each run set its own seed?"
    )


def _reasons(found: Sequence[Measures]) -> str:
    return " ".join(dict.fromkeys(each.excluded for each in found))


def _doubts(strategies: Sequence[Strategy]) -> tuple[str, ...]:
    said = [f"{each.name}: {each.doubt}." for each in strategies if each.doubt]
    if len(strategies) == 1:
        said.append("there is one strategy only; nothing is compared.")
    tried = [len(each.rates) for each in strategies]
    if len(set(tried)) > 1:
        said.append(
            f"the strategies were tried at {min(tried)} to {max(tried)} learning rates: the best of more is better by "
            "chance alone, which favours the larger grid."
        )
    return tuple(said)
