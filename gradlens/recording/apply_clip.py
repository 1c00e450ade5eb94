"""Deciding and applying a clip between ``backward`` and the optimizer's update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens.clipping import ClipRule, Measured
from gradlens.recording.device_rules import DeviceAutoClip, device_rule
from gradlens.recording.norms import global_norm, wide


class Clipper:
    """One clip rule at work on one training, with its state.

    On the CPU the host rule runs; elsewhere its device twin, so that no step waits for the device.

    Args:
        rule: the rule.
        device: where the norms are.

    Raises:
        ValueError: if the rule cannot run on the device.
    """

    def __init__(self, rule: ClipRule, names: Sequence[str], device: torch.device) -> None:
        self._rule = rule
        self._state = rule.init(1)
        self._twin = None if device.type == "cpu" else device_rule(rule)
        self._like = torch.empty(0, dtype=wide(device), device=device)

    def clip(self, parameters: Sequence[Tensor], norms: Tensor, lr: float | Tensor) -> dict[str, Any]:
        """Clip gradients in place.

        Args:
            gradients: those the optimizer is about to use; with none of them, nothing happens.
            norms: (n,) norms whose L2 norm is the global gradient norm.
            optimizer: for its learning rate.

        Returns:
            The columns of the step's row that say what was done, as 0-d tensors.
        """
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:
            return {}
        if len(gradients) < len(parameters):
            there = [i for i, p in enumerate(parameters) if p.grad is not None]
            norms = norms[there]
        norm = global_norm(norms)
        coefficient, threshold = self._decide(norm, lr)
        scale_gradients(gradients, coefficient)
        return {
            "grad_norm_clipped": norm * coefficient,
            "clip_threshold": threshold,
            "clip_coef": coefficient,
            "clipped": torch.isfinite(norm) & (norm > threshold),
            "clip_source": "observed",
        }

    def state_dict(self) -> dict[str, Any]:
        """The rule's spec and state, as plain numbers and float64 tensors on the CPU."""
        return {
            "rule": self._rule.spec(),
            "state": {key: torch.from_numpy(value) for key, value in self._save().items()},
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> bool:
        """Go on from a state; False if it is of a rule with another memory, and this one goes on from where it is."""
        name, parameters = saved["rule"]["name"], saved["rule"]["parameters"]
        if name != self._rule.name or parameters.get("window") != self._rule.parameters.get("window"):
            return False
        state = {key: value.double().cpu().numpy() for key, value in saved["state"].items()}
        if self._rule.load is not None and state:
            if isinstance(self._twin, DeviceAutoClip):
                self._twin.load(state, self._like)
            else:
                self._state = self._rule.load(state)
        return True

    def see(self, norms: NDArray[np.float64]) -> None:
        """Bring the rule to where it would be after these norms, as they were recorded."""
        state = self._rule.init(1)
        for norm in norms:
            _, state = self._rule.update(Measured(np.array([norm])), state)
        if self._rule.save is not None:
            saved = {key: torch.from_numpy(value) for key, value in self._rule.save(state).items()}
            self.load_state_dict({"rule": self._rule.spec(), "state": saved})

    def _save(self) -> dict[str, NDArray[np.float64]]:
        if isinstance(self._twin, DeviceAutoClip):
            return self._twin.save()
        return {} if self._rule.save is None else self._rule.save(self._state)

    def _decide(self, norm: Tensor, lr: float | Tensor) -> tuple[Tensor, Tensor]:
        if self._twin is not None:
            return self._twin(norm)
        measured = Measured(norm.reshape(1).numpy(), lr=float(lr))
        clip, self._state = self._rule.update(measured, self._state)
        return torch.tensor(clip.coefficients[0]), torch.tensor(clip.thresholds[0])


def scale_gradients(gradients: Sequence[Tensor], coefficient: Tensor) -> None:
    """Multiply gradients in place by one factor, exactly: g <- c g, nothing added to a denominator.

    Args:
        gradients: of any dtype, dense or sparse.
        coefficient: 0-d tensor; 1 leaves every bit as it is.

    >>> g = torch.tensor([3.0, 4.0])
    >>> scale_gradients([g], torch.tensor(0.5))
    >>> g.tolist()
    [1.5, 2.0]
    """
    if coefficient.device.type != "cpu":
        for gradient in gradients:
            gradient.mul_(coefficient.to(gradient.device, torch.float32))
        return
    factor = coefficient.item()
    if factor != 1.0:
        for gradient in gradients:
            gradient.mul_(factor)
