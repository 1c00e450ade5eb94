"""Every random state that a forward pass may draw from, captured and put back."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class RandomState:
    """Python's, NumPy's and torch's global generators at one moment."""

    python: tuple[Any, ...]
    numpy: dict[str, Any] | tuple[Any, ...]
    torch_cpu: Tensor
    accelerators: tuple[tuple[torch.device, Tensor], ...]


def capture(devices: Iterable[torch.device] = ()) -> RandomState:
    """The state of all global generators; those of accelerators for the given devices. Reads no accelerator memory."""
    modules = {device: torch.get_device_module(device) for device in set(devices) if device.type not in ("cpu", "meta")}
    return RandomState(
        python=random.getstate(),
        numpy=np.random.get_state(),  # noqa: NPY002 - the global state is the one that user code draws from
        torch_cpu=torch.get_rng_state(),
        accelerators=tuple((device, _get(module, device)) for device, module in modules.items()),
    )


def restore(state: RandomState) -> None:
    """Put all generators back; an accelerator's only if it has moved: setting CUDA's seeds cuDNN's dropout anew.

    >>> before = capture()
    >>> first = torch.rand(())
    >>> restore(before)
    >>> bool(torch.rand(()) == first)
    True
    """
    random.setstate(state.python)
    np.random.set_state(state.numpy)  # noqa: NPY002 - as above
    torch.set_rng_state(state.torch_cpu)
    for device, saved in state.accelerators:
        module = torch.get_device_module(device)
        if torch.equal(_get(module, device), saved):
            continue
        if device.type == "mps":
            module.set_rng_state(saved)
        else:
            module.set_rng_state(saved, device)


def _get(module: Any, device: torch.device) -> Tensor:
    state: Tensor = module.get_rng_state() if device.type == "mps" else module.get_rng_state(device)
    return state
