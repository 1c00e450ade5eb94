"""Deciding and applying a clip between ``backward`` and the optimizer's update."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens.clipping import ClipRule, Measured, over_parameters
from gradlens.clipping.members import Members, matching_names
from gradlens.clipping.rule import total_norm
from gradlens.recording.clip_entries import Gradients, act, reads_entries
from gradlens.recording.device_rules import device_rule
from gradlens.recording.norms import global_norm
from gradlens.recording.scaling import scale_gradients, take

logger = logging.getLogger("gradlens")


class Clipper:
    """One clip rule at work on one training, with its state.

    On the CPU the host rule runs on a view of the norms; elsewhere its device form, so that no step waits for the
    device. Memory: the rule's, and (parameters,) numbers; a rule on units or entries also copies the gradients if it
    is the reference of ``match_step``.

    Args:
        rule: any but those on micro-batches.
        names: of the parameters, for rules on groups of them.
        device: where the norms are.

    Raises:
        ValueError: if the rule acts on micro-batches, or names groups that do not fit the parameters.

    >>> from gradlens import clipping
    >>> w = torch.nn.Parameter(torch.zeros(2))
    >>> w.grad = torch.tensor([3.0, 4.0])
    >>> clipper = Clipper(clipping.fixed(1.0), ["w"], torch.device("cpu"))
    >>> row = clipper.clip([w], torch.tensor([5.0], dtype=torch.float64), lr=0.1)
    >>> w.grad.tolist(), row["clip_coef"].item(), row["grad_norm_clipped"].item(), row["clipped"].item()
    ([0.6000000238418579, 0.800000011920929], 0.2, 1.0, True)
    """

    def __init__(self, rule: ClipRule, names: Sequence[str], device: torch.device) -> None:
        if rule.scope == "micro_batch":
            raise ValueError(
                f"{rule} clips the micro-batches of a step before they are added up; between backward and the update "
                "there is only their sum."
            )
        on_host = device.type == "cpu"
        asarray = np.asarray if on_host else partial(torch.as_tensor, device=device)
        self._rule, self._names, self._device = rule, tuple(names), device
        self._xp: Any = np if on_host else torch
        self._form = rule if on_host else device_rule(rule, device)
        self._members: Members | None = None
        groups = 1 if rule.scope == "global" else len(names)
        if rule.name == "per_group":
            found = matching_names(rule.parameters["groups"], names)
            self._members, groups = Members(found, len(names), asarray), len(found)
        elif rule.scope != "global":
            self._form = over_parameters(self._form, names, asarray)
        self._state = self._form.init(groups)
        self._present: Sequence[int] = ()
        self._absent = torch.empty(0)

    def over(self, names: Sequence[str]) -> Clipper:
        """The same rule over other parameters; its memory goes on where it is of the global norm, else begins anew."""
        other = Clipper(self._rule, names, self._device)
        if self._rule.scope == "global":
            other._state = self._state
        elif self._form.save(self._state):
            logger.warning("gradlens: the optimizer has other parameters than before; %s forgets its past.", self._rule)
        return other

    @torch.no_grad()
    def clip(
        self, parameters: Sequence[Tensor], norms: Tensor, lr: float | Tensor, *, scale: Tensor | None = None
    ) -> dict[str, Any]:
        """Clip the parameters' ``.grad`` in place; without any, nothing happens.

        Args:
            parameters: as many as there are names.
            norms: (parameters,) L2 norms of their gradients, NaN for one that has none.
            lr: the learning rate.
            scale: what the gradients are still multiplied by and ``norms`` are not, as under a loss scaler.

        Returns:
            The columns of the step's row that say what was done, as 0-d tensors: ``grad_norm_clipped``, ``clip_coef``
            (the norm after over the norm before), ``clipped`` (whether anything was) and ``clip_source``; for a rule
            with one factor for all ``clip_threshold``; for one with a factor for each parameter, group or unit
            ``clip_coef_mean``, their mean over those with a gradient.
        """
        places = [index for index, parameter in enumerate(parameters) if parameter.grad is not None]
        if not places:
            return {}
        if self._xp is np:
            lr = float(lr)
        tensors = [gradient for parameter in parameters if (gradient := parameter.grad) is not None]
        norm, norms = self._seen(norms, places)
        if reads_entries(self._rule):
            present = [parameters[place] for place in places]
            return self._clip_entries(Gradients(present, _coalesced(present, tensors), places, norms, lr, scale), norm)
        if self._rule.scope == "global":
            coefficients, thresholds = self._decide(norm.reshape(1), lr)
            return _scaled(tensors, norm, coefficients[0], thresholds[0])
        return self._each(tensors, places, norm, norms, lr)

    def state_dict(self) -> dict[str, Any]:
        """The rule's spec and state, as plain numbers and float64 tensors on the CPU; waits for the device."""
        saved = self._form.save(self._state)
        return {"rule": self._rule.spec(), "state": {key: torch.from_numpy(value) for key, value in saved.items()}}

    def load_state_dict(self, saved: Mapping[str, Any]) -> bool:
        """Go on from a state; False if it is of a rule with another memory, and this one goes on from where it is.

        A state of the host's form of the rule is one of its device form, and the other way round.
        """
        if _memory(saved["rule"]) != _memory(self._rule.spec()):
            return False
        state = {key: value.double().cpu().numpy().copy() for key, value in saved["state"].items()}
        own = self._form.save(self._state)
        if any(key not in state or state[key].shape != value.shape for key, value in own.items() if _fixed(key)):
            return False
        self._state = self._form.load(state)
        return True

    def see(self, norms: NDArray[np.float64]) -> bool:
        """Bring the rule to where it would be after these norms; False if they do not determine its memory.

        Args:
            norms: as they were recorded: (steps,) global ones, or (steps, parameters), NaN for one without a gradient,
                for a rule that does not act on the global norm.
        """
        if not self._form.save(self._state):
            return True  # nothing to remember
        globally = self._rule.scope == "global"
        if reads_entries(self._rule) or norms.shape[1:] != (() if globally else (len(self._names),)):
            return False
        rule = self._rule if globally else over_parameters(self._rule, self._names)
        state = rule.init(1 if globally else len(self._names))
        try:
            for row in norms.reshape(len(norms), -1):
                _, state = rule.update(Measured(row), state)
        except ValueError:  # a rule beside it needs the learning rate
            return False
        self._state = self._form.load(rule.save(state))
        return True

    def _seen(self, norms: Tensor, places: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The global norm; and those of the parameters, NaN without a gradient, infinity if it is not finite."""
        seen = torch.where(torch.isnan(norms), torch.inf, norms)
        if len(places) == len(norms):
            return global_norm(norms), seen
        if self._present != places:
            self._present = places
            self._absent = torch.ones(len(norms), dtype=torch.bool, device=norms.device)
            for place in places:
                self._absent[place] = False
        # Zeros would do on the CPU too, if they did not change the order of summation in the last bit.
        there = norms[~self._absent] if self._xp is np else torch.where(self._absent, 0.0, norms)
        return global_norm(there), torch.where(self._absent, torch.nan, seen)

    def _array(self, tensor: Tensor) -> Any:
        return tensor.numpy() if self._xp is np else tensor

    def _decide(self, norms: Tensor, lr: float | Tensor) -> tuple[Tensor, Tensor]:
        clip, self._state = self._form.update(Measured(self._array(norms), lr=lr, xp=self._xp), self._state)
        return torch.as_tensor(clip.coefficients), torch.as_tensor(clip.thresholds)

    def _each(
        self, tensors: Sequence[Tensor], places: Sequence[int], norm: Tensor, norms: Tensor, lr: float | Tensor
    ) -> dict[str, Any]:
        """A factor for each parameter or group of them."""
        members, group_norms = self._members, norms
        if members is not None:
            group_norms = torch.as_tensor(members.norms(self._array(norms), self._xp))
        coefficients, thresholds = self._decide(group_norms, lr)
        if self._rule.name == "match_step":
            factor = coefficients[places[0]]
            return _scaled(tensors, norm, factor, factor * norm)
        factors = coefficients
        if members is not None:
            factors = torch.as_tensor(members.spread(self._array(coefficients), 1.0, self._xp))
        scale_gradients(tensors, take(factors, places))
        there = ~torch.isnan(group_norms)
        clipped = (torch.isfinite(group_norms) & (group_norms > thresholds)).any()
        mean = torch.where(there, coefficients, 0.0).sum() / there.sum()
        return _row(norm, total_norm(factors * norms, torch)[0], clipped) | {"clip_coef_mean": mean}

    def _clip_entries(self, gradients: Gradients, norm: Tensor) -> dict[str, Any]:
        self._state = act(self._form, self._state, gradients, self._xp)
        after = total_norm(gradients.norms, torch)[0]
        row = _row(norm, after, torch.stack(gradients.clipped).any())
        if self._rule.name == "match_step":
            row["clip_threshold"] = after
        elif self._rule.name == "agc" and gradients.unit_coefficients is not None:
            row["clip_coef_mean"] = gradients.unit_coefficients.mean()
        return row


def _scaled(tensors: Sequence[Tensor], norm: Tensor, coefficient: Tensor, threshold: Tensor) -> dict[str, Any]:
    scale_gradients(tensors, coefficient)
    return {
        "grad_norm_clipped": norm * coefficient,
        "clip_threshold": threshold,
        "clip_coef": coefficient,
        "clipped": torch.isfinite(norm) & (norm > threshold),
        "clip_source": "observed",
    }


def _row(norm: Tensor, after: Tensor, clipped: Tensor) -> dict[str, Any]:
    after = torch.where(torch.isnan(norm), norm, after)
    return {
        "grad_norm_clipped": after,
        "clip_coef": torch.where(norm == 0, 1.0, after / norm),
        "clipped": clipped,
        "clip_source": "observed",
    }


def _coalesced(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """The gradients; of a sparse one each entry has to be there once, before it is looked at alone."""
    found = []
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient.is_sparse and not gradient.is_coalesced():
            parameter.grad = gradient.coalesce()
        found.append(gradient if parameter.grad is None else parameter.grad)
    return found


def _memory(spec: Mapping[str, Any]) -> tuple[Any, ...]:
    """What decides which memory a rule has; its other parameters may change over it."""
    parameters = spec["parameters"]
    parts = tuple(_memory(part) for part in spec.get("rules", ()))
    return spec["name"], parameters.get("window"), parameters.get("groups"), parts


def _fixed(key: str) -> bool:
    """Whether an array of a state has the same shape at all times; an early AutoClip wrote no thresholds."""
    return key.rpartition(".")[2] not in ("norms", "thresholds")
