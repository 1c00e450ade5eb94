"""All probes of one training: what is measured around the updates of its optimizers, and when."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from operator import is_not
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.recording.curvature import Curvature
from gradlens.recording.full_gradient import full_gradient
from gradlens.recording.gradient_notes import GradientNotes, whole
from gradlens.recording.loss_scaling import CarriedScales
from gradlens.recording.micro_batch_clip import MicroBatchClip
from gradlens.recording.micro_batch_probe import MicroBatchProbe
from gradlens.recording.norms import global_norm, tensor_norms
from gradlens.recording.plan import Plan
from gradlens.recording.replayed_loss import Gradients, ReplayedLoss
from gradlens.recording.step_row import Evaluated, Part, StepRow, kept
from gradlens.recording.update import DistanceProbe, UpdateProbe

logger = logging.getLogger("gradlens")


class Probes:
    """Measures norms, update and smoothness of a training's steps into a row; reads nothing back from the device.

    A step is made by one optimizer or several. What is of the parameters as a whole is measured before the first of
    them moves any; the gradient and the update of its own parameters, around each optimizer's step.

    Args:
        model: see :class:`gradlens.Recorder`.
        optimizers: their learning rates are noted, and their parameters are measured.
        plan: what to measure, and when.
        scaler: scales the loss, if any does.
        clipping: whether a rule needs the gradient of all parameters at every step, before the first optimizer's.

    Attributes:
        parameters: those that the optimizers step, one optimizer's after another's.
        device: where results are: that of the first parameter.
        skipped: measurements that failed.
        scales: loss scales that gradients carry.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        plan: Plan,
        scaler: torch.amp.GradScaler | None,
        *,
        clipping: bool,
    ) -> None:
        self._optimizers, self._plan, self._clipping = optimizers, plan, clipping
        self.scales = CarriedScales(optimizers, scaler)
        owned = [[p for group in optimizer.param_groups for p in group["params"]] for optimizer in optimizers]
        self.parameters: Sequence[nn.Parameter] = [parameter for each in owned for parameter in each]
        self.device = self.parameters[0].device
        self.skipped = 0
        self._all = range(len(self.parameters))
        self._shares = [range(a, b) for a, b in pairwise(accumulate(map(len, owned), initial=0))]
        self._infinite: list[float | Tensor] = []
        self._gradient = GradientNotes(self.parameters, self.device)
        self._curvature = Curvature(model, self.parameters, self.device, plan, self.skip)
        self._micro_batches = MicroBatchProbe(self.parameters, self.device)
        self._updates = [UpdateProbe() for _ in optimizers]
        self._distance = DistanceProbe()
        self._replay = ReplayedLoss(model, self.parameters, self.device)

    @property
    def evaluations(self) -> int:
        """By how much the estimator of the smoothness multiplies the rounding of a gradient."""
        return self._curvature.points

    @property
    def outgrown(self) -> bool:
        """Whether the optimizers have other parameters than before."""
        now = [p for optimizer in self._optimizers for group in optimizer.param_groups for p in group["params"]]
        return len(now) != len(self.parameters) or any(map(is_not, now, self.parameters))

    @property
    def gradients_gone(self) -> bool:
        """Whether no parameter has a gradient: after ``zero_grad``, or before the first ``backward``."""
        return all(parameter.grad is None for parameter in self.parameters)

    @property
    def learning_rate(self) -> float | Tensor:
        """That of the first group."""
        rate: float | Tensor = self._optimizers[0].param_groups[0]["lr"]
        return rate

    def told(self, *, doubtful: bool) -> None:
        """What the rows have said: whether a gradient may be written to before the step without a sign of it."""
        self._gradient.doubtful = doubtful

    def gradient_norms(self, which: int) -> Tensor:
        """L2 norm of each parameter's gradient before an optimizer's step, NaN where there is none, unscaled."""
        return self._gradient.now(self._all, self.scales.of(which))

    def full_gradient(self, row: StepRow, compute: Callable[..., Any], batches: Iterable[Any]) -> None:
        """Note the gradient over a whole set at theta_t."""
        norm, loss, _ = full_gradient(self._replay, compute, batches)
        row.scalars |= {"full_grad_norm": norm, "full_loss": loss}

    def loss_begins(self, row: StepRow, call: Callable[[], Any], of: int) -> None:
        """Before a loss is evaluated: remember how, if a probe of this step will evaluate it again."""
        self._curvature.loss_begins(row, call, of)

    def plain_due(self, step: int) -> bool:
        """Whether the gradient is wanted as it is without a clip of its micro-batches."""
        return self._plan.norms(step) or self._plan.micro_batches(step)

    def backward_ended(
        self, row: StepRow, seed: Tensor, notes: list[Evaluated], clip: MicroBatchClip | None, own: Gradients | None
    ) -> None:
        """Measure the gradient where backward left it, if this may be the step's last backward pass.

        Args:
            row: of the step.
            seed: what backward multiplied the losses by, divided by ``of``.
            notes: of the losses that the pass went through.
            clip: the rule on micro-batches that has written to the gradient since, if any.
            own: the micro-batch's own gradient, where that rule has told it apart.
        """
        self._gradient.backward_ended(row, seed, self.scales.scale, due=clip is None and self._gradient_due(row))
        if self._plan.micro_batches(row.step):
            self._micro_batches.backward_ended(seed, notes, own)

    def before_user_clip(self, row: StepRow) -> None:
        """Measure the gradient before a clip that the user names."""
        if self._gradient_due(row):
            self._gradient.before_user_clip()

    def before_update(
        self, row: StepRow, which: int, waiting: StepRow | None, clip: MicroBatchClip | None, *, first: bool
    ) -> Tensor | None:
        """Measure before an optimizer's update, and before any clip.

        Args:
            row: of this step.
            which: the optimizer's index.
            waiting: the row of the step before, where its smoothness waits for this step's gradient.
            clip: the rule on micro-batches that has clipped them, if any.
            first: whether no optimizer has stepped yet in this step.

        Returns:
            The norms of the gradients that there are now, NaN for a parameter without one: (parameters,) of all where a
            rule clips, which they are once a step; else of the optimizer's own. None where they were not due.
        """
        if first:  # also after a step that failed half-way
            row.begun, self._infinite, self._gradient.found = True, [], []
        places = self._all if self._clipping else self._shares[which]
        infinite = getattr(
            self._optimizers[which], "found_inf", None
        )  # a fused optimizer leaves such a step out by itself
        self._infinite.append(0.0 if infinite is None else kept(infinite))
        norms = None
        if self._gradient_due(row) and (first or not self._clipping):
            norms = self._gradient.at_step(row, places, self.scales.of(which), scaling=self.scales.scaling)
            if self._plan.fractions(row.step):
                self._gradient.count_entries(row, places)
        if first:
            self._at_theta(row, waiting)
            self._measure_micro_batches(row, clip)
        if self._update_due(row):
            norms_before = self._updates[which].before(self._share(which), self.device)
            row.add_part("param_norm", self._shares[which], norms_before)
        return norms

    def after_update(self, row: StepRow, which: int) -> None:
        """Measure how far an optimizer has moved its parameters."""
        row.moved = True
        if self._update_due(row):
            keep = self._plan.update(row.step + 1) or self._plan.smoothness(row.step + 1)
            norms = self._updates[which].after(self._share(which), self.device, keep=keep)
            row.add_part("update_norm", self._shares[which], norms)

    def over(self, row: StepRow, clip: MicroBatchClip | None) -> None:
        """Every optimizer has stepped: put its parts together, measure at theta_{t+1}, let go of the step's inputs.

        Args:
            row: of the step.
            clip: the rule on micro-batches that has clipped them, if any.
        """
        try:
            if not row.moved:
                self._left_out(row)
            elif self._gradient.found:
                self._gradient.note(row, per_parameter=self._plan.norms(row.step))
            if clip is not None:
                self._note_micro_batch_clip(row, clip)
            # More than 0 where one of them stepped; a tensor where an accelerator decides.
            row.scalars["stepped"] = sum(1.0 - infinite for infinite in self._infinite)
            if "update_norm" in row.parts:
                self._note_update(row)
        finally:
            self.forget_step()

    def forget_step(self) -> None:
        """Let go of a step that failed."""
        self._gradient.forget()
        self._curvature.forget()
        self._micro_batches.forget()

    def release(self) -> None:
        """Let go of everything held from one step to the next."""
        self.forget_step()
        self._curvature.forget_gradient()
        self._updates = [UpdateProbe() for _ in self._updates]

    def go_on_from(self, before: Probes) -> None:
        """Take over what is of the whole training, where an optimizer has got other parameters."""
        self.skipped, self._distance = before.skipped, before._distance
        self._gradient.doubtful = before._gradient.doubtful

    def skip(self, what: str, step: int, error: Exception) -> None:
        """Count a measurement that failed; the first is logged."""
        self.skipped += 1
        if self.skipped == 1:
            logger.warning(
                "gradlens skipped %s at step %d (%s: %s). Training goes on; further skips are counted in silence.",
                what, step, type(error).__name__, error,
            )  # fmt: skip

    def _share(self, which: int) -> Sequence[nn.Parameter]:
        return self.parameters[self._shares[which].start : self._shares[which].stop]

    def _gradient_due(self, row: StepRow) -> bool:
        """Decided once a step, which several optimizers make together."""
        if row.gradient_due is None:
            row.gradient_due = self._clipping or self._plan.gradient(row.step) or self._curvature.needs_gradient()
        return row.gradient_due

    def _update_due(self, row: StepRow) -> bool:
        return row.probing or self._plan.update(row.step)

    def _learning_rates(self) -> dict[str | Part, float | Tensor]:
        rates = [kept(group["lr"]) for optimizer in self._optimizers for group in optimizer.param_groups]
        return {f"lr[{index}]" if index else "lr": rate for index, rate in enumerate(rates)}

    def _at_theta(self, row: StepRow, waiting: StepRow | None) -> None:
        """Measure what is of all parameters, while they are still those of theta_t."""
        row.scalars |= self._learning_rates()
        scales = [self.scales.of(which) for which in range(len(self._optimizers))]
        if waiting is not None:
            self._curvature.next_gradient(waiting, scales, self._gradient.both(row))
        if self._plan.distance(row.step):
            row.scalars["distance"] = global_norm(self._distance.measure(self.parameters, self.device))
        self._curvature.at_theta(row, scales, copy=self._clipping)

    def _measure_micro_batches(self, row: StepRow, clip: MicroBatchClip | None) -> None:
        if self._plan.micro_batches(row.step):
            coefficients = clip.coefficients if clip is not None and clip.active else None
            row.micro_batches = self._micro_batches.measure(row.scalars.get("loss_scale", 1.0), coefficients)

    def _note_micro_batch_clip(self, row: StepRow, clip: MicroBatchClip) -> None:
        """The gradient that was measured is the clipped one; the plain one is known where it was wanted."""
        scale, coefficients, plain = row.scalars.get("loss_scale", 1.0), clip.coefficients, clip.plain_norms
        after = row.scalars.pop("grad_norm", None)
        row.scalars |= {
            "clip_source": "observed",
            "clip_coef_mean": coefficients.mean(),
            "clipped": (coefficients < 1.0).any(),
        }
        if clip.rho is not None:
            row.scalars["rho"] = clip.rho
        if "grad_norm" in row.tensors:
            row.tensors["grad_norm_clipped"] = row.tensors.pop("grad_norm")
        if plain is not None and after is not None:
            before = global_norm(plain[~plain.isnan()] if self.device.type == "cpu" else plain.nan_to_num(0.0)) / scale
            row.scalars |= {"grad_norm": before, "clip_coef": torch.where(before > 0, after / before, 1.0)}
            if self._plan.norms(row.step):
                row.tensors["grad_norm"] = plain / scale

    def _note_update(self, row: StepRow) -> None:
        measured = {places for places, _ in row.parts["param_norm"]}
        for which, places in enumerate(self._shares):
            if places not in measured:  # this optimizer has not stepped, so that they are still those of theta_t
                row.add_part("param_norm", places, tensor_norms(self._share(which), self.device))
        found = {kind: row.parts[kind] for kind in ("update_norm", "param_norm")}
        norms: dict[str | Part, Tensor] = {
            kind: global_norm(torch.cat([each for _, each in parts])) for kind, parts in found.items()
        }
        if self._plan.update(row.step):
            row.scalars |= norms
            row.tensors |= {kind: whole(parts, len(self.parameters)) for kind, parts in found.items()}
        if row.probing:
            self._curvature.over(row, norms["update_norm"])

    def _left_out(self, row: StepRow) -> None:
        """No optimizer stepped: note the gradient as it is."""
        row.scalars |= self._learning_rates()
        self._infinite = [1.0]
        if self._plan.norms(row.step):
            self._gradient.found = []
            self._gradient.at_step(row, self._all, None, scaling=True)
            self._gradient.note(row, per_parameter=True)
