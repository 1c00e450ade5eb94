"""The loss and its gradient along one step's gradient: how far ahead the gradient can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.recording.norms import global_norm, tensor_norms, wide
from gradlens.recording.replayed_loss import ReplayedLoss, distance, parameters_put_back


@dataclass(frozen=True, slots=True)
class Landscape:
    """What was found along one gradient: 0-d float64 tensors on the probe's device (float32 on Apple's).

    Attributes:
        loss_min: the least loss over the grid.
        loss_max: the largest.
        grad_change_min: the least norm of the gradient's change over the grid.
        grad_change_max: the largest.
        beta: the effective smoothness; NaN where the gradient is zero.
    """

    loss_min: Tensor
    loss_max: Tensor
    grad_change_min: Tensor
    grad_change_max: Tensor
    beta: Tensor


class LandscapeProbe:
    r"""Loss, gradient predictiveness and effective smoothness over a grid of plain gradient steps from theta_t.

    With :math:`d = \nabla L(\theta_t)`, evaluated afresh on the step's own batch and unclipped, and each eta of the
    grid:

    .. math:: L(\theta_t - \eta d), \qquad \lVert \nabla L(\theta_t) - \nabla L(\theta_t - \eta d) \rVert, \qquad
       \beta = \max_\eta \frac{\lVert \nabla L(\theta_t) - \nabla L(\theta_t - \eta d) \rVert}
                              {\eta \lVert d \rVert}

    with the same random numbers everywhere. Whatever the optimizer, the points are those of gradient descent. A loss or
    a gradient that is not finite at some eta shows as such in the band it belongs to.

    It runs before the update. Parameters, gradients, buffers, random states and modes are those of before afterwards,
    also after an exception; the parameters' memory is written to meanwhile. Nothing is read by the host.

    Cost: one forward and backward pass, and one more for each eta. Memory: a copy of the parameters and three of the
    gradients while it runs, nothing between probes.

    Args:
        model: its buffers are shielded from each evaluation.
        parameters: those the optimizer steps.
        device: where results go.
        etas: the grid, in the unit of a learning rate; positive.

    Raises:
        ValueError: if ``etas`` is empty, or one is not positive and finite.

    Reference: Santurkar, Tsipras, Ilyas and Madry, "How Does Batch Normalization Help Optimization?", NeurIPS 2018,
    arXiv 1805.11604, figure 4.

    >>> theta = nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> probe = LandscapeProbe(nn.Module(), [theta], torch.device("cpu"), etas=[0.25, 0.5])
    >>> probe.remember(lambda: theta.square().sum())
    >>> found = probe.measure()
    >>> found.loss_min.item(), found.loss_max.item(), round(found.beta.item(), 6), theta.tolist()
    (0.0, 0.5, 2.0, [1.0, 1.0])
    """

    def __init__(
        self, model: nn.Module, parameters: Sequence[nn.Parameter], device: torch.device, etas: Sequence[float]
    ) -> None:
        self.etas = tuple(float(eta) for eta in etas)
        if not self.etas or not all(0 < eta < math.inf for eta in self.etas):
            raise ValueError(f"etas takes step sizes, at least one, each positive and finite; got {list(etas)!r}.")
        self._replay = ReplayedLoss(model, parameters, device)

    def remember(self, call: Callable[[], Any]) -> None:
        """Note how to evaluate this step's loss again, and the random states before it is evaluated first."""
        self._replay.remember(call)

    def forget(self) -> None:
        """Let go of the step: inputs, random states."""
        self._replay.forget()

    @property
    def armed(self) -> bool:
        """Whether a loss of this step can be evaluated again."""
        return self._replay.armed

    def measure(self) -> Landscape:
        """Look along the gradient, at the parameters' present values.

        Raises:
            RuntimeError: and others, as :meth:`ReplayedLoss.loss_and_gradients`.
        """
        device = self._replay.device
        direction = self._replay.gradients()
        moves = [
            (parameter, slope)
            for parameter, slope in zip(self._replay.parameters, direction, strict=True)
            if slope is not None
        ]
        losses, changes = [], []
        with parameters_put_back([parameter for parameter, _ in moves]) as home:
            for eta in self.etas:
                for (parameter, slope), start in zip(moves, home, strict=True):
                    parameter.data.copy_(start).add_(slope, alpha=-eta)  # as plain SGD rounds it; takes sparse slopes
                loss, gradients = self._replay.loss_and_gradients()
                losses.append(loss.reshape(()).to(device, wide(device)))
                changes.append(distance(gradients, direction, device))
        length = global_norm(tensor_norms([slope for _, slope in moves], device))
        loss_band, change_band = torch.stack(losses), torch.stack(changes)
        slopes = torch.stack([change / eta for change, eta in zip(changes, self.etas, strict=True)])
        return Landscape(
            loss_min=loss_band.min(),
            loss_max=loss_band.max(),
            grad_change_min=change_band.min(),
            grad_change_max=change_band.max(),
            beta=slopes.max() / length,
        )
