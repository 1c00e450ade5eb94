"""All probes of one training: what is measured before and after an update, and when."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.recording.norms import global_norm, tensor_norms
from gradlens.recording.replayed_loss import HalfPrecisionError
from gradlens.recording.smoothness import SameBatchProbe
from gradlens.recording.step_row import StepRow, kept
from gradlens.recording.update import UpdateProbe
from gradlens.schedules import Schedule
from gradlens.schema import SAME_BATCH

logger = logging.getLogger("gradlens")

_REASONS: dict[type[Exception], str] = {
    torch.OutOfMemoryError: "none: out of memory",
    MemoryError: "none: out of memory",
    HalfPrecisionError: "none: half precision inside compute",
}


class Probes:
    """Measures norms, update and smoothness of one optimizer's steps into a row; reads nothing back from the device.

    Args:
        model: see :class:`gradlens.Recorder`.
        optimizer: its learning rate is noted, and its parameters are measured.
        norms: when to measure gradient norms.
        update: when to measure the update's and the parameters' norms.
        smoothness: when to measure smoothness.

    Attributes:
        parameters: those the optimizer steps.
        device: where results are: that of the first parameter.
        skipped: measurements that failed.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        norms: Schedule,
        update: Schedule,
        smoothness: Schedule,
    ) -> None:
        self._optimizer = optimizer
        self.parameters: Sequence[nn.Parameter] = [p for group in optimizer.param_groups for p in group["params"]]
        self.device = self.parameters[0].device
        self.skipped = 0
        self._warned = False
        self._norms_due, self._update_due, self._smoothness_due = norms, update, smoothness
        self._update = UpdateProbe()
        self._smoothness = SameBatchProbe(model, self.parameters, self.device)

    def gradients(self) -> list[Tensor]:
        """The gradients there are, in the parameters' order."""
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    def gradient_norms(self) -> Tensor:
        """L2 norm of each gradient there is, without the loss scale that a fused optimizer still carries."""
        norms = tensor_norms(self.gradients(), self.device)
        scale = getattr(self._optimizer, "grad_scale", None)
        return norms if scale is None else norms / scale.to(norms)

    def loss_begins(self, row: StepRow, call: Callable[[], Any], of: int) -> None:
        """Before a loss is evaluated: remember how, if this step's smoothness is due."""
        if row.losses == 0 and of == 1 and self._smoothness_due(row.step):
            self._smoothness.remember(call)
        else:
            self._smoothness.forget()

    def before_update(self, row: StepRow, *, clipping: bool) -> Tensor | None:
        """Measure at theta_t, before any clip.

        Returns:
            The global gradient norm, a 0-d tensor; None where it was not due, or there is no gradient.
        """
        step = row.step
        row.scalars["lr"] = kept(self._optimizer.param_groups[0]["lr"])
        update, smoothness = self._update_due(step), self._smoothness_due(step)
        norm = None
        if clipping or smoothness or self._norms_due(step):
            norm = self._gradient(row)
        if smoothness:
            self._begin_smoothness(row)
        if update or row.probing:
            self._update.before(self.parameters)
        if update:
            norms = tensor_norms(self.parameters, self.device)
            row.tensors["param_norm"] = norms
            row.scalars["param_norm"] = global_norm(norms)
        return norm

    def after_update(self, row: StepRow) -> None:
        """Measure at theta_{t+1}, and let go of the step's inputs."""
        update = self._update_due(row.step)
        if update or row.probing:
            keep = self._update_due(row.step + 1) or self._smoothness_due(row.step + 1)
            norms = self._update.after(self.parameters, self.device, keep=keep)
            moved = global_norm(norms)
            if update:
                row.tensors["update_norm"] = norms
                row.scalars["update_norm"] = moved
            if row.probing:
                with self._guard(row):
                    row.note_smoothness(moved=moved, change=self._smoothness.after_update())
        self._smoothness.forget()

    def release(self) -> None:
        """Let go of everything held from one step to the next."""
        self._smoothness.forget()
        self._update = UpdateProbe()

    def _gradient(self, row: StepRow) -> Tensor | None:
        present = [index for index, parameter in enumerate(self.parameters) if parameter.grad is not None]
        if not present:
            if not self._warned:
                self._warned = True
                logger.warning(
                    "gradlens found no gradient at step %d: was loss.backward() called before step()?", row.step
                )
            return None
        norms = self.gradient_norms()
        norm = global_norm(norms)
        row.scalars |= {"grad_norm": norm, "grad_norm_clipped": norm, "nonfinite": (~torch.isfinite(norms)).sum()}
        if self._norms_due(row.step):
            if len(present) < len(self.parameters):
                missing = norms.new_full((), torch.nan)
                found = dict(zip(present, norms.unbind(), strict=True))
                norms = torch.stack([found.get(index, missing) for index in range(len(self.parameters))])
            row.tensors["grad_norm"] = norms
        return norm

    def _begin_smoothness(self, row: StepRow) -> None:
        if row.losses > 1:
            row.smoothness = "none: several losses in this step"
        elif not self._smoothness.armed:
            row.smoothness = "none: no recorder.loss in this step"
        else:
            row.smoothness = SAME_BATCH
            with self._guard(row):
                noise = self._smoothness.before_update()
                if noise is not None:
                    row.note_noise(noise)

    @contextmanager
    def _guard(self, row: StepRow) -> Iterator[None]:
        """A smoothness probe runs the user's code once more: where that fails, the row says so."""
        try:
            yield
        except Exception as error:
            row.smoothness = _REASONS.get(type(error), "none: probe failed")
            self._smoothness.forget()
            self.skip("a smoothness probe", row.step, error)

    def skip(self, what: str, step: int, error: Exception) -> None:
        """Count a measurement that failed; the first is logged."""
        self.skipped += 1
        if self.skipped == 1:
            logger.warning(
                "gradlens skipped %s at step %d (%s: %s). Training goes on; further skips are counted in silence.",
                what, step, type(error).__name__, error,
            )  # fmt: skip
