"""The training-dynamics figure of chosen runs, for the page and for its exports alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from gradlens.figures.figure import Figure, Limits, Line, Panel
from gradlens.figures.gallery.training_dynamics import run_labels, training_dynamics
from gradlens.store import Run
from gradlens_app.catalogue import Catalogue, Entry, Stamp
from gradlens_app.selection import Steps

CURVES = 2
"""The first panels are curves over the step, the others one hexbin a run."""

CURVE_COLUMNS = ("update_norm", "loss")
_KEPT = 64


class Figures:
    """Draws the figure of chosen runs, and keeps the last ones.

    Args:
        catalogue: where the runs' answers are kept.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._figure = lru_cache(maxsize=_KEPT)(self._draw)

    def draw(self, entries: Sequence[Entry], steps: Steps | None = None) -> Figure:
        """The figure of these runs over these steps."""
        return self._figure(tuple(_Version(entry, self._catalogue.stamp(entry)) for entry in entries), steps)

    def _draw(self, versions: tuple[_Version, ...], steps: Steps | None) -> Figure:
        runs = [version.entry.run for version in versions]
        answers = [self._catalogue.norm_smoothness(version.entry) for version in versions]
        return training_dynamics(runs, labels=labels(runs), steps=steps, answers=answers)


class _Version:
    """A run at one state of its files, to look a figure up by."""

    def __init__(self, entry: Entry, stamp: Stamp) -> None:
        self.entry = entry
        self._identity = (entry.key, stamp)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Version) and other._identity == self._identity

    def __hash__(self) -> int:
        return hash(self._identity)


def labels(runs: Sequence[Run]) -> tuple[str, ...]:
    """What to call runs side by side, no two alike: by clip or name, with the end of the run id where those repeat."""
    texts = run_labels(runs)
    often = Counter(texts)
    return tuple(
        f"{text} ({run.run_id[-8:]})" if often[text] > 1 else text for text, run in zip(texts, runs, strict=True)
    )


def step_span(runs: Sequence[Run]) -> Steps:
    """First and last recorded step over some runs; (0, 0) if they have no rows."""
    ends = [run.series("step")[0][[0, -1]] for run in runs if "step" in run.columns]
    return (int(min(end[0] for end in ends)), int(max(end[1] for end in ends))) if ends else (0, 0)


def y_limits(panel: Panel) -> Limits | None:
    """Limits that hold every curve of a panel, with a little air; None if there is none."""
    heights = [mark.y[np.isfinite(mark.y)] for mark in panel.marks if isinstance(mark, Line)]
    values = np.concatenate([*heights, np.empty(0)])
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    air = 0.05 * (high - low) or 0.5
    return low - air, high + air
