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
from gradlens.recording.dense import dense
from gradlens.recording.norms import tensor_norms, wide
from gradlens.recording.scaling import entries, scale_gradients, take

_ROW = 2048
"""Entries whose squares are summed in single precision, on the CPU, before the sum goes on in double."""


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

    def measure(self, changed: Tensor) -> None:
        """Measure the norms afresh; where nothing has changed, a 0-d bool, they keep every bit."""
        if changed.device.type == "cpu" and not bool(changed):
            return
        found = tensor_norms(self.tensors, self.norms.device)
        found = found if self.scale is None else found / self.scale.to(found)
        found = torch.where(torch.isnan(found), torch.inf, found)
        norms = torch.full_like(self.norms, torch.nan)
        for place, norm in zip(self.places, found, strict=True):
            norms[place] = norm
        self.norms = torch.where(changed, norms, self.norms)

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
    norms: Tensor
    if tensor.device.type != "cpu":
        norms = torch.linalg.vector_norm(rows, dim=1, dtype=wide(tensor.device))
        return norms
    kind = None if rows.dtype in (torch.float32, torch.float64) else torch.float32
    squares = torch.zeros(len(rows), dtype=torch.float64)
    for piece in torch.split(rows, _ROW, dim=1):
        squares += torch.linalg.vector_norm(piece, dim=1, dtype=kind).double().square()
    if not squares.isfinite().all():  # those of single-precision entries overflow above 1e19
        squares = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).square()
    return squares.sqrt()


def _clamp(gradients: Gradients, v: float) -> None:
    clipped = torch.zeros((), dtype=torch.bool, device=gradients.norms.device)
    for view in map(entries, gradients.tensors):
        if view.numel() == 0:
            continue
        largest = torch.linalg.vector_norm(view, torch.inf)
        if gradients.scale is None:
            clipped = clipped | (largest > v).to(clipped.device)
            view.clamp_(-v, v)
        else:
            most = v * gradients.scale.to(view.device)
            clipped = clipped | (largest > most).to(clipped.device)
            view.clamp_(-most, most)
    gradients.clipped.append(clipped)
    gradients.measure(clipped)


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
    gradients.measure((clip.coefficients != 1.0).any())


def _scale_units(tensor: Tensor, coefficients: Tensor) -> None:
    view = entries(tensor)
    if tensor.dim() > 1 and tensor.is_sparse:
        coefficients = coefficients[tensor._indices()[0]]
    own = coefficients.to(torch.float64 if view.dtype == torch.float64 else torch.float32)
    view.mul_(own.reshape(-1, *[1] * (view.dim() - 1)))
