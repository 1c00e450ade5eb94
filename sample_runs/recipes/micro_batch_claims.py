"""Claims of the micro-batch paper that both micro-batch samples can be asked: a faster rate, and a best size inside.

Reference: Wang, "Revisit Micro-batch Clipping: Adaptive Data Pruning via Gradient Manipulation", ICLR 2025, arXiv
2408.16204.
"""

import numpy as np

from gradlens.stats.mean_interval import mean_interval
from recipes.claims import Claim, of, verdict_of_several


def best_gain(gains, sizes, form="+.3g"):
    """The size that gains most, by intervals that hold for all sizes together: the data choose which is looked at.

    Args:
        gains: (sizes, seeds) positive where the claim holds.
        sizes: (sizes,) micro-batch sizes.
        form: of the numbers.

    Returns:
        The size, the verdict, and the sentence that says why.

    >>> best_gain(np.array([[1.0, 1.1, 0.9, 1.0], [0.5, -0.5, 0.4, -0.4]]), [4, 8])
    (4, 'yes', 'most at b = 4, so in 4 of 4 seeds, by +1 [+0.83, +1.17], simultaneous over sizes')
    """
    found = mean_interval(gains, comparisons=len(sizes))
    at = int(np.argmax(found.mean))
    holds = list(gains[at] > 0)
    same = "same sign, not shown" if all(holds) else "in part" if any(holds) else "no"
    if found.above[at] or found.below[at]:
        same = "yes" if found.above[at] else "no"
    span = "too few seeds for an interval"
    if np.isfinite(found.low[at]):
        span = f"[{found.low[at]:{form}}, {found.high[at]:{form}}], simultaneous over sizes"
    comma = "" if span.startswith("[") else ","
    return sizes[at], same, f"most at b = {sizes[at]}, so in {of(holds)}, by {found.mean[at]:{form}}{comma} {span}"


def faster(title, trainings, by):
    """Whether some size reaches plain SGD's level in fewer steps, each at its own best learning rate.

    The level is what plain SGD comes to at its best rate, less a little: 1.05 times its final loss over the training
    set, or a hundredth below its final held-out accuracy. A training that never gets there counts as its whole length.

    Args:
        title: of the task.
        trainings: simulated ones; the largest size is plain SGD.
        by: ``"loss"`` or ``"accuracy"``.
    """
    cells = {}
    for each in trainings:
        if each.arm == "clipped" and not each.excluded and not each.decays:
            cells.setdefault(each.micro_batch_size, {}).setdefault(each.lr, {})[each.seed] = each
    sizes = sorted(cells)
    whole, seeds = (
        sizes[-1],
        sorted(set.intersection(*(set(row) for rates in cells.values() for row in rates.values()))),
    )
    ends = [np.mean([_ends(row[seed], by) for seed in seeds]) for row in cells[whole].values()]
    level = 1.05 * min(ends) if by == "loss" else max(ends) - 0.01
    steps, rates = {}, {}
    for b in sizes:
        tried = {lr: [_reached(row[seed], by, level) for seed in seeds] for lr, row in cells[b].items()}
        rates[b] = min(tried, key=lambda lr: np.mean(tried[lr]))
        steps[b] = np.array(tried[rates[b]])
    smaller = sizes[:-1]
    best, same, why = best_gain(np.array([steps[whole] - steps[b] for b in smaller]), smaller, "+.0f")
    what = "training loss" if by == "loss" else "held-out accuracy"
    return Claim(
        f"it converges faster than plain SGD, each at its own best learning rate: steps to plain SGD's {what}, {title}",
        "faster rate, no number for this task",
        f"steps to {level:.3g}: {steps[whole].mean():.0f} plain (lr {rates[whole]:g}), {steps[best].mean():.0f} at "
        f"b = {best} (lr {rates[best]:g})",
        same,
        f"fewer steps {why}; a training that never gets there counts as its whole length",
    )


def _ends(each, by):
    return each.loss[-1] if by == "loss" else each.accuracy[-1]


def _reached(each, by, level):
    there = np.flatnonzero(each.loss <= level if by == "loss" else each.accuracy >= level)
    return float(each.steps[there[0]] if len(there) else each.steps[-1])


def sweet_spot(title, answer, quantity):
    """Whether a quantity is best at a size inside, both ends shown to be worse, at every learning rate.

    Args:
        title: of the task.
        answer: from ``micro_batch_bias``.
        quantity: ``"norm"`` or ``"metric"``.
    """
    found = [(sweep, getattr(sweep, quantity)) for sweep in answer.sweeps if not sweep.decays]
    what = "gradient norm" if quantity == "norm" else "held-out accuracy"
    ours = "; ".join(
        f"lr {sweep.lr:g}: b = {ladder.minimum.best}, not distinguishable {', '.join(map(str, ladder.minimum.ties))}"
        for sweep, ladder in found
    )
    why = "; ".join(f"lr {sweep.lr:g}: {ladder.status.rstrip('.') or 'both ends are worse'}" for sweep, ladder in found)
    n = min((len(ladder.seeds) for _, ladder in found), default=0)
    return Claim(
        f"there is a sweet spot in the micro-batch size: best {what}, {title}",
        "an interior best size, no number for this task",
        f"best at {ours}" if found else "nothing to compare",
        verdict_of_several([_inside(ladder) for _, ladder in found]),
        f"{why}; simultaneous paired intervals over {n} seeds" if found else answer.status,
    )


def _inside(ladder):
    """What to call the best size of a ladder."""
    if ladder.minimum.interior:
        return "yes"
    return "same sign, not shown" if ladder.minimum.best in map(int, ladder.sizes[1:-1]) else "no"
