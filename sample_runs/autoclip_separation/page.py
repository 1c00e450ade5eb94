"""The figures and the page of results, every number from the runs."""

import sys
from pathlib import Path

import numpy as np
from measured import NONE, TABLE_1
from sizes import SIZES

from gradlens import figures
from gradlens.figures.figure import Axis, Figure, Line, Panel, Points

sys.path.append(str(Path(__file__).parents[1]))
from recipes import claims as claims_file


def drawn(pairs, by_percentile):
    """The paper's figure 1 of the first seed; where there are three percentiles or more, SI-SDR by percentile too."""
    unclipped, clipped = pairs[0]
    labels = ("No clipping", f"With AutoClip, p = {clipped.percentile}")
    answers = [unclipped.answer, clipped.answer]
    dynamics = figures.training_dynamics([unclipped.run, clipped.run], labels=labels, smoothing=0.05, answers=answers)
    return [dynamics, by_p(by_percentile)] if len(by_percentile) > 2 else [dynamics]


def by_p(by_percentile):
    """SI-SDR by percentile, and what it gains over no clipping beside what the paper's table 1 gains."""
    at = np.arange(len(by_percentile), dtype=np.float64)
    ticks = tuple((float(x), "none" if p == NONE else f"{p}") for x, p in zip(at, by_percentile, strict=True))
    axis = Axis("percentile p of AutoClip", limits=(-0.4, len(at) - 0.6), ticks=ticks)
    found = [list(seeds.values()) for seeds in by_percentile.values()]
    none = {one.seed: one.si_sdr for one in found[-1]}
    gains = [[one.si_sdr - none[one.seed] for one in each if one.seed in none] for each in found]
    paper = np.array([TABLE_1[p] - TABLE_1[NONE] for p in by_percentile])
    absolute = Panel(
        "Separation",
        "SI-SDR at the end of training",
        axis,
        Axis("SI-SDR [dB]"),
        (
            *ranged(
                at - 0.06, [[one.si_sdr_trained_voices for one in each] for each in found], "muted", "trained voices"
            ),
            *ranged(at + 0.06, [[one.si_sdr for one in each] for each in found], "clipped", "held-out voices"),
        ),
        foot=f"mean and range of {seeds_of(found)}",
    )
    relative = Panel(
        "Gain over no clipping",
        "SI-SDR less that without clipping, by seed",
        axis,
        Axis("gain in SI-SDR [dB]"),
        (
            *ranged(at, gains, "clipped", "held-out voices"),
            Line(at, paper, "ink", "the paper's table 1", dashed=True),
        ),
        foot=f"mean and range of {seeds_of(found)}",
    )
    best = max(by_percentile, key=lambda p: np.mean([one.si_sdr for one in by_percentile[p].values()]))
    caption = (
        f"SI-SDR in dB by AutoClip's percentile, mean and range of {seeds_of(found)}. Left: on voices that were never "
        f"trained on, where {'no clipping' if best == NONE else f'p = {best}'} is best, and on those that were. Right: "
        "what clipping gains over no clipping, paired by seed, beside the gain in the paper's table 1 (mask inference "
        "on WSJ0-2mix, with a larger network and a longer training)."
    )
    return Figure("si_sdr_by_percentile", (absolute, relative), caption)


def seeds_of(found):
    """How many seeds each percentile has."""
    counts = sorted({len(each) for each in found})
    return " or ".join(map(str, counts)) + " seeds"


def ranged(x, values, colour, label):
    """Means with their range, joined by a line; values is a list for each x."""
    means, lows, highs = (np.array([take(each) for each in values]) for take in (np.mean, np.min, np.max))
    return Line(x, means, colour, label), Points(x, means, colour, error_low=lows, error_high=highs)


TRIED = {
    "kept": "a set of mixtures gone through again and again",
    "gpu": "the paper's network and batches, for some minutes of a GPU",
}
"""Folders beside the page in which the same was tried otherwise."""


def page(pairs, by_percentile, found, shown, tried=()):
    """The page as Markdown; ``tried``: folder of `TRIED` -> the claims there."""
    config = pairs[0][0].run.config
    kept = f", {config['mixtures']:,} mixtures gone through again and again" if "mixtures" in config else ""
    large = ", the paper's network and batches" if config["hidden"] == SIZES["paper"].hidden else ""
    seeds = ", ".join(str(pair[0].seed) for pair in pairs)
    return "\n".join(
        [
            f"# AutoClip on two-speaker separation{large}{kept}: {config['steps']:,} steps, seeds {seeds}",
            "",
            "Written by recipe.py from the recorded runs."
            + " One seed: an interval is of this pair of runs, none is over seeds." * (len(pairs) == 1),
            "",
            f"Here: {config['data']}, {config['layers']} BLSTM x {config['hidden']}, batches of {config['batch']} "
            f"mixtures of {config['frames']} frames, {config['steps']:,} iterations, Adam {config['lr']:g}, loss "
            f"{config['loss']}. The paper: WSJ0-2mix, 2 BLSTM x 300, batches of 25, 400 frames, 80,000 iterations.",
            "",
            "## The paper's claims",
            "",
            *claims_file.table(found),
            "",
            *tried_table(tried),
            "## By percentile",
            "",
            "Mean over the seeds, and their range for the loss and SI-SDR. The mixtures themselves have an SI-SDR of "
            f"{pairs[0][0].si_sdr_of_mixtures:.2f} dB. The step size's variation: standard deviation over mean.",
            "",
            *percentile_table(by_percentile),
            "",
            "## Is smoothness tied to the gradient norm?",
            "",
            "Pearson's r between the logs with a 95 % interval; the same without a cubic trend in time; then also",
            "without what both share with the loss of the step's batch, since a louder batch raises all three; r of",
            "the placebo of constant curvature; and the median smoothness along the run.",
            "",
            *r_table(by_percentile),
            *(line for figure in shown for line in picture(figure)),
        ]
    )


def tried_table(tried):
    for name, found in dict(tried).items():
        yield f"What was tried besides: {TRIED[name]}, [{name}/results.md]({name}/results.md)."
        yield ""
        yield "| claim | there | same? |"
        yield "|---|---|---|"
        for one in found:
            if one.same != "not asked":
                yield f"| {one.claim} | {one.ours} | {one.same} |"
        yield ""


def percentile_table(by_percentile):
    yield "| p | final loss | range | step variation | clipped | SI-SDR, held-out voices | range | voices trained on |"
    yield "|---|---|---|---|---|---|---|---|"
    for percentile, seeds in by_percentile.items():
        found = seeds.values()
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
    yield "| p | seed | r | detrended | given the loss | placebo | median smoothness |"
    yield "|---|---|---|---|---|---|---|"
    for percentile, seeds in by_percentile.items():
        for one in seeds.values():
            yield (
                f"| {percentile} | {one.seed} | {interval(one.r, one.r_interval)} "
                f"| {interval(one.detrended, one.detrended_interval)} | {one.given_loss:.2f} | {one.placebo:.2f} "
                f"| {one.smoothness:.3g} |"
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
