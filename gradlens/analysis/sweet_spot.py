r"""Which micro-batch size would do best, predicted from one run that measured gradients at frozen weights.

.. math:: \mathrm{floor}_b^2 = \left(\frac{\lVert e_b \rVert}{\alpha_b}\right)^2
          + \frac{\eta L \, \mathrm{tr\,Cov}(u_b)}{2 \alpha_b}

with what the recorder left as ``micro_batch_alpha[b]``, ``micro_batch_bias[b]`` and ``micro_batch_noise[b]``, the
learning rate, and the median local smoothness. It presumes a training at rest, which is tested; and it is worth as much
as its hit rate on trainings that were also swept, which :mod:`gradlens.analysis.hit_rate` counts. How far a predicted
norm is from the one that a sweep would find is not known: the interval is that of resampled probes alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.alignment import NOTHING, Series
from gradlens.stats.block_length import block_length
from gradlens.stats.bootstrap import bootstrap_interval
from gradlens.stats.mean_interval import FEWEST, too_few
from gradlens.stats.micro_batch_estimator import predicted_floor
from gradlens.store import Run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_T_975 = 1.96
_FEW = 32  # points of a series that can be tested
_REST = 0.2  # largest change of a logarithm that counts as rest, anywhere in its interval


@dataclass(frozen=True, slots=True)
class Rest:
    """One assumption: that a series does not change from the first to the second half of the steps used.

    Attributes:
        name: of the series.
        change: of the logarithm of its mean.
        low: lower end of a 95 % block-bootstrap interval.
        high: upper end.
        holds: whether the whole interval is within a fifth.
    """

    name: str
    change: float
    low: float
    high: float
    holds: bool


@dataclass(frozen=True, slots=True)
class SweetSpot:
    """The prediction for one run.

    Attributes:
        run: its name.
        steps: (p,) probes used: those of the last ``share`` of the run.
        sizes: (m,) micro-batch sizes, ascending, those that divide the batch.
        floor: (m,) predicted norm of the full gradient at rest, from the probes' mean moments; infinite where the
            update would not descend.
        low: (m,) lower end of the 95 % resampling error of the probes, by the jackknife; NaN for fewer than three. It
            says how well the probes fix the formula's value, not how near that is to a swept norm.
        high: (m,) upper end.
        bias_part: (m,) the first term's root, what no learning rate removes.
        best: the size with the least floor; 0 where there is none.
        near: sizes whose floor is within ``factor`` of the least.
        factor: see ``near``.
        lr: learning rate, the mean over the steps used.
        smoothness: L, the median over them.
        rests: the assumptions tested.
        status: why there is no prediction, or why not to believe it: empty where neither is so.
    """

    run: str
    steps: Ints
    sizes: Ints
    floor: Floats
    low: Floats
    high: Floats
    bias_part: Floats
    best: int
    near: tuple[int, ...]
    factor: float
    lr: float
    smoothness: float
    rests: tuple[Rest, ...]
    status: str


def predict_sweet_spot(run: Run, *, share: float = 0.5, factor: float = 1.1, lr: float | None = None) -> SweetSpot:
    """Predict the gradient norm at which micro-batch clipping would come to rest, for every size.

    Args:
        run: a run recorded with ``frozen_weights=`` and a smoothness; a plain one, or one of any size.
        share: of the run's steps, at its end, that are used.
        factor: how far above the least floor a size still counts as near.
        lr: another learning rate to predict for; the run's own if not given.

    Raises:
        ValueError: for a share outside (0, 1], a factor below 1, or a learning rate that is not finite and positive.
    """
    if not 0 < share <= 1 or not factor >= 1:
        raise ValueError(f"expected a share in (0, 1] and a factor of 1 or more; got {share!r} and {factor!r}.")
    if lr is not None and not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"expected a learning rate that is finite and above 0; got {lr!r}.")
    sizes = np.array(sorted(frozen_sizes(run.columns)), dtype=np.int64)
    names = [f"micro_batch_{what}[{b}]" for what in ("alpha", "bias", "noise") for b in sizes]
    found = run.several(*names, "smoothness", "lr", "loss", "grad_norm")
    last = max((int(steps[-1]) for steps, _ in found.values() if len(steps)), default=0)
    late = {
        name: (steps[steps >= (1 - share) * last], v[steps >= (1 - share) * last]) for name, (steps, v) in found.items()
    }
    curvatures = late.get("smoothness", NOTHING)[1]
    curvatures = curvatures[np.isfinite(curvatures)]
    moments, steps = _moments(late, sizes)
    rates = late.get("lr", NOTHING)[1]
    rate = float(rates.mean()) if lr is None and len(rates) else lr
    why = _why_none(run.name, len(sizes), len(steps), len(curvatures), rate)
    if why:
        nothing = np.full(len(sizes), np.nan)
        return SweetSpot(run.name, steps, sizes, *(nothing,) * 4, 0, (), factor, np.nan, np.nan, (), why)
    assert rate is not None  # noqa: S101 - there is a reason otherwise
    smoothness = float(np.median(curvatures))
    floor = _floor(moments, rate, smoothness)
    low, high = _interval(moments, rate, smoothness)
    finite = bool(np.isfinite(floor).any())
    tested = {name: late[name][1] for name in ("loss", "grad_norm") if len(late.get(name, NOTHING)[0]) >= _FEW}
    rests = tuple(_rest(name, values) for name, values in tested.items())
    return SweetSpot(
        run=run.name,
        steps=steps,
        sizes=sizes,
        floor=floor,
        low=low,
        high=high,
        bias_part=_floor(moments, 0.0, smoothness),
        best=int(sizes[np.nanargmin(floor)]) if finite else 0,
        near=tuple(int(b) for b in sizes[floor <= factor * np.nanmin(floor)]) if finite else (),
        factor=factor,
        lr=rate,
        smoothness=smoothness,
        rests=rests,
        status=_doubt(rests, len(steps)) if finite else f"run {run.name!r}: at no size does the update descend.",
    )


def frozen_sizes(columns: Sequence[str]) -> set[int]:
    """The micro-batch sizes that a run estimated at frozen weights.

    >>> frozen_sizes(["loss", "micro_batch_alpha[4]", "micro_batch_noise[4]"])
    {4}
    """
    found = (re.fullmatch(r"micro_batch_alpha\[(\d+)\]", name) for name in columns)
    return {int(match[1]) for match in found if match}


def _moments(late: dict[str, Series], sizes: Ints) -> tuple[Floats, Ints]:
    """(3, p, m): alpha, squared bias and noise of each probe that has all of them; and the probes' steps."""
    probes: dict[int, list[float]] = {}
    names = [f"micro_batch_{what}[{b}]" for what in ("alpha", "bias", "noise") for b in sizes]
    for name in names:
        for step, value in zip(*late.get(name, NOTHING), strict=True):
            probes.setdefault(int(step), []).append(float(value))
    whole = {step: row for step, row in probes.items() if len(row) == len(names) and np.isfinite(row).all()}
    steps = np.array(sorted(whole), dtype=np.int64)
    table = np.array([whole[step] for step in steps], dtype=np.float64).reshape(len(steps), 3, len(sizes))
    table[:, 1] **= 2
    return table.transpose(1, 0, 2), steps


def _floor(moments: Floats, lr: float, smoothness: float) -> Floats:
    alpha, squared, trace = moments.mean(axis=1)
    return predicted_floor(alpha, np.sqrt(squared), trace, lr, smoothness)


def _interval(moments: Floats, lr: float, smoothness: float) -> tuple[Floats, Floats]:
    """Jackknife over probes, of the floor's logarithm."""
    p = moments.shape[1]
    if p < FEWEST:
        return (np.full(moments.shape[2], np.nan),) * 2
    alpha, squared, trace = (moments.sum(axis=1, keepdims=True) - moments) / (p - 1)
    without = predicted_floor(alpha, np.sqrt(np.maximum(squared, 0.0)), trace, lr, smoothness)
    floor = _floor(moments, lr, smoothness)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(without)
        error = np.sqrt((p - 1) / p * ((logs - logs.mean(axis=0)) ** 2).sum(axis=0))
        return floor * np.exp(-_T_975 * error), floor * np.exp(_T_975 * error)


def _rest(name: str, values: Floats) -> Rest:
    """Compare the halves of a series."""
    x = values[np.isfinite(values)]
    half = len(x) // 2
    if half < 8 or not (x[:half].mean() > 0 and x[half:].mean() > 0):
        return Rest(name, np.nan, np.nan, np.nan, holds=False)
    means, ends = [], []
    for part in (x[:half], x[half:]):
        means.append(float(np.log(part.mean())))
        ends.append(bootstrap_interval(lambda drawn: drawn.mean(-1), part, block=block_length(part)))
    change = means[1] - means[0]
    # Ends of each mean's interval, on the log scale; their errors add in squares.
    spread = [np.hypot(means[0] - np.log(ends[0][i]), means[1] - np.log(ends[1][i])) for i in (0, 1)]
    low, high = float(change - spread[0]), float(change + spread[1])
    return Rest(name, change, low, high, holds=max(abs(low), abs(high)) <= _REST)


def _why_none(name: str, sizes: int, probes: int, curvatures: int, rate: float | None) -> str:
    if not sizes or not probes:
        return (
            f"run {name!r} has no estimates at frozen weights where they are looked for; record it with "
            "Recorder(..., frozen_weights=gradlens.every(100))."
        )
    if not curvatures:
        return f"run {name!r} has no smoothness where it is looked for; record it with smoothness=gradlens.every(50)."
    if rate is None or not (math.isfinite(rate) and rate > 0):
        return f"run {name!r} recorded no learning rate above 0; give lr=."
    return ""


def _doubt(rests: Sequence[Rest], probes: int) -> str:
    moving = [rest for rest in rests if not rest.holds]
    if moving:
        said = " and ".join(_words(rest) for rest in moving)
        return f"not stationary: {said}, so that there is no floor to predict; the sizes' order may still hold."
    if not rests:
        return "too few losses and gradient norms were recorded: whether the training is at rest cannot be tested."
    return too_few(probes, "probe")


def _words(rest: Rest) -> str:
    if np.isnan(rest.change):
        return f"{rest.name} is too short to tell"
    span = f"{np.expm1(rest.low):+.0%} to {np.expm1(rest.high):+.0%}"
    text = f"{rest.name} changes by {np.expm1(rest.change):+.0%} ({span}) from one half of the steps used to the other"
    return text.replace("%", " %")
