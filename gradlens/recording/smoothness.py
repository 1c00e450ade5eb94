r"""Local smoothness along a step, on the step's own batch, with the same random numbers everywhere, unclipped.

With d the step from theta_t to theta_{t+1}, three estimators of how fast the gradient changes along it:

.. math:: \text{same\_batch} = \frac{\lVert \nabla f(\theta_t + d) - \nabla f(\theta_t) \rVert}{\lVert d \rVert}
   \qquad \text{segment} = \max_{\gamma \in \{1/n, \dots, 1\}}
   \frac{\lVert \nabla f(\theta_t + \gamma d) - \nabla f(\theta_t) \rVert}{\gamma \lVert d \rVert}
   \qquad \text{hvp} = \frac{\lVert \nabla^2 f(\theta_t)\, d \rVert}{\lVert d \rVert}

On a quadratic with Hessian H all are equal, and lie between the smallest and the largest eigenvalue of H; as the step
shrinks, all tend to ``hvp``. A fourth, of successive batches, is in :mod:`gradlens.recording.consecutive`.

A probe returns the numerator; who measures the step divides by its length.

Reference: Zhang, He, Sra and Jadbabaie, "Why gradient clipping accelerates training: A theoretical justification for
adaptivity", ICLR 2020, arXiv 1905.11881; ``segment`` is its estimate along a trajectory.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gradlens.recording.norms import global_norm, tensor_norms
from gradlens.recording.replayed_loss import Gradients, ReplayedLoss, distance, parameters_put_back
from gradlens.schema import SAME_BATCH

NOISE_EVERY = 16
"""Every how many probes an evaluation is repeated where it was made, to measure the noise floor."""


class SmoothnessProbe(ABC):
    """What the estimators share: a step's loss to evaluate again, before and after the update.

    ``remember`` before the loss is evaluated, ``before_update``, ``after_update``, ``forget``. An exception from either
    evaluation leaves the training as it was; call ``forget`` then.

    Args:
        model: its buffers are shielded from each evaluation.
        parameters: those the optimizer steps.
        device: where results go.

    Attributes:
        method: what rows call the estimator.
        points: at how many points of the step it evaluates; the rounding of a gradient counts as many times.
        noise: once ``after_update`` is done, on the first and every 16th probe: the change that ``after_update`` would
            return from noise alone, a 0-d tensor; else None.
    """

    method: ClassVar[str]
    points = 1

    def __init__(self, model: nn.Module, parameters: Sequence[nn.Parameter], device: torch.device) -> None:
        self._replay = ReplayedLoss(model, parameters, device)
        self._probes = 0
        self._start: list[Tensor] = []
        self.noise: Tensor | None = None

    def remember(self, call: Callable[[], Any]) -> None:
        """Note how to evaluate this step's loss again, and the random states before it is evaluated first."""
        self._replay.remember(call)

    def forget(self) -> None:
        """Let go of the step: inputs, gradients, weights, random states, noise."""
        self._replay.forget()
        self._start = []
        self.noise = None

    @property
    def armed(self) -> bool:
        """Whether a loss of this step can be evaluated again."""
        return self._replay.armed

    @abstractmethod
    def before_update(self) -> Tensor | None:
        """Measure at theta_t; returns ``noise`` where it is known by then."""

    @abstractmethod
    def after_update(self) -> Tensor:
        """Measure at theta_{t+1} or on the way to it; a 0-d tensor to be divided by the length of the step."""

    def _repeat_is_due(self) -> bool:
        self.noise = None
        self._probes += 1
        return (self._probes - 1) % NOISE_EVERY == 0

    def _movable(self) -> list[nn.Parameter]:
        """Parameters that the update can move. Frozen ones are neither copied nor written to."""
        return [p for p in self._replay.parameters if p.requires_grad or p.grad is not None]


class SameBatchProbe(SmoothnessProbe):
    """Evaluates the gradient of one step's loss at both ends of the step.

    Both ends are evaluated afresh, whatever the training did to its own gradients in between (a clip, accumulation, a
    scale), in the precision of the weights: an autocast around the loss is left out, one inside ``compute`` is refused.
    Costs two forward and backward passes a probe, and a third on every 16th, which repeats the first. Gradients,
    buffers and random states are those of before afterwards; other side effects of ``compute`` (a counter of its own,
    say) happen again.

    Memory: two more copies of the gradients while the probe runs, nothing between probes.

    Args:
        model: its buffers are shielded from each evaluation.
        parameters: those the optimizer steps.
        device: where results go.
    """

    method = SAME_BATCH

    def __init__(self, model: nn.Module, parameters: Sequence[nn.Parameter], device: torch.device) -> None:
        super().__init__(model, parameters, device)
        self._gradients: Gradients = []

    def forget(self) -> None:
        """Let go of the step: inputs, gradients, random states."""
        super().forget()
        self._gradients = []

    def before_update(self) -> Tensor | None:
        """Evaluate the gradient at theta_t.

        Returns:
            On the first and every 16th probe, the norm of the difference to a repeat of it, a 0-d tensor; else None.
        """
        self._gradients = self._replay.gradients()
        if self._repeat_is_due():
            self.noise = self._change()
        return self.noise

    def after_update(self) -> Tensor:
        """Norm of the change of the gradient over the step, a 0-d tensor."""
        change = self._change()
        self._gradients = []
        return change

    def _change(self) -> Tensor:
        return distance(self._replay.gradients(), self._gradients, self._replay.device)


class SegmentProbe(SameBatchProbe):
    """The largest change of the gradient per length, over equally spaced points of the step.

    :class:`SameBatchProbe` at theta_{t+1}, to the bit, and on the way to it at theta_t + gamma d for gamma = 1/n ...
    (n-1)/n, where the parameters are put for the evaluation; afterwards every bit of them is back. Costs 1 + n forward
    and backward passes a probe, and one more on every 16th.

    A point is rounded to the weights' dtype: where the step is a few units in the last place long (weights in half
    precision), the points in between are not where gamma says, and n = 1 is the estimate to trust. The noise is n
    times that of one gradient: at the point next to theta_t, noise is divided by 1/n of the step; the same holds for
    the gradient's rounding.

    Memory: beside the two copies of the gradients, a copy of the parameters during the update and two after it. With
    n = 1 none.

    Args:
        model: its buffers are shielded from each evaluation.
        parameters: those the optimizer steps.
        device: where results go.
        points: n, at least 1.

    Raises:
        ValueError: if ``points`` is not a whole number of at least 1.
    """

    method = "segment"

    def __init__(
        self, model: nn.Module, parameters: Sequence[nn.Parameter], device: torch.device, points: int = 4
    ) -> None:
        if isinstance(points, bool) or not isinstance(points, int) or points < 1:
            raise ValueError(f"points takes the number of points on a step, 1 or more; got {points!r}.")
        super().__init__(model, parameters, device)
        self.points = points

    def before_update(self) -> Tensor | None:
        """Copy the parameters and evaluate the gradient at theta_t.

        Returns:
            On the first and every 16th probe, n times the norm of the difference to a repeat of it; else None.
        """
        super().before_update()
        if self.points > 1:
            self._start = [parameter.detach().clone() for parameter in self._movable()]
            if self.noise is not None:
                self.noise = self.noise * self.points
        return self.noise

    def after_update(self) -> Tensor:
        """The largest norm of the change of the gradient to a point, divided by the point's gamma; a 0-d tensor."""
        largest = self._change()
        if self.points > 1:
            movable = self._movable()
            with parameters_put_back(movable) as end:
                for point in range(1, self.points):
                    gamma = point / self.points
                    for parameter, a, b in zip(movable, self._start, end, strict=True):
                        torch.lerp(a, b, gamma, out=parameter.data)
                    largest = torch.maximum(largest, self._change() / gamma)
        self._gradients, self._start = [], []
        return largest


class HvpProbe(SmoothnessProbe):
    """The Hessian of the step's loss at theta_t, times the step.

    The step is known only once it is done: the parameters are put back to theta_t for the evaluation, and to
    theta_{t+1} after it, to the bit. No other way reaches a loss that the user computes as they like. No difference of
    gradients is taken, so rounding matters as little for a short step as for a long one.

    Costs one forward pass and two backward passes a probe, the second through the first (about two gradients), and as
    much again on every 16th. Raises where an operation of the model has no second derivative, see
    :meth:`ReplayedLoss.hessian_product`. A piecewise linear model has its curvature in the loss alone.

    Memory: a copy of the parameters during the update and two after it; then two copies of the gradients and a graph
    about twice that of a training step.

    Args:
        model: its buffers are shielded from each evaluation.
        parameters: those the optimizer steps.
        device: where results go.
    """

    method = "hvp"

    def before_update(self) -> Tensor | None:
        """Copy the parameters; the noise is known after the update only."""
        self._start = [parameter.detach().clone() for parameter in self._movable()]
        return None

    def after_update(self) -> Tensor:
        """Norm of the Hessian times the step, a 0-d tensor; ``noise`` is the norm of the difference to a repeat."""
        repeat = self._repeat_is_due()
        movable = self._movable()
        with parameters_put_back(movable) as end:
            for parameter, start, stop in zip(movable, self._start, end, strict=True):
                parameter.data.copy_(start)
                torch.sub(stop, start, out=start)  # theta_t is in the parameters now; its copy becomes the step
            step = dict(zip(movable, self._start, strict=True))
            direction = [step.get(parameter) for parameter in self._replay.parameters]
            product = self._replay.hessian_product(direction)
            if repeat:
                self.noise = distance(self._replay.hessian_product(direction), product, self._replay.device)
        self._start = []
        return global_norm(tensor_norms([part for part in product if part is not None], self._replay.device))


def make_probe(
    estimator: str, model: nn.Module, parameters: Sequence[nn.Parameter], device: torch.device
) -> SmoothnessProbe:
    """The probe of an estimator.

    Args:
        estimator: ``"same_batch"``, ``"segment"``, ``"segment(n)"`` or ``"hvp"``.
        model: see the probes.
        parameters: see the probes.
        device: see the probes.

    Raises:
        ValueError: for another text.

    >>> make_probe("segment(8)", nn.Module(), [], torch.device("cpu")).points
    8
    """
    if estimator in (SameBatchProbe.method, HvpProbe.method):
        kind = SameBatchProbe if estimator == SameBatchProbe.method else HvpProbe
        return kind(model, parameters, device)
    asked = re.fullmatch(r"segment(?:\((\d+)\))?", estimator) if isinstance(estimator, str) else None
    if asked is None:
        raise ValueError(
            'estimator takes "same_batch", "segment(n)", such as "segment(8)", "hvp" or "consecutive"; '
            f"got {estimator!r}."
        )
    return SegmentProbe(model, parameters, device, *map(int, filter(None, asked.groups())))
