"""Small nets, batches and naive twins for the recorder's tests."""

import math
from collections.abc import Callable

import torch
from torch import nn

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
