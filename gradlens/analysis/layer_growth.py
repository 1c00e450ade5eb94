"""Layers whose gradient explodes or vanishes: against their own beginning, and against the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.layer_profile import LayerProfile

Floats = NDArray[np.float64]
FACTOR: Final = 10.0
SUSTAINED: Final = 0.1
ALL_LAYERS: Final = "all layers"


@dataclass(frozen=True, slots=True)
class Growth:
    """A lasting change of one layer's gradient norm, or of all layers' together.

    Attributes:
        name: of the layer, or ``"all layers"``.
        direction: ``"explodes"`` or ``"vanishes"``.
        first: step from which on it holds.
        last: step to which it holds.
        factor: the furthest that its norm gets from its own start meanwhile, above 1 or below.
        relative: the same after division by the median factor of the other layers in each column; of all layers, and of
            an only one, ``factor``.
        lasts: whether it holds to the end of what was recorded.
    """

    name: str
    direction: str
    first: int
    last: int
    factor: float
    relative: float
    lasts: bool


def layer_growth(profile: LayerProfile, *, factor: float = FACTOR, sustained: float = SUSTAINED) -> tuple[Growth, ...]:
    r"""Layers that grow or shrink lastingly.

    With :math:`m_{ik}` the mean norm of layer i in column k, the layer's own growth is

    .. math:: a_{ik} = \log m_{ik} - \mathrm{median}_{j \le s} \log m_{ij}, \qquad s = \lceil .1\, K \rceil

    over its first tenth of the K columns, and its growth relative to the others
    :math:`r_{ik} = a_{ik} - \mathrm{median}_{j \ne i} \, a_{jk}`. A layer **explodes** where both
    :math:`a_{ik}` and :math:`r_{ik}` are at least log(``factor``) in every column of a run of at least ``sustained`` K
    columns, and **vanishes** where both are at most -log(``factor``). The longest such run is given. Columns in which a
    layer has no finite norm are left out of its run; a mean norm of exactly zero is as small as a number gets. All
    layers together explode or vanish where the median of :math:`a_{jk}` does: then none may stand out from the others.
    Norms of all layers that fall may be nothing but convergence. With one layer there are no others, and its own growth
    alone counts.

    Args:
        profile: gradient norms by layer and step.
        factor: how many times larger or smaller, above 1.
        sustained: for which share of the columns at least, in (0, 1].

    Returns:
        One entry for each layer and direction, in the profile's order; all layers first.

    Raises:
        ValueError: if an argument is outside its range.
    """
    if not factor > 1 or not 0 < sustained <= 1:
        raise ValueError(f"factor must be above 1 and sustained in (0, 1]; got {factor!r} and {sustained!r}.")
    columns = len(profile.edges) - 1
    if profile.status or columns < 2:
        return ()
    own = _own_growth(profile.mean.astype(np.float64))
    shared = _median_over_layers(own)
    relative = own - _median_of_others(own) if len(own) > 1 else own
    least, size = np.log(factor), max(2, int(np.ceil(sustained * columns)))
    found: list[Growth] = []
    rows = [(ALL_LAYERS, shared, shared)] if len(own) > 1 else []
    rows += list(zip(profile.names, own, relative, strict=True))
    for name, growth, beside in rows:
        for sign, direction in ((1, "explodes"), (-1, "vanishes")):
            holds = (sign * growth >= least) & (sign * beside >= least)
            stretch = _longest(np.flatnonzero(np.isfinite(growth)), holds)
            if stretch is not None and len(stretch) >= size:
                worst = stretch[np.argmax(sign * growth[stretch])]
                furthest = stretch[np.argmax(sign * beside[stretch])]
                found.append(
                    Growth(
                        name, direction, int(profile.edges[stretch[0]]), int(profile.edges[stretch[-1] + 1]) - 1,
                        _exp(growth[worst]), _exp(beside[furthest]),
                        lasts=bool(stretch[-1] == np.flatnonzero(np.isfinite(growth))[-1]),
                    )
                )  # fmt: skip
    return tuple(found)


def _own_growth(mean: Floats) -> Floats:
    """(layers, columns) log of the mean norm over its start; NaN where there is none."""
    known = np.isfinite(mean)
    logs = np.log(np.maximum(mean, np.finfo(np.float32).tiny, where=known, out=np.full(mean.shape, np.nan)))
    begin = max(1, int(np.ceil(0.1 * mean.shape[1])))
    starts = np.full(len(mean), np.nan)
    for layer, row in enumerate(logs):
        early = row[np.isfinite(row)][:begin]
        starts[layer] = np.median(early) if len(early) else np.nan
    return np.asarray(logs - starts[:, None])


def _median_over_layers(growth: Floats) -> Floats:
    some = np.isfinite(growth).any(axis=0)
    shared = np.full(growth.shape[1], np.nan)
    shared[some] = np.nanmedian(growth[:, some], axis=0)
    return shared


def _median_of_others(growth: Floats) -> Floats:
    """(layers, columns) median over the other layers, from one sort: without itself, a layer's uppers move down one."""
    order = np.argsort(growth, axis=0)  # NaN last
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(len(growth))[:, None].repeat(growth.shape[1], axis=1), axis=0)
    ordered = np.take_along_axis(growth, order, axis=0)
    others = np.maximum(np.isfinite(growth).sum(axis=0) - np.isfinite(growth), 0)

    def ranked(place: NDArray[np.int64]) -> Floats:
        within = np.clip(place + (ranks <= place), 0, len(growth) - 1)
        return np.asarray(np.take_along_axis(ordered, within, axis=0))

    middle = 0.5 * (ranked((others - 1) // 2) + ranked(others // 2))
    return np.where((others > 0) & np.isfinite(growth), middle, np.nan)


def _longest(places: NDArray[np.int64], holds: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """The longest run of places, among those there are, at which something holds; the later of two as long."""
    if not holds[places].any():
        return None
    padded = np.concatenate([[False], holds[places], [False]]).astype(np.int8)
    changes = np.diff(padded)
    starts, ends = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    lengths = ends - starts
    best = len(lengths) - 1 - int(np.argmax(lengths[::-1]))
    return places[starts[best] : ends[best]]


def _exp(value: float) -> float:
    return float(np.exp(np.clip(value, -700.0, 700.0)))
