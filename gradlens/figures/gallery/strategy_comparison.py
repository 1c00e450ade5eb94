"""Clipping strategies side by side, each at its own learning rate."""

from __future__ import annotations

import numpy as np

from gradlens.analysis.strategies import Strategy, StrategyComparison
from gradlens.figures.figure import Axis, Bars, Figure, Mark, Panel, Points, Text, sentence
from gradlens.schema import label as axis_label
from gradlens.stats.mean_interval import MeanInterval

_NAME = "strategy_comparison"


def strategy_comparison(result: StrategyComparison) -> Figure:
    """Effect, speed, cost and stability of each strategy, with intervals over seeds.

    Args:
        result: from ``analysis.compare_strategies(runs)``.

    Returns:
        Six panels; with nothing to show, the sentence that says why.
    """
    if result.status:
        empty = Panel("Strategies", "", Axis(""), Axis(""), (Text(result.status),))
        return Figure(_NAME, (empty,), result.status, columns=1)
    usable = [each for each in result.strategies if each.seeds]
    every = [
        ("Final metric", "at the end", result.metric or "metric", [each.final for each in usable]),
        ("Final loss", "mean over the last 5 % of the steps", axis_label("loss"), [each.loss for each in usable]),
        ("Convergence", f"to a loss of {result.level:.3g}", "steps", [each.speed for each in usable]),
        ("Norm after clipping", "median over the run", axis_label("grad_norm_clipped"), [each.norm for each in usable]),
        ("Time", "between recorded rows, recorder included", "ms a step", [each.ms for each in usable]),
    ]
    panels = [_panel(usable, *each) for each in every]
    return Figure(_NAME, (*panels, _stability(usable)), _caption(result), columns=3)


def _panel(usable: list[Strategy], title: str, subtitle: str, unit: str, values: list[MeanInterval]) -> Panel:
    mean, low, high = (np.array([float(getattr(each, end)) for each in values]) for end in ("mean", "low", "high"))
    if not np.isfinite(mean).any():
        return Panel(title, subtitle, Axis(""), Axis(unit), (Text("Not recorded."),))
    # Points, not bars from zero: what differs between good strategies is small.
    at = np.arange(len(usable), dtype=np.float64)
    ticks = tuple(zip(at.tolist(), _letters(usable), strict=True))
    x = Axis("strategy", limits=(-0.5, len(usable) - 0.5), ticks=ticks)
    return Panel(
        title, subtitle, x, Axis(unit), (Points(at, mean, "clipped", error_low=low, error_high=high),), _foot(values)
    )


def _stability(usable: list[Strategy]) -> Panel:
    names, steps = _letters(usable), [max(1, each.stability.steps) for each in usable]
    marks: list[Mark] = []
    for role, text, counts in (
        ("run-0", "loss spikes", [each.stability.spikes for each in usable]),
        ("run-1", "not finite", [each.stability.nonfinite for each in usable]),
        ("run-2", "norm spikes", [each.stability.norm_spikes for each in usable]),
    ):
        share = 1000 * np.array(counts, dtype=np.float64) / np.array(steps)
        marks.append(Bars(names, share, role, text))
    return Panel("Stability", "all seeds", Axis("strategy"), Axis("per 1,000 steps"), tuple(marks))


def _letters(usable: list[Strategy]) -> tuple[str, ...]:
    """A, B, C, ...: rules in words are too long for an axis; the caption says which is which."""
    return tuple(chr(ord("A") + index % 26) for index in range(len(usable)))


def _foot(values: list[MeanInterval]) -> str:
    seeds = sorted({int(each.n) for each in values})
    return f"{' to '.join(map(str, seeds[:: max(1, len(seeds) - 1)]))} seeds; 95 % intervals where there are three"


def _caption(result: StrategyComparison) -> str:
    usable = [each for each in result.strategies if each.seeds]
    named = (
        f"{letter}: {each.name}, lr {each.lr:g}, {len(each.seeds)} seed{'s'[: len(each.seeds) != 1]}"
        for letter, each in zip(_letters(usable), usable, strict=True)
    )
    said = [f"Clipping strategies, each at its own best learning rate by {result.chosen_by}. {'; '.join(named)}."]
    for each in result.differences:
        found, name = (each.final, result.metric) if result.metric else (each.loss, "final loss")
        if each.status or not np.isfinite(float(found.low)):
            continue
        said.append(
            f"{each.name} less {each.baseline}: {name} {float(found.mean):+.3g} "
            f"[{float(found.low):+.3g}, {float(found.high):+.3g}], paired by seed."
        )
    said += [sentence(each) for each in result.doubts]
    said += [f"Left out: {each}" for strategy in result.strategies for each in strategy.excluded]
    return " ".join(said)
