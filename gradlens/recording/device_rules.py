"""Clip rules on an accelerator, so that adaptive clipping reads nothing back.

A rule's formula runs there as it is, on tensors, with its state in device memory. Only AutoClip has a twin, since its
history is a heap on the host. A state that one form saves, the other loads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens.clipping import Clip, ClipRule, Measured
from gradlens.clipping.autoclip import unpacked
from gradlens.clipping.rule import State, coefficients, map_leaves
from gradlens.recording.norms import wide

Floats = NDArray[np.float64]


def device_rule(rule: ClipRule, device: torch.device) -> ClipRule:
    """The rule with its state on a device; its ``update`` takes tensors and ``xp=torch``.

    ``save`` waits for the device, and gives what the host's ``load`` takes; ``load`` takes what the host's ``save``
    gives.

    Args:
        rule: any rule.
        device: where the norms are.

    >>> from gradlens import clipping
    >>> rule = device_rule(clipping.autoclip(50), torch.device("cpu"))
    >>> state = rule.init(1)
    >>> for norm in (1.0, float("nan"), 3.0):
    ...     clip, state = rule.update(Measured(torch.tensor([norm], dtype=torch.float64), xp=torch), state)
    >>> clip.thresholds.tolist(), clip.coefficients.tolist()
    ([2.0], [0.6666666666666666])
    """
    return map_leaves(rule, lambda leaf: _autoclip(leaf, device) if leaf.name == "autoclip" else _moved(leaf, device))


def _moved(rule: ClipRule, device: torch.device) -> ClipRule:
    """A rule whose state is arrays, with tensors in their place."""

    def load(saved: Mapping[str, Floats]) -> dict[str, Tensor]:
        return {key: torch.as_tensor(values, dtype=wide(device), device=device) for key, values in saved.items()}

    def save(state: Mapping[str, Tensor]) -> dict[str, Floats]:
        return {key: _to_host(values) for key, values in state.items()}

    return replace(rule, init=lambda groups: load(rule.init(groups)), save=save, load=load)


def _autoclip(rule: ClipRule, device: torch.device) -> ClipRule:
    percentile, window, ema, exclude_current = (
        rule.parameters[key] for key in ("percentile", "window", "ema", "exclude_current")
    )
    beta = ema or 0.0
    history: Callable[[Sequence[Floats]], SortedHistory | WindowHistory] = (
        (lambda norms: SortedHistory(percentile, norms, device))
        if window is None
        else (lambda norms: WindowHistory(percentile, window, norms, device))
    )

    def init(groups: int) -> State:
        thresholds = torch.full((groups,), torch.inf, dtype=wide(device), device=device)
        return history([np.empty(0)] * groups), thresholds

    def update(measured: Measured, state: State) -> tuple[Clip, State]:
        past, last = state
        norms = measured.grad_norms
        if exclude_current:
            found = past.percentile()
            past.push(norms)
        else:
            past.push(norms)
            found = past.percentile()
        if beta:
            found = torch.where(torch.isfinite(last), beta * last + (1.0 - beta) * found, found)
        thresholds = torch.where(torch.isfinite(norms), found, last)
        return Clip(coefficients(norms, thresholds, torch), thresholds), (past, thresholds)

    def save(state: State) -> dict[str, Floats]:
        past, thresholds = state
        norms = past.values()
        counts = np.array([len(each) for each in norms], float)
        return {"norms": np.concatenate(norms), "counts": counts, "thresholds": _to_host(thresholds)}

    def load(saved: Mapping[str, Floats]) -> State:
        norms, thresholds = unpacked(saved, percentile)
        return history(norms), torch.tensor(thresholds, dtype=wide(device), device=device)

    return replace(rule, init=init, update=update, save=save, load=load)


class SortedHistory:
    """All norms of several groups, sorted, in device memory.

    The buffer is padded with infinities and doubled when the number of steps, which the host knows, reaches its size;
    how many norms were finite, only the device knows. Memory: at most 16 bytes a step and group, and a few times that
    while a step is made, which costs one pass over the buffer.

    Args:
        percentile: p in [0, 100].
        norms: of each group, to begin with; all finite.
        device: where to keep them.

    >>> history = SortedHistory(50, [np.array([4.0, 1.0])], torch.device("cpu"))
    >>> history.push(torch.tensor([3.0], dtype=torch.float64))
    >>> history.percentile().tolist()
    [3.0]
    """

    def __init__(self, percentile: float, norms: Sequence[Floats], device: torch.device) -> None:
        self._fraction = percentile / 100.0
        self._steps = max(len(each) for each in norms)
        self._count = torch.tensor([len(each) for each in norms], device=device)
        rows = np.full((len(norms), self._steps), np.inf)
        for row, each in zip(rows, norms, strict=True):
            row[: len(each)] = np.sort(each)
        self._sorted = torch.as_tensor(rows, dtype=wide(device), device=device)
        self._grow()

    def push(self, norms: Tensor) -> None:
        """Add a norm to each group, (groups,); one that is not finite is left out."""
        if self._steps == self._sorted.shape[1]:
            self._grow()
        self._steps += 1
        finite = torch.isfinite(norms)
        new = norms[:, None]
        place = torch.searchsorted(self._sorted, new)
        shifted = torch.roll(self._sorted, 1, dims=1)
        inserted = torch.where(self._index < place, self._sorted, torch.where(self._index == place, new, shifted))
        self._sorted = torch.where(finite[:, None], inserted, self._sorted)
        self._count = self._count + finite

    def percentile(self) -> Tensor:
        """The percentile of each group, (groups,), infinite before the first norm."""
        return _percentile(self._sorted, self._count, self._fraction)

    def values(self) -> list[Floats]:
        """The norms of each group; waits for the device."""
        return [row[np.isfinite(row)] for row in _to_host(self._sorted)]

    def _grow(self) -> None:
        size = max(1024, 2 * self._steps)
        padding = self._sorted.new_full((len(self._sorted), size - self._steps), torch.inf)
        self._sorted = torch.cat([self._sorted, padding], dim=1)
        self._index = torch.arange(size, device=padding.device)


class WindowHistory:
    """The last ``window`` norms of several groups, in device memory: a ring, sorted anew for each percentile.

    Args:
        percentile: p in [0, 100].
        window: how many norms to look back on.
        norms: of each group, oldest first, at most ``window`` of them; all finite.
        device: where to keep them.

    >>> history = WindowHistory(100, 2, [np.array([5.0, 1.0])], torch.device("cpu"))
    >>> history.push(torch.tensor([3.0], dtype=torch.float64))
    >>> history.percentile().tolist()
    [3.0]
    """

    def __init__(self, percentile: float, window: int, norms: Sequence[Floats], device: torch.device) -> None:
        self._fraction = percentile / 100.0
        self._count = torch.tensor([len(each) for each in norms], device=device)
        rows = np.full((len(norms), window), np.inf)
        for row, each in zip(rows, norms, strict=True):
            row[: len(each)] = each
        self._ring = torch.as_tensor(rows, dtype=wide(device), device=device)

    def push(self, norms: Tensor) -> None:
        """Add a norm to each group, (groups,), in the place of the oldest; one that is not finite is left out."""
        finite = torch.isfinite(norms)
        place = (self._count % self._ring.shape[1])[:, None]
        new = torch.where(finite[:, None], norms[:, None], self._ring.gather(1, place))
        self._ring = self._ring.scatter(1, place, new)
        self._count = self._count + finite

    def percentile(self) -> Tensor:
        """The percentile of each group, (groups,), infinite before the first norm."""
        return _percentile(self._ring.sort(dim=1).values, self._count.clamp(max=self._ring.shape[1]), self._fraction)

    def values(self) -> list[Floats]:
        """The norms of each group, oldest first; waits for the device."""
        window = self._ring.shape[1]
        rings = zip(_to_host(self._ring), self._count.tolist(), strict=True)
        return [np.roll(ring, -(count % window)) if count > window else ring[:count] for ring, count in rings]


def _percentile(ascending: Tensor, count: Tensor, fraction: float) -> Tensor:
    """Of the first ``count`` entries of each row, rounded as ``numpy.percentile`` rounds it; infinite without any."""
    last = (count - 1).clamp(min=0)
    position = last.to(ascending.dtype) * fraction
    floor = position.floor()
    below = ascending.gather(1, floor.long()[:, None])[:, 0]
    above = ascending.gather(1, torch.minimum(floor.long() + 1, last)[:, None])[:, 0]
    weight = position - floor
    # Without a norm both ends are infinite, and so shall the percentile be.
    difference = torch.where(count > 0, above - below, torch.zeros_like(below))
    return torch.where(weight >= 0.5, above - difference * (1 - weight), below + difference * weight)


def _to_host(values: Tensor) -> Floats:
    found: Floats = values.double().cpu().numpy()
    return found
