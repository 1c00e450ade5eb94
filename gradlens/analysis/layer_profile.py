"""A per-parameter quantity over the training, one row a layer, at most some hundred columns wide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.layer_clipping import matching
from gradlens.schema import NORMS, TENSOR_KINDS
from gradlens.store import Run

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Steps = NDArray[np.int64]
By = str | Mapping[str, str | Sequence[str]]
COLUMNS: Final = 400
_BLOCK: Final = 256  # steps that the store summarises
_MOST_VALUES: Final = 1 << 23

GROUPED = (
    "Of several parameters together, `low` and `mean` are bounds from below and `high` one from above: the roots of "
    "the summed squares of each parameter's own. They are exact where a column holds one step."
)
SUMMARISED = (
    "From summaries of 256 steps: a block counts in the column that it begins in, a mean is one over blocks, and "
    "values that are NaN or infinite show where a whole block has nothing else."
)


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """A layer x step matrix: what each layer's values were in each stretch of steps.

    Attributes:
        kind: the quantity, as in ``"grad_norm"``.
        names: (layers,) of parameters or groups, in the model's order.
        edges: (columns + 1,) int64 steps; column k holds steps edges[k] to edges[k + 1] - 1.
        low: (layers, columns) float32, smallest finite value, NaN without any.
        high: the largest: no spike is lost.
        mean: their mean.
        nonfinite: (layers, columns) bool, whether a value was NaN or infinite.
        summarised: whether the matrix was made from summaries of 256 steps, since the values are too many or thinned.
        status: empty, or a sentence that says why there is no answer.
        note: what is not exact.
    """

    kind: str
    names: tuple[str, ...]
    edges: Steps
    low: Singles
    high: Singles
    mean: Singles
    nonfinite: NDArray[np.bool_]
    summarised: bool
    status: str = ""
    note: str = ""

    @property
    def centres(self) -> Floats:
        """(columns,) the middle of each column's steps."""
        return (self.edges[:-1] + self.edges[1:] - 1) / 2


def layer_profile(
    run: Run,
    kind: str = "grad_norm",
    *,
    by: By = "parameter",
    include: str | Sequence[str] = "*",
    exclude: str | Sequence[str] = (),
    columns: int = COLUMNS,
) -> LayerProfile:
    r"""Reduce a per-parameter quantity to its smallest, largest and mean value in stretches of equal length.

    Runs with up to 8 million values are read value by value, others from the store's summaries of 256 steps, a segment
    at a time: memory holds the matrix and one segment's blocks, however long the run. Norms of several parameters
    together are :math:`(\sum_i v_i^2)^{1/2}` over their columns.

    Args:
        run: a run with per-parameter values.
        kind: ``"grad_norm"``, ``"grad_norm_clipped"``, ``"update_norm"``, ``"param_norm"``, ``"zero_fraction"`` or
            ``"nonfinite_fraction"``.
        by: ``"parameter"``; ``"layer"``, which takes the parameters of a module together (names up to the last dot); or
            name of a group -> shell pattern or patterns of its parameters' names.
        include: shell pattern or patterns of the parameters' names.
        exclude: the same, of those to leave out.
        columns: most columns, at least 1.

    Returns:
        The matrix. ``status`` says so where the run cannot answer.

    Raises:
        ValueError: for a kind, a grouping or a number of columns that there is not.
    """
    _check(kind, by, columns)
    parameters = run.parameters
    chosen = set(matching(parameters, include)) - set(matching(parameters, exclude))
    names = [name for name in parameters if name in chosen]
    steps = _span(run)
    if not names or steps is None:
        return _nothing(kind, _why_none(run, kind, bool(names)))
    summarised = _is_long(run, len(parameters))
    edges = _edges(*steps, columns, summarised=summarised)
    found = run.tensor_grid(kind, edges, detail=not summarised)
    groups = _groups(names, by)
    if not groups:
        return _nothing(kind, _why_none(run, kind, named=False))
    places = {name: place for place, name in enumerate(parameters)}
    rows = [np.array([places[name] for name in own]) for own in groups.values()]
    parts = [np.stack([_together(part, row) for row in rows]) for part in (found.low, found.high, found.mean)]
    odd = np.stack([found.nonfinite[row].any(axis=0) for row in rows])
    some = np.asarray(np.isfinite(parts[0]).any(axis=1) | odd.any(axis=1))
    if not some.any():
        return _nothing(kind, _why_none(run, kind, named=True))
    notes = [GROUPED] * any(len(row) > 1 for row in rows) + [SUMMARISED] * summarised
    return LayerProfile(
        kind=kind,
        names=tuple(title for title, there in zip(groups, some, strict=True) if there),
        edges=edges,
        low=parts[0][some],
        high=parts[1][some],
        mean=parts[2][some],
        nonfinite=odd[some],
        summarised=summarised,
        note=" ".join(notes),
    )


def _check(kind: str, by: By, columns: int) -> None:
    if kind not in TENSOR_KINDS:
        raise ValueError(f"expected one of the kinds {', '.join(TENSOR_KINDS)}; got {kind!r}.")
    if isinstance(by, str) and by not in ("parameter", "layer"):
        raise ValueError(f'by is "parameter", "layer" or a mapping of groups to patterns; got {by!r}.')
    if by != "parameter" and kind not in NORMS:
        raise ValueError(f"{kind} is a share of each parameter's entries, which shares of several do not make up.")
    if isinstance(columns, bool) or not isinstance(columns, int) or columns < 1:
        raise ValueError(f"columns must be a whole number, 1 or more; got {columns!r}.")


def _span(run: Run) -> tuple[int, int] | None:
    """First and last recorded step, from the pyramid of the steps."""
    if "step" not in run.columns:
        return None
    entries = run.pyramid("step")
    return (int(np.nanmin(entries["min"])), int(np.nanmax(entries["max"]))) if len(entries) else None


def _is_long(run: Run, parameters: int) -> bool:
    """Whether there are more values than are read one by one, or some of them are summaries already."""
    name = "grad_norm" if "grad_norm" in run.columns else "step"
    return parameters * int(run.pyramid(name)["count"].sum(dtype=np.int64)) > _MOST_VALUES or run.thinned is not None


def _edges(first: int, last: int, columns: int, *, summarised: bool) -> Steps:
    """Stretches of equal length, the last one shorter; of blocks, whole blocks."""
    unit = _BLOCK if summarised else 1
    begin = first // unit * unit
    width = -(-(last + 1 - begin) // (columns * unit)) * unit
    edges = np.arange(begin, last + 1 + width, width, dtype=np.int64)
    edges[-1] = last + 1
    return edges


def _groups(names: Sequence[str], by: By) -> dict[str, list[str]]:
    """Names of the parameters of each row."""
    if isinstance(by, Mapping):
        found = {group: matching(names, globs) for group, globs in by.items()}
        return {group: own for group, own in found.items() if own}
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault((name.rpartition(".")[0] or name) if by == "layer" else name, []).append(name)
    return groups


def _together(values: Singles, row: NDArray[np.int64]) -> Singles:
    """Root of the sum of squares over some parameters, without those that have none in a column."""
    if len(row) == 1:
        return np.asarray(values[row[0]])
    wide = values[row].astype(np.float64)
    missing = np.isnan(wide).all(axis=0)
    return np.where(missing, np.nan, np.sqrt(np.nansum(wide * wide, axis=0))).astype(np.float32)


def _nothing(kind: str, why: str) -> LayerProfile:
    none = np.empty((0, 0), np.float32)
    return LayerProfile(kind, (), np.zeros(1, np.int64), none, none, none, none.astype(np.bool_), False, status=why)


def _why_none(run: Run, kind: str, named: bool) -> str:
    if not run.parameters:
        return f"run {run.name!r} names no parameters."
    if not named:
        shown = ", ".join(run.parameters[:6]) + ", ..." * (len(run.parameters) > 6)
        return f"run {run.name!r} has no parameters of these names; it has {shown}."
    return f"run {run.name!r} recorded no {kind} of single parameters."
