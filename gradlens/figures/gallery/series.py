"""One series of any number of runs against any clock: what every chart of curves on the page is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis import Spread, Trace, spread
from gradlens.figures.figure import Axis, Band, Figure, Line, Mark, Panel, Points, Text, sentence
from gradlens.figures.palette import dashed
from gradlens.schema import STEP_COLUMNS
from gradlens.schema import label as axis_label
from gradlens.store import Run

Floats = NDArray[np.float64]
_ROUNDING = 1e-6
_CROSSES_AT = 0.02
"""Share of the height at which what is not finite is marked."""
_SINCE = "time since the first step (s)"
_LOG = {"loss": (False, True)}  # as in the AutoClip paper's figure 1


def own_scales(name: str) -> tuple[bool, bool]:
    """Whether x and y of a series are logarithmic unless somebody says otherwise.

    >>> own_scales("loss"), own_scales("update_norm")
    ((False, True), (False, False))
    """
    return _LOG.get(name, (False, False))


def group_labels(runs: Sequence[Run], entry: str) -> list[str]:
    """What to call the group of each run: an entry of its config, and what it is there.

    Args:
        runs: some runs.
        entry: name of the entry; of a run without it the value is a dash.
    """
    return [f"{entry} {run.config.get(entry, '–')}" for run in runs]


def series(
    traces: Sequence[Trace],
    labels: Sequence[str],
    colours: Sequence[str],
    *,
    smoothing: float = 0.0,
    log: tuple[bool, bool] = (False, False),
    until: float | None = None,
) -> Figure:
    """The same series of several runs, raw and faint under its moving average.

    Args:
        traces: from ``analysis.trace``, all of one name and clock.
        labels: what to call each run.
        colours: each run's role.
        smoothing: the share of the series that its average spans, for the foot.
        log: whether the horizontal and the vertical axis are logarithmic; what is not positive is left out there.
        until: draw no further than this x; all if None. Limits stay those of all.

    Returns:
        The figure, of one panel; without values, the sentence that says why.
    """
    shown = [(t, text, role) for t, text, role in zip(traces, labels, colours, strict=True) if not t.status]
    if not any(t.points or t.nonfinite for t, *_ in shown):
        return _panel(traces, (Text(_why(traces)),), log, "")
    limits = _limits([np.concatenate([t.y, t.smooth_y]) for t, *_ in shown], log=log[1])
    under: list[Mark] = []  # what is raw lies under every average
    marks: list[Mark] = []
    for one, text, role in shown:
        raw, smooth = _cut(one.x, one.y, log, until), _cut(one.smooth_x, one.smooth_y, log, until)
        if len(one.smooth_x):
            under.append(Line(*raw, role, text, faint=True))
            marks.append(Line(*smooth, role, text, dashed=dashed(role)))
        else:
            marks.append(Line(*raw, role, text, dashed=dashed(role)))
        if len(one.odd_x):
            at = one.odd_x if until is None else one.odd_x[one.odd_x <= until]
            y = np.full(len(at), _under(limits, log=log[1]))
            marks.append(Points(at, y, role, f"{text}: NaN or infinite", marker="cross"))
    across = None if until is None else _ends([t.x for t, *_ in shown], log=log[0])
    return _panel(traces, (*under, *marks), log, _foot(traces, smoothing, log), limits, across)


def grouped_series(
    traces: Sequence[Trace],
    groups: Sequence[str],
    colours: Sequence[str],
    *,
    log: tuple[bool, bool] = (False, False),
    until: float | None = None,
) -> Figure:
    """The same series of several runs in groups: each group's mean, and a band from its lowest to its highest run.

    Args:
        traces: as for :func:`series`.
        groups: which group each run belongs to.
        colours: each run's role; a group takes that of its first.
        log: as for :func:`series`.
        until: as for :func:`series`.
    """
    shown = [(t, group, role) for t, group, role in zip(traces, groups, colours, strict=True) if t.drawn]
    if not shown:
        return _panel(traces, (Text(_why(traces)),), log, "")
    names = list(dict.fromkeys(group for _, group, _ in shown))
    under: list[Mark] = []
    marks: list[Mark] = []
    spreads: list[Spread] = []
    for name in names:
        members = [(t, role) for t, group, role in shown if group == name]
        found, role = spread([t for t, _ in members]), members[0][1]
        spreads.append(found)
        text = f"{name} ({len(members)} run{'' if len(members) == 1 else 's'})"
        low, high, mean = (_cut(found.x, values, log, until) for values in (found.low, found.high, found.mean))
        under.append(Band(low[0], low[1], high[1], role, text))
        marks.append(Line(*mean, role, text, dashed=dashed(role)))
    limits = _limits([np.concatenate([s.low, s.high]) for s in spreads], log=log[1])
    points = sum(t.points for t, *_ in shown)
    foot = (
        f"{len(shown)} runs with {points:,} points in {len(names)} groups; mean, and lowest to highest of the averages"
    )
    across = None if until is None else _ends([s.x for s in spreads], log=log[0])
    return _panel(traces, (*under, *marks), log, foot, limits, across)


def _panel(
    traces: Sequence[Trace],
    marks: tuple[Mark, ...],
    log: tuple[bool, bool],
    foot: str,
    limits: tuple[float, float] | None = None,
    across: tuple[float, float] | None = None,
) -> Figure:
    name = traces[0].name if traces else ""
    clock = traces[0].clock if traces else "step"
    scales = ["log" if is_log else "linear" for is_log in log]
    panel = Panel(
        title=_title(name),
        subtitle=_measured(name),
        x=Axis(_across(clock), scales[0], across),  # type: ignore[arg-type]
        y=Axis(axis_label(name), scales[1], limits),  # type: ignore[arg-type]
        marks=marks,
        foot=foot,
    )
    return Figure("series", (panel,), series_caption(name, clock), columns=1)


def series_caption(name: str, clock: str) -> str:
    """What is said of a series under a figure.

    Args:
        name: of the series.
        clock: what x counts.
    """
    return f"{_title(name)} against {_across(clock)}. {_measured(name)}."


def _title(name: str) -> str:
    return sentence(axis_label(name))


def _across(clock: str) -> str:
    return _SINCE if clock == "time" else axis_label(clock)


def _measured(name: str) -> str:
    column = STEP_COLUMNS.get(name.partition("[")[0])
    return f"{column.meaning.rstrip('.')} · {column.measured}" if column else "as logged by the training"


def _cut(x: Floats, y: Floats, log: tuple[bool, bool], until: float | None) -> tuple[Floats, Floats]:
    """What there is to draw: as far as asked for, and what a logarithmic axis has a place for."""
    kept = np.ones(len(x), dtype=bool) if until is None else x <= until
    kept &= (x > 0) | (not log[0])
    kept &= (y > 0) | (not log[1])
    return x[kept], y[kept]


def _ends(along: Sequence[Floats], *, log: bool) -> tuple[float, float] | None:
    """The first and the last x that an axis has a place for; None where they are one."""
    values = np.concatenate([*along, np.empty(0)])
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    return (float(values.min()), float(values.max())) if len(values) and values.min() < values.max() else None


def _limits(heights: Sequence[Floats], *, log: bool) -> tuple[float, float]:
    """Limits that hold everything, with a little air."""
    values = np.concatenate([*heights, np.empty(0)])
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not len(values):
        return (1.0, 10.0) if log else (0.0, 1.0)
    low, high = float(values.min()), float(values.max())
    if log:
        air = max((high / low) ** 0.04, 1.05)
        return low / air, high * air
    # A span that is rounding alone would give ticks of 17 digits.
    air = 0.04 * (high - low) if high - low > _ROUNDING * max(-low, high) else 0.05 * abs(high) or 0.5
    return low - air, high + air


def _under(limits: tuple[float, float], *, log: bool) -> float:
    """Between the lower edge and the lowest curve, so that a cross is whole and covers none."""
    low, high = limits
    return low * (high / low) ** _CROSSES_AT if log else low + _CROSSES_AT * (high - low)


def _foot(traces: Sequence[Trace], smoothing: float, log: tuple[bool, bool]) -> str:
    points, drawn = sum(t.points for t in traces), sum(t.drawn for t in traces)
    missing = sum(bool(t.status) for t in traces)
    text = f"{drawn:,} of {points:,} points"
    if not all(t.whole for t in traces):
        text += ", lowest and highest of each stretch"
    if smoothing and any(len(t.smooth_x) for t in traces):
        text += f"; raw faint, average over {100 * smoothing:g} %"
    lost = sum(t.nonfinite for t in traces)
    text += f"; {lost:,} NaN or infinite, marked ×" if lost else ""
    below = sum(int((t.y <= 0).sum()) for t in traces) if log[1] else 0
    text += f"; {below:,} not positive, not on a log axis" if below else ""
    return text + (f"; {missing} run{'' if missing == 1 else 's'} without it" if missing else "")


def _why(traces: Sequence[Trace]) -> str:
    said = list(dict.fromkeys(t.status for t in traces if t.status))
    if not said:
        return "There are no values between these ends; show all again." if traces else "No run is chosen."
    return said[0] if len(said) == 1 else f"None of these {len(traces)} runs recorded it here."
