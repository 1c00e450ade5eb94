"""The noise scale of a run over its steps.

Reference: McCandlish et al., "An Empirical Model of Large-Batch Training", 2018, arXiv 1812.06162.
"""

from __future__ import annotations

import numpy as np

from gradlens.analysis import NoiseScale
from gradlens.figures.figure import Axis, Figure, Line, Mark, Panel, Rule, Text
from gradlens.schema import label as axis_label
from gradlens.stats import envelope

_TITLE, _NAME = "Noise scale", "noise_scale"


def noise_scale(result: NoiseScale) -> Figure:
    """The noise scale over a moving window, the samples in a step beside it, and that of the whole run.

    Args:
        result: from ``analysis.noise_scale(run)``.

    Returns:
        One panel; with nothing to show, the sentence that says why.
    """
    x, y = Axis(axis_label("step")), Axis("samples", "log")
    subtitle = f"batch size at which noise and gradient are as large, over {result.window} measured steps"
    shown = np.isfinite(result.moving) & (result.moving > 0)
    if not len(result.steps) or not (shown.any() or result.overall.value > 0):
        why = result.status or "There is no noise scale: the gradient is not told from its noise in any window."
        return Figure(_NAME, (Panel(_TITLE, "", x, y, (Text(why),)),), why, columns=1)
    marks: list[Mark] = []
    if shown.any():
        moving = envelope(result.steps[shown], result.moving[shown])
        marks.append(Line(moving.x, moving.y, "run-0", f"over {result.window} steps"))
    sizes = envelope(result.steps, result.batch_size)
    marks.append(Line(sizes.x, sizes.y, "ink", "samples in a step", dashed=True))
    overall = _overall(result)
    if result.overall.value > 0:
        marks.append(Rule(result.overall.value, "y", "whole run"))
    foot = f"{len(result.steps):,} steps; whole run {overall}"
    panel = Panel(_TITLE, subtitle, x, y, tuple(marks), foot)
    caption = f"Simple noise scale in samples, by iteration: {overall} over the run."
    return Figure(_NAME, (panel,), f"{caption} {result.status}".rstrip(), columns=1)


def _overall(result: NoiseScale) -> str:
    found = result.overall
    if not np.isfinite(found.value):
        return "not known"
    low, high = found.interval
    return f"{found.value:,.3g}" + (f" [{low:,.3g}, {high:,.3g}]" if not np.isnan(low) else "")
