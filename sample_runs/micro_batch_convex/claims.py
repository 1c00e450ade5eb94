"""The micro-batch paper's claims beside what the trainings say: paper's number, ours, same or not, and why."""

import sys
from itertools import pairwise
from pathlib import Path

from sweep import CONSTANT

sys.path.append(str(Path(__file__).parents[1]))
from recipes.claims import Claim
from recipes.micro_batch_claims import faster, sweet_spot

NO_NUMBER = "a term of the bound that does not fall; no number for this task"


def claims(sweeps, answer):
    """Every claim that was asked.

    Args:
        sweeps: simulated trainings, at constant rates and at a decaying one.
        answer: ``micro_batch_bias`` of all of them.
    """
    steps = next(sweep.last_step for sweep in answer.sweeps if not sweep.decays)
    title = f"convex task, T = {steps:,}"
    return [
        faster(title, sweeps[CONSTANT], "loss"),
        constant_bias(answer),
        depends_on_size(answer),
        least_inside(answer),
        *(sweet_spot(title, answer, quantity) for quantity in ("norm", "metric")),
    ]


def by_size(answer):
    """The biases of each size below the batch size, both routes."""
    whole = max(each.micro_batch_size for each in answer.biases)
    found = {}
    for each in answer.biases:
        if each.micro_batch_size < whole:
            found.setdefault(each.micro_batch_size, []).append(each)
    return found


def constant_bias(answer):
    known = {b: [one for one in each if not one.status] for b, each in by_size(answer).items()}
    shown = [b for b, each in known.items() if each]
    unknown = [
        f"b = {b}, {one.route}: {one.status.removeprefix('not identified: ').rstrip('.')}"
        for b, each in by_size(answer).items()
        for one in each
        if b not in shown
    ]
    return Claim(
        "clipping leaves a constant bias that more iterations do not remove",
        NO_NUMBER,
        "; ".join(
            f"b = {b}: "
            + ", ".join(f"{one.beta:.4f} [{one.low:.4f}, {one.high:.4f}] ({one.route})" for one in known[b])
            for b in shown
        )
        or "none identified",
        "yes" if len(shown) == len(known) else "in part" if shown else "no",
        f"identified at {len(shown)} of {len(known)} sizes below the batch size: limit of the norm "
        "off zero, tail at rest" + (f"; not identified at {'; '.join(unknown)}" if unknown else ""),
    )


def depends_on_size(answer):
    """Sizes differ where their intervals do; where both routes identify a bias, both must."""
    spans = {
        b: (min(one.low for one in known), max(one.high for one in known))
        for b, each in by_size(answer).items()
        if (known := [one for one in each if not one.status])
    }
    ordered = sorted(spans.items())
    apart = [first[1][0] > second[1][1] for first, second in pairwise(ordered)]
    return Claim(
        "the bias depends on the micro-batch size",
        "a function of b, among other things",
        ", ".join(f"b = {b}: {low:.4f} to {high:.4f}" for b, (low, high) in ordered) or "none identified",
        "not answered" if not apart else "yes" if all(apart) else "in part" if any(apart) else "no",
        f"of the sizes with a bias identified, each has less than the one before, the 95 % intervals apart, in "
        f"{sum(apart)} of {len(apart)} pairs",
    )


def least_inside(answer):
    """Whether the bias itself, apart from noise, has a sweet spot."""
    decaying = [each for each in answer.biases if each.route == "decaying learning rate"]
    smallest = min(each.high for each in decaying)
    tied = [each.micro_batch_size for each in decaying if each.low <= smallest]
    whole = max(each.micro_batch_size for each in decaying)
    return Claim(
        "the bias is least at some size between 1 and the whole batch",
        "the sweet spot of the bound",
        ", ".join(f"b = {each.micro_batch_size}: {each.beta:.4f}" for each in decaying),
        "no" if whole in tied else "yes",
        f"under the decaying rate the limit falls with b; least, and not distinguishable, at b = "
        f"{', '.join(map(str, tied))}, the whole batch among them, which has none by construction"
        if whole in tied
        else f"least at b = {', '.join(map(str, tied))}",
    )
