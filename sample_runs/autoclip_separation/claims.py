"""The paper's claims beside what the recorded runs say: paper's number, ours, same or not, and why."""

import sys
from pathlib import Path

import numpy as np
from measured import NONE, TABLE_1

from gradlens import analysis

sys.path.append(str(Path(__file__).parents[1]))  # for what the samples share
from recipes.claims import Claim, of, over_seeds, verdict


def claims(pairs, by_percentile):
    """Every claim.

    Args:
        pairs: (unclipped, AutoClip p = 10) of each seed, as ``Measured``.
        by_percentile: percentile -> seed -> ``Measured``, without clipping as 100.
    """
    against = [analysis.compare_smoothness(a.run, b.run, answers=(a.answer, b.answer)) for a, b in pairs]
    return [
        steady_steps(pairs),
        lower_loss(pairs),
        clipped_share(pairs),
        higher_r(pairs, against),
        higher_r_detrended(pairs, against),
        smoother(pairs, against),
        better_separation(pairs),
        best_percentile(by_percentile),
    ]


def steady_steps(pairs):
    gains = [a.variation - b.variation for a, b in pairs]
    lower = [gain > 0 for gain in gains]
    return Claim(
        "the step size is nearly constant under AutoClip",
        "spikes to about 1.6 without clipping; .1 to .22, then a slow decay with AutoClip (figure 1a, read off)",
        f"sd/mean {both('variation', pairs)}; largest step over the median {both('peak', pairs)}",
        verdict(gains),
        f"sd/mean is lower under AutoClip in {of(lower)}, by {over_seeds(gains)}",
    )


def lower_loss(pairs):
    gains = [a.loss - b.loss for a, b in pairs]
    lower = [gain > 0 for gain in gains]
    cut = [1 - b.loss / a.loss for a, b in pairs]
    return Claim(
        "training ends at a lower loss",
        "lower (figure 1b, no number)",
        f"final loss {both('loss', pairs)}, {-np.mean(cut):+.1%}",
        verdict(gains),
        f"lower under AutoClip in {of(lower)}, by {over_seeds(gains)}",
    )


def clipped_share(pairs):
    shares = [b.clipped for _, b in pairs]
    within = [0.85 <= share <= 0.95 for share in shares]
    rises = [b.norms_after / b.norms_first for _, b in pairs]
    return Claim(
        "p = 10 clips about 90 % of the gradients",
        "90 %",
        f"{np.mean(shares):.1%} ({spread(shares, '.1%')})",
        "yes" if all(within) else "in part" if any(within) else "no",
        "called the same from 85 to 95 %; where norms begin low, most later ones lie above a percentile of their "
        f"history: after the first 5 % of the steps the median is {np.mean(rises):.2g} times that of those",
    )


def higher_r(pairs, against):
    return Claim(
        "smoothness follows the gradient norm more closely under AutoClip: r between the logs",
        ".62 without clipping, .86 with AutoClip",
        both("r", pairs),
        verdict([b.r - a.r for a, b in pairs], all(pair.raw.interval[0] > 0 for pair in against)),
        differences([pair.raw for pair in against], [pair.placebo_raw for pair in against]),
    )


def higher_r_detrended(pairs, against):
    return Claim(
        "the same without a cubic trend in time",
        "not reported",
        both("detrended", pairs),
        verdict([b.detrended - a.detrended for a, b in pairs], all(pair.detrended.interval[0] > 0 for pair in against)),
        differences([pair.detrended for pair in against], [pair.placebo_detrended for pair in against]),
    )


def differences(found, placebos):
    """What the differences of r say, AutoClip's less that without clipping."""
    higher = [one.value > 0 for one in found]
    clear = [one.interval[0] > 0 or one.interval[1] < 0 for one in found]
    return (
        f"higher under AutoClip in {of(higher)}, by {over_seeds([one.value for one in found], '+.3f')}; that of the "
        f"pair has a 95 % interval that leaves out 0 in {of(clear)}, and the placebo of constant curvature has "
        f"{np.mean([one.value for one in placebos]):+.3f}"
    )


def smoother(pairs, against):
    matched = [pair.matched for pair in against]
    raw = [b.smoothness / a.smoothness for a, b in pairs]
    ratios = [one.ratio for one in matched if not one.status]
    doubts = dict.fromkeys(text.rstrip(".") for one in matched for text in (one.status, *one.caveats) if text)
    where = f"{np.mean(ratios):.2f} at matched loss ({spread(ratios, '.2f')}); " if ratios else ""
    return Claim(
        "AutoClip leads into smoother parts of the landscape",
        "said, no number",
        f"median smoothness with AutoClip over that without: {where}{np.mean(raw):.2f} over the whole runs",
        verdict([-np.log(ratio) for ratio in ratios], all(one.interval[1] < 1 for one in matched))
        if ratios
        else "not answered",
        "; ".join(
            (
                f"smoother at matched loss in {of([one.ratio < 1 for one in matched])}",
                f"with a 95 % interval below 1 in {of([one.interval[1] < 1 for one in matched])}, above 1 in "
                f"{of([one.interval[0] > 1 for one in matched])}",
                *doubts,
            )
        ),
    )


def better_separation(pairs):
    gains = [b.si_sdr - a.si_sdr for a, b in pairs]
    better = [gain > 0 for gain in gains]
    paper = TABLE_1[10] - TABLE_1[NONE]
    return Claim(
        "AutoClip p = 10 separates better than no clipping: SI-SDR on speakers never trained on",
        f"{TABLE_1[10]:.1f} dB against {TABLE_1[NONE]:.1f} dB, {paper:+.1f} dB",
        f"{both('si_sdr', pairs)} dB, {np.mean(gains):+.2f} dB ({spread(gains, '+.2f')})",
        verdict(gains),
        f"better in {of(better)}, in dB by {over_seeds(gains, '+.2f')}; the data and the size are others, so compare "
        "the sign",
    )


def best_percentile(by_percentile):
    text = "p of 25 or less separates better than 50 or more (SI-SDR in dB by p; 100 is no clipping)"
    paper = ", ".join(f"{p}: {value:.1f}" for p, value in TABLE_1.items())
    seeds = sorted(set.intersection(*(set(by_percentile.get(p, ())) for p in TABLE_1)))
    if not seeds:
        return Claim(text, paper, "not recorded at this size", "not asked", "it takes all of the paper's percentiles")
    values = {p: np.array([by_percentile[p][seed].si_sdr for seed in seeds]) for p in TABLE_1}
    means = {p: each.mean() for p, each in values.items()}
    small, large = (np.mean([each for p, each in values.items() if (p <= 25) == low], axis=0) for low in (True, False))
    better = small > large
    apart = [np.ptp([one.si_sdr for one in found.values()]) for found in by_percentile.values() if len(found) > 1]
    return Claim(
        text,
        paper,
        ", ".join(f"{p}: {value:.2f}" for p, value in means.items()),
        verdict(small - large),
        f"{small.mean():.2f} against {large.mean():.2f} dB on average, better in {of(better)}, in dB by "
        f"{over_seeds(small - large, '+.2f')}; best at p = "
        f"{max(means, key=means.get)}" + (f"; the seeds of one p lie {np.mean(apart):.2f} dB apart" if apart else ""),
    )


def both(name, pairs):
    """A number of both arms: mean over the seeds."""
    first, second = (np.mean([getattr(pair[arm], name) for pair in pairs]) for arm in (0, 1))
    return f"{first:.3g} without clipping, {second:.3g} with AutoClip"


def spread(values, form):
    """The least and the largest of some numbers."""
    return f"{np.nanmin(values):{form}} to {np.nanmax(values):{form}}"
