"""How the gradient norms are distributed, where a rule's threshold lies in them, and what it leaves of the rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis import PHASES, Thresholds, thirds
from gradlens.figures.figure import Axis, Figure, Line, Mark, Panel, Rule, Text
from gradlens.figures.gallery.curves import curve
from gradlens.schema import label as axis_label

Floats = NDArray[np.float64]
_POINTS = 512


def norm_distribution(
    result: Thresholds,
    percentile: float | None = None,
    window: tuple[float, float] | None = None,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Empirical distribution of the norms, by third of the training, with the rule's last threshold; effective rate.

    Args:
        result: from ``analysis.thresholds(run, rule)``.
        percentile: to mark on the share of steps, where the rule's threshold is one.
        window: first and last step of the learning rate drawn, all if None.
        limits: of the norms, to compare with another run's; the run's own if None.

    Returns:
        Two panels; with nothing to show, the sentence that says why.
    """
    x, y = Axis(axis_label("grad_norm"), "log", limits), Axis("share of steps at or below", limits=(0.0, 1.0))
    if result.status:
        empty = Panel("Distribution of gradient norms", result.rule, x, y, (Text(result.status),))
        return Figure("norm_distribution", (empty,), result.status, columns=1)
    marks: list[Mark] = []
    for place, (phase, part) in enumerate(zip(PHASES, thirds(result.n), strict=True)):
        marks += _steps(result.grad_norm[part], f"run-{place}", phase, dashed=place % 2 == 1)
    marks += _steps(result.grad_norm, "ink", "all steps")
    if percentile is not None:
        marks.append(Rule(percentile / 100, "y", f"percentile {percentile:g}", "clipped"))
    last = result.last_threshold
    if last > 0:
        marks.append(Rule(last, "x", f"threshold at the end {last:.3g}", "clipped" if percentile is None else "ink"))
    distribution = Panel(
        title="Distribution of gradient norms",
        subtitle="before clipping, empirical; by third of the training",
        x=x,
        y=y,
        marks=tuple(marks),
        foot=f"{result.n - result.nonfinite:,} finite norms, drawn at {_POINTS} quantiles; {result.nonfinite:,} NaN or "
        "infinite",
    )
    return Figure("norm_distribution", (distribution, _rate(result, window)), _caption(result, last))


def _steps(norms: Floats, colour: str, label: str, *, dashed: bool = False) -> list[Mark]:
    """The quantiles of the positive norms; norms of zero count, to the left of the axis."""
    finite = np.sort(norms[np.isfinite(norms)])
    places = np.unique(np.linspace(0, len(finite) - 1, min(_POINTS, len(finite))).astype(np.int64))
    places = places[finite[places] > 0] if len(finite) else places
    return [Line(finite[places], (places + 1) / len(finite), colour, label, dashed=dashed)] if len(places) else []


def _rate(result: Thresholds, window: tuple[float, float] | None) -> Panel:
    x, y = Axis(axis_label("step")), Axis(axis_label("lr"))
    title, subtitle = (
        "Effective learning rate",
        "learning rate × clip coefficient, moving average over 2 % of the steps",
    )
    if not np.isfinite(result.lr).any():
        return Panel(title, subtitle, x, y, (Text("The run has no learning rate; it is recorded with the update."),))
    given = curve(result.steps, result.lr, "unclipped", "as recorded", 0.0, window)
    left = curve(result.steps, result.effective_lr, "clipped", "times coefficient", 0.02, window)
    drawn = f"{left.drawn:,} of {left.points:,} points; raw faint"
    return Panel(title, subtitle, x, y, (*given.marks, *left.marks), drawn)


def _caption(result: Thresholds, last: float) -> str:
    early, middle, late = result.coefficient_by_phase
    text = (
        f"Gradient norms before clipping and {result.rule}, whose last threshold is {last:.3g}. The median clip "
        f"coefficient is {early:.3g}, {middle:.3g} and {late:.3g} in the first, second and last third"
    )
    if np.isfinite(result.effective_lr_by_phase).all():
        rates = ", ".join(f"{rate:.3g}" for rate in result.effective_lr_by_phase)
        text += f"; the median effective learning rate {rates}"
    return " ".join([text + ".", *result.warnings, result.note])
