"""What a comparison of strategies asks of each run: effect, cost, stability, and what it ran on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.alignment import NOTHING
from gradlens.analysis.stability import stability
from gradlens.analysis.summary import summarize
from gradlens.analysis.trainings import how_it_ended
from gradlens.stats.smoothing import ema
from gradlens.store import Run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SMOOTH = 0.05  # of the steps, as the final loss
_FEW = 20


@dataclass(frozen=True, slots=True)
class Measures:
    """One run.

    Attributes:
        run: it.
        lr: its first learning rate.
        seed: of its config; None without.
        end: its last recorded step.
        micro_batch_size: samples in a micro-batch.
        loss: mean training loss over the last 5 % of the steps.
        final: the metric at the end; NaN without.
        best: the best it was.
        steps: (n,) of the losses.
        smoothed: (n,) losses, moving average over 5 % of the steps.
        clipped_norm: median gradient norm after clipping.
        ms: median milliseconds between rows, divided by the steps between them.
        overhead_ms: median milliseconds of the recorder.
        broke: whether it diverged or learned nothing, so that its learning rate is not to be chosen.
        excluded: empty, or why it does not count.
    """

    run: Run
    lr: float
    seed: int | None
    end: int
    micro_batch_size: int
    loss: float
    final: float
    best: float
    steps: Ints
    smoothed: Floats
    clipped_norm: float
    ms: float
    overhead_ms: float
    broke: bool
    excluded: str

    def steps_to(self, level: float) -> float:
        """The first step at which the smoothed loss is at the level or below; NaN where it never is."""
        reached = np.flatnonzero(self.smoothed <= level)
        return float(self.steps[reached[0]]) if len(reached) else np.nan


@dataclass(frozen=True, slots=True)
class StabilityCounts:
    """Counts over some runs, as :func:`gradlens.analysis.stability` finds them.

    Attributes:
        steps: recorded steps.
        spikes: steps whose loss stands out of the losses before.
        norm_spikes: steps whose gradient norm does.
        nonfinite: steps whose loss or gradient norm is not finite.
        exploding: layers whose gradient norm explodes.
        vanishing: layers whose gradient norm vanishes.
        clipped: share of the steps that were clipped; NaN without a clip.
    """

    steps: int
    spikes: int
    norm_spikes: int
    nonfinite: int
    exploding: int
    vanishing: int
    clipped: float


@dataclass(frozen=True, slots=True)
class Applicability:
    """What a strategy ran on, in these runs.

    Attributes:
        models: numbers of parameters.
        optimizers: their classes.
        devices: of the parameters.
        batches: samples in a step times micro-batches in it.
        runs: how many.
    """

    models: tuple[str, ...]
    optimizers: tuple[str, ...]
    devices: tuple[str, ...]
    batches: tuple[str, ...]
    runs: int


def measures(run: Run, metric: str, *, larger_is_better: bool) -> Measures:
    """Reduce a run to numbers.

    Args:
        run: one run.
        metric: a series that it may have logged.
        larger_is_better: whether more of it is better.
    """
    names = (
        "step",
        "loss",
        "lr",
        "grad_norm",
        "grad_norm_clipped",
        "overhead_ms",
        "time",
        "batch_size",
        "micro_batches",
        metric,
    )
    found = run.several(*names)
    steps, losses = found.get("loss", NOTHING)
    norms = found.get("grad_norm", NOTHING)[1]
    scores = found.get(metric, NOTHING)[1]
    after = found.get("grad_norm_clipped", (NOTHING[0], norms))[1]
    rates = found.get("lr", NOTHING)[1]
    summary = summarize(run)
    window = max(1.0, _SMOOTH * len(losses))
    finite = np.isfinite(losses).all()
    seed, lr, b = (_number(run.config.get(name)) for name in ("seed", "lr", "micro_batch_size"))
    size = _last(found.get("batch_size", NOTHING)[1], 0.0) / max(
        1.0, _last(found.get("micro_batches", NOTHING)[1], 1.0)
    )
    broke = _how_it_broke(losses, summary.final_loss)
    return Measures(
        run=run,
        lr=float(rates[0]) if len(rates) else lr,
        seed=int(seed) if np.isfinite(seed) and seed == int(seed) else None,
        end=int(_last(found.get("step", NOTHING)[1], 0.0)),
        micro_batch_size=int(b if np.isfinite(b) else np.nan_to_num(size)),
        loss=summary.final_loss,
        final=_last(scores, np.nan),
        best=float(scores.max() if larger_is_better else scores.min()) if len(scores) else np.nan,
        steps=steps,
        smoothed=ema(losses, 1 - 1 / window) if finite else np.empty(0),
        clipped_norm=_median(after),
        ms=_ms_per_step(*found.get("time", NOTHING)),
        overhead_ms=_median(found.get("overhead_ms", NOTHING)[1]),
        broke=bool(broke),
        excluded=broke if len(losses) else "it has no loss.",
    )


def _how_it_broke(losses: Floats, final: float) -> str:
    """Empty where a run's losses fell and its final loss is known."""
    if not len(losses):
        return ""
    first = float(losses[: max(1, len(losses) // 100)].mean()) if len(losses) >= _FEW else np.nan
    how = how_it_ended(np.empty(0), first, final if np.isfinite(losses[-1]) else np.inf)
    if not how and not np.isfinite(final):
        return "its final loss is not known: a loss in the last 5 % of its steps is NaN or infinite."
    return how


def stability_counts(runs: Sequence[Run]) -> StabilityCounts:
    """Count what went wrong in some runs.

    Args:
        runs: of one strategy.
    """
    found = [stability(run) for run in runs]
    shares = [each.clipped for each in found if np.isfinite(each.clipped)]
    ways = [growth.direction for each in found for growth in each.layers]
    return StabilityCounts(
        steps=sum(each.n for each in found),
        spikes=sum(len(each.loss.spike_steps) for each in found),
        norm_spikes=sum(len(each.grad_norm.spike_steps) for each in found),
        nonfinite=sum(len(each.nonfinite_steps) for each in found),
        exploding=ways.count("explodes"),
        vanishing=ways.count("vanishes"),
        clipped=float(np.mean(shares)) if shares else np.nan,
    )


def applicability(runs: Sequence[Run]) -> Applicability:
    """List what some runs ran on.

    Args:
        runs: of one strategy.
    """
    batches = []
    for run in runs:
        found = run.several("batch_size", "micro_batches")
        sizes, parts = (found.get(name, NOTHING)[1] for name in ("batch_size", "micro_batches"))
        if len(sizes):
            batches.append(f"{sizes[-1]:.0f} in {_last(parts, 1.0):.0f}")
    return Applicability(
        models=_distinct(f"{run.environment.get('parameters')} parameters" for run in runs),
        optimizers=_distinct(str(run.optimizer.get("class")) for run in runs),
        devices=_distinct(str(run.environment.get("device")) for run in runs),
        batches=_distinct(batches),
        runs=len(runs),
    )


def _distinct(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _ms_per_step(steps: Ints, times: Floats) -> float:
    between = np.diff(times) / np.maximum(np.diff(steps), 1)
    return 1e3 * _median(between)


def _median(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.nan


def _number(value: object) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else np.nan  # type: ignore[arg-type]


def _last(values: Floats, otherwise: float) -> float:
    return float(values[-1]) if len(values) else otherwise
