"""What a row says of the loss around theta_t: along the step, along the gradient, and of single samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.recording.consecutive import ConsecutiveProbe
from gradlens.recording.frozen_weights import FrozenWeightsProbe
from gradlens.recording.landscape import LandscapeProbe
from gradlens.recording.plan import Plan
from gradlens.recording.replayed_loss import HalfPrecisionError, UnrepeatableError
from gradlens.recording.smoothness import SmoothnessProbe, make_probe
from gradlens.recording.step_row import SINGLE_SAMPLES, Part, StepRow
from gradlens.schema import CONSECUTIVE, LANDSCAPE

_INSIDE_BACKWARD = "the optimizer steps inside backward"

_REASONS: dict[type[Exception], str] = {
    torch.OutOfMemoryError: "none: out of memory",
    MemoryError: "none: out of memory",
    HalfPrecisionError: "none: half precision inside compute",
    UnrepeatableError: "none: loss does not repeat",
}


class Curvature:
    """The probes of the loss's curvature, their schedules, and the reasons why there is no number.

    Args:
        model: see :class:`gradlens.Recorder`.
        parameters: of all optimizers.
        device: where results go.
        plan: what to measure, and when.
        skip: counts a measurement that failed.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: Sequence[nn.Parameter],
        device: torch.device,
        plan: Plan,
        skip: Callable[[str, int, Exception], None],
    ) -> None:
        self._parameters, self._plan, self._skip = parameters, plan, skip
        self._consecutive = ConsecutiveProbe(device)
        self._smoothness: SmoothnessProbe | None = None
        if plan.estimator != CONSECUTIVE:
            self._smoothness = make_probe(plan.estimator, model, parameters, device)
        self._landscape = LandscapeProbe(model, parameters, device, plan.etas)
        self._frozen = FrozenWeightsProbe(model, parameters, device)

    @property
    def points(self) -> int:
        """By how much the estimator of the smoothness multiplies the rounding of a gradient."""
        return 1 if self._smoothness is None else self._smoothness.points

    def needs_gradient(self) -> bool:
        """Whether the smoothness of the step before waits for this step's gradient."""
        return self._consecutive.armed

    def loss_begins(self, row: StepRow, call: Callable[[], Any], of: int) -> None:
        """Before a loss is evaluated: remember how, if a probe of this step will evaluate it again."""
        probes = (
            (self._smoothness, self._plan.smoothness),
            (self._landscape, self._plan.landscape),
            (self._frozen, self._plan.frozen_weights),
        )
        for probe, due in probes:
            if probe is None:
                continue
            if not row.losses and of == 1 and due(row.step):
                probe.remember(call)
            else:
                probe.forget()

    def at_theta(self, row: StepRow, scales: Sequence[Tensor | None], *, copy: bool) -> None:
        """Measure at theta_t, before any optimizer has stepped and before any clip.

        Args:
            row: of the step.
            scales: what each optimizer's gradients are still multiplied by.
            copy: whether the gradients are about to be clipped in place.
        """
        if self._landscape.armed:
            self._look_along(row)
        if self._frozen.armed:
            self._look_at_samples(row)
        if not self._plan.smoothness(row.step):
            return
        if inside_backward():
            row.smoothness = f"none: {_INSIDE_BACKWARD}"
        elif self._smoothness is None and not _alike(scales):
            row.smoothness = "none: gradients carry different loss scales"
        elif self._smoothness is None:
            carried = scales[0]
            row.smoothness = CONSECUTIVE
            with self._guard(row):
                gradients = [parameter.grad for parameter in self._parameters]
                if carried is None:
                    self._consecutive.keep(gradients, copy=copy)
                else:  # a fused optimizer undoes the scale in place
                    self._consecutive.keep(gradients, carried, copy=True)
        elif len(row.losses) > 1:
            row.smoothness = "none: several losses in this step"
        elif not self._smoothness.armed:
            row.smoothness = "none: no recorder.loss in this step"
        else:
            row.smoothness = self._smoothness.method
            with self._guard(row):
                self._smoothness.before_update()

    def over(self, row: StepRow, moved: Tensor) -> None:
        """Measure at theta_{t+1}; ``moved`` is the length of the step, a 0-d tensor."""
        row.scalars[Part.MOVED] = moved
        if self._smoothness is not None:
            with self._guard(row):
                row.scalars[Part.CHANGE] = self._smoothness.after_update()
                if self._smoothness.noise is not None:
                    row.scalars[Part.NOISE] = self._smoothness.noise

    def next_gradient(
        self, waiting: StepRow, scales: Sequence[Tensor | None], both: tuple[Tensor, Tensor] | None
    ) -> None:
        """Compare the gradient that there is now with that of the step before.

        Args:
            waiting: the row of the step before.
            scales: what each optimizer's gradients are still multiplied by.
            both: the global norm where backward left the gradient, and as it is now.
        """
        if not self._consecutive.armed or inside_backward():
            return
        with self._guard(waiting):
            gradients = [parameter.grad for parameter in self._parameters]
            if not _alike(scales):
                self._consecutive.forget()
                waiting.smoothness = "none: gradients carry different loss scales"
                return
            change = self._consecutive.change(gradients, 1.0 if scales[0] is None else scales[0])
            if change is None:
                waiting.smoothness = "none: gradient was overwritten before the next"
                return
            waiting.scalars[Part.CHANGE] = change[0]
            if both is not None:
                waiting.scalars[Part.NEXT_LEFT], waiting.scalars[Part.NEXT_TAKEN] = both

    def forget(self) -> None:
        """Let go of the step's inputs."""
        if self._smoothness is not None:
            self._smoothness.forget()
        self._landscape.forget()
        self._frozen.forget()

    def forget_gradient(self) -> None:
        """Let go of the gradient that waits for the next."""
        self._consecutive.forget()

    def _look_along(self, row: StepRow) -> None:
        if inside_backward():
            self._skip("a landscape probe", row.step, RuntimeError(_INSIDE_BACKWARD))
            return
        try:
            found = self._landscape.measure()
            row.scalars |= {f"landscape_{name}": getattr(found, name) for name in LANDSCAPE}
        except Exception as error:
            self._skip("a landscape probe", row.step, error)
        finally:
            self._landscape.forget()

    def _look_at_samples(self, row: StepRow) -> None:
        try:
            found = self._frozen.measure(seed=row.step)
            row.scalars[Part.SAMPLES_SEEN] = len(found)
            row.tensors[SINGLE_SAMPLES] = found.reshape(-1)
        except Exception as error:
            self._skip("an estimate at frozen weights", row.step, error)
        finally:
            self._frozen.forget()

    @contextmanager
    def _guard(self, row: StepRow) -> Iterator[None]:
        """A smoothness probe runs the user's code once more: where that fails, the row says so."""
        try:
            yield
        except Exception as error:
            row.smoothness = _REASONS.get(type(error), "none: probe failed")
            if self._smoothness is not None:
                self._smoothness.forget()
            self._skip("a smoothness probe", row.step, error)


def _alike(scales: Sequence[Tensor | None]) -> bool:
    """Whether all are the same; a scaler hands on one and the same scale, perhaps as a copy."""
    return len({scale is None for scale in scales}) == 1


def inside_backward() -> bool:
    """Whether a backward pass is under way, in which the gradient is never there as a whole."""
    return bool(torch._C._current_graph_task_id() != -1)
