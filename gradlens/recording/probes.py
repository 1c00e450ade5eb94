"""All probes of one training: what is measured before and after an update, and when."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.clipping import ClipRule
from gradlens.recording.entries import entries_of, entry_counts
from gradlens.recording.full_gradient import full_gradient
from gradlens.recording.gradient import GradientProbe, Measurement
from gradlens.recording.landscape import LandscapeProbe
from gradlens.recording.norms import global_norm, tensor_norms
from gradlens.recording.replayed_loss import HalfPrecisionError, ReplayedLoss
from gradlens.recording.smoothness import make_probe
from gradlens.recording.step_row import Part, StepRow, kept
from gradlens.recording.update import DistanceProbe, UpdateProbe
from gradlens.schedules import Schedule
from gradlens.schema import FRACTIONS, LANDSCAPE

logger = logging.getLogger("gradlens")

CHECK_EVERY = 100
"""Every how many steps the gradient is measured at both points even where it is thought to be left alone."""

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
        estimator: how: ``"same_batch"``, ``"segment(n)"`` or ``"hvp"``.
        landscape: when to look along the gradient.
        etas: how far, in step sizes.
        distance: when to measure how far the parameters are from where they were first.
        fractions: when to count entries of the gradient that are zero or not finite.
        scaler: scales the loss, if any does.
        clip: the rule that needs the gradient norm at every step, if any does.

    Attributes:
        parameters: those the optimizer steps.
        device: where results are: that of the first parameter.
        skipped: measurements that failed.
        doubtful: whether a gradient may be written to between backward and step without a sign of it.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        norms: Schedule,
        update: Schedule,
        smoothness: Schedule,
        estimator: str,
        landscape: Schedule,
        etas: Sequence[float],
        distance: Schedule,
        fractions: Schedule,
        scaler: torch.amp.GradScaler | None,
        clip: ClipRule | None,
    ) -> None:
        self._optimizer = optimizer
        self._clipping = clip is not None
        self._scaler = scaler
        self.parameters: Sequence[nn.Parameter] = [p for group in optimizer.param_groups for p in group["params"]]
        self.device = self.parameters[0].device
        self.skipped = 0
        self.doubtful = True
        self._warned = False
        self._norms_due, self._update_due, self._smoothness_due = norms, update, smoothness
        self._gradient = GradientProbe(self.parameters, self.device)
        self._update = UpdateProbe()
        self._landscape_due, self._distance_due, self._fractions_due = landscape, distance, fractions
        self._distance = DistanceProbe()
        self._replay = ReplayedLoss(model, self.parameters, self.device)
        self._smoothness = make_probe(estimator, model, self.parameters, self.device)
        self._landscape = LandscapeProbe(model, self.parameters, self.device, etas)

    @property
    def evaluations(self) -> int:
        """By how much the estimator of the smoothness multiplies the rounding of a gradient."""
        return self._smoothness.points

    def full_gradient(self, row: StepRow, compute: Callable[..., Any], batches: Iterable[Any]) -> None:
        """Note the gradient over a whole set at theta_t."""
        norm, loss, _ = full_gradient(self._replay, compute, batches)
        row.scalars |= {"full_grad_norm": norm, "full_loss": loss}

    def gradients(self) -> list[Tensor]:
        """The gradients there are, in the parameters' order."""
        return self._gradient.present()

    def gradient_norms(self) -> Tensor:
        """L2 norm of each gradient there is, without the loss scale that a fused optimizer still carries."""
        norms = self._gradient.norms()
        scale = getattr(self._optimizer, "grad_scale", None)
        return norms if scale is None else norms / scale.to(norms)

    def backward_ended(self, row: StepRow, seed: Tensor) -> None:
        """Measure the gradient where backward left it, if this may be the step's last backward pass."""
        self._gradient.backward_ended(of=row.of, measure=self._gradient_due(row.step))
        row.passes += 1
        row.scalars[Part.SEED] = kept(seed) * row.of
        scale = getattr(self._scaler, "_scale", None)  # a scaler that is switched off has none
        if scale is not None:
            row.scalars["loss_scale"] = kept(scale)

    def before_user_clip(self, row: StepRow) -> None:
        """Measure the gradient before a clip that the user names."""
        if self._gradient_due(row.step):
            self._gradient.measure_left()

    def left_out(self, row: StepRow) -> None:
        """The optimizer did not step: note the gradient as it is."""
        row.scalars |= {**self._learning_rates(), "stepped": 0.0}
        if self._norms_due(row.step):
            self._gradient_norms_into(row)
        self._gradient.step_ended()
        self._smoothness.forget()
        self._landscape.forget()

    @property
    def outgrown(self) -> bool:
        """Whether the optimizer has got or lost parameters."""
        return sum(len(group["params"]) for group in self._optimizer.param_groups) != len(self.parameters)

    @property
    def gradients_gone(self) -> bool:
        """Whether no parameter has a gradient: after ``zero_grad``, or before the first ``backward``."""
        return all(parameter.grad is None for parameter in self.parameters)

    def loss_begins(self, row: StepRow, call: Callable[[], Any], of: int) -> None:
        """Before a loss is evaluated: remember how, if a probe of this step will evaluate it again."""
        for probe, due in ((self._smoothness, self._smoothness_due), (self._landscape, self._landscape_due)):
            if row.losses == 0 and of == 1 and due(row.step):
                probe.remember(call)
            else:
                probe.forget()

    def _gradient_due(self, step: int) -> bool:
        due = (self._norms_due, self._smoothness_due, self._fractions_due)
        return self._clipping or any(schedule(step) for schedule in due)

    def before_update(self, row: StepRow) -> Tensor | None:
        """Measure at theta_t, before any clip.

        Returns:
            The global gradient norm, a 0-d tensor; None where it was not due, or there is no gradient.
        """
        step = row.step
        row.scalars |= self._learning_rates()
        infinite = getattr(self._optimizer, "found_inf", None)  # a fused optimizer leaves such a step out by itself
        row.scalars["stepped"] = 1.0 if infinite is None else 1.0 - kept(infinite)
        update, smoothness = self._update_due(step), self._smoothness_due(step)
        norm = None
        if self._gradient_due(step):
            norm = self._gradient_norms_into(row)
        if norm is not None and self._fractions_due(step):
            self._count_entries(row)
        if self._distance_due(step):
            row.scalars["distance"] = global_norm(self._distance.measure(self.parameters, self.device))
        if self._landscape.armed:
            self._look_along(row)
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
                    if self._smoothness.noise is not None:
                        row.note_noise(self._smoothness.noise)
        self._gradient.step_ended()
        self._smoothness.forget()
        self._landscape.forget()

    def go_on_from(self, before: Probes) -> None:
        """Take over what is of the whole training, where the optimizer has got other parameters."""
        self.skipped, self.doubtful, self._distance = before.skipped, before.doubtful, before._distance

    def release(self) -> None:
        """Let go of everything held from one step to the next."""
        self._smoothness.forget()
        self._gradient.step_ended()
        self._update = UpdateProbe()

    def _learning_rates(self) -> dict[str | Part, float | Tensor]:
        rates = [kept(group["lr"]) for group in self._optimizer.param_groups]
        return {f"lr[{index}]" if index else "lr": rate for index, rate in enumerate(rates)}

    def _gradient_norms_into(self, row: StepRow) -> Tensor | None:
        found = self._gradient.at_step(again=self.doubtful or row.step % CHECK_EVERY == 0)
        if not any(found.taken_there):
            if not self._warned:
                self._warned = True
                logger.warning(
                    "gradlens found no gradient at step %d: was loss.backward() called before step()?", row.step
                )
            return None
        carried = getattr(self._optimizer, "grad_scale", None)
        taken = found.taken if carried is None else found.taken / carried.to(found.taken)
        norm, due = global_norm(taken), self._norms_due(row.step)
        row.scalars |= {"grad_norm": norm, "grad_norm_clipped": norm, "nonfinite": (~torch.isfinite(taken)).sum()}
        if due:
            row.tensors["grad_norm"] = self._spread(taken, found.taken_there)
        if found.left is None:
            row.scalars["clip_source"] = "unknown"
        elif not found.once:
            self._note_both(row, found, found.left, carried, due=due)
        return norm

    def _note_both(self, row: StepRow, found: Measurement, left: Tensor, carried: Tensor | None, *, due: bool) -> None:
        """Note what backward left beside what the step takes; the host compares them."""
        row.scalars[Part.LEFT] = global_norm(left)
        row.scalars["nonfinite"] = (~torch.isfinite(left)).sum()
        row.scalars.setdefault(Part.SEED, 0.0)
        if not found.announced:
            row.scalars[Part.SILENT] = global_norm(found.taken)
        scale = carried if carried is not None else row.scalars.get("loss_scale")
        if scale is not None:
            row.scalars[Part.SCALE] = kept(scale)
        if row.declared:
            row.scalars[Part.DECLARED] = 1.0
            if len(row.declared) == 1 and row.declared[0] is not None:
                row.scalars["clip_threshold"] = row.declared[0]
        if due:
            row.tensors["grad_norm_clipped"] = row.tensors["grad_norm"]
            row.tensors["grad_norm"] = self._spread(left, found.left_there)

    def _spread(self, norms: Tensor, there: Sequence[bool]) -> Tensor:
        """A norm for every parameter, NaN for those without a gradient."""
        if all(there):
            return norms
        missing = norms.new_full((), torch.nan)
        found = iter(norms.unbind())
        return torch.stack([next(found) if present else missing for present in there])

    def _begin_smoothness(self, row: StepRow) -> None:
        if row.losses > 1:
            row.smoothness = "none: several losses in this step"
        elif not self._smoothness.armed:
            row.smoothness = "none: no recorder.loss in this step"
        else:
            row.smoothness = self._smoothness.method
            with self._guard(row):
                self._smoothness.before_update()

    def _count_entries(self, row: StepRow) -> None:
        gradients = self._gradient.present()
        there = [parameter.grad is not None for parameter in self.parameters]
        counts = entry_counts(gradients, self.device)
        entries = [entries_of(gradient) for gradient in gradients]
        sizes = torch.tensor(entries, dtype=counts[0].dtype).to(self.device, non_blocking=True)
        for name, found in zip(FRACTIONS, counts, strict=True):
            row.scalars[name] = found.sum() / max(1, sum(entries))
            row.tensors[name] = self._spread(found / sizes.clamp(min=1), there)

    def _look_along(self, row: StepRow) -> None:
        try:
            found = self._landscape.measure()
            row.scalars |= {f"landscape_{name}": getattr(found, name) for name in LANDSCAPE}
        except Exception as error:
            self.skip("a landscape probe", row.step, error)
        finally:
            self._landscape.forget()

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
