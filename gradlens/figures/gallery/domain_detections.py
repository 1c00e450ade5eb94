"""Which domains' micro-batches stand out of their steps, by length and by agreement."""

from __future__ import annotations

import numpy as np

from gradlens.analysis import DomainDetection, DomainDetections
from gradlens.figures.figure import Axis, Bars, Figure, Mark, Panel, Rule, Text
from gradlens.figures.gallery.names import shortened

_NAME, _TITLE = "domain_detections", "Domains that stand out"
_SCORES = (("by_norm", "clipped", "longer gradient"), ("by_cosine", "unclipped", "smaller cosine"))


def domain_detections(result: DomainDetections) -> Figure:
    """Of each domain, the share of pairs within a step in which its micro-batch is longer, or agrees less.

    Args:
        result: from ``analysis.domain_detections(run)``.

    Returns:
        One panel; with nothing to show, the sentence that says why.
    """
    ticks = tuple((at, f"{at:g}") for at in (0.0, 0.25, 0.5, 0.75, 1.0))
    y = Axis("AUC within steps", limits=(0.0, 1.4), ticks=ticks)  # above the bars there is room for their names
    marks = [mark for score in _SCORES for mark in _bars(result.domains, *score)]
    if not marks:
        why = result.status or f"No answer: {result.domains[0].by_norm.status}"
        return Figure(_NAME, (Panel(_TITLE, "", Axis(""), y, (Text(why),)),), why, columns=1)
    left = f"; {result.left} rarer domains left out" if result.left else ""
    foot = f"{sum(each.count for each in result.domains):,} micro-batches, 95 % intervals over blocks of steps{left}"
    subtitle = "each domain's micro-batches against the others of their step"
    panel = Panel(_TITLE, subtitle, Axis(""), y, (*marks, Rule(0.5, "y", "chance")), foot)
    said = ", ".join(f"{each.domain} {each.by_norm.value:.2f} ({each.by_cosine.value:.2f})" for each in result.domains)
    caption = (
        f"Share of pairs within steps in which a domain's micro-batch is longer (agrees less): {said}; .5 is chance."
    )
    return Figure(_NAME, (panel,), caption, columns=1)


def _bars(domains: tuple[DomainDetection, ...], score: str, role: str, text: str) -> list[Mark]:
    known = [(each.domain, getattr(each, score)) for each in domains]
    known = [(name, auc) for name, auc in known if np.isfinite(auc.value)]
    if not known:
        return []
    value, low, high = np.array([(auc.value, *auc.interval) for _, auc in known]).T
    return [Bars(tuple(shortened(name, 18) for name, _ in known), value, role, text, low, high)]
