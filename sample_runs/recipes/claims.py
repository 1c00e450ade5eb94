"""A paper's claims beside what runs say: what to call one, and the file that docs/results.md is made of."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from gradlens.stats.mean_interval import mean_interval


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes:
        claim: what the paper says.
        paper: its number, or where it shows it.
        ours: the same, measured here.
        same: ``yes``, ``no``, ``in part`` where seeds or settings disagree, ``same sign, not shown`` where they agree
            but no interval leaves out zero, ``not asked``, or ``not answered``.
        why: what speaks for or against it here.
    """

    claim: str
    paper: str
    ours: str
    same: str
    why: str


def verdict(gains, pairs_shown=False):
    """What to call a claim that holds where a gain is positive.

    ``yes`` asks for a 95 % interval that leaves out zero: over the seeds, or that of every pair. Two seeds have none. A
    claim is not seen where no seed has it, or where the interval over the seeds lies below zero.

    Args:
        gains: one a seed.
        pairs_shown: whether the interval of every pair lies above zero.

    >>> verdict([0.9, 1.0, 1.1]), verdict([0.1, 1.0, 3.0]), verdict([1.0, -1.0]), verdict([-1.0]), verdict([])
    ('yes', 'same sign, not shown', 'in part', 'no', 'not answered')
    """
    holds = [gain > 0 for gain in gains]
    if not holds:
        return "not answered"
    if all(holds):
        return "yes" if pairs_shown or bool(mean_interval(gains).above) else "same sign, not shown"
    return "in part" if any(holds) and not mean_interval(gains).below else "no"


def verdict_of_several(found):
    """What to call a claim that was asked several times; questions without an answer count for none.

    >>> verdict_of_several(["yes", "yes"]), verdict_of_several(["yes", "same sign, not shown"])
    ('yes', 'same sign, not shown')
    >>> verdict_of_several(["yes", "no"]), verdict_of_several(["no", "no", "not answered"]), verdict_of_several([])
    ('in part', 'no', 'not answered')
    """
    answered = set(found) - {"not answered"}
    if len(answered) < 2:
        return next(iter(answered), "not answered")
    return "same sign, not shown" if answered == {"yes", "same sign, not shown"} else "in part"


def over_seeds(gains, form="+.3g"):
    """The mean gain with its interval over the seeds.

    >>> over_seeds([1.0, 2.0, 3.0]), over_seeds([1.0])
    ('+2 [-0.484, +4.48] over seeds', '+1, too few seeds for an interval')
    """
    found = mean_interval(gains)
    if not np.isfinite(found.low):
        return f"{float(found.mean):{form}}, too few seeds for an interval"
    return f"{float(found.mean):{form}} [{float(found.low):{form}}, {float(found.high):{form}}] over seeds"


def of(holds):
    """In how many seeds something holds.

    >>> of([True, False, True])
    '2 of 3 seeds'
    """
    return f"{sum(holds)} of {len(holds)} seed{'s' * (len(holds) != 1)}"


def table(found: Sequence[Claim]):
    """Claims as lines of Markdown."""
    yield "| claim | paper | here | same? | why |"
    yield "|---|---|---|---|---|"
    for one in found:
        cells = (one.claim, one.paper, one.ours, one.same, one.why)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def write(found: Sequence[Claim], file):
    """Write claims as JSON."""
    file.write_text(json.dumps([asdict(one) for one in found], indent=1, ensure_ascii=False) + "\n")


def read(file):
    """The claims of a file that :func:`write` wrote."""
    return [Claim(**one) for one in json.loads(file.read_text())]
