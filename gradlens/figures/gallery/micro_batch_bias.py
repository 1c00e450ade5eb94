"""Micro-batch clipping against the size of the micro-batches, a panel for each claim."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.ladders import Ladder
from gradlens.analysis.micro_batch_bias import MicroBatchBias, RateSweep
from gradlens.analysis.pruning import PruningEffect
from gradlens.analysis.sweet_spot import SweetSpot
from gradlens.figures.figure import Axis, Figure, Line, Mark, Panel, Points, Rule, Text, sentence
from gradlens.schema import label as axis_label

Floats = NDArray[np.float64]

_NAME = "micro_batch_bias"
_BETWEEN = 1.06  # sideways, so that intervals at one size stand beside each other
# A colour means one thing in all panels.
_CLIPPED, _TIED, _CONTROL, _REMOVED = "clipped", "run-2", "ink", "run-0"
_ROUTES = {"decaying learning rate": "run-3", "several learning rates": "run-4"}


def micro_batch_bias(result: MicroBatchBias, *, lr: float | None = None, prediction: SweetSpot | None = None) -> Figure:
    """Gradient norm, constant bias, pruning effect and held-out metric against the micro-batch size.

    Args:
        result: from ``analysis.micro_batch_bias(runs)``.
        lr: the learning rate to show; that with the most sizes and the best metric if not given.
        prediction: from ``analysis.predict_sweet_spot(run)``, drawn into the first panel.

    Returns:
        Four panels; with nothing to show, the sentence that says why.

    Raises:
        ValueError: if there is no sweep at that learning rate.
    """
    if result.status or not result.sweeps:
        why = result.status or "there is no sweep to show."
        return Figure(_NAME, (_empty("Micro-batch size", "", why),), why, columns=1)
    sweep = _chosen(result, lr)
    at = f"lr {sweep.lr:g}{', decaying' if sweep.decays else ''}"
    effects = [each for each in result.effects if (each.lr, each.decays) == (sweep.lr, sweep.decays)]
    panels = (
        _norm(sweep, effects, prediction, at),
        _bias(result),
        _pruning(effects, sweep, at),
        _metric(sweep, effects, at),
    )
    return Figure(_NAME, panels, _caption(result, sweep, effects, prediction, at))


def sweep_shown(result: MicroBatchBias, lr: float | None = None) -> RateSweep | None:
    """The sweep at a learning rate; that with the most sizes and the best metric if there is none, or none was given.

    Args:
        result: from ``analysis.micro_batch_bias(runs)``.
        lr: the learning rate wanted.
    """
    at_rate = [each for each in result.sweeps if each.lr == lr]
    best = max(result.sweeps, key=lambda each: (len(each.norm.sizes), _best(each.metric)), default=None)
    return at_rate[0] if at_rate else best


def _chosen(result: MicroBatchBias, lr: float | None) -> RateSweep:
    sweep = sweep_shown(result, lr)
    if sweep is None or (lr is not None and sweep.lr != lr):
        tried = ", ".join(f"{each.lr:g}" for each in result.sweeps)
        raise ValueError(f"there is no sweep at learning rate {lr:g}; there are {tried}.")
    return sweep


def _best(metric: Ladder | None) -> float:
    if metric is None or not np.isfinite(metric.interval.mean).any():
        return -np.inf
    sign = 1 if metric.larger_is_better else -1
    return float(np.nanmax(sign * metric.interval.mean))


def _norm(sweep: RateSweep, effects: Sequence[PruningEffect], prediction: SweetSpot | None, at: str) -> Panel:
    title = "Noise floor" if sweep.is_floor else f"Gradient norm at T = {sweep.last_step:,}"
    marks = _ladder_marks(sweep.norm, effects)
    if prediction is not None and np.isfinite(prediction.floor).any():
        shown = np.isfinite(prediction.floor)
        marks.append(
            Line(
                prediction.sizes[shown].astype(float),
                prediction.floor[shown],
                "ink",
                "predicted from one run",
                dashed=True,
            )
        )
    y = Axis(axis_label("full_grad_norm"), scale="log")
    return Panel(
        title, f"whole training set, last quarter, {at}", _axis(sweep.norm.sizes), y, tuple(marks), _foot(sweep.norm)
    )


def _metric(sweep: RateSweep, effects: Sequence[PruningEffect], at: str) -> Panel:
    if sweep.metric is None:
        return _empty("Held-out metric", at, "no held-out metric was logged, as with recorder.log(test_accuracy=...).")
    name = sweep.metric.quantity
    marks = tuple(_ladder_marks(sweep.metric, effects))
    return Panel(
        "Held-out metric", f"at the end, {at}", _axis(sweep.metric.sizes), Axis(name), marks, _foot(sweep.metric)
    )


def _ladder_marks(ladder: Ladder, effects: Sequence[PruningEffect]) -> list[Mark]:
    b, found = ladder.sizes.astype(float), ladder.interval
    tied = np.isin(ladder.sizes, ladder.minimum.ties)
    marks: list[Mark] = [Line(b, found.mean, _CLIPPED, faint=True)]
    for chosen, role, text in (
        (~tied, _CLIPPED, "micro-batch clipping"),
        (tied, _TIED, "not distinguishable from the best"),
    ):
        if chosen.any():
            marks.append(
                Points(
                    b[chosen],
                    found.mean[chosen],
                    role,
                    text,
                    error_low=found.low[chosen],
                    error_high=found.high[chosen],
                )
            )
    for each in effects:
        if each.versus == "control" and each.quantity == ladder.quantity:
            means = found.mean[np.searchsorted(ladder.sizes, each.sizes)] - each.difference.mean
            marks.append(
                Points(_beside(each.sizes, 1), means, _CONTROL, "same step length, plain gradient", marker="cross")
            )
    return marks


def _bias(result: MicroBatchBias) -> Panel:
    title, subtitle = "Constant bias", "what neither iterations nor a smaller learning rate remove"
    biases = [each for each in result.biases if np.isfinite(each.beta)]
    if not biases:
        return _empty(title, subtitle, "not identified: it takes three learning rates, or one that decays.")
    marks: list[Mark] = []
    for index, route in enumerate(sorted({each.route for each in biases})):
        for identified in (True, False):
            own = [each for each in biases if each.route == route and (each.status == "") == identified]
            if not own:
                continue
            b = _beside(np.array([each.micro_batch_size for each in own]), index)
            beta, low, high = (np.array([getattr(each, name) for each in own]) for name in ("beta", "low", "high"))
            text = f"{route}" if identified else f"{route}: not identified"
            colour, marker = _ROUTES[route] if identified else "muted", "dot" if identified else "cross"
            marks.append(Points(b, beta, colour, text, marker=marker, error_low=low, error_high=high))  # type: ignore[arg-type]
    sizes = np.array(sorted({each.micro_batch_size for each in biases}))
    counted = sum(each.status == "" for each in biases)
    y = Axis(axis_label("full_grad_norm"))
    return Panel(title, subtitle, _axis(sizes), y, tuple(marks), f"{counted} of {len(biases)} identified")


def _pruning(effects: Sequence[PruningEffect], sweep: RateSweep, at: str) -> Panel:
    quantity = sweep.metric.quantity if sweep.metric is not None else sweep.norm.quantity
    shown = [each for each in effects if each.quantity == quantity]
    if not shown:
        return _empty("Pruning effect", at, "no control was run: the same trainings, clipped by match_step.")
    marks: list[Mark] = [Rule(0.0, "y")]
    words = {"control": (_CONTROL, "less the same step length"), "pruned": (_REMOVED, "less removal of known draggers")}
    for index, each in enumerate(shown):
        found, (colour, text) = each.difference, words[each.versus]
        b = _beside(each.sizes, index)
        marks.append(Points(b, found.mean, colour, text, error_low=found.low, error_high=found.high))
    y = Axis(f"change of {quantity}")
    foot = f"{int(shown[0].difference.n.min())} seeds, paired; intervals hold together"
    return Panel(
        "Pruning effect", f"micro-batch clipping less its control, {at}", _axis(shown[0].sizes), y, tuple(marks), foot
    )


def _beside(sizes: NDArray[np.int64], index: int) -> Floats:
    """Places on the log axis, a little to the right of the sizes."""
    return sizes.astype(np.float64) * _BETWEEN**index


def _axis(sizes: NDArray[np.int64]) -> Axis:
    ticks = tuple((float(b), str(b)) for b in sizes)
    limits = (float(sizes.min()) / 1.3, float(sizes.max()) * 1.3)
    return Axis("micro-batch size b", scale="log", limits=limits, ticks=ticks)


def _empty(title: str, subtitle: str, why: str) -> Panel:
    return Panel(title, subtitle, Axis("micro-batch size b"), Axis(""), (Text(why),))


def _foot(ladder: Ladder) -> str:
    return f"{len(ladder.seeds)} seeds; 95 % intervals; {ladder.status or 'the best size is inside'}"


def _caption(
    result: MicroBatchBias, sweep: RateSweep, effects: Sequence[PruningEffect], prediction: SweetSpot | None, at: str
) -> str:
    least = sweep.norm.minimum
    name = "noise floor" if sweep.is_floor else f"gradient norm at T = {sweep.last_step:,}"
    said = [
        f"Micro-batch clipping at {at}, {least.n} seeds, 95 % intervals. The {name} is least at b = {least.best}",
        f"(not distinguishable: {', '.join(map(str, least.ties))}).",
        sentence(sweep.norm.status or "It is an interior minimum."),
    ]
    if sweep.status:
        said.append(sentence(sweep.status))
    if sweep.metric is not None:
        best = sweep.metric.minimum
        ties = ", ".join(map(str, best.ties))
        said.append(f"{sweep.metric.quantity} is best at b = {best.best} (not distinguishable: {ties}).")
        said.append(sentence(sweep.metric.status or "It is an interior maximum."))
    found = list(map(str, sorted({each.micro_batch_size for each in result.biases if not each.status})))
    said.append(
        f"A constant bias is identified at b = {', '.join(found)}." if found else "No constant bias is identified."
    )
    if prediction is not None:
        doubt = f" {sentence(prediction.status)}" if prediction.status else ""
        said.append(f"Dashed: predicted from the run {prediction.run!r} alone, best b = {prediction.best}; how far its")
        said.append(f"norms are off is not known.{doubt}")
    if any(each.versus == "control" for each in effects):
        said.append("The control has the same step length at every step, without clipping any micro-batch.")
    said += [sentence(each) for each in result.doubts]
    return " ".join(said)
