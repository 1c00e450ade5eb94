"""A run's micro-batches counted by step, by domain and by stretch of the training, a slice of the table at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from gradlens.stats.auc import Concordance, concordance
from gradlens.store import Run
from gradlens.store.export_rows import micro_batch_slices

Floats = NDArray[np.float64]
IsKnown = Callable[[pd.DataFrame], NDArray[np.bool_]]
ALL: Final = "all micro-batches"
NUMBERS: Final = ("grad_norm", "cosine", "clip_coef")
_CLIPS: Final = ("micro_batch", "per_sample")
MOST_DOMAINS: Final = 100


@dataclass(frozen=True, slots=True)
class MicroBatches:
    """A run's micro-batches by step, by domain and by stretch of the training.

    Attributes:
        domains: (d,) ``"all micro-batches"`` first, then each domain named in recording.
        edges: (stretches + 1,) int64 steps between which the rows below are means.
        count: (d, stretches) micro-batches.
        grad_norm: (d, stretches) mean gradient norm, NaN without a finite one.
        cosine: (d, stretches) mean cosine with the mean of the step's other micro-batches.
        clip_coef: (d, stretches) mean clip coefficient.
        steps: (n,) steps with micro-batches.
        micro_batches: (n,) how many each has.
        effective: (n,) effective number by weights, (sum w)^2 / sum w^2 with w coefficient times scale; NaN where a
            number is missing.
        effective_lengths: (n,) the same of what each adds to the unclipped gradient, w norm times scale: few long
            micro-batches make it small. The min rule brings it to the number there is.
        known_count: micro-batches known as draggers.
        recorded: whether the clip coefficients are the training's; otherwise they are counterfactual.
        n: how many micro-batches.
    """

    domains: tuple[str, ...]
    edges: NDArray[np.int64]
    count: Floats
    grad_norm: Floats
    cosine: Floats
    clip_coef: Floats
    steps: NDArray[np.int64]
    micro_batches: NDArray[np.int64]
    effective: Floats
    effective_lengths: Floats
    known_count: int
    recorded: bool
    n: int


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted.

    Attributes:
        found: the micro-batches.
        by_norm: pairs within each step in which a known dragger is longer.
        by_cosine: pairs in which its cosine is smaller.
    """

    found: MicroBatches
    by_norm: Concordance
    by_cosine: Concordance


def tally(run: Run, is_known: IsKnown | None, stretches: int) -> Tally:
    """Count a run's micro-batches.

    Args:
        run: whose they are.
        is_known: which rows of a slice are draggers; None where nobody knows.
        stretches: how many stretches of steps to average over, at most.
    """
    edges = _edges(run, stretches)
    clip = run.clip or {}
    parts: list[Mapping[str, Any]] = [clip, *(clip.get("rules") or ())]
    recorded = any(part.get("name") in _CLIPS for part in parts)
    sums = _Sums(len(edges) - 1)
    per_step: list[tuple[NDArray[Any], ...]] = []
    known_count = 0
    for rows in _whole_steps(run):
        numbers = _numbers(rows, recorded=recorded)
        steps, at = np.unique(rows["step"].to_numpy(dtype=np.int64), return_inverse=True)
        known = np.zeros(len(rows), np.bool_) if is_known is None else is_known(rows)
        known_count += int(known.sum())
        stretch = np.clip(np.searchsorted(edges, steps, side="right") - 1, 0, len(edges) - 2)
        sums.add(rows["domain"], stretch[at], numbers)
        longer, less = concordance(numbers["grad_norm"], known, at), concordance(-numbers["cosine"], known, at)
        scale = np.abs(numbers["scale"])
        effective = _effective(numbers["clip_coef"] * scale, at), _effective(numbers["grad_norm"] * scale, at)
        per_step.append((steps, np.bincount(at), *effective, longer.wins, longer.pairs, less.wins, less.pairs))
    joined = [np.concatenate(part) for part in zip(*per_step, strict=True)] if per_step else [np.empty(0)] * 8
    domains, count, (norm, cosine, coef) = sums.means()
    found = MicroBatches(
        domains=domains,
        edges=edges,
        count=count,
        grad_norm=norm,
        cosine=cosine,
        clip_coef=coef,
        steps=joined[0].astype(np.int64),
        micro_batches=joined[1].astype(np.int64),
        effective=joined[2],
        effective_lengths=joined[3],
        known_count=known_count,
        recorded=recorded,
        n=int(count[0].sum()),
    )
    return Tally(found, Concordance(joined[4], joined[5]), Concordance(joined[6], joined[7]))


def _edges(run: Run, stretches: int) -> NDArray[np.int64]:
    if "step" not in run.columns:
        return np.array([0, 1], dtype=np.int64)
    entries = run.pyramid("step")
    first, last = int(np.nanmin(entries["min"])), int(np.nanmax(entries["max"]))
    pieces = min(stretches, last + 1 - first)
    return np.unique(np.linspace(first, last + 1, pieces + 1).astype(np.int64))


def _whole_steps(run: Run) -> Iterator[pd.DataFrame]:
    """The table in slices that end between two steps."""
    kept: pa.Table | None = None
    for table in micro_batch_slices(run):
        rows = table if kept is None else pa.concat_tables([kept, table])
        steps = rows["step"].to_numpy()
        end = int(np.searchsorted(steps, steps[-1])) if len(steps) else 0
        if end:
            yield rows.slice(0, end).to_pandas()
        kept = rows.slice(end)
    if kept is not None and kept.num_rows:
        yield kept.to_pandas()


def _numbers(rows: pd.DataFrame, *, recorded: bool) -> dict[str, Floats]:
    """Columns as float64, NaN where there is nothing or nothing finite; a missing scale is an even share."""
    found = {name: rows[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in (*NUMBERS, "scale")}
    found = {name: np.where(np.isfinite(values), values, np.nan) for name, values in found.items()}
    found["scale"] = np.where(np.isnan(found["scale"]), 1.0, found["scale"])
    if not recorded:
        found["clip_coef"] = _to_the_smallest(rows["step"].to_numpy(), found["grad_norm"] * np.abs(found["scale"]))
    return found


def _to_the_smallest(steps: NDArray[np.int64], lengths: Floats) -> Floats:
    """The min rule: the factor that brings each length to the smallest of its step; 1 for a length of zero."""
    starts = np.flatnonzero(np.append(True, np.diff(steps) != 0))
    smallest = np.repeat(np.fmin.reduceat(lengths, starts), np.diff(np.append(starts, len(steps))))
    kept: Floats = np.divide(smallest, lengths, out=np.where(np.isnan(lengths), np.nan, 1.0), where=lengths > 0)
    return kept


def _effective(weights: Floats, at: NDArray[np.int64]) -> Floats:
    """(sum w)^2 / sum w^2 in each step, NaN where a weight is missing or all are zero."""
    total, squares = np.bincount(at, weights=weights), np.bincount(at, weights=weights * weights)
    found: Floats = np.divide(total * total, squares, out=np.full(len(total), np.nan), where=squares > 0)
    return found


@dataclass
class _Sums:
    """Counts and sums of each number, by domain and stretch; None is all of them, since a domain may have any name."""

    stretches: int
    found: dict[str | None, list[tuple[Floats, Floats]]] = field(default_factory=dict)
    rows: dict[str | None, Floats] = field(default_factory=dict)

    def add(self, domain: pd.Series[str], stretch: NDArray[np.int64], numbers: dict[str, Floats]) -> None:
        codes, names = pd.factorize(domain)
        self._add(None, np.ones(len(codes), np.bool_), stretch, numbers)
        for code, name in enumerate(names):
            if name in self.rows or len(self.rows) <= MOST_DOMAINS:
                self._add(str(name), codes == code, stretch, numbers)

    def _add(
        self, name: str | None, chosen: NDArray[np.bool_], stretch: NDArray[np.int64], numbers: dict[str, Floats]
    ) -> None:
        places = stretch[chosen]
        self.rows.setdefault(name, np.zeros(self.stretches))
        self.rows[name] += np.bincount(places, minlength=self.stretches)
        own = self.found.setdefault(name, [(np.zeros(self.stretches), np.zeros(self.stretches)) for _ in NUMBERS])
        for (count, total), number in zip(own, NUMBERS, strict=True):
            values = numbers[number][chosen]
            known = np.isfinite(values)
            count += np.bincount(places[known], minlength=self.stretches)
            total += np.bincount(places[known], weights=values[known], minlength=self.stretches)

    def means(self) -> tuple[tuple[str, ...], Floats, list[Floats]]:
        names = sorted(name for name in self.rows if name is not None)
        keys = (None, *names)
        nothing = [(np.zeros(self.stretches), np.zeros(self.stretches)) for _ in NUMBERS]
        own = [self.found.get(name, nothing) for name in keys]
        counts = np.stack([self.rows.get(name, np.zeros(self.stretches)) for name in keys])
        means = [
            np.stack([np.divide(t, c, out=np.full(self.stretches, np.nan), where=c > 0) for c, t in each])
            for each in zip(*own, strict=True)
        ]
        return (ALL, *names), counts, means
