"""Small nets, batches and naive twins for the recorder's tests."""

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradlens import every

ALWAYS = {"norms": every(1), "update": every(1), "smoothness": every(1)}


def norm64(tensors: list[torch.Tensor]) -> float:
    """The naive twin: every entry in float64, one sum."""
    return math.sqrt(sum(float((t.double() ** 2).sum()) for t in tensors))


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 700), nn.Tanh(), nn.Linear(700, 3))


def loss_of(model: nn.Module) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return lambda x, y: nn.functional.cross_entropy(model(x), y)


def batches(count: int, size: int = 8) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    return [
        (torch.randn(size, 4, generator=generator), torch.randint(3, (size,), generator=generator))
        for _ in range(count)
    ]


class NoCopies(TorchDispatchMode):
    """Refuses a copy of a CPU tensor to the device: from pageable memory it would wait for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if "copy" in str(func) and any(isinstance(a, torch.Tensor) and a.device.type == "cpu" for a in args):
            raise AssertionError(f"{func} copies from the CPU")
        return func(*args, **(kwargs or {}))


class RestlessNet(nn.Module):
    """Smooth, in float64, and full of what an evaluation could disturb.

    BatchNorm, Dropout, noise from Python's and NumPy's global states, a recurrent state in a buffer, a frozen parameter
    and one that the loss does not reach.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)
        self.drop = nn.Dropout(0.3)
        self.out = nn.Linear(6, 3)
        self.frozen = nn.Parameter(torch.tensor([1.0, -math.inf, 0.5]), requires_grad=False)
        self.unreached = nn.Parameter(torch.ones(2))
        self.register_buffer("state", torch.zeros(6))
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        noise = random.random() + np.random.random()  # noqa: NPY002 - user code that draws from the global states
        hidden = torch.tanh(self.norm(self.inner(x.double())) + self.state) * (1 + 0.1 * noise)
        self.state.copy_(0.5 * self.state + hidden.detach().mean(0))
        return self.out(self.drop(hidden)) * torch.exp(self.frozen)


def everything(model: nn.Module) -> dict[str, Any]:
    """Whatever a probe must leave as it is, copied: values, and which tensors they are in."""
    return {
        "values": {name: value.clone() for name, value in model.state_dict().items()},
        "places": [(p.data_ptr(), p._version) for p in model.parameters()] + [id(b) for b in model.buffers()],
        "gradients": [None if p.grad is None else (id(p.grad), p.grad.clone()) for p in model.parameters()],
        "training": [module.training for module in model.modules()],
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].copy(),  # noqa: NPY002
        "python": random.getstate(),
    }


def same(one: Any, other: Any) -> bool:
    """Bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, np.ndarray):
        return bool((one == other).all())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
