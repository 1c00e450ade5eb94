"""How far one optimizer step moves the parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradlens.recording.norms import copy_and_norms, difference_norms


class UpdateProbe:
    r"""Measures :math:`\\lVert \\theta_{t+1} - \\theta_t \\rVert` of each parameter around a step.

    Memory: one copy of the parameters during a measured step; it is held on to the next only where that one is
    measured too.
    """

    def __init__(self) -> None:
        self._before: list[Tensor] = []

    def before(self, parameters: Sequence[Tensor], device: torch.device) -> Tensor:
        """Copy the parameters.

        Returns:
            L2 norm of each, (parameters,) float64 on ``device``.
        """
        self._before = self._before or [torch.empty_like(parameter) for parameter in parameters]
        return copy_and_norms(parameters, self._before, device)

    def after(self, parameters: Sequence[Tensor], device: torch.device, *, keep: bool) -> Tensor:
        """L2 norm of each parameter's move since :meth:`before`.

        Args:
            parameters: the same parameters, stepped.
            device: where the result goes.
            keep: whether the next step is measured too, so that the copy's memory is worth holding.

        Returns:
            (parameters,) float64 on ``device``.
        """
        norms = difference_norms(parameters, self._before, device)
        if not keep:
            self._before = []
        return norms


class DistanceProbe:
    r"""Measures :math:`\\lVert \\theta_t - \\theta_0 \\rVert` of each parameter.

    Memory: one copy of the parameters from the first measurement on, and on an accelerator another while it measures.
    """

    def __init__(self) -> None:
        self._start: dict[Tensor, Tensor] = {}

    def measure(self, parameters: Sequence[Tensor], device: torch.device) -> Tensor:
        """L2 norm of each parameter's move since the first call that had it, (parameters,) float64 on ``device``."""
        for parameter in parameters:
            if parameter not in self._start:
                self._start[parameter] = parameter.detach().clone()
        start = [self._start[parameter] for parameter in parameters]
        if device.type != "cpu":  # there, what is subtracted from is overwritten
            start = [tensor.clone() for tensor in start]
        return difference_norms(parameters, start, device)
