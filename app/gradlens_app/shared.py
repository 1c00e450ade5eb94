"""Controls that several pages have, so that a choice made on one is that of all."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import clocks
from gradlens.schema import label
from gradlens.store import Run
from gradlens_app.controls import Choice, Slider

RUNS = "runs"


def _clocks(runs: Sequence[Run]) -> list[tuple[str, str]]:
    return [(name, "step" if name == "step" else label(name)) for name in clocks(runs)]


def config_names(runs: Sequence[Run]) -> list[str]:
    """Entries of the configs, those that tell the runs apart first."""
    names = list(dict.fromkeys(str(name) for run in runs for name in run.config))
    return sorted(names, key=lambda name: len({str(run.config.get(name)) for run in runs}) == 1)


def _groups(runs: Sequence[Run]) -> list[tuple[str, str]]:
    return [(name, name) for name in config_names(runs)[:200]]


CLOCK = Choice("x", "x", _clocks, default="step")
SMOOTHING = Slider("smooth", "smoothing", most=20, default=2, step=0.5)
GROUP = Choice("group", "group by", _groups, placeholder="no groups")
UNTIL = Slider("until", "Grow the charts", default=100, step=0.5, drag=True)
