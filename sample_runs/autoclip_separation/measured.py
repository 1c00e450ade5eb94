"""What is read from a recorded run."""

from dataclasses import dataclass

import numpy as np

import gradlens
from gradlens import analysis
from gradlens.stats import detrend, pearson

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
        norms_first: median gradient norm over the first 5 % of the recorded steps.
        norms_after: over the others.
        answer: gradient norm against smoothness.
        r: Pearson's between log gradient norm and log smoothness.
        r_interval: its 95 % interval.
        detrended: the same without a cubic trend in time.
        detrended_interval: its 95 % interval.
        given_loss: the same, and without what both share with the batch's loss: a louder batch raises all three.
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
    norms_first: float
    norms_after: float
    answer: analysis.NormSmoothness
    r: float
    r_interval: tuple[float, float]
    detrended: float
    detrended_interval: tuple[float, float]
    given_loss: float
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
    first, after = np.split(answer.grad_norm, [len(answer.grad_norm) // 20])
    return Measured(
        run=run,
        percentile=percentile_of(run),
        seed=run.config["seed"],
        loss=summary.final_loss,
        variation=summary.step_variation,
        peak=float(settled.max() / np.median(settled)),
        clipped=summary.clipped,
        norms_first=float(np.median(first)),
        norms_after=float(np.median(after)),
        answer=answer,
        r=answer.raw.pearson,
        r_interval=answer.raw.pearson_interval,
        detrended=answer.detrended.pearson,
        detrended_interval=answer.detrended.pearson_interval,
        given_loss=given_loss(run, answer),
        placebo=answer.placebo.raw if answer.placebo else np.nan,
        smoothness=float(np.median(answer.smoothness)),
        **{name: last(run, name) for name in ("si_sdr", "si_sdr_trained_voices", "si_sdr_of_mixtures")},
    )


def given_loss(run, answer):
    """Pearson's r between the logs, a cubic trend and a line in the log of the batch's loss removed from each."""
    steps, losses = run.series("loss")
    loss, norm, smoothness = (
        detrend(np.log(values), answer.steps)
        for values in (losses[np.searchsorted(steps, answer.steps)], answer.grad_norm, answer.smoothness)
    )
    return float(pearson(*(each - loss * (loss @ each) / (loss @ loss) for each in (norm, smoothness))))


def percentile_of(run):
    return NONE if run.clip is None else int(run.clip["parameters"]["percentile"])


def last(run, name):
    values = run.series(name)[1] if name in run.columns else ()
    return float(values[-1]) if len(values) else np.nan
