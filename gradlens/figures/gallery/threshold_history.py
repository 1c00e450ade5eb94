"""A clip rule replayed over a run: its threshold, the steps it would have clipped, and how often."""

from __future__ import annotations

import numpy as np

from gradlens.analysis import Thresholds
from gradlens.figures.figure import Axis, Figure, Line, Mark, Panel, Points, Text
from gradlens.figures.gallery.curves import within
from gradlens.schema import label as axis_label
from gradlens.stats import ema, envelope

_STRETCHES = 50


def threshold_history(
    result: Thresholds, window: tuple[float, float] | None = None, limits: tuple[float, float] | None = None
) -> Figure:
    """Gradient norms with a rule's threshold through them, and the share of steps it clips along the run.

    Args:
        result: from ``analysis.thresholds(run, rule)``.
        window: first and last step drawn, all if None; what is said of the rule is of the whole run all the same.
        limits: of the norms, to compare with another run's; the run's own if None.

    Returns:
        Two panels; with nothing to show, the sentence that says why.
    """
    step = Axis(axis_label("step"))
    if result.status:
        empty = Panel("Threshold", result.rule, step, Axis(axis_label("grad_norm")), (Text(result.status),))
        return Figure("threshold_history", (empty,), result.status, columns=1)
    marks: list[Mark] = []
    drawn = 0
    shown = within(result.steps, window)
    for chosen, role, text in (
        (shown & ~result.clipped, "unclipped", "not clipped"),
        (shown & result.clipped, "clipped", "clipped"),
    ):
        points = envelope(result.steps[chosen], result.grad_norm[chosen])
        marks.append(Points(points.x, points.y, role, text))
        drawn += len(points.x)
    line = envelope(result.steps[shown], np.where(np.isfinite(result.thresholds), result.thresholds, np.nan)[shown])
    marks.append(Line(line.x, line.y, "ink", "threshold"))
    norms = Panel(
        title="Gradient norm and threshold",
        subtitle=f"{result.rule}, before clipping",
        x=step,
        y=Axis(axis_label("grad_norm"), "log", limits),
        marks=tuple(marks),
        foot=f"{drawn:,} of {int(shown.sum()):,} points; {result.nonfinite:,} NaN or infinite",
    )
    stretch = max(1.0, result.n / _STRETCHES)
    share = envelope(result.steps[shown], ema(result.clipped.astype(np.float64), 1 - 1 / stretch)[shown])
    rate = Panel(
        title="Share of steps clipped",
        subtitle=f"moving average over {stretch:.0f} steps",
        x=step,
        y=Axis("share clipped", limits=(0.0, 1.0)),
        marks=(Line(share.x, share.y, "clipped", "clipped"),),
        foot=f"{result.rate:.1%} of all finite steps",
    )
    early, middle, late = result.rate_by_phase
    caption = (
        f"The rule {result.rule} over recorded gradient norms: {result.rate:.1%} of the finite steps are above the "
        f"threshold ({early:.1%}, {middle:.1%} and {late:.1%} of the first, second and last third). {result.note}"
    )
    return Figure("threshold_history", (norms, rate), caption)
