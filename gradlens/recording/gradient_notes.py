"""What a row says of the step's gradient: its norms at both points, what is zero in it, and what is not finite."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradlens.recording.entries import EntryCounts, entry_counts
from gradlens.recording.gradient import GradientProbe, Measurement, joined
from gradlens.recording.norms import global_norm
from gradlens.recording.step_row import Part, Parts, StepRow, kept
from gradlens.schema import FRACTIONS

logger = logging.getLogger("gradlens")

CHECK_EVERY = 100
"""Every how many steps the gradient is measured at both points even where it is thought to be left alone."""


class GradientNotes:
    """Measures the gradient of one step, an optimizer's share after another's, and notes what was found.

    Args:
        parameters: of all optimizers.
        device: where results go.

    Attributes:
        doubtful: whether a gradient may be written to between backward and step without a sign of it.
        found: what has been measured at the optimizers of this step.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], device: torch.device) -> None:
        self.doubtful = True
        self.found: list[Measurement] = []
        self._parameters = parameters
        self._device = device
        self._probe = GradientProbe(parameters, device)
        self._warned = False
        self._counted: dict[str, list[EntryCounts]] = {}

    def backward_ended(self, row: StepRow, seed: Tensor, scale: Tensor | None, *, due: bool) -> None:
        """Measure the gradient where backward left it, if this may be the step's last backward pass."""
        self._probe.backward_ended(of=row.of, measure=due)
        row.passes += 1
        row.scalars[Part.SEED] = kept(seed) * row.of
        if scale is not None:
            row.scalars["loss_scale"] = kept(scale)

    def before_user_clip(self) -> None:
        """Measure the gradient before a clip that the user names."""
        self._probe.measure_left()

    def now(self, places: range, scale: Tensor | None) -> Tensor:
        """L2 norm of each gradient as it is now, NaN where there is none, without the scale that it still carries."""
        there = [parameter.grad is not None for parameter in self._parameters[places.start : places.stop]]
        norms = spread(self._probe.norms(places), there)
        return norms if scale is None else norms / scale.to(norms)

    def at_step(self, row: StepRow, places: range, scale: Tensor | None, *, scaling: bool) -> Tensor:
        """Measure what an optimizer takes: the norms, as :meth:`now`.

        Args:
            row: of the step.
            places: which parameters.
            scale: what their gradients are still multiplied by.
            scaling: whether a scaler is at work, which unscales them without a sign of it.
        """
        again = scaling or self.doubtful or row.step % CHECK_EVERY == 0
        self.found.append(self._probe.at_step(places, again=again, scale=scale))
        return spread(self.found[-1].unscaled, self.found[-1].taken_there)

    def count_entries(self, row: StepRow, places: range) -> None:
        """Count the entries that are zero or not finite."""
        parameters = self._parameters[places.start : places.stop]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        there = [parameter.grad is not None for parameter in parameters]
        for name, found in zip(FRACTIONS, entry_counts(gradients, self._device), strict=True):
            row.add_part(name, places, spread(found.shares, there))
            self._counted.setdefault(name, []).append(found)

    def note(self, row: StepRow, *, per_parameter: bool) -> None:
        """Put together what was measured at the optimizers, and note it.

        Args:
            row: where to.
            per_parameter: also the norm of each parameter's gradient.
        """
        found = joined(self.found, len(self._parameters))
        if not any(found.taken_there):
            if not self._warned:
                self._warned = True
                logger.warning(
                    "gradlens found no gradient at step %d: was loss.backward() called before step(), and no "
                    "zero_grad() between them?",
                    row.step,
                )
            return
        taken = found.unscaled
        norm = global_norm(taken)
        row.scalars |= {"grad_norm": norm, "nonfinite": (~torch.isfinite(taken)).sum()}
        row.scalars.setdefault("grad_norm_clipped", norm)  # unless gradlens' own clip has noted it
        if per_parameter:
            row.tensors["grad_norm"] = spread(taken, found.taken_there)
        self._note_fractions(row)
        if found.left is None:
            row.scalars.setdefault("clip_source", "unknown")
        elif not found.once:
            self._note_both(row, found, found.left)
            if per_parameter:
                row.tensors["grad_norm_clipped"] = row.tensors["grad_norm"]
                row.tensors["grad_norm"] = spread(found.left, found.left_there)

    def both(self, row: StepRow) -> tuple[Tensor, Tensor] | None:
        """The global norm at both points, without a loss scale; None where one measurement served both."""
        found = joined(self.found, len(self._parameters))
        if found.left is None or found.once:
            return None
        return global_norm(found.left) / row.scalars.get("loss_scale", 1.0), global_norm(found.unscaled)

    def forget(self) -> None:
        """Let go of the step."""
        self._probe.step_ended()
        self.found, self._counted = [], {}

    def _note_both(self, row: StepRow, found: Measurement, left: Tensor) -> None:
        """Note what backward left beside what the step takes; the host compares them."""
        row.scalars[Part.LEFT] = global_norm(left)
        row.scalars["nonfinite"] = (~torch.isfinite(left)).sum()
        row.scalars.setdefault(Part.SEED, 0.0)
        if not found.announced:
            row.scalars[Part.SILENT] = global_norm(found.taken)
        scale = found.scale if found.scale is not None else row.scalars.get("loss_scale")
        if scale is not None:
            row.scalars[Part.SCALE] = kept(scale)
        if row.declared:
            row.scalars[Part.DECLARED] = 1.0
            if len(row.declared) == 1 and row.declared[0] is not None:
                row.scalars["clip_threshold"] = row.declared[0]

    def _note_fractions(self, row: StepRow) -> None:
        for name, found in self._counted.items():
            total = sum(each.counts.sum() for each in found)
            row.scalars[name] = total / max(1, sum(each.entries for each in found))
            row.tensors[name] = whole(row.parts[name], len(self._parameters))


def spread(norms: Tensor, there: Sequence[bool]) -> Tensor:
    """A number for every parameter, NaN for those without a gradient.

    >>> spread(torch.tensor([3.0]), [False, True]).tolist()
    [nan, 3.0]
    """
    if all(there):
        return norms
    missing = norms.new_full((), torch.nan)
    found = iter(norms.unbind())
    return torch.stack([next(found) if present else missing for present in there])


def whole(parts: Parts, count: int) -> Tensor:
    """A number for every parameter, NaN for those of an optimizer that did not step.

    >>> whole([(range(1, 3), torch.tensor([4.0, 5.0]))], 3).tolist()
    [nan, 4.0, 5.0]
    """
    if len(parts) == 1 and len(parts[0][0]) == count:
        return parts[0][1]
    numbers = parts[0][1].new_full((count,), torch.nan)
    for places, values in parts:
        numbers[places.start : places.stop] = values
    return numbers
