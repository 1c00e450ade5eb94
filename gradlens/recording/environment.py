"""What is stored about where a run was recorded: versions, device, precision, optimizer. No names, paths or secrets."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""What ``DataParallel``, ``torch.compile``, FSDP and activation checkpointing call the module that they wrap."""


def describe_environment(
    optimizers: Sequence[torch.optim.Optimizer], parameters: Sequence[nn.Parameter]
) -> dict[str, Any]:
    """The environment entry of ``run.json``; of several optimizers, the defaults are those of the first."""
    classes = dict.fromkeys(type(optimizer).__name__ for optimizer in optimizers)
    device = parameters[0].device
    return {
        "gradlens": version("gradlens-dynamics"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": sorted({str(parameter.dtype).removeprefix("torch.") for parameter in parameters}),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "optimizer": {
            "class": " + ".join(classes),
            "defaults": plain(optimizers[0].defaults),
            **({"count": len(optimizers)} if len(optimizers) > 1 else {}),
        },
    }


def describe_parameters(
    model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> list[tuple[str, tuple[int, ...], str, int]]:
    """(name, shape, dtype, group) of each parameter that the optimizers step, in their order.

    Groups are counted over all optimizers. A parameter that the model does not own is called by its place in them, as
    in ``group0.3``.
    """
    own = dict(model.named_parameters())
    clean = {name: clean_name(name) for name in own}
    if len(set(clean.values())) < len(clean):  # a module of the user's own has a wrapper's name
        clean = {name: name for name in own}
    names = {id(parameter): clean[name] for name, parameter in own.items()}
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    return [
        (
            names.get(id(parameter), f"group{group_index}.{index}"),
            tuple(parameter.shape),
            str(parameter.dtype).removeprefix("torch."),
            group_index,
        )
        for group_index, group in enumerate(groups)
        for index, parameter in enumerate(group["params"])
    ]


def clean_name(name: str) -> str:
    """A parameter's name without what wrappers put into it.

    >>> clean_name("_orig_mod.module.encoder._fsdp_wrapped_module.weight")
    'encoder.weight'
    """
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS) or name


def plain(value: Any) -> Any:
    """A value as JSON: containers copied, numbers and text kept, a non-finite number and anything else as text.

    >>> plain({"lr": 0.1, "betas": (0.9, 0.999), "act": torch.nn.ReLU, "limit": float("inf")})
    {'lr': 0.1, 'betas': [0.9, 0.999], 'act': "<class 'torch.nn.modules.activation.ReLU'>", 'limit': 'inf'}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, np.floating, np.integer)):
        number = value.item() if isinstance(value, np.generic) else value
        return number if math.isfinite(number) else str(number)
    if isinstance(value, Tensor) and value.numel() == 1 and value.device.type == "cpu":
        return plain(value.item())
    return repr(value)[:1000]
