"""How far ahead the gradient could be trusted: figure 4 of Santurkar et al., drawn from recorded probes.

Reference: Santurkar, Tsipras, Ilyas and Madry, "How Does Batch Normalization Help Optimization?", NeurIPS 2018,
arXiv 1805.11604.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis import Landscape
from gradlens.figures.figure import Axis, Band, Figure, Line, Mark, Panel, Points, Text
from gradlens.figures.palette import clip_colours, dashed
from gradlens.schema import label as axis_label

Floats = NDArray[np.float64]
_MOST = 600


def landscape_bands(results: Landscape | Sequence[Landscape], *, labels: Sequence[str] | None = None) -> Figure:
    """Bands of the loss and of the gradient's change along the gradient, and the effective smoothness.

    Args:
        results: from ``analysis.landscape(run)``, one run or several.
        labels: what to call them; their names if not given.

    Returns:
        Three panels; without any probe, the sentences that say why.

    Raises:
        ValueError: without results, or with as many labels as there are not results.
    """
    given = [results] if isinstance(results, Landscape) else list(results)
    texts = [each.name for each in given] if labels is None else list(labels)
    if not given or len(texts) != len(given):
        raise ValueError(f"expected one result or more and a label for each; got {len(given)} and {len(texts)}.")
    roles = clip_colours([each.clipped for each in given])
    parts = [each for each in zip(given, texts, roles, strict=True) if not each[0].status]
    x = Axis(axis_label("step"))
    positive = all((r.grad_change_min[np.isfinite(r.grad_change_min)] > 0).all() for r, _, _ in parts)
    change = Axis("gradient change", scale="log" if positive else "linear")
    if not parts:
        why = " ".join(each.status for each in given)
        return Figure("landscape_bands", (Panel("Landscape", "", x, Axis("loss"), (Text(why),)),), why, columns=1)
    panels = (
        _panel("Loss landscape", "loss over a grid of gradient steps; line: at the parameters", x, Axis("loss"), [
            _band(r.steps, r.loss_min, r.loss_max, role, text, r.loss) for r, text, role in parts
        ], parts),
        _panel("Gradient predictiveness", "change of the gradient over the same grid", x, change, [
            _band(r.steps, r.grad_change_min, r.grad_change_max, role, text, None) for r, text, role in parts
        ], parts),
        _panel("Effective smoothness", "largest change of the gradient over the length moved", x,
               Axis("effective smoothness", scale="log"), [
            _line(r.steps, r.beta, role, text) for r, text, role in parts
        ], parts),
    )  # fmt: skip
    return Figure("landscape_bands", panels, _caption(given, texts))


def _panel(
    title: str, subtitle: str, x: Axis, y: Axis, marks: list[list[Mark]], parts: Sequence[tuple[Landscape, str, str]]
) -> Panel:
    foot = f"{sum(each[0].n for each in parts):,} probes"
    odd = sum(each[0].nonfinite for each in parts)
    foot += f", at most {_MOST} stretches of a run drawn, ends kept" * any(each[0].n > _MOST for each in parts)
    return Panel(title, subtitle, x, y, tuple(mark for own in marks for mark in own), f"{foot}; {odd:,} not finite")


def _band(
    steps: NDArray[np.int64], low: Floats, high: Floats, role: str, text: str, middle: Floats | None
) -> list[Mark]:
    starts = _starts(len(steps))
    x = steps[starts].astype(np.float64)
    least = np.fmin.reduceat(np.where(np.isfinite(low), low, np.nan), starts)
    most = np.fmax.reduceat(np.where(np.isfinite(high), high, np.nan), starts)
    marks: list[Mark] = [Band(x, least, most, role, text)]
    marks += [Line(x, end, role, faint=True) for end in (least, most)]
    if middle is not None and np.isfinite(middle).any():
        marks.append(Line(x, middle[starts], role, text, dashed=dashed(role)))
    odd = steps[~(np.isfinite(low) & np.isfinite(high))].astype(np.float64)
    known = most[np.isfinite(most)]
    if len(odd):
        top = float(known.max()) if len(known) else 0.0
        marks.append(Points(odd[:_MOST], np.full(len(odd[:_MOST]), top), role, "NaN or infinite", marker="cross"))
    return marks


def _line(steps: NDArray[np.int64], values: Floats, role: str, text: str) -> list[Mark]:
    starts = _starts(len(steps))
    most = np.fmax.reduceat(np.where(np.isfinite(values), values, np.nan), starts)
    return [Line(steps[starts].astype(np.float64), most, role, text, dashed=dashed(role))]


def _starts(count: int) -> NDArray[np.int64]:
    """Where each stretch begins, at most some hundred of them."""
    return np.unique(np.linspace(0, count, min(count, _MOST), endpoint=False).astype(np.int64))


def _caption(results: Sequence[Landscape], texts: Sequence[str]) -> str:
    parts = ["Loss, change of the gradient and effective smoothness along plain gradient steps from the parameters."]
    for each, text in zip(results, texts, strict=True):
        if each.status:
            parts.append(f"{text}: {each.status}")
            continue
        beta = ", ".join(f"{value:.3g}" for value in each.beta_by_phase)
        width = ", ".join(f"{value:.3g}" for value in each.loss_width_by_phase)
        parts.append(
            f"{text}: median effective smoothness {beta} and width of the loss band over the loss {width} in the "
            f"first, second and last third of {each.n:,} probes."
        )
    return " ".join([*parts, results[0].note])
