"""The paper's claims beside what the recorded runs say: paper's number, ours, same or not, and why."""

from dataclasses import dataclass

import numpy as np
from measured import NONE, TABLE_1, matched_smoothness


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        claim: what the paper says.
        paper: its number, or where it shows it.
        ours: the same, measured here.
        same: ``yes``, ``no``, or ``in part`` where seeds disagree.
        why: what speaks for or against it here.
    """

    claim: str
    paper: str
    ours: str
    same: str
    why: str


def verdict(holds):
    """``yes`` where a claim holds in every seed, ``no`` where in none.

    >>> verdict([True, True]), verdict([True, False]), verdict([False])
    ('yes', 'in part', 'no')
    """
    return "yes" if all(holds) else "in part" if any(holds) else "no"


def claims(pairs, by_percentile):
    """Every claim.

    Args:
        pairs: (unclipped, AutoClip p = 10) of each seed, as ``Measured``.
        by_percentile: percentile -> seed -> ``Measured``, without clipping as 100.
    """
    return [
        steady_steps(pairs),
        lower_loss(pairs),
        clipped_share(pairs),
        higher_r(pairs),
        higher_r_detrended(pairs),
        smoother(pairs),
        better_separation(pairs),
        best_percentile(by_percentile),
    ]


def steady_steps(pairs):
    lower = [a.variation > b.variation for a, b in pairs]
    return Claim(
        "the step size is nearly constant under AutoClip",
        "spikes to about 1.6 without clipping; .1 to .22, then a slow decay with AutoClip (figure 1a, read off)",
        f"sd/mean {both('variation', pairs)}; largest step over the median {both('peak', pairs)}",
        verdict(lower),
        f"sd/mean is lower under AutoClip in {of(lower)}",
    )


def lower_loss(pairs):
    lower = [a.loss > b.loss for a, b in pairs]
    cut = [1 - b.loss / a.loss for a, b in pairs]
    return Claim(
        "training ends at a lower loss",
        "lower (figure 1b, no number)",
        f"final loss {both('loss', pairs)}: {np.mean(cut):+.1%} off",
        verdict(lower),
        f"lower under AutoClip in {of(lower)}",
    )


def clipped_share(pairs):
    shares = [b.clipped for _, b in pairs]
    return Claim(
        "p = 10 clips about 90 % of the gradients",
        "90 %",
        f"{np.mean(shares):.1%} ({spread(shares, '.1%')})",
        verdict([0.8 <= share <= 0.97 for share in shares]),
        "said to be the same within 80 to 97 %: while norms fall or rise along the run the share differs from 1 - p",
    )


def higher_r(pairs):
    higher = [b.r > a.r for a, b in pairs]
    placebo = [(a.placebo, b.placebo) for a, b in pairs]
    return Claim(
        "smoothness follows the gradient norm more closely under AutoClip: r between the logs",
        ".62 without clipping, .86 with AutoClip",
        both("r", pairs),
        verdict(higher),
        f"higher under AutoClip in {of(higher)}; every r stands above its placebo of constant curvature, "
        f"{np.mean([p[0] for p in placebo]):.2f} and {np.mean([p[1] for p in placebo]):.2f}"
        if all(m.r > m.placebo for pair in pairs for m in pair)
        else f"higher under AutoClip in {of(higher)}; not every r stands above its placebo",
    )


def higher_r_detrended(pairs):
    higher = [b.detrended > a.detrended for a, b in pairs]
    clear = [b.detrended_interval[0] > a.detrended_interval[1] for a, b in pairs]
    return Claim(
        "the same without a cubic trend in time",
        "not reported",
        both("detrended", pairs),
        verdict(higher),
        f"higher under AutoClip in {of(higher)}, with intervals that do not meet in {of(clear)}: "
        + ("the paper's gap is not trend alone" if all(clear) else "what the gap holds beyond trend is not settled"),
    )


def smoother(pairs):
    ratios = [matched_smoothness(a.run, b.run) for a, b in pairs]
    lower = [ratio < 1 for ratio in ratios]
    raw = [b.smoothness / a.smoothness for a, b in pairs]
    return Claim(
        "AutoClip leads into smoother parts of the landscape",
        "said, no number",
        f"median smoothness with AutoClip over that without: {np.nanmean(ratios):.2f} at matched loss "
        f"({spread(ratios, '.2f')}); {np.mean(raw):.2f} over the whole runs",
        verdict(lower),
        f"smoother at matched loss in {of(lower)}",
    )


def better_separation(pairs):
    gains = [b.si_sdr - a.si_sdr for a, b in pairs]
    better = [gain > 0 for gain in gains]
    paper = TABLE_1[10] - TABLE_1[NONE]
    return Claim(
        "AutoClip p = 10 separates better than no clipping: SI-SDR on speakers never trained on",
        f"{TABLE_1[10]:.1f} dB against {TABLE_1[NONE]:.1f} dB, {paper:+.1f} dB",
        f"{both('si_sdr', pairs)} dB, {np.mean(gains):+.2f} dB ({spread(gains, '+.2f')})",
        verdict(better),
        f"better in {of(better)}; the data and the size are others, so compare the sign",
    )


def best_percentile(by_percentile):
    if set(by_percentile) != set(TABLE_1):
        return Claim(
            "small percentiles separate best, p = 50 and more less well",
            ", ".join(f"{p}: {value:.1f}" for p, value in TABLE_1.items()),
            "not recorded at this size",
            "not asked",
            "it takes all of the paper's percentiles",
        )
    means = {p: np.mean([one.si_sdr for one in by_percentile[p].values()]) for p in TABLE_1}
    best = max(means, key=means.get)
    apart = [np.ptp([one.si_sdr for one in found.values()]) for found in by_percentile.values()]
    small, large = ([means[p] for p in means if low <= p <= high] for low, high in ((0, 25), (50, 100)))
    return Claim(
        "small percentiles separate best, p = 50 and more less well (SI-SDR in dB by p; 100 is no clipping)",
        ", ".join(f"{p}: {value:.1f}" for p, value in TABLE_1.items()),
        ", ".join(f"{p}: {value:.2f}" for p, value in means.items()),
        "yes" if min(small) > max(large) else "in part" if np.mean(small) > np.mean(large) else "no",
        f"best at p = {best}; p of 25 or less {np.mean(small):.2f} dB on average, 50 or more {np.mean(large):.2f} dB; "
        f"the seeds of one p lie {np.mean(apart):.2f} dB apart on average",
    )


def both(name, pairs):
    """A number of both arms: mean over the seeds."""
    first, second = (np.mean([getattr(pair[arm], name) for pair in pairs]) for arm in (0, 1))
    return f"{first:.3g} without clipping, {second:.3g} with AutoClip"


def of(holds):
    """In how many seeds something holds.

    >>> of([True, False, True])
    '2 of 3 seeds'
    """
    return f"{sum(holds)} of {len(holds)} seed{'s' * (len(holds) != 1)}"


def spread(values, form):
    """The least and the largest of some numbers."""
    return f"{np.nanmin(values):{form}} to {np.nanmax(values):{form}}"
