r"""Were the steps short enough for the curvature they met? lr times smoothness against the limit of a quadratic.

.. math:: \eta_t\, h_t\, \lambda_t \quad\text{against}\quad 2, \text{ or } 2 (1 + \beta) \text{ with heavy balls}

with :math:`\eta` the learning rate, h the clip coefficient and :math:`\lambda` the smoothness along the step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.alignment import NOTHING, Series, at_steps
from gradlens.analysis.norm_smoothness import PHASES
from gradlens.schema import CONSECUTIVE, SAME_BATCH
from gradlens.stats import block_length, bootstrap_interval, stability_limit
from gradlens.stats.block_length import few_blocks
from gradlens.store import Run

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StepSizeSafety:
    """The answer for one run.

    Attributes:
        steps: (n,) steps at which smoothness was measured.
        product: (n,) learning rate times clip coefficient times smoothness, without unit; infinite where the smoothness
            was, which is above any limit, and 0 where it was.
        limit: above which a step overshoots on a quadratic; NaN where there is no such line.
        limit_label: the limit in words, as in ``2(1 + β)``.
        optimizer: the optimizer, as in ``SGD, momentum 0.9``.
        above: share of the probes above the limit; NaN without one.
        above_interval: its 95 % interval by circular block bootstrap; NaN where the share is 0 or 1.
        above_by_phase: the same share in the first, second and last third of the probes.
        n: how many probes.
        no_line: empty, or a sentence that says why there is no limit.
        caveats: sentences that say what is doubtful.
        status: empty, or a sentence that says why there is no answer.
    """

    steps: NDArray[np.int64]
    product: Floats
    limit: float
    limit_label: str
    optimizer: str
    above: float
    above_interval: tuple[float, float]
    above_by_phase: tuple[float, ...]
    n: int
    no_line: str = ""
    caveats: tuple[str, ...] = ()
    status: str = ""


def step_size_safety(run: Run, *, tries: int = 999) -> StepSizeSafety:
    """Compare a run's steps with the longest that the curvature along them allows.

    Below the line is no proof of safety: smoothness along the step is at most the largest curvature there is.

    Args:
        run: a run with smoothness probes and learning rates.
        tries: resamples of the block bootstrap behind the interval of the share.

    Returns:
        The product at each probe, its limit, and the share above it. ``status`` says so where the run cannot answer.
    """
    rates = [name for name in run.columns if name == "lr" or name.startswith("lr[")]
    found = run.several("smoothness", "clip_coef", *rates)
    steps, smoothness = found.get("smoothness", NOTHING)
    rate, differ = _rate([found[name] for name in rates], steps)
    coefficient = at_steps(found["clip_coef"], steps) if "clip_coef" in found else np.ones(len(steps))
    limit, label, no_line, factor = _limit(run)
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite smoothness times 0 is not known
        product = factor * rate * coefficient * smoothness
    kept = ~np.isnan(product)
    missing, probes = int((~kept).sum()), len(product)
    steps, product = steps[kept], product[kept]
    status = "" if (product > 0).any() else _why_none(run, found)
    above = product > limit
    judged = math.isfinite(limit) and len(steps) > 0
    share = float(above.mean()) if judged else math.nan
    interval, few = _interval(above, tries) if judged and 0 < share < 1 else ((math.nan, math.nan), "")
    caveats = _caveats(run, differ=differ, several_coefficients="clip_coef_mean" in run.columns)
    return StepSizeSafety(
        steps=steps,
        product=product,
        limit=limit,
        limit_label=label,
        optimizer=_name(run),
        above=share,
        above_interval=interval,
        above_by_phase=_by_phase(above) if judged else (math.nan,) * len(PHASES),
        n=len(steps),
        no_line=no_line,
        caveats=(*caveats, *_doubtful_share(product, missing, probes, few)),
        status=status,
    )


def _rate(rates: list[Series], steps: NDArray[np.int64]) -> tuple[Floats, bool]:
    """The largest learning rate over the parameter groups at each step, and whether they differ."""
    if not rates:
        return np.full(len(steps), np.nan), False
    each = np.array([at_steps(series, steps) for series in rates]).reshape(len(rates), len(steps))
    known = np.isfinite(each)
    largest = np.where(known, each, -np.inf).max(axis=0)
    least = np.where(known, each, np.inf).min(axis=0)
    some = known.any(axis=0)
    return np.where(some, largest, np.nan), bool(np.any(largest[some] > least[some]))


def _defaults(run: Run) -> Mapping[str, Any]:
    defaults = run.optimizer.get("defaults")
    return defaults if isinstance(defaults, Mapping) else {}


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0.0


def _limit(run: Run) -> tuple[float, str, str, float]:
    """The limit and its formula, or why there is none; and by what dampening shortens the step."""
    name, defaults = str(run.optimizer.get("class", "")), _defaults(run)
    if _number(run.optimizer.get("count")) > 1:
        return math.nan, "", "The run has several optimizers, of which only the first's settings are recorded.", 1.0
    if name != "SGD":
        return math.nan, "", _why_no_line(name), 1.0
    momentum, nesterov = _number(defaults.get("momentum")), bool(defaults.get("nesterov"))
    if not 0 <= momentum < 1:
        return math.nan, "", f"A momentum of {momentum:g} has no limit: it does not forget.", 1.0
    label = "2" if not momentum else "2(1 + β)/(1 + 2β)" if nesterov else "2(1 + β)"
    factor = 1 - _number(defaults.get("dampening")) if momentum else 1.0
    return stability_limit(momentum, nesterov=nesterov), label, "", factor


def _why_no_line(name: str) -> str:
    if any(kin in name.lower() for kin in ("adam", "adagrad", "rmsprop", "adadelta", "lion", "adafactor", "radam")):
        return (
            f"{name} scales each entry of the step by its own history, so that the limit is of the curvature in those "
            "scaled coordinates, which was not measured: there is no line."
        )
    return f"No limit is known for the optimizer {name or 'that this run does not name'}: there is no line."


def _name(run: Run) -> str:
    name, momentum = str(run.optimizer.get("class", "unknown")), _number(_defaults(run).get("momentum"))
    kind = ", Nesterov" if _defaults(run).get("nesterov") else ""
    return f"{name}, momentum {momentum:g}{kind}" if momentum else name


def _interval(above: NDArray[np.bool_], tries: int) -> tuple[tuple[float, float], str]:
    """The interval of a share, and what is said where it rests on few blocks."""
    values = above.astype(np.float64)
    block = block_length(values)
    return bootstrap_interval(lambda x: x.mean(-1), values, block=block, tries=tries), few_blocks(len(values), block)


def _by_phase(above: NDArray[np.bool_]) -> tuple[float, ...]:
    return tuple(float(part.mean()) if len(part) else math.nan for part in np.array_split(above, len(PHASES)))


def _caveats(run: Run, *, differ: bool, several_coefficients: bool) -> tuple[str, ...]:
    caveats = []
    if str(run.environment.get("smoothness", SAME_BATCH)) == CONSECUTIVE:
        caveats.append("The smoothness is of successive batches, whose noise inflates it: the product is too large.")
    if differ:
        caveats.append("Parameter groups have learning rates of their own; the largest is used.")
    if several_coefficients:
        caveats.append("The clip has several coefficients a step; the norm after it over the norm before is used.")
    if _number(_defaults(run).get("weight_decay")):
        caveats.append("Weight decay adds the learning rate times the decay to the product; it is left out.")
    return tuple(caveats)


def _doubtful_share(product: Floats, missing: int, probes: int, few: str) -> tuple[str, ...]:
    """What the probes themselves make doubtful."""
    caveats = []
    infinite, zero = int(np.isinf(product).sum()), int((product == 0).sum())
    if infinite:
        caveats.append(f"In {infinite:,} of {probes:,} probes the product is infinite: they count as above the limit.")
    if zero:
        caveats.append(f"In {zero:,} of {probes:,} probes the product is 0: they count as below the limit.")
    if missing:
        caveats.append(
            f"In {missing:,} of {probes:,} probes the learning rate, the clip coefficient or the smoothness is missing "
            "or NaN: they are left out."
        )
    if few:
        caveats.append(f"The share rests on {few}.")
    return tuple(caveats)


def _why_none(run: Run, found: Mapping[str, Series]) -> str:
    if "smoothness" not in found or not len(found["smoothness"][0]):
        return f"run {run.name!r} has no smoothness probes; record with smoothness=gradlens.every(20)."
    if "lr" not in found:
        return f"run {run.name!r} recorded no learning rate, without which a step has no length to judge."
    return f"run {run.name!r} has no probe with a positive learning rate, clip coefficient and smoothness."
