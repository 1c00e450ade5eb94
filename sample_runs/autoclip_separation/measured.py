"""What is read from a recorded run."""

import itertools
from dataclasses import dataclass

import numpy as np

import gradlens
from gradlens import analysis
from gradlens.stats import ema

NONE = 100  # the percentile that clips nothing
TABLE_1 = {0: 10.0, 1: 10.3, 10: 10.2, 25: 9.9, 50: 9.2, 90: 8.7, NONE: 8.5}
"""SI-SDR in dB by percentile in the paper's table 1: mask inference on WSJ0-2mix."""


@dataclass(frozen=True)
class Measured:
    """One run in numbers.

    Attributes:
        run: the run.
        percentile: of AutoClip; 100 without clipping.
        seed: of weights and batches.
        loss: mean training loss over the last 5 % of the steps.
        variation: standard deviation over mean of the step size, the first 5 % of the steps left out.
        peak: largest over median step size, likewise.
        clipped: share of the steps that were clipped.
        r: Pearson's between log gradient norm and log smoothness.
        r_interval: its 95 % interval.
        detrended: the same without a cubic trend in time.
        detrended_interval: its 95 % interval.
        placebo: r where curvature is constant.
        smoothness: median along the run.
        si_sdr: dB on held-out voices.
        si_sdr_trained_voices: dB on those trained on.
        si_sdr_of_mixtures: dB of the mixtures themselves.
    """

    run: gradlens.Run
    percentile: float
    seed: int
    loss: float
    variation: float
    peak: float
    clipped: float
    r: float
    r_interval: tuple[float, float]
    detrended: float
    detrended_interval: tuple[float, float]
    placebo: float
    smoothness: float
    si_sdr: float
    si_sdr_trained_voices: float
    si_sdr_of_mixtures: float


def measure(run):
    """A run's numbers; NaN where it does not have them."""
    summary = analysis.summarize(run)
    answer = analysis.norm_smoothness(run)
    moves = run.series("update_norm")[1]
    settled = moves[len(moves) // 20 :]
    return Measured(
        run=run,
        percentile=percentile_of(run),
        seed=run.config["seed"],
        loss=summary.final_loss,
        variation=summary.step_variation,
        peak=float(settled.max() / np.median(settled)),
        clipped=summary.clipped,
        r=answer.raw.pearson,
        r_interval=answer.raw.pearson_interval,
        detrended=answer.detrended.pearson,
        detrended_interval=answer.detrended.pearson_interval,
        placebo=answer.placebo.raw if answer.placebo else np.nan,
        smoothness=float(np.median(answer.smoothness)),
        **{name: last(run, name) for name in ("si_sdr", "si_sdr_trained_voices", "si_sdr_of_mixtures")},
    )


def percentile_of(run):
    return NONE if run.clip is None else int(run.clip["parameters"]["percentile"])


def last(run, name):
    values = run.series(name)[1] if name in run.columns else ()
    return float(values[-1]) if len(values) else np.nan


def matched_smoothness(unclipped, clipped, levels=8):
    """Median smoothness of one run over that of another while both are at the same loss: geometric mean over levels.

    Losses are averaged over 5 % of the steps, and levels are equal shares of their logarithm between what both reach.
    NaN where the two runs share no level.
    """
    logs, values = [], []
    for run in (unclipped, clipped):
        steps, losses = run.series("loss")
        probes, smoothness = run.series("smoothness")
        logs.append(np.log(ema(losses, 1 - 20 / len(losses)))[np.searchsorted(steps, probes)])
        values.append(smoothness)
    edges = np.linspace(max(log.min() for log in logs), min(log.max() for log in logs), levels + 1)
    ratios = []
    for low, high in itertools.pairwise(edges):
        inside = [value[(log >= low) & (log < high)] for log, value in zip(logs, values, strict=True)]
        if min(map(len, inside)) >= 5:
            ratios.append(np.log(np.median(inside[1]) / np.median(inside[0])))
    return float(np.exp(np.mean(ratios))) if ratios else np.nan
