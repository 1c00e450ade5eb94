"""Predicted gradient norms against swept ones: whether one run says which micro-batch size is best, and how well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis import HitRate, SweetSpot, hit_rate
from gradlens.analysis.ladders import Ladder
from gradlens.figures.figure import Axis, Figure, Line, Mark, Panel, Points, Text
from gradlens.figures.palette import OKABE_ITO
from gradlens.schema import label as axis_label

Floats = NDArray[np.float64]
Check = tuple[str, SweetSpot, Ladder]
"""Task, the prediction of one run of it, and the gradient norm swept at that run's learning rate."""

_NAME = "prediction_check"


def prediction_check(checks: Sequence[Check]) -> Figure:
    """Predicted against swept gradient norm, a panel for each task and a colour for each learning rate.

    A line joins the sizes of one learning rate in their order, and begins at its cross, the smallest size. On the
    dashed line prediction and sweep agree.

    Args:
        checks: task, prediction and sweep of the same training.

    Returns:
        A panel for each task, all with the same limits; with nothing to show, the sentence that says why.
    """
    shown = [check for check in checks if len(_both(*check[1:])[0])]
    if not shown:
        why = "There is no prediction with a sweep at its learning rate."
        panel = Panel("Predicted against swept", "", _axis("swept", None), _axis("predicted", None), (Text(why),))
        return Figure(_NAME, (panel,), why, columns=1)
    ends = _limits(shown)
    rates = sorted({_rate(prediction) for _, prediction, _ in shown}, key=float)
    colours = {rate: f"run-{index % len(OKABE_ITO)}" for index, rate in enumerate(rates)}
    tasks = dict.fromkeys(task for task, _, _ in shown)
    panels = tuple(_panel(task, [check for check in shown if check[0] == task], colours, ends) for task in tasks)
    return Figure(_NAME, panels, _caption(shown), columns=min(2, len(panels)))


def _panel(task: str, checks: Sequence[Check], colours: dict[str, str], ends: tuple[float, float]) -> Panel:
    marks: list[Mark] = [Line(np.array(ends), np.array(ends), "muted", "predicted = swept", dashed=True)]
    for _, prediction, swept in checks:
        measured, predicted = _both(prediction, swept)
        colour = colours[_rate(prediction)]
        marks += [
            Line(measured, predicted, colour, faint=True),
            Points(measured[1:], predicted[1:], colour, f"lr {_rate(prediction)}"),
            Points(measured[:1], predicted[:1], colour, marker="cross"),
        ]
    foot = "; ".join(
        f"lr {_rate(prediction)}: best b = {each.predicted} predicted, {each.swept} swept"
        for (_, prediction, _), each in zip(checks, _judged(checks).agreements, strict=True)
    )
    x, y = _axis("swept", ends), _axis("predicted", ends)
    return Panel(task, "gradient norm, one point for each micro-batch size", x, y, tuple(marks), foot)


def _rate(prediction: SweetSpot) -> str:
    """The learning rate as it is written: runs record a mean in floating point."""
    return f"{prediction.lr:.4g}"


def _both(prediction: SweetSpot, swept: Ladder) -> tuple[Floats, Floats]:
    """Swept and predicted norms of the sizes that both have, ascending by size; those a log axis can show."""
    _, at, at_swept = np.intersect1d(prediction.sizes, swept.sizes, return_indices=True)
    measured, predicted = swept.interval.mean[at_swept], prediction.floor[at]
    finite = np.isfinite(measured) & np.isfinite(predicted) & (measured > 0) & (predicted > 0)
    return measured[finite], predicted[finite]


def _limits(checks: Sequence[Check]) -> tuple[float, float]:
    every = np.concatenate([norms for _, prediction, swept in checks for norms in _both(prediction, swept)])
    return float(every.min() / 1.3), float(every.max() * 1.3)


def _axis(what: str, ends: tuple[float, float] | None) -> Axis:
    return Axis(f"{what} {axis_label('full_grad_norm')}", "log", ends)


def _judged(checks: Sequence[Check]) -> HitRate:
    return hit_rate([prediction for _, prediction, _ in checks], [swept for _, _, swept in checks])


def _caption(checks: Sequence[Check]) -> str:
    found = _judged(checks)
    ratios = np.concatenate([p / s for s, p in (_both(prediction, swept) for _, prediction, swept in checks)])
    return (
        f"Gradient norm predicted from one run against the norm swept, for {found.n} tasks and learning rates; a "
        "point for each micro-batch size, a cross for the smallest. The "
        f"predicted best micro-batch size is within a factor of two of the swept one in {found.hits} of {found.n} "
        f"(exact 95 % binomial interval of the rate {found.low:.2f} to {found.high:.2f}); always guessing "
        f"b = {found.constant}, the best constant in hindsight, hits {found.constant_hits}. Mean rank correlation "
        f"over sizes {found.rank_correlation:z.2f}. Predicted over swept norm: {ratios.min():.2g} to "
        f"{ratios.max():.2g}, median {np.median(ratios):.2g}."
    )
