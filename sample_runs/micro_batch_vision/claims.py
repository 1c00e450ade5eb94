"""The micro-batch paper's claims beside what the runs say: paper's number, ours, same or not, and why."""

import sys
from pathlib import Path

import numpy as np
from sweep import CLEAN, DOMAINS, INVERTED, NOISY

sys.path.append(str(Path(__file__).parents[1]))
from recipes.claims import Claim, of, over_seeds, verdict
from recipes.micro_batch_claims import faster, sweet_spot
from recipes.report import named


def claims(sweeps, answers, vit):
    """Every claim that was asked.

    Args:
        sweeps: title -> simulated trainings.
        answers: title -> ``micro_batch_bias`` of them.
        vit: title -> ``micro_batch_bias`` of the ViT's recorded runs.
    """
    found = [
        faster(named(title, answers[title]), sweeps[title], by)
        for title in (NOISY, CLEAN)
        for by in ("loss", "accuracy")
    ]
    found.append(constant_bias())
    found += [
        sweet_spot(named(title, answer), answer, quantity)
        for title, answer in (answers | vit).items()
        for quantity in ("norm", "metric")
        if title != DOMAINS
    ]
    found += [pruning(answers[NOISY]), against_removal(answers[NOISY])]
    if DOMAINS in sweeps:
        one, two = sweeps[NOISY], sweeps[DOMAINS]
        found += [less_effective(one, two), *harmful(one, two)]
    return [*found, elsewhere()]


def constant_bias():
    return Claim(
        "clipping leaves a constant bias that more iterations do not remove",
        "a term of the bound that does not fall",
        "not identified: a network that can memorise has no floor to come to",
        "not asked",
        "asked of the convex sample, where there is a floor",
    )


def pruning(answer):
    """Against the control with the same step lengths: what is left is the pruning of micro-batches."""
    (effect,) = [each for each in answer.effects if each.versus == "control" and each.quantity == "test_accuracy"]
    return _versus(
        f"it is pruning that helps, not shorter steps: held-out accuracy less the matched-step control's, {NOISY}",
        "draggers are suppressed; no such control",
        effect,
    )


def against_removal(answer):
    """Against plain SGD without the samples that have random labels."""
    (effect,) = [each for each in answer.effects if each.versus == "pruned" and each.quantity == "test_accuracy"]
    return _versus(
        f"it prunes as well as removing the known draggers: held-out accuracy less that without them, {NOISY}",
        "adaptive data pruning; no such control",
        effect,
    )


def _versus(text, paper, effect):
    found = effect.difference
    at = int(np.argmax(found.mean))
    low, high = found.low[at], found.high[at]
    if not np.isfinite(low):
        same = "not answered"
    elif found.above[at]:
        same = "yes"
    else:
        same = "no" if found.below[at] else "same sign, not shown" if found.mean[at] > 0 else "in part"
    others = ", ".join(f"b = {b}: {mean:+.4f}" for b, mean in zip(effect.sizes, found.mean, strict=True))
    return Claim(
        text,
        paper,
        f"lr {effect.lr:g}: {others}",
        same,
        f"most at b = {effect.sizes[at]}, {found.mean[at]:+.4f} [{low:+.4f}, {high:+.4f}], paired over "
        f"{int(found.n[at])} seeds, simultaneous over sizes",
    )


def gains(trainings, value, lr=0.5):
    """(sizes, seeds) what clipping gains over plain SGD at one rate, and the sizes.

    Args:
        trainings: of one sweep.
        value: of a training, larger is better.
        lr: the rate.
    """
    cells = {}
    for each in trainings:
        if each.arm == "clipped" and each.lr == lr:
            cells.setdefault(each.micro_batch_size, {})[each.seed] = value(each)
    sizes = sorted(cells)
    table = np.array([[cells[b][seed] for seed in sorted(cells[b])] for b in sizes])
    return table[:-1] - table[-1], sizes[:-1]


def less_effective(one, two):
    """Whether the gain is smaller with two domains, each task at the size that is best for it."""
    alone, sizes = gains(one, lambda each: each.metric)
    mixed, _ = gains(two, lambda each: each.metric)
    at, at_mixed = (int(np.argmax(each.mean(axis=1))) for each in (alone, mixed))
    less = alone[at] - mixed[at_mixed]
    return Claim(
        f"it is less effective with several distinct domains: {INVERTED:.0%} of the digits inverted".replace("%", " %"),
        "less effective or harmful; no number at hand",
        f"gain in held-out accuracy over plain SGD at lr 0.5: {alone[at].mean():+.4f} with one domain "
        f"(b = {sizes[at]}), {mixed[at_mixed].mean():+.4f} with two (b = {sizes[at_mixed]})",
        verdict(less),
        f"the gain is smaller in {of(list(less > 0))}, by {over_seeds(less, '+.4f')}; one kind of second domain, "
        "one rate",
    )


def harmful(one, two):
    """Whether the size that is best with one domain harms either of two."""
    alone, sizes = gains(one, lambda each: each.metric)
    at = int(np.argmax(alone.mean(axis=1)))
    for domain, share in (("upright", 1 - INVERTED), ("inverted", INVERTED)):
        lost = -gains(two, lambda each, domain=domain: each.domains[domain])[0][at]
        yield Claim(
            f"it is harmful in a domain: {domain} digits, {share:.0%} of the training set".replace("%", " %"),
            "less effective or harmful; no number at hand",
            f"change of their held-out accuracy at lr 0.5: {-lost.mean():+.4f} at b = {sizes[at]}, the best size with "
            "one domain",
            verdict(lost),
            f"lower than plain SGD's in {of(list(lost > 0))}, by {over_seeds(lost, '+.4f')}",
        )


def elsewhere():
    return Claim(
        "it lowers the word error rate of speech recognition, and raises ImageNet accuracy",
        "up to 4.8 % relative WER; +1.5 % top-1",
        "not trained here",
        "not asked",
        "these tasks are out of reach of a sample that runs on a CPU",
    )
