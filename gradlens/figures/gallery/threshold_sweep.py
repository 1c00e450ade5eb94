"""How much a rule clips, against its parameter."""

from __future__ import annotations

from gradlens.analysis import PHASES, ThresholdSweep
from gradlens.figures.figure import Axis, Figure, Floats, Line, Mark, Panel, Rule, Text

_AXES = {
    "autoclip": Axis("percentile of past norms", limits=(0.0, 100.0)),
    "zclip": Axis("z-score above which a norm is a spike"),
}
_THRESHOLD = Axis("threshold", scale="log")


def threshold_sweep(result: ThresholdSweep, chosen: float | None = None) -> Figure:
    """Share of steps clipped, and mean clip coefficient, against the parameter: overall and by third of the training.

    Args:
        result: from ``analysis.threshold_sweep(run, make, values)``.
        chosen: a value of the parameter to mark.

    Returns:
        Two panels; with nothing to show, the sentence that says why.
    """
    x = _AXES.get(result.rules[0].partition("(")[0], _THRESHOLD)
    if result.status:
        empty = Panel("Share clipped by parameter", result.rules[0], x, Axis("share clipped"), (Text(result.status),))
        return Figure("threshold_sweep", (empty,), result.status, columns=1)
    mark = () if chosen is None else (Rule(chosen, "x", f"chosen: {chosen:.3g}", "clipped"),)
    rate = Panel(
        title="Share clipped by parameter",
        subtitle=f"{result.rules[0]} to {result.rules[-1]}",
        x=x,
        y=Axis("share clipped", limits=(0.0, 1.0)),
        marks=(*_lines(result, result.rate_by_phase, result.rate), *mark),
        foot=f"{len(result.values)} values, {result.n:,} norms each; {result.nonfinite:,} NaN or infinite",
    )
    left = Panel(
        title="Mean clip coefficient",
        subtitle="what is left of the learning rate, on average",
        x=x,
        y=Axis("mean clip coefficient", limits=(0.0, 1.0)),
        marks=(*_lines(result, result.coefficient_by_phase, result.mean_coefficient), *mark),
    )
    least, most = (float(end) for end in (result.values.min(), result.values.max()))
    caption = (
        "Share of recorded steps that a clip rule would have clipped, and its mean coefficient, for "
        f"{len(result.values)} values of its parameter from {least:g} to {most:g}, over all steps and by third of the "
        f"training. {result.note}"
    )
    return Figure("threshold_sweep", (rate, left), caption)


def _lines(result: ThresholdSweep, phases: Floats, overall: Floats) -> tuple[Mark, ...]:
    order = result.values.argsort()
    marks: list[Mark] = [
        Line(result.values[order], values[order], f"run-{place}", phase, dashed=place % 2 == 1)
        for place, (phase, values) in enumerate(zip(PHASES, phases.T, strict=True))
    ]
    return (*marks, Line(result.values[order], overall[order], "ink", "all steps"))
