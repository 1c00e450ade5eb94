"""Which layers a rule would clip, and when."""

from __future__ import annotations

import numpy as np

from gradlens.analysis import PHASES, LayerClipping
from gradlens.figures.figure import Axis, Figure, Heatmap, Panel, Text
from gradlens.figures.gallery.names import shortened

MOST_ROWS = 16
TITLE = "Layers, each with a threshold of its own"


def layer_clipping(result: LayerClipping, *, rows: int = MOST_ROWS) -> Figure:
    """Layers down, thirds of the training across, the share of steps clipped as colour.

    Args:
        result: from ``analysis.layer_clipping(run, rule)``.
        rows: most layers drawn; of more, those clipped most often, in the model's order.

    Returns:
        One panel; with nothing to show, the sentence that says why.
    """
    x = Axis("third of the training", ticks=tuple((place + 0.5, phase) for place, phase in enumerate(PHASES)))
    if result.status:
        panel = Panel(TITLE, result.rule, x, Axis(""), (Text(result.status),))
        return Figure("layer_clipping", (panel,), result.status, columns=1)
    often = np.where(np.isfinite(result.rate), result.rate, -1.0)
    chosen = np.sort(np.argsort(-often, kind="stable")[:rows])
    mark = Heatmap(
        x=np.arange(len(PHASES) + 1, dtype=np.float64),
        rows=tuple(shortened(result.names[place]) for place in chosen),
        values=result.rate_by_phase[chosen],
        label="share of steps clipped",
    )
    left_out = ", those clipped most often" if len(chosen) < len(result.names) else ""
    panel = Panel(
        title=TITLE,
        subtitle=f"{result.rule} on each layer's own gradient norm, before clipping",
        x=x,
        y=Axis(""),
        marks=(mark,),
        foot=f"{len(chosen):,} of {max(result.asked, len(result.names)):,} layers{left_out}; "
        f"{int(result.nonfinite[chosen].sum()):,} norms NaN or infinite",
    )
    return Figure("layer_clipping", (panel,), _caption(result, often), columns=1)


def _caption(result: LayerClipping, often: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    text = f"The rule {result.rule} replayed over the gradient norm of each of {len(result.names):,} layers by itself"
    most, least = int(often.argmax()), int(often.argmin())
    if often[least] >= 0:
        text += (
            f": the share of steps clipped is largest in {result.names[most]} ({result.rate[most]:.1%}) and smallest "
            f"in {result.names[least]} ({result.rate[least]:.1%})"
        )
    return f"{text}. {result.note}"
