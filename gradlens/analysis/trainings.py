"""The runs of a sweep over micro-batch sizes as numbers: arm, size, how each ended, and why one does not count.

What a run's arm is follows from its clip rule: ``micro_batch()`` is *clipped*, ``match_step(micro_batch())`` the
*control*, no clip *plain*. A plain run whose config says ``draggers = "removed"`` is *pruned*: the draggers were known,
and left out of its batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.alignment import NOTHING
from gradlens.analysis.summary import summarize
from gradlens.schema import USER_COLUMNS, is_own
from gradlens.store import Run

Floats = NDArray[np.float64]
Arm = Literal["clipped", "plain", "control", "pruned", "other"]

_SIZE = "micro_batch_size"
OWN_KEYS: Final = frozenset({"lr", "seed", _SIZE, "arm", "draggers", "clip"})
"""Keys of a run's config that tell the runs of one sweep apart; all others must agree."""

_FEW = 20
_ROSE = 10  # times its early spread: a loss below zero that rose by more has diverged
_LEARNED = 0.95  # of the first loss: a training that ends above it has learned nothing


@dataclass(frozen=True, slots=True)
class Training:
    """One training of a sweep.

    Attributes:
        name: what people call it.
        arm: see the module.
        micro_batch_size: b; the batch size for a plain run, whose update does not depend on b; 0 where it is not known.
        batch_size: B, samples in a step.
        lr: learning rate, the first if it decays.
        decays: whether it ends below half of that.
        seed: what pairs it with the trainings of the other arms.
        steps: (n,) where the full-data gradient norm was measured.
        grad_norm: (n,) that norm.
        loss: (n,) the loss over the same set; NaN where it is not known.
        metric: the held-out metric at the end; NaN where it was not logged.
        domains: the same for each domain, where it was logged by domain.
        excluded: empty, or why it does not count.
    """

    name: str
    arm: Arm
    micro_batch_size: int
    batch_size: int
    lr: float
    decays: bool
    seed: int
    steps: NDArray[np.int64]
    grad_norm: Floats
    loss: Floats = field(default_factory=lambda: np.empty(0))
    metric: float = np.nan
    domains: Mapping[str, float] = field(default_factory=dict)
    excluded: str = ""


def training(run: Run, metric: str = "test_accuracy", chance: float | None = None) -> Training:
    """Reduce a run to what a sweep asks of it.

    Args:
        run: one run. Its seed, and its micro-batch size where micro-batches were not recorded, come from its config.
        metric: name of the held-out metric that it logged; ``metric[domain]`` is that of a domain.
        chance: a metric that is not above this is chance; None judges by the loss alone.
    """
    by_domain = [name for name in run.columns if name.startswith(f"{metric}[") and name.endswith("]")]
    found = run.several("full_grad_norm", "full_loss", "batch_size", "micro_batches", "lr", "loss", metric, *by_domain)
    steps, norms = found.get("full_grad_norm", NOTHING)
    rates = found.get("lr", NOTHING)[1]
    lr = rates[0] if len(rates) else _number(run.config.get("lr"))
    size = _count(_last(found, "batch_size"))
    b = _number(run.config.get(_SIZE))
    if np.isnan(b):
        b = size / max(1.0, _last(found, "micro_batches")) if "micro_batches" in found else size
    arm = arm_of(run.clip, run.config)
    final = _last(found, metric)
    seed = _number(run.config.get("seed"))
    why = _why_not(run, arm, found, final, chance) or ("" if np.isfinite(seed) else "its config has no seed.")
    return Training(
        name=run.name,
        arm=arm,
        micro_batch_size=size if arm in ("plain", "pruned") else _count(b),
        batch_size=size,
        lr=float(lr),
        decays=bool(len(rates) and rates[-1] < 0.5 * rates[0]),
        seed=int(seed) if np.isfinite(seed) else 0,
        steps=steps,
        grad_norm=norms,
        loss=found.get("full_loss", NOTHING)[1],
        metric=final,
        domains={name[len(metric) + 1 : -1]: _last(found, name) for name in by_domain},
        excluded=why,
    )


def arm_of(clip: Mapping[str, Any] | None, config: Mapping[str, Any]) -> Arm:
    """The arm that a clip rule's spec stands for.

    >>> from gradlens import clipping
    >>> arm_of(clipping.micro_batch().spec(), {}), arm_of(clipping.match_step(clipping.micro_batch()).spec(), {})
    ('clipped', 'control')
    >>> arm_of(None, {}), arm_of(None, {"draggers": "removed"})
    ('plain', 'pruned')
    """
    if clip is None:
        return "pruned" if config.get("draggers") == "removed" else "plain"
    if clip.get("name") == "micro_batch":
        return "clipped"
    parts = clip.get("rules") or [{}]
    matches = clip.get("name") == "match_step" and parts[0].get("name") == "micro_batch"
    return "control" if matches else "other"


def of_one_task(configs: Sequence[Mapping[str, Any]], own: frozenset[str] = OWN_KEYS) -> str:
    """A sentence where configs differ in more than what a sweep varies; empty where they are of one task.

    >>> of_one_task([{"lr": 0.1, "noise": 0.2}, {"lr": 0.5, "noise": 0.0}])
    "the runs are not of one task: their config differs in noise ('0.0', '0.2'). Give those of one."
    """
    for key in sorted({key for config in configs for key in config} - own):
        values = sorted({str(config.get(key)) for config in configs})
        if len(values) > 1:
            shown = ", ".join(map(repr, values[:4])) + (", ..." if len(values) > 4 else "")
            return f"the runs are not of one task: their config differs in {key} ({shown}). Give those of one."
    return ""


def largest_task(configs: Sequence[Mapping[str, Any]], own: frozenset[str] = OWN_KEYS) -> tuple[int, ...]:
    """Which configs are of one task: the most that agree in all but what a sweep varies; of as many, the first.

    Where some say a micro-batch size, it is the task with the most of those.

    >>> largest_task([{"lr": 0.1, "noise": 0.2}, {"lr": 0.1, "noise": 0.0}, {"lr": 0.5, "noise": 0.0}])
    (1, 2)
    >>> largest_task([{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.1, "noise": 0.0, "micro_batch_size": 4}])
    (2,)
    """
    tasks: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for place, config in enumerate(configs):
        task = tuple(sorted((str(key), str(value)) for key, value in config.items() if key not in own))
        tasks.setdefault(task, []).append(place)

    def weight(places: list[int]) -> tuple[int, int]:
        return sum(_SIZE in configs[place] for place in places), len(places)

    largest = max(tasks.values(), key=weight, default=[])
    return tuple(largest)


def held_out_metrics(runs: Sequence[Run]) -> tuple[str, ...]:
    """Series that trainings logged on their own, among which a held-out metric is; those by domain go with theirs.

    Args:
        runs: some runs.
    """
    names = dict.fromkeys(name for run in runs for name in run.columns if not is_own(name))
    return tuple(
        name
        for name in names
        if name not in USER_COLUMNS and (name.partition("[")[0] == name or name.partition("[")[0] not in names)
    )


def swept_rates(runs: Sequence[Run]) -> tuple[float, ...]:
    """Learning rates that configs name, ascending.

    Args:
        runs: some runs.
    """
    rates = {_number(run.config.get("lr")) for run in runs}
    return tuple(sorted(rate for rate in rates if np.isfinite(rate)))


def _why_not(
    run: Run, arm: Arm, found: Mapping[str, tuple[NDArray[np.int64], Floats]], final: float, chance: float | None
) -> str:
    """Why a run does not count: another rule, nothing measured, divergent, or no better than chance."""
    norms, losses = found.get("full_grad_norm", NOTHING)[1], found.get("loss", NOTHING)[1]
    if arm == "other":
        return "its clip is neither micro_batch() nor match_step(micro_batch())."
    if "full_grad_norm" not in found:
        return "it has no full_grad_norm; record it with recorder.full_gradient(compute, loader)."
    # A few losses are too noisy to judge by.
    first = float(losses[: max(1, len(losses) // 100)].mean()) if len(losses) >= _FEW else np.nan
    last = summarize(run, timed=False).final_loss if len(losses) >= _FEW else np.nan
    if len(losses) and not np.isfinite(losses[-1]):
        last = np.inf
    return how_it_ended(norms, first, last, final, chance, spread=early_spread(losses))


def early_spread(losses: Floats) -> float:
    """Standard deviation of the first losses, without their trend; NaN where there are too few or one is not finite.

    >>> round(early_spread(-np.arange(30.0) + 0.5 * (-1.0) ** np.arange(30)), 2)
    0.71
    """
    early = losses[:_FEW]
    known = len(early) == _FEW and np.isfinite(early).all()
    return float(np.std(np.diff(early)) / np.sqrt(2)) if known else np.nan


def how_it_ended(
    norms: Floats,
    first: float,
    last: float,
    metric: float = np.nan,
    chance: float | None = None,
    *,
    spread: float = np.nan,
) -> str:
    """Why a training must not be compared: it diverged, or learned nothing. A dead network has a small gradient.

    Args:
        norms: (n,) gradient norms along it.
        first: the loss at its start; NaN where it is not known.
        last: the loss at its end.
        metric: the held-out metric at its end.
        chance: a metric that is not above this is chance; None judges by the loss alone.
        spread: of the losses at its start. A loss that starts at zero or below has no ratio: it is judged by this, or
            not at all where this is NaN.

    >>> norms = np.array([1.0, 0.5])
    >>> how_it_ended(norms, 2.3, 2.29), how_it_ended(norms, 2.3, 0.4)
    ('it is at chance level: the loss ends at 2.29, from 2.3.', '')
    """
    if not np.isfinite(norms).all() or np.isinf(last):
        return "it diverged: a loss or a gradient norm is not finite."
    worst, learned = (2 * first, _LEARNED * first) if first > 0 else (first + _ROSE * spread, first - spread)
    if last > worst:
        return f"it diverged: the loss ends at {last:.3g}, from {first:.3g}."
    if last > learned:
        return f"it is at chance level: the loss ends at {last:.3g}, from {first:.3g}."
    if chance is not None and metric <= chance:
        return f"it is at chance level: the metric ends at {metric:.3g}, chance is {chance:.3g}."
    return ""


def _last(found: Mapping[str, tuple[NDArray[np.int64], Floats]], name: str) -> float:
    values = found.get(name, NOTHING)[1]
    return float(values[-1]) if len(values) else np.nan


def _count(value: float) -> int:
    """A number of samples; 0 where it is none."""
    return int(value) if np.isfinite(value) and value >= 1 else 0


def _number(value: object) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else np.nan  # type: ignore[arg-type]
