"""How far ahead could the gradient be trusted? Loss, gradient change and effective smoothness along it.

Reference: Santurkar, Tsipras, Ilyas and Madry, "How Does Batch Normalization Help Optimization?", NeurIPS 2018,
arXiv 1805.11604, figure 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.thresholds import medians
from gradlens.schema import LANDSCAPE
from gradlens.store import Run

Floats = NDArray[np.float64]

NOTE = (
    "Along plain gradient steps on the step's own batch, whatever the optimizer. The grid of step sizes is that of the "
    "recording, which by default follows the learning rate of its start: bands of runs with other grids do not compare."
)


@dataclass(frozen=True, slots=True)
class Landscape:
    """What a run recorded along its gradients.

    Attributes:
        name: of the run.
        clipped: whether the run was clipped.
        steps: (n,) steps at which the probe ran.
        loss: (n,) training loss at theta_t, NaN where it was not recorded.
        loss_min: (n,) least loss over the grid.
        loss_max: (n,) largest.
        grad_change_min: (n,) least norm of the gradient's change: the lower end of gradient predictiveness.
        grad_change_max: (n,) largest.
        beta: (n,) effective smoothness, the largest change of the gradient over the length moved.
        loss_width_by_phase: median width of the loss band, relative to the loss, in each third of the probes.
        grad_change_by_phase: median of the largest gradient change in each third.
        beta_by_phase: median effective smoothness in each third.
        nonfinite: probes in which some number is NaN or infinite: the loss or a gradient overflowed ahead.
        n: how many probes.
        status: empty, or a sentence that says why there is no answer.
        note: what to doubt.
    """

    name: str
    clipped: bool
    steps: NDArray[np.int64]
    loss: Floats
    loss_min: Floats
    loss_max: Floats
    grad_change_min: Floats
    grad_change_max: Floats
    beta: Floats
    loss_width_by_phase: tuple[float, ...]
    grad_change_by_phase: tuple[float, ...]
    beta_by_phase: tuple[float, ...]
    nonfinite: int
    n: int
    status: str = ""
    note: str = NOTE


def landscape(run: Run) -> Landscape:
    r"""The bands of loss and gradient along the gradient, and the effective smoothness, as recorded.

    With :math:`d = \nabla L(\theta_t)` and a grid of :math:`\eta`: the band of :math:`L(\theta_t - \eta d)`, that of
    :math:`\lVert \nabla L(\theta_t) - \nabla L(\theta_t - \eta d) \rVert`, and
    :math:`\beta = \max_\eta \lVert \nabla L(\theta_t) - \nabla L(\theta_t - \eta d) \rVert / (\eta \lVert d \rVert)`.
    Narrow bands and a small beta mean that the gradient holds for some way.

    Args:
        run: a run recorded with ``landscape=``.

    Returns:
        The bands and their medians by phase. ``status`` says so where the run cannot answer.
    """
    names = [f"landscape_{name}" for name in LANDSCAPE]
    found = run.several("loss", *names)
    steps = np.unique(np.concatenate([np.empty(0, np.int64), *(found[name][0] for name in names if name in found)]))
    columns = {name: _at(steps, found.get(f"landscape_{name}")) for name in LANDSCAPE}
    loss = _at(steps, found.get("loss"))
    every = np.stack(list(columns.values()))
    with np.errstate(invalid="ignore", over="ignore"):
        width = columns["loss_max"] - columns["loss_min"]
    size = np.abs(loss)
    relative = np.divide(width, size, out=np.full(len(steps), np.nan), where=(size > 0) & np.isfinite(width))
    n = len(steps)
    return Landscape(
        name=run.name,
        clipped=run.clip is not None,
        steps=steps,
        loss=loss,
        loss_min=columns["loss_min"],
        loss_max=columns["loss_max"],
        grad_change_min=columns["grad_change_min"],
        grad_change_max=columns["grad_change_max"],
        beta=columns["beta"],
        loss_width_by_phase=medians(relative),
        grad_change_by_phase=medians(columns["grad_change_max"]),
        beta_by_phase=medians(columns["beta"]),
        nonfinite=int((~np.isfinite(every)).any(axis=0).sum()) if n else 0,
        n=n,
        status="" if n else _why_none(run),
    )


def _at(steps: NDArray[np.int64], series: tuple[NDArray[np.int64], Floats] | None) -> Floats:
    values = np.full(len(steps), np.nan)
    if series is not None:
        _, here, there = np.intersect1d(steps, series[0], assume_unique=True, return_indices=True)
        values[here] = series[1][there]
    return values


def _why_none(run: Run) -> str:
    return (
        f"run {run.name!r} recorded nothing along its gradients; record it with landscape=gradlens.every(200), and the "
        "loss through recorder.loss."
    )
