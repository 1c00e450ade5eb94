"""One run in a few numbers: what a table's row and a page's tiles show."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.alignment import NOTHING
from gradlens.store import Run
from gradlens.store.layout import BLOCK
from gradlens.store.pyramid import SUMMARY, Summaries

Floats = NDArray[np.float64]
_LAST = (1 << 62) - 1  # no step is later


@dataclass(frozen=True, slots=True)
class Summary:
    """A run in numbers; NaN where the run does not have them.

    Attributes:
        steps: optimizer steps recorded.
        final_loss: mean training loss over the last 5 % of the steps; NaN once the loss is.
        step_variation: standard deviation over mean of the update norm, the first 5 % of the steps left out.
        clipped: share of the steps whose norm was above the threshold; NaN without a clip.
        nonfinite: steps in which some parameter's gradient norm was NaN or infinite.
        overhead: share of the wall time between rows that gradlens took, medians.
        seconds: wall time from the first row to the last.
    """

    steps: int
    final_loss: float
    step_variation: float
    clipped: float
    nonfinite: int
    overhead: float
    seconds: float


def summarize(run: Run, *, timed: bool = True) -> Summary:
    """Reduce a run to a few numbers. Never raises for a run without rows: they are NaN then.

    Every number is that of the whole columns, to the bit. Of a run with consecutive steps, what the store's summaries
    of 256 steps determine is taken from them: counts, shares, and where the last 5 % begin. The standard deviation of
    the update norm takes its column, the medians of ``overhead`` two more.

    Args:
        run: any run.
        timed: whether to compute ``overhead`` and ``seconds``; they are NaN if not.
    """
    steps = run.dense
    moves = _several(run, "update_norm")["update_norm"]
    settled = moves[len(moves) // 20 :]
    settled = settled[np.isfinite(settled)]
    settled = settled / max(1.0, settled.max(initial=0.0))  # squares beyond 1e154 would overflow
    loss, clipped, nonfinite = _summarised(run) if steps is not None else _whole(run)
    share, seconds = _timing(run) if timed else (np.nan, np.nan)
    return Summary(
        steps=len(_several(run, "step")["step"]) if steps is None else len(steps),
        final_loss=_mean(loss),
        step_variation=float(settled.std() / settled.mean()) if len(settled) and settled.mean() > 0 else np.nan,
        clipped=clipped,
        nonfinite=nonfinite,
        overhead=share,
        seconds=seconds,
    )


def _several(run: Run, *names: str) -> dict[str, Floats]:
    """Values of columns, none where the run has no such column."""
    found = run.several(*names)
    return {name: found.get(name, NOTHING)[1] for name in names}


def _whole(run: Run) -> tuple[Floats, float, int]:
    """The losses of the last 5 %, the share of clipped steps, and the steps with a NaN or infinite gradient norm."""
    found = _several(run, "loss", "clipped", "nonfinite")
    loss = found["loss"]
    return loss[-max(1, len(loss) // 20) :], _mean(found["clipped"]), int((found["nonfinite"] > 0).sum())


def _summarised(run: Run) -> tuple[Floats, float, int]:
    """As :func:`_whole`, from summaries; only the steps that these cannot tell are read."""
    clipped = _blocks(run, "clipped")
    count = int(_counts(clipped).sum())
    # A block's mean of zeros and ones, times their number, is off a whole number by rounding only.
    ones = float(np.rint(clipped["mean"] * clipped["count"])[clipped["count"] > 0].sum())
    return _tail(run), ones / count if count else np.nan, _positive(run, "nonfinite")


def _tail(run: Run) -> Floats:
    blocks = _blocks(run, "loss")
    counts = _counts(blocks)
    wanted = max(1, int(counts.sum()) // 20)
    after = counts[::-1].cumsum()
    if not len(after):
        return NOTHING[1]
    first = blocks["block"][::-1][min(int(np.searchsorted(after, wanted)), len(after) - 1)]
    values = run.series("loss", (int(first) * BLOCK, _LAST))[1]
    if len(values) < wanted:  # a part is damaged
        return _whole(run)[0]
    return values[-wanted:]


def _positive(run: Run, name: str) -> int:
    """How many values are above 0: blocks with some of both are read."""
    blocks = _blocks(run, name)
    mixed = (blocks["max"] > 0) & ~(blocks["min"] > 0)
    whole = int(blocks["count"][blocks["min"] > 0].sum())
    if not mixed.any():
        return whole
    of_both = blocks["block"][mixed]
    steps, values = run.series(name, (int(of_both[0]) * BLOCK, int(of_both[-1]) * BLOCK + BLOCK - 1))
    return whole + int((np.isin(steps // BLOCK, of_both) & (values > 0)).sum())


def _timing(run: Run) -> tuple[float, float]:
    """The share of the time that gradlens took, and the seconds from the first row to the last."""
    found = _several(run, "time", "overhead_ms")
    time, overhead = found["time"], found["overhead_ms"]
    between = np.diff(time) if len(overhead) else NOTHING[1]
    share = float(np.median(overhead) / 1e3 / np.median(between)) if len(between) and between.any() else np.nan
    return share, float(time[-1] - time[0]) if len(time) else np.nan


def _blocks(run: Run, name: str) -> Summaries:
    return run.pyramid(name) if name in run.columns else np.empty(0, SUMMARY)


def _counts(blocks: Summaries) -> NDArray[np.int64]:
    """Values in each block, those that are not finite too."""
    return np.asarray(blocks["count"].astype(np.int64) + blocks["nonfinite"])


def relative(summary: Summary, baseline: Summary) -> Summary:
    """How far a run's numbers are from a baseline's, as a share of them: 0.1 is 10 % more; NaN where either is missing.

    >>> one = Summary(100, 0.55, 0.2, 0.9, 0, 0.01, 10.0)
    >>> base = Summary(200, 0.5, 0.0, float("nan"), 0, 0.01, 10.0)
    >>> round(relative(one, base).final_loss, 3), relative(one, base).clipped
    (0.1, nan)
    """

    def change(name: str) -> float:
        mine, other = float(getattr(summary, name)), float(getattr(baseline, name))
        return mine / other - 1 if other else np.nan

    return Summary(**{field.name: change(field.name) for field in fields(Summary)})  # type: ignore[arg-type]


def _mean(values: Floats) -> float:
    with np.errstate(over="ignore", invalid="ignore"):  # the sum of numbers near the largest there is: infinite
        return float(values.mean()) if len(values) else np.nan
