"""Two runs side by side: the difference of their r beside its placebo, and smoothness at equal loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradlens.analysis import SmoothnessComparison, difference_verdict, matched_verdict
from gradlens.figures.figure import Axis, Bars, Figure, Mark, Panel, Points, Rule, Text, sentence
from gradlens.figures.gallery.curves import thinned
from gradlens.schema import label as axis_label
from gradlens.stats import CorrelationDifference

_NAMES = ("as recorded", "without trend")


def smoothness_difference(found: SmoothnessComparison) -> Figure:
    """Draw r of the second run less that of the first, beside its placebo of constant curvature.

    Args:
        found: from ``analysis.compare_smoothness(first, second)``.

    Returns:
        One panel; with nothing to show, the sentence that says why.
    """
    title, subtitle = "Difference of r", "second run less first, r between logs of norm and smoothness"
    y = Axis("difference of r")
    if found.raw.status:
        empty = Panel(title, subtitle, Axis(""), y, (Text(found.raw.status),))
        return Figure("smoothness_difference", (empty,), found.raw.status, columns=1)
    differences, placebos = (found.raw, found.detrended), (found.placebo_raw, found.placebo_detrended)
    value = np.array([each.value for each in differences])
    low, high = np.array([each.interval for each in differences], dtype=np.float64).T
    marks: list[Mark] = [Bars(_NAMES, value, "run-0", "recorded, 95 % interval", low, high)]
    chance = np.array([each.value for each in placebos])
    if np.isfinite(chance).any():
        low, high = np.array([each.range for each in placebos], dtype=np.float64).T
        marks.append(Bars(_NAMES, chance, "run-4", "placebo, 5 to 95 %", low, high))
    foot = f"{found.raw.n[0]:,} and {found.raw.n[1]:,} probes; one pair of runs says nothing about another seed"
    said = [
        f"Difference of r, second run less first: {_with(found.raw)}, without trend {_with(found.detrended)};",
        f"placebo {found.placebo_raw.value:+z.2f}, without trend {found.placebo_detrended.value:+z.2f}:",
        f"{difference_verdict(found)}.",
        "One pair of runs says nothing about another seed.",
    ]
    panel = Panel(title, subtitle, Axis(""), y, (*marks, Rule(0.0, "y")), foot)
    return Figure("smoothness_difference", (panel,), " ".join(said), columns=1)


def smoothness_at_loss(found: SmoothnessComparison, labels: Sequence[str], colours: Sequence[str]) -> Figure:
    """Smoothness of two runs against their training loss, with the stretch of loss that both pass.

    Args:
        found: from ``analysis.compare_smoothness(first, second)``.
        labels: what to call the two.
        colours: their roles.

    Returns:
        One panel; with nothing to show, the sentence that says why.
    """
    title, subtitle = "Smoothness at equal loss", "each probe, at the mean training loss around it"
    x, y = Axis(axis_label("loss")), Axis(axis_label("smoothness"), "log")
    marks: list[Mark] = []
    for answer, level, text, colour in zip((found.first, found.second), found.levels, labels, colours, strict=True):
        known = np.flatnonzero(np.isfinite(level))
        known = known[thinned(len(known))]
        if len(known):
            marks.append(Points(level[known], answer.smoothness[known], colour, text))
    matched = found.matched
    if not marks:
        why = matched.status or found.status
        return Figure("smoothness_at_loss", (Panel(title, subtitle, x, y, (Text(why),)),), why, columns=1)
    foot = f"No answer: {matched.status}"
    if not matched.status:
        marks += [Rule(matched.overlap[0], "x"), Rule(matched.overlap[1], "x", "where both have been")]
        low, high = matched.interval
        foot = (
            f"medians between the lines {matched.first:.3g} and {matched.second:.3g}, "
            f"ratio {matched.ratio:.2f} [{low:.2f}, {high:.2f}]"
        )
    said = [f"Smoothness against training loss, {labels[0]} and {labels[1]}: {foot}.", matched_verdict(matched)]
    said += [*matched.caveats] if not matched.status else []
    caption = " ".join(sentence(text).rstrip(".") + "." for text in said if text)
    panel = Panel(title, subtitle, x, y, tuple(marks), foot)
    return Figure("smoothness_at_loss", (panel,), caption, columns=1)


def _with(found: CorrelationDifference) -> str:
    return f"{found.value:+z.2f} [{found.interval[0]:+z.2f}, {found.interval[1]:+z.2f}]"
