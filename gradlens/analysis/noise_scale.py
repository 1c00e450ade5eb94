"""How large a batch is worth its samples: the noise scale of a run, from the micro-batches of its steps.

Reference: McCandlish, Kaplan, Amodei and the OpenAI Dota Team, "An Empirical Model of Large-Batch Training", 2018,
arXiv 1812.06162.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens.analysis.alignment import NOTHING
from gradlens.stats.noise_scale import (
    SimpleNoiseScale,
    StepSquares,
    moments,
    moving_noise_scale,
    simple_noise_scale,
    step_squares,
)
from gradlens.store import Run

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class NoiseScale:
    """The answer for one run.

    Attributes:
        steps: (n,) steps with at least two micro-batches.
        g_squared: (n,) unbiased estimate of the squared norm of the true gradient in each, very noisy, may be negative.
        trace: (n,) the same of the trace of the covariance of single samples' gradients.
        batch_size: (n,) samples in the step.
        moving: (n,) noise scale over the last ``window`` of them; NaN where there is none.
        window: how many steps that is.
        overall: noise scale over all of them. While training changes it, an average over the time recorded.
        status: empty, or a sentence that says why there is no answer.
    """

    steps: NDArray[np.int64]
    g_squared: Floats
    trace: Floats
    batch_size: Floats
    moving: Floats
    window: int
    overall: SimpleNoiseScale
    status: str = ""


def noise_scale(run: Run, *, window: int = 100, tries: int = 999) -> NoiseScale:
    """Estimate the simple noise scale of a run.

    The mean of squared norms over the micro-batches of a step is the small batch of the estimate, the norm of the
    step's own gradient before any clip the large one. Steps of one micro-batch, and steps of which a number is missing,
    are left out.

    Args:
        run: a run that recorded its micro-batches.
        window: steps averaged for the noise scale over time.
        tries: resamples of the block bootstrap behind the interval.

    Returns:
        The noise scale in samples, over time and over all, with a 95 % interval. ``status`` says so where the run
        cannot answer.

    Raises:
        ValueError: if the window is shorter than 1.
    """
    table = run.micro_batches()
    series = run.several("grad_norm", "batch_size")
    norm_steps, norms = series.get("grad_norm", NOTHING)
    size_steps, sizes = series.get("batch_size", NOTHING)
    squares = _squares(table, size_steps, sizes)
    _, at_norm, at_square = np.intersect1d(norm_steps, squares.steps, assume_unique=True, return_indices=True)
    norm = norms[at_norm] / squares.weight[at_square]  # where losses were not divided, or some left out
    usable = np.isfinite(norm)
    large, at = norm[usable] ** 2, at_square[usable]
    g_squared, trace = moments(squares.small_squared[at], large, squares.small_size[at], squares.large_size[at])
    overall = simple_noise_scale(g_squared, trace, tries=tries)
    why = _why_none(run.name, table) if not len(large) else overall.status and f"run {run.name!r}: {overall.status}"
    return NoiseScale(
        steps=squares.steps[at],
        g_squared=g_squared,
        trace=trace,
        batch_size=squares.samples[at],
        moving=moving_noise_scale(g_squared, trace, window),
        window=window,
        overall=replace(overall, status=why),
        status=why,
    )


def _squares(table: pd.DataFrame, size_steps: NDArray[np.int64], sizes: Floats) -> StepSquares:
    """The micro-batches by step, without steps whose micro-batches are not all there."""
    columns = ("grad_norm", "samples", "scale")
    norm, samples, scale = (table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in columns)
    found = step_squares(table["step"].to_numpy(dtype=np.int64), norm, samples, scale)
    _, at, at_size = np.intersect1d(found.steps, size_steps, assume_unique=True, return_indices=True)
    whole = at[found.samples[at] == sizes[at_size]]
    return StepSquares(
        steps=found.steps[whole],
        small_squared=found.small_squared[whole],
        small_size=found.small_size[whole],
        large_size=found.large_size[whole],
        samples=found.samples[whole],
        weight=found.weight[whole],
    )


def _why_none(name: str, table: pd.DataFrame) -> str:
    if not len(table):
        return (
            f"run {name!r} recorded no micro-batches; a noise scale compares their gradients with the step's. Record "
            "them, as with several recorder.loss(..., of=K) in a step."
        )
    if table.groupby("step").size().max() < 2:
        return f"run {name!r} has one micro-batch in each step; a noise scale compares at least two with their mean."
    return (
        f"run {name!r} has no step whose micro-batches have all their norms, scales and samples, add up to batch_size, "
        "and whose grad_norm is there too."
    )
