"""Which domains drag: of each, how well its micro-batches are told from the others of their step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradlens.analysis.dragger_profile import DraggerProfile, dragger_profile
from gradlens.stats.auc import Auc
from gradlens.store import Run

MOST_DOMAINS = 7


@dataclass(frozen=True, slots=True)
class DomainDetection:
    """One domain against all others.

    Attributes:
        domain: its name.
        by_norm: AUC within steps of its micro-batches being longer; above .5 they are.
        by_cosine: AUC of their agreeing less with the others of the step.
        count: its micro-batches.
    """

    domain: str
    by_norm: Auc
    by_cosine: Auc
    count: int


@dataclass(frozen=True, slots=True)
class DomainDetections:
    """The answer for one run.

    Attributes:
        domains: the most frequent seven, in that order.
        left: domains beyond those.
        status: empty, or a sentence that says why there is no answer.
    """

    domains: tuple[DomainDetection, ...] = ()
    left: int = 0
    status: str = ""


def domain_detections(run: Run, *, tries: int = 199) -> DomainDetections:
    """Take each domain for the draggers in turn.

    The table of micro-batches is read once for each domain. With two domains the second mirrors the first.

    Args:
        run: a run whose micro-batches have domains.
        tries: resamples behind each interval.

    Returns:
        AUCs over all steps. ``status`` says so where the run cannot answer.
    """
    whole = dragger_profile(run)
    if whole.status:
        return DomainDetections(status=whole.status)
    counts = whole.count[1:].sum(axis=1)
    names = [whole.domains[1 + place] for place in np.argsort(-counts, kind="stable")]
    if len(names) < 2:
        return DomainDetections(status=_too_few(run, len(names)))
    found = tuple(_one(name, dragger_profile(run, name, tries=tries)) for name in names[:MOST_DOMAINS])
    return DomainDetections(found, len(names) - len(found))


def _one(name: str, profile: DraggerProfile) -> DomainDetection:
    auc = {each.score: each.auc for each in profile.detections if each.phase == "all steps"}
    return DomainDetection(name, auc["grad_norm"], auc["cosine"], profile.known_count)


def _too_few(run: Run, domains: int) -> str:
    said = "one domain" if domains else "no domains"
    return (
        f"run {run.name!r} has micro-batches of {said}; name where each comes from, as in recorder.loss(..., of=K, "
        'domain="speech"), to see which differ.'
    )
