"""What the size of the micro-batches does to a training under micro-batch clipping; each claim apart, as far as shown.

1. The *noise floor*: where the full-data gradient norm comes to rest at one learning rate. On a network that can
   memorise there is no such rest, and the curve is the gradient norm at T.
2. The *constant bias*: what neither more iterations nor a smaller learning rate remove.
3. The *pruning effect*: micro-batch clipping less the matched-step control, and less the removal of known draggers.
   The min rule shortens the step, and much of what it does is step length.

Reference: Wang, "Revisit Micro-batch Clipping: Adaptive Data Pruning via Gradient Manipulation", ICLR 2025, arXiv
2408.16204, for the rule and the claims. No curve here is that paper's bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.ladders import Ladder, common_level, curves, ladder, shared_seeds, steps_to, tail_mean
from gradlens.analysis.pruning import PruningEffect, pruning_effects
from gradlens.analysis.sweep_cells import Arms, OwnRates, arms_of, own_rates
from gradlens.analysis.trainings import Training, of_one_task, training
from gradlens.stats.mean_interval import FEWEST, too_few
from gradlens.stats.small_rate_limit import FEWEST_RATES, small_rate_limit
from gradlens.stats.stationarity import Stationarity, stationarity
from gradlens.stats.tail_fit import tail_fit
from gradlens.store import Run

Floats = NDArray[np.float64]

ENOUGH = 10
"""Seeds that a comparison of trainings should have."""


@dataclass(frozen=True, slots=True)
class RateSweep:
    """All sizes at one learning rate.

    Attributes:
        lr: the learning rate, the first where it decays.
        decays: whether it does.
        last_step: T.
        norm: full-data gradient norm, mean over the last quarter of the time.
        stationary: (m,) whether each size's norm has come to rest.
        is_floor: whether ``norm`` may be called a noise floor: a constant rate, all sizes at rest, and a task that
            cannot be memorised.
        metric: the held-out metric at the end; None where it was not logged.
        level: a loss over the training set that every training reaches.
        speed: steps to that level; None where ``full_loss`` was not recorded.
        status: why ``norm`` is no floor; empty where it is.
    """

    lr: float
    decays: bool
    last_step: int
    norm: Ladder
    stationary: tuple[Stationarity, ...]
    is_floor: bool
    metric: Ladder | None
    level: float
    speed: Ladder | None
    status: str


@dataclass(frozen=True, slots=True)
class ConstantBias:
    """The limit of the gradient norm for one size.

    Attributes:
        micro_batch_size: b.
        route: by a decaying learning rate, or by several constant ones.
        beta: the limit; NaN where there is none.
        low: lower end of its 95 % interval over seeds.
        high: upper end.
        n: seeds.
        status: empty where it is identified, otherwise "not identified" and why.
    """

    micro_batch_size: int
    route: Literal["decaying learning rate", "several learning rates"]
    beta: float
    low: float
    high: float
    n: int
    status: str


@dataclass(frozen=True, slots=True)
class MicroBatchBias:
    """The answer for one sweep.

    Attributes:
        sweeps: one for each learning rate.
        biases: the constant bias of each size, by each route that the runs allow.
        effects: the pruning effect.
        own: each size at its own best learning rate; None where there is one learning rate only.
        excluded: name and reason of each training that does not count.
        doubts: what to bear in mind.
        n: seeds, the fewest that a sweep has.
        status: empty, or a sentence that says why there is no answer.
    """

    sweeps: tuple[RateSweep, ...] = ()
    biases: tuple[ConstantBias, ...] = ()
    effects: tuple[PruningEffect, ...] = ()
    own: OwnRates | None = None
    excluded: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    n: int = 0
    status: str = ""


def micro_batch_bias(
    runs: Sequence[Run | Training],
    *,
    metric: str = "test_accuracy",
    larger_is_better: bool = True,
    chance: float | None = None,
    can_memorise: bool = True,
) -> MicroBatchBias:
    """Compare micro-batch sizes over learning rates and seeds.

    A run counts with its clip rule, and with ``seed`` and ``micro_batch_size`` of its config, as
    :mod:`gradlens.analysis.trainings` says. It needs ``full_grad_norm``, on the same steps for all.

    Args:
        runs: the runs of one task; or trainings as numbers.
        metric: name of the held-out metric; ``metric[domain]`` of a domain's.
        larger_is_better: whether more of it is better.
        chance: a metric that is not above this is chance: such a run is left out. None judges by the loss alone.
        can_memorise: whether the model can fit the training set. A floor exists only where it cannot.

    >>> micro_batch_bias([]).status
    'there are no runs of micro-batch clipping that count: no runs were given.'
    """
    mixed = of_one_task([run.config for run in runs if isinstance(run, Run)])
    if mixed:
        return MicroBatchBias(status=mixed)
    trainings = [run if isinstance(run, Training) else training(run, metric, chance) for run in runs]
    arms = arms_of(trainings)
    if not arms.clipped:
        return MicroBatchBias(excluded=arms.excluded, status=_why_none(trainings, arms.excluded))
    judge = (metric, larger_is_better)
    sweeps = tuple(_sweep(arms, key, judge, can_memorise=can_memorise) for key in sorted(arms.clipped))
    n = min(len(sweep.norm.seeds) for sweep in sweeps)
    return MicroBatchBias(
        sweeps=sweeps,
        biases=_identified(_agreeing([*_by_decay(arms), *_by_rates(sweeps)]), can_memorise=can_memorise),
        effects=pruning_effects(arms, metric),
        own=own_rates(arms, *judge),
        excluded=arms.excluded,
        doubts=_doubts(sweeps, n),
        n=n,
    )


def _sweep(arms: Arms, key: tuple[float, bool], judge: tuple[str, bool], *, can_memorise: bool) -> RateSweep:
    cells = arms.clipped[key]
    lr, decays = key
    seeds = shared_seeds(cells)
    norm = ladder("full gradient norm", cells, tail_mean)
    at_rest = tuple(stationarity(*curves(cells[b], seeds)) for b in sorted(cells))
    lasts = [each.steps[-1] for by_seed in cells.values() for each in by_seed.values() if len(each.steps)]
    level = common_level(cells)
    speed = ladder("steps to the level", cells, partial(steps_to, level=level))
    metric = ladder(judge[0], cells, lambda each: each.metric, larger_is_better=judge[1])
    status = _why_no_floor(norm, at_rest, decays=decays, can_memorise=can_memorise)
    return RateSweep(
        lr=lr,
        decays=decays,
        last_step=int(max(lasts, default=0)),
        norm=norm,
        stationary=at_rest,
        is_floor=not status,
        metric=metric if np.isfinite(metric.values).any() else None,
        level=level,
        speed=speed if np.isfinite(speed.values).any() else None,
        status=status,
    )


def _why_no_floor(norm: Ladder, at_rest: Sequence[Stationarity], *, decays: bool, can_memorise: bool) -> str:
    if can_memorise:
        return "the model can memorise its training set: this is the gradient norm at T, not a floor."
    if decays:
        return "the learning rate decays: this is the gradient norm at T, not the floor at one learning rate."
    moving = [f"b = {b}" for b, rest in zip(norm.sizes, at_rest, strict=True) if not rest.stationary]
    if moving:
        return f"not stationary, or not shown to be, at {', '.join(moving)}: this is the gradient norm at T, no floor."
    return ""


def _identified(biases: Sequence[ConstantBias], *, can_memorise: bool) -> tuple[ConstantBias, ...]:
    """Where there is no floor, the limit of norms at T is no bias, however narrow its interval."""
    why = "not identified: the model can memorise its training set, so that norms at T have no floor to go to."
    return tuple(replace(each, status=why) if can_memorise and not each.status else each for each in biases)


def _agreeing(biases: Sequence[ConstantBias]) -> list[ConstantBias]:
    """Where two routes to the limit of one size exclude each other, neither has found it."""

    def disputed(each: ConstantBias) -> bool:
        others = [other for other in biases if other.micro_batch_size == each.micro_batch_size and not other.status]
        return not each.status and any(each.low > other.high or each.high < other.low for other in others)

    why = "not identified: the routes disagree."
    return [replace(each, status=why) if disputed(each) else each for each in biases]


def _by_decay(arms: Arms) -> list[ConstantBias]:
    found = []
    for _, decays in sorted(key for key in arms.clipped if key[1]):
        cells = arms.clipped[_, decays]
        for b in sorted(cells):
            fit = tail_fit(*curves(cells[b], sorted(cells[b])))
            found.append(ConstantBias(b, "decaying learning rate", fit.beta, fit.low, fit.high, fit.n, fit.status))
    return found


def _by_rates(sweeps: Sequence[RateSweep]) -> list[ConstantBias]:
    constant = [sweep for sweep in sweeps if not sweep.decays]
    if len(constant) < FEWEST_RATES:
        return []
    found = []
    for b in sorted({int(b) for sweep in constant for b in sweep.norm.sizes}):
        having = [sweep for sweep in constant if b in sweep.norm.sizes]
        rows = [int(np.flatnonzero(sweep.norm.sizes == b)[0]) for sweep in having]
        seeds = sorted(set.intersection(*(set(sweep.norm.seeds) for sweep in having)))
        floors = [
            [sweep.norm.values[row, sweep.norm.seeds.index(s)] for s in seeds]
            for sweep, row in zip(having, rows, strict=True)
        ]
        fit = small_rate_limit([sweep.lr for sweep in having], np.array(floors).reshape(len(having), -1).T)
        moving = [
            f"{sweep.lr:g}" for sweep, row in zip(having, rows, strict=True) if not sweep.stationary[row].stationary
        ]
        status = fit.status
        if not status and moving:
            status = f"not identified: not shown to be stationary at learning rate {', '.join(moving)}."
        found.append(ConstantBias(b, "several learning rates", fit.beta, fit.low, fit.high, fit.n, status))
    return found


def _why_none(trainings: Sequence[Training], excluded: Sequence[str]) -> str:
    why = "no runs were given"
    if trainings:
        why = (
            f"{len(excluded)} of {len(trainings)} runs are left out, and none of the others is clipped by micro_batch()"
        )
    return f"there are no runs of micro-batch clipping that count: {why}."


def _doubts(sweeps: Sequence[RateSweep], n: int) -> tuple[str, ...]:
    said = []
    if n < FEWEST:
        said.append(too_few(n))
    elif n < ENOUGH:
        said.append(f"{n} seeds: intervals are wide and rest on normal errors; take ten.")
    if len(sweeps) == 1:
        said.append("one learning rate only: the best size may be another at another rate.")
    return tuple(said)
