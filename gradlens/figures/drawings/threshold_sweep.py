"""``threshold_sweep`` by name: how much a rule would have clipped against its parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradlens.analysis import sweep_rule
from gradlens.analysis import threshold_sweep as sweep
from gradlens.clipping import ClipRule, autoclip, fixed
from gradlens.clipping.spec import zclip_alone
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.threshold_sweep import threshold_sweep
from gradlens.store import Run

_MAKERS: dict[str, Callable[[float], ClipRule]] = {"percentiles": autoclip, "max_norms": fixed, "z_scores": zclip_alone}


def _make(
    runs: Sequence[Run], rule: str | None = None, chosen: float | None = None, **values: Sequence[float]
) -> Figure:
    if len(values) + (rule is not None) > 1:
        raise ValueError("threshold_sweep sweeps one rule: give rule, percentiles, max_norms or z_scores.")
    for name, tried in values.items():
        return threshold_sweep(sweep(runs[0], _MAKERS[name], tried), chosen)
    return threshold_sweep(sweep_rule(runs[0], rule or "autoclip"), chosen)


DRAWING = Drawing(
    _make,
    most=1,
    options=(
        Option("rule", str, "autoclip, the default, fixed or zclip, at values that suit the run"),
        Option("percentiles", float, "replay AutoClip at each of these percentiles", "+"),
        Option("max_norms", float, "replay each of these fixed norms", "+"),
        Option("z_scores", float, "replay ZClip at each of these z-scores, without a cap", "+"),
        Option("chosen", float, "value of the parameter to mark"),
    ),
)
