"""The figures and the page of results, every number from the runs."""

import numpy as np
from measured import NONE, TABLE_1

from gradlens import figures
from gradlens.figures.figure import Axis, Figure, Line, Panel, Points


def pictures(pairs, by_percentile):
    """The paper's figure 1 of the first seed; where there are three percentiles or more, SI-SDR by percentile too."""
    unclipped, clipped = pairs[0]
    labels = ("No clipping", f"With AutoClip, p = {clipped.percentile}")
    dynamics = figures.training_dynamics([unclipped.run, clipped.run], labels=labels)
    return [dynamics, by_p(by_percentile)] if len(by_percentile) > 2 else [dynamics]


def by_p(by_percentile):
    """SI-SDR by percentile, and what it gains over no clipping beside what the paper's table 1 gains."""
    percentiles = sorted(by_percentile)
    at = np.arange(len(percentiles), dtype=np.float64)
    names = [f"{p}" if p != NONE else "100\n(none)" for p in percentiles]
    axis = Axis("percentile p", limits=(-0.4, len(at) - 0.6), ticks=tuple(zip(at.tolist(), names, strict=True)))
    held_out, trained = (
        np.array([[getattr(one, name) for one in by_percentile[p]] for p in percentiles])
        for name in ("si_sdr", "si_sdr_trained_voices")
    )
    gains = held_out - held_out[-1]  # paired: a seed has the same weights and batches at every p
    paper = np.array([TABLE_1[p] - TABLE_1[NONE] for p in percentiles])
    absolute = Panel(
        "Separation",
        "SI-SDR after training",
        axis,
        Axis("SI-SDR [dB]"),
        (
            *ranged(at - 0.06, held_out, "clipped", "held-out voices"),
            *ranged(at + 0.06, trained, "muted", "voices trained on"),
        ),
        foot=f"mean and range of {held_out.shape[1]} seeds",
    )
    relative = Panel(
        "Gain over no clipping",
        "SI-SDR of p less that of p = 100, by seed",
        axis,
        Axis("gain in SI-SDR [dB]"),
        (
            *ranged(at, gains, "clipped", "here, held-out voices"),
            Line(at, paper, "ink", "AutoClip paper, table 1 (WSJ0-2mix)", dashed=True),
        ),
        foot=f"mean and range of {held_out.shape[1]} seeds",
    )
    best = percentiles[int(held_out.mean(axis=1).argmax())]
    caption = (
        f"SI-SDR in dB by AutoClip's percentile, mean and range of {held_out.shape[1]} seeds; p = 100 clips nothing. "
        f"Left: on voices that were never trained on, where p = {best} is best, and on those that were. "
        "Right: what clipping gains over no clipping, paired by seed, beside the gain in the paper's table 1 "
        "(mask inference), which is of other data and a larger network."
    )
    return Figure("si_sdr_by_percentile", (absolute, relative), caption)


def ranged(x, values, colour, label):
    """Means over the seeds (percentiles, seeds) with their range, joined by a line."""
    means = values.mean(axis=1)
    points = Points(x, means, colour, error_low=values.min(axis=1), error_high=values.max(axis=1))
    return Line(x, means, colour, label), points


def page(pairs, by_percentile, found, shown):
    """The page as Markdown."""
    config = pairs[0][0].run.config
    seeds = ", ".join(str(pair[0].seed) for pair in pairs)
    return "\n".join(
        [
            f"# AutoClip on two-speaker separation: {config['steps']:,} steps, seeds {seeds}",
            "",
            "Written by recipe.py from the recorded runs.",
            "",
            f"Here: {config['data']}, {config['layers']} BLSTM x {config['hidden']}, batches of {config['batch']} "
            f"mixtures of {config['frames']} frames, {config['steps']:,} iterations, Adam {config['lr']:g}, loss "
            f"{config['loss']}. The paper: WSJ0-2mix, 2 BLSTM x 300, batches of 25, 400 frames, 80,000 iterations.",
            "",
            "## The paper's claims",
            "",
            *claims_table(found),
            "",
            "## By percentile",
            "",
            "Mean over the seeds, and their range for the loss and SI-SDR. The mixtures themselves have an SI-SDR of "
            f"{pairs[0][0].si_sdr_of_mixtures:.2f} dB. The step size's variation: standard deviation over mean.",
            "",
            *percentile_table(by_percentile),
            "",
            "## Is smoothness tied to the gradient norm?",
            "",
            "Pearson's r between the logs with a 95 % interval, the same without a cubic trend in time, r of the",
            "placebo of constant curvature, and the median smoothness along the run.",
            "",
            *r_table(by_percentile),
            *(line for figure in shown for line in picture(figure)),
        ]
    )


def claims_table(found):
    yield "| claim | paper | here | same? | why |"
    yield "|---|---|---|---|---|"
    for one in found:
        yield f"| {one.claim} | {one.paper} | {one.ours} | {one.same} | {one.why} |"


def percentile_table(by_percentile):
    yield "| p | final loss | range | step variation | clipped | SI-SDR, held-out voices | range | voices trained on |"
    yield "|---|---|---|---|---|---|---|---|"
    for percentile, found in by_percentile.items():
        loss, si_sdr, seen = (
            [getattr(one, name) for one in found] for name in ("loss", "si_sdr", "si_sdr_trained_voices")
        )
        share = "none" if percentile == NONE else f"{np.mean([one.clipped for one in found]):.1%}"
        yield (
            f"| {percentile} | {np.mean(loss):.4f} | {min(loss):.4f} to {max(loss):.4f} "
            f"| {np.mean([one.variation for one in found]):.2f} | {share} | {np.mean(si_sdr):.2f} dB "
            f"| {min(si_sdr):.2f} to {max(si_sdr):.2f} | {np.mean(seen):.2f} dB |"
        )


def r_table(by_percentile):
    yield "| p | seed | r | detrended | placebo | median smoothness |"
    yield "|---|---|---|---|---|---|"
    for percentile, found in by_percentile.items():
        for one in found:
            yield (
                f"| {percentile} | {one.seed} | {interval(one.r, one.r_interval)} "
                f"| {interval(one.detrended, one.detrended_interval)} | {one.placebo:.2f} | {one.smoothness:.3g} |"
            )


def interval(value, ends):
    return f"{value:.2f} [{ends[0]:.2f}, {ends[1]:.2f}]"


def picture(figure):
    return (
        "",
        f"## The figure: {figure.name.replace('_', ' ')}",
        "",
        f"![](figures/{figure.name}.png)",
        "",
        figure.caption,
    )
