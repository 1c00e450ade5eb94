"""What was unstable, and when: spikes of norm and loss, steps that failed, layers that explode or vanish."""

from __future__ import annotations

import numpy as np

from gradlens.analysis import SpikeSeries, Stability
from gradlens.figures.figure import Axis, Figure, Line, Mark, Panel, Points, Text
from gradlens.figures.gallery.curves import curve, thinned
from gradlens.figures.gallery.names import shortened
from gradlens.schema import label as axis_label

_MOST_LAYERS = 12
_ROLES = {"explodes": "clipped", "vanishes": "unclipped"}


def spike_timeline(result: Stability, window: tuple[float, float] | None = None) -> Figure:
    """Gradient norm and loss with their spikes; every event on a line of its own; layers that explode or vanish.

    Args:
        result: from ``analysis.stability(run)``.
        window: first and last step of the series drawn, all if None.

    Returns:
        Four panels over the same steps; a panel whose data are missing holds the sentence that says so.
    """
    x = Axis(axis_label("step"), limits=_span(result))
    panels = (
        _series(
            result.grad_norm,
            "Gradient norm",
            "before clipping",
            x,
            Axis(axis_label("grad_norm"), "log"),
            result,
            window,
        ),
        _series(result.loss, "Training loss", "as recorded", x, Axis(axis_label("loss")), result, window),
        _events(result, x),
        _layers(result, x),
    )
    return Figure("spike_timeline", panels, _caption(result))


def _series(
    series: SpikeSeries,
    title: str,
    subtitle: str,
    x: Axis,
    y: Axis,
    result: Stability,
    window: tuple[float, float] | None,
) -> Panel:
    if not len(series.steps):
        return Panel(title, subtitle, x, y, (Text(f"The run has no {series.name}."),))
    drawn = curve(series.steps, series.values, "unclipped", "", 0.0, window)
    shown = thinned(len(series.spike_steps))
    marks: list[Mark] = list(drawn.marks)
    if len(shown):
        steps = series.spike_steps[shown].astype(np.float64)
        marks.append(Points(steps, series.spike_values[shown], "clipped", "spike", marker="cross"))
    return Panel(
        title,
        f"{subtitle}; spikes: above the median of the {result.window} before by {result.score:g} robust sd",
        x,
        y,
        tuple(marks),
        f"{drawn.drawn:,} of {drawn.points:,} points; spikes: {len(series.spike_steps):,}, "
        f"episodes: {series.episodes:,}; NaN or infinite: {drawn.nonfinite:,}",
    )


def _events(result: Stability, x: Axis) -> Panel:
    rows = {
        "norm spike": result.grad_norm.spike_steps,
        "loss spike": result.loss.spike_steps,
        "NaN or infinite": result.nonfinite_steps,
        "skipped step": result.skipped_steps,
    }
    marks: list[Mark] = []
    for place, steps in enumerate(rows.values()):
        shown = steps[thinned(len(steps))].astype(np.float64)
        if len(shown):
            marks.append(Points(shown, np.full(len(shown), -float(place)), "ink", marker="cross"))
    names = [f"{name} ({len(steps):,})" for name, steps in rows.items()]
    nothing = Text("No spike, no step that was NaN or infinite, none skipped.")
    return Panel("Events", "a line for each kind", x, _rows(names), tuple(marks) or (nothing,))


def _layers(result: Stability, x: Axis) -> Panel:
    layers = result.layers[:_MOST_LAYERS]
    marks: list[Mark] = []
    named: set[str] = set()
    for place, growth in enumerate(layers):
        ends, height = np.array([growth.first, growth.last], dtype=np.float64), np.full(2, -float(place))
        text = "" if growth.direction in named else f"{growth.direction} lastingly"
        marks.append(Line(ends, height, _ROLES[growth.direction], text, dashed=growth.direction == "vanishes"))
        named.add(growth.direction)
    why = result.layer_status or "No layer explodes or vanishes lastingly, against its own start and the others."
    return Panel(
        title="Layers",
        subtitle="whose gradient norm leaves its own start, and the other layers, for long",
        x=x,
        y=_rows([shortened(each.name, 28) for each in layers]),
        marks=tuple(marks) or (Text(why),),
        foot=f"{len(layers):,} of {len(result.layers):,} lasting changes drawn",
    )


def _rows(names: list[str]) -> Axis:
    """An axis with a name for each row, the first at the top."""
    ticks = tuple((-float(place), name) for place, name in enumerate(names))
    return Axis("", limits=(-max(len(names), 1) + 0.4, 0.6), ticks=ticks)


def _span(result: Stability) -> tuple[float, float]:
    both = [series.steps[[0, -1]] for series in (result.grad_norm, result.loss) if len(series.steps)]
    steps = np.concatenate(both) if both else np.array([0, 1])
    return float(steps.min()), float(max(steps.max(), steps.min() + 1))


def _caption(result: Stability) -> str:
    if result.status:
        return result.status
    text = (
        f"Stability over {result.n:,} steps: spikes of the gradient norm {len(result.grad_norm.spike_steps):,} "
        f"(episodes {result.grad_norm.episodes:,}), of the loss {len(result.loss.spike_steps):,} "
        f"(episodes {result.loss.episodes:,}); steps NaN or infinite: {len(result.nonfinite_steps):,}, "
        f"skipped: {len(result.skipped_steps):,}."
    )
    if np.isfinite(result.clipped):
        text += f" The run clipped {result.clipped:.1%} of its steps."
    for each in result.layers[:_MOST_LAYERS]:
        text += f" {each.name} {each.direction} from step {each.first:,} (× {each.factor:.3g})."
    return f"{text} {result.note}"
