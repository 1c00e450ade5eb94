"""The micro-batch size that a run's own gradients predict to be best."""

from __future__ import annotations

import numpy as np

from gradlens.analysis import SweetSpot
from gradlens.figures.figure import Axis, Figure, Line, Mark, Panel, Points, Text, sentence
from gradlens.schema import label as axis_label

_NAME, _TITLE = "sweet_spot", "Predicted from one run"


def sweet_spot(result: SweetSpot) -> Figure:
    """Predicted gradient norm at rest against the micro-batch size, and the part that no learning rate removes.

    Args:
        result: from ``analysis.predict_sweet_spot(run)``.

    Returns:
        One panel; with nothing to show, the sentence that says why.
    """
    y = Axis(axis_label("full_grad_norm"), "log")
    finite = np.isfinite(result.floor) & (result.floor > 0)
    if not result.best or not finite.any():
        why = result.status or f"run {result.run!r} has no size at which the update would descend."
        return Figure(_NAME, (Panel(_TITLE, "", Axis("micro-batch size b"), y, (Text(why),)),), why, columns=1)
    b = result.sizes.astype(np.float64)
    near = np.isin(result.sizes, result.near)
    marks: list[Mark] = []
    bias = np.isfinite(result.bias_part) & (result.bias_part > 0)
    if bias.any():
        marks.append(Line(b[bias], result.bias_part[bias], "muted", "bias alone", dashed=True))
    marks.append(Line(b[finite], result.floor[finite], "clipped", faint=True))
    for chosen, role, text in ((finite & ~near, "clipped", "predicted"), (finite & near, "run-2", "near the least")):
        if chosen.any():
            marks.append(
                Points(b[chosen], result.floor[chosen], role, text,
                       error_low=result.low[chosen], error_high=result.high[chosen])
            )  # fmt: skip
    ticks = tuple((float(size), str(size)) for size in result.sizes)
    x = Axis("micro-batch size b", "log", (float(b.min()) / 1.3, float(b.max()) * 1.3), ticks)
    foot = f"{len(result.steps)} probes; best b = {result.best}, within 10 % {', '.join(map(str, result.near))}"
    if result.factor != 1.1:
        foot = foot.replace("within 10 %", f"within a factor of {result.factor:g}")
    panel = Panel(_TITLE, f"gradient norm at rest, {result.run}", x, y, tuple(marks), foot)
    doubt = result.status or "The training is at rest, as the prediction presumes."
    caption = (
        f"Gradient norm at rest predicted from the run {result.run!r} alone, at lr {result.lr:g} and smoothness "
        f"{result.smoothness:.3g}: best b = {result.best}. Bars: the 95 % resampling error of {len(result.steps)} "
        f"probes only; how far a swept norm would be is not known. {sentence(doubt)}"
    )
    return Figure(_NAME, (panel,), caption, columns=1)
