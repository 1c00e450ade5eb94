"""Clip rules on an accelerator: the twins of the host rules, so that adaptive clipping reads nothing back.

Each twin keeps its state in device memory and returns 0-d tensors. ``clipping.replay`` and the twins agree; on the CPU
the host rule itself runs, where reading a norm costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens.clipping import ClipRule

DeviceRule = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Takes the global norm, a 0-d tensor; returns coefficient and threshold, 0-d tensors on the same device."""


def device_rule(rule: ClipRule) -> DeviceRule:
    """The device twin of a rule.

    Raises:
        ValueError: if the rule has none; running the host rule instead would stall the device at every step.
    """
    if rule.name == "fixed":
        max_norm = float(rule.parameters["max_norm"] or 0.0)
        return lambda norm: _clip(norm, torch.full_like(norm, max_norm))
    if rule.name == "autoclip" and rule.parameters["window"] is None:
        return DeviceAutoClip(float(rule.parameters["percentile"] or 0.0))
    raise ValueError(f"{rule} has no form that runs on an accelerator yet; use autoclip without a window, or fixed.")


class DeviceAutoClip:
    """AutoClip with its history as a sorted buffer in device memory.

    The buffer is padded with infinities and doubled when the number of steps, which the host knows, reaches its size;
    how many norms were finite, only the device knows. A step costs one pass over the buffer.

    Args:
        percentile: p in [0, 100].

    >>> rule = DeviceAutoClip(50)
    >>> [rule(torch.tensor(norm))[1].item() for norm in (1.0, float("nan"), 3.0)]
    [1.0, 1.0, 2.0]
    """

    def __init__(self, percentile: float) -> None:
        self._fraction = percentile / 100.0
        self._steps = 0
        self._sorted = torch.empty(0)
        self._index = torch.empty(0)
        self._count = torch.empty(0)

    def __call__(self, norm: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficient and threshold for one more global norm, a 0-d float tensor."""
        if len(self._sorted) == 0:
            self._count = torch.zeros((), dtype=torch.int64, device=norm.device)
            self._sorted = norm.new_empty(0)
        if self._steps == len(self._sorted):
            self._grow(norm)
        self._steps += 1
        finite = torch.isfinite(norm)
        place = torch.searchsorted(self._sorted, norm)
        shifted = torch.roll(self._sorted, 1)
        inserted = torch.where(self._index < place, self._sorted, torch.where(self._index == place, norm, shifted))
        self._sorted = torch.where(finite, inserted, self._sorted)
        self._count = self._count + finite
        return _clip(norm, self._percentile(norm))

    def save(self) -> dict[str, NDArray[np.float64]]:
        """The state as the host rule's ``save`` gives it; waits for the device."""
        norms = self._sorted[torch.isfinite(self._sorted)].double().cpu().numpy()
        return {"norms": norms, "counts": np.array([len(norms)], float)}

    def load(self, saved: Mapping[str, NDArray[np.float64]], norm: Tensor) -> None:
        """Take over a state that ``save`` gave.

        Args:
            saved: the state.
            norm: any tensor with the device and dtype of the norms to come.
        """
        norms = np.sort(saved["norms"])
        self._steps = len(norms)
        self._count = torch.tensor(len(norms), device=norm.device)
        self._sorted = torch.as_tensor(norms, dtype=norm.dtype, device=norm.device)
        self._grow(norm)

    def _grow(self, norm: Tensor) -> None:
        size = max(1024, 2 * self._steps)
        padding = torch.full((size - self._steps,), torch.inf, dtype=norm.dtype, device=norm.device)
        self._sorted = torch.cat([self._sorted, padding])
        self._index = torch.arange(size, device=norm.device)

    def _percentile(self, norm: Tensor) -> Tensor:
        position = (self._count - 1).clamp(min=0).to(norm.dtype) * self._fraction
        floor = position.floor()
        below = self._sorted.gather(0, floor.long().reshape(1)).reshape(())
        above_index = torch.minimum(floor.long() + 1, (self._count - 1).clamp(min=0))
        above = self._sorted.gather(0, above_index.reshape(1)).reshape(())
        weight = position - floor
        # Rounded as numpy.percentile rounds it. Before the first finite norm both ends are infinite, and so is the
        # threshold.
        difference = torch.where(self._count > 0, above - below, torch.zeros_like(below))
        return torch.where(weight >= 0.5, above - difference * (1 - weight), below + difference * weight)


def _clip(norm: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
    act = torch.isfinite(norm) & (norm > threshold)
    return torch.where(act, threshold / norm, torch.ones_like(norm)), threshold
