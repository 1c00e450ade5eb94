"""Rules that norms of whole parameters do not determine: clipping by value and by unit, and what is made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradlens.clipping import ClipRule, Measured
from gradlens.clipping.match_step import matching
from gradlens.clipping.rule import State, total_norm
from gradlens.recording import cpu_norms
from gradlens.recording.dense import dense
from gradlens.recording.norms import tensor_norms, wide
from gradlens.recording.scaling import entries, scale_gradients, take

_SINGLE = 4
"""Bytes of a number of single precision."""


@dataclass(slots=True)
class Gradients:
    """The gradients of a step, as a rule works on them.

    Attributes:
        parameters: those with a gradient.
        tensors: their gradients; sparse ones are coalesced.
        places: their indices among all parameters.
        norms: (all parameters,) norms of the gradients as they are now; NaN without one, infinity if not finite.
        lr: the learning rate.
        scale: what the gradients are multiplied by, and their norms are not, or None.
        clipped: for each rule, whether it clipped anything, as 0-d tensors.
        unit_coefficients: of the last rule that acted on units, (units,).
    """

    parameters: Sequence[Tensor]
    tensors: list[Tensor]
    places: Sequence[int]
    norms: Tensor
    lr: float | Tensor
    scale: Tensor | None
    clipped: list[Tensor] = field(default_factory=list)
    unit_coefficients: Tensor | None = None

    def measured(self, xp: Any) -> Measured:
        """What a rule over parameters looks at."""
        return Measured(self.norms.numpy() if xp is np else self.norms, lr=self.lr, xp=xp)

    def multiply(self, coefficients: Tensor) -> None:
        """Scale each gradient by its factor, (all parameters,)."""
        scale_gradients(self.tensors, take(coefficients, self.places))
        self.norms = self.norms * coefficients

    def measure(self, changed: Tensor | Sequence[bool]) -> None:
        """Measure the norms afresh; where nothing has changed they keep every bit.

        Args:
            changed: whether any gradient has, a 0-d bool on the device; or on the CPU which of them have.
        """
        which = list(range(len(self.tensors)))
        if not isinstance(changed, Tensor):
            which = [index for index in which if changed[index]]
        elif changed.device.type == "cpu" and not bool(changed):
            return
        found = tensor_norms([self.tensors[index] for index in which], self.norms.device)
        found = found if self.scale is None else found / self.scale.to(found)
        found = torch.where(torch.isnan(found), torch.inf, found)
        norms = self.norms.clone()
        for index, norm in zip(which, found, strict=True):
            norms[self.places[index]] = norm
        self.norms = torch.where(changed, norms, self.norms) if isinstance(changed, Tensor) else norms

    def copy(self) -> Gradients:
        """The same, free to be changed."""
        return replace(self, tensors=[tensor.clone() for tensor in self.tensors], clipped=[])


def reads_entries(rule: ClipRule) -> bool:
    """Whether a rule acts on units or entries, or is made of one that does.

    >>> from gradlens import clipping
    >>> reads_entries(clipping.match_step(clipping.agc())), reads_entries(clipping.fixed(1.0))
    (True, False)
    """
    return any(map(reads_entries, rule.parts)) if rule.parts else rule.scope in ("unit", "entry")


def act(rule: ClipRule, state: State, gradients: Gradients, xp: Any) -> State:
    """Clip in place.

    Args:
        rule: any over parameters, units or entries.
        state: its memory.
        gradients: what it is to act on.
        xp: the namespace that its state is made for, ``numpy`` or ``torch``.

    Returns:
        Its memory afterwards.
    """
    if rule.name == "value":
        _clamp(gradients, rule.parameters["v"])
        return state
    if rule.name == "agc":
        _clip_units(gradients, rule)
        return state
    if rule.name == "chain" and reads_entries(rule):
        return [act(part, own, gradients, xp) for part, own in zip(rule.parts, state, strict=True)]
    if rule.name == "match_step" and reads_entries(rule):
        trial = gradients.copy()
        state = act(rule.parts[0], state, trial, xp)
        factor = matching(total_norm(gradients.norms, torch), total_norm(trial.norms, torch), torch)
        gradients.multiply(factor.expand(len(gradients.norms)))
        gradients.clipped.append((factor < 1.0).any())
        return state
    clip, state = rule.update(gradients.measured(xp), state)
    coefficients, thresholds = torch.as_tensor(clip.coefficients), torch.as_tensor(clip.thresholds)
    gradients.clipped.append((torch.isfinite(gradients.norms) & (gradients.norms > thresholds)).any())
    gradients.multiply(coefficients)
    return state


def unit_norms(tensor: Tensor) -> Tensor:
    """L2 norm of each unit: each index of the first dimension of a matrix or filter bank; a vector is one unit.

    Args:
        tensor: dense or coalesced sparse, real or complex.

    Returns:
        (units,) float64 (float32 on Apple's accelerator).

    >>> unit_norms(torch.tensor([[3.0, 4.0], [0.0, 2.0]])).tolist(), unit_norms(torch.ones(4)).tolist()
    ([5.0, 2.0], [2.0])
    """
    tensor = tensor.detach()
    if tensor.dim() <= 1:
        return tensor_norms([tensor], tensor.device)
    if tensor.is_sparse:
        squares = _row_norms(entries(tensor)[:, None] if entries(tensor).dim() == 1 else entries(tensor)).square()
        return squares.new_zeros(len(tensor)).index_add(0, tensor._indices()[0], squares).sqrt()
    return _row_norms(dense(tensor))


def _row_norms(tensor: Tensor) -> Tensor:
    """L2 norm of each index of the first dimension."""
    rows = tensor.reshape(len(tensor), math.prod(tensor.shape[1:]))
    if tensor.device.type == "cpu":
        return cpu_norms.row_norms(rows)
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, dtype=wide(tensor.device))
    return norms


def _clamp(gradients: Gradients, v: float) -> None:
    if gradients.norms.device.type == "cpu":
        most = v if gradients.scale is None else v * float(gradients.scale)
        changed = [_clamp_on_host(entries(tensor), most) for tensor in gradients.tensors]
        gradients.clipped.append(torch.tensor(any(changed)))
        gradients.measure(changed)
        return
    clipped = torch.zeros((), dtype=torch.bool, device=gradients.norms.device)
    for view in map(entries, gradients.tensors):
        if view.numel() == 0:
            continue
        largest = torch.linalg.vector_norm(view, torch.inf)
        most = torch.finfo(view.dtype).max  # beyond it there are infinities only
        if gradients.scale is None:
            clipped = clipped | (largest > v).to(clipped.device)
            view.clamp_(-min(v, most), min(v, most))
        else:
            scaled = (v * gradients.scale.to(view.device)).clamp(max=most)
            clipped = clipped | (largest > scaled).to(clipped.device)
            view.clamp_(-scaled, scaled)
    gradients.clipped.append(clipped)
    gradients.measure(clipped)


def _clamp_on_host(view: Tensor, most: float) -> bool:
    """Clamp what needs it; whether it did. One tensor after another, so that each is read from memory once."""
    if view.numel() == 0:
        return False
    low, high = map(float, torch.aminmax(view))
    if -most <= low and high <= most:
        return False
    most = min(most, torch.finfo(view.dtype).max)  # beyond it there are infinities only
    view.clamp_(-most, most)
    return not math.isnan(high)  # as on a device, where a NaN is the largest entry


def _clip_units(gradients: Gradients, rule: ClipRule) -> None:
    device = gradients.norms.device
    found = [unit_norms(tensor).to(device) for tensor in gradients.tensors]
    norms = torch.cat(found)
    norms = norms if gradients.scale is None else norms / gradients.scale.to(norms)
    weights = torch.cat([unit_norms(parameter).to(device) for parameter in gradients.parameters])
    clip, _ = rule.update(Measured(norms, weights, xp=torch), {})
    parts = torch.split(clip.coefficients, [len(each) for each in found])
    for tensor, own in zip(gradients.tensors, parts, strict=True):
        if device.type != "cpu" or bool((own != 1.0).any()):
            _scale_units(tensor, own.to(tensor.device))
    gradients.clipped.append((torch.isfinite(norms) & (norms > clip.thresholds)).any())
    gradients.unit_coefficients = clip.coefficients
    changed = (clip.coefficients != 1.0).any()
    if any(tensor.dtype.itemsize < _SINGLE for tensor in gradients.tensors):
        gradients.measure(changed)  # products were rounded
        return
    squares = torch.split((clip.coefficients * norms).square(), [len(each) for each in found])
    after = gradients.norms.clone()
    for place, each in zip(gradients.places, squares, strict=True):
        after[place] = each.sum().sqrt()
    after = torch.where(torch.isnan(after) & ~torch.isnan(gradients.norms), torch.inf, after)
    gradients.norms = torch.where(changed, after, gradients.norms)


def _scale_units(tensor: Tensor, coefficients: Tensor) -> None:
    view = entries(tensor)
    if tensor.dim() > 1 and tensor.is_sparse:
        coefficients = coefficients[tensor._indices()[0]]
    own = coefficients.to(torch.float64 if view.dtype == torch.float64 else torch.float32)
    view.mul_(own.reshape(-1, *[1] * (view.dim() - 1)))
