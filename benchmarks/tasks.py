"""What is trained: seeded models with their batches and optimizers, on any device."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

_BATCHES = 8  # different ones, over and over


@dataclass(frozen=True)
class Task:
    """A model and all that a loop around it needs.

    Attributes:
        model: in training mode.
        optimizer: of all its parameters.
        compute: takes a batch; the loss.
        batches: without end.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    compute: Callable
    batches: Iterator

    @property
    def parameters(self):
        """All of them, in the model's order."""
        return list(self.model.parameters())


def stress(device, optimizer):
    """75 layers of 365 x 365, 150 tensors, 10 M parameters, batch 32: little work for each parameter."""
    layers = []
    for _ in range(75):
        layer = nn.Linear(365, 365)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # else the gradients vanish
        layers += [layer, nn.ReLU()]
    model = nn.Sequential(*layers[:-1]).to(device)
    batches = [(torch.randn(32, 365, device=device), torch.randn(32, 365, device=device)) for _ in range(_BATCHES)]
    return _task(model, optimizer, batches, functional.mse_loss)


class Block(nn.Module):
    """A pre-norm transformer block as GPT-2 has it.

    Args:
        width: of the residual stream; heads are 64 wide.
    """

    def __init__(self, width):
        super().__init__()
        self.heads = width // 64
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        split = self.qkv(self.before_attention(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*split, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.before_mlp(x)), approximate="tanh"))


class GPT(nn.Module):
    """A decoder of 12 blocks whose head is its embedding.

    Args:
        vocabulary: number of tokens.
        length: of a text.
        width: of the residual stream.
    """

    def __init__(self, vocabulary, length, width):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        for embedding in (self.tokens, self.places):
            nn.init.normal_(embedding.weight, std=0.02)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(12)))
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        found = self.norm(self.blocks(self.tokens(x) + self.places.weight))
        return functional.linear(found, self.tokens.weight)


def _gpt(device, optimizer, vocabulary, length, width, batch):
    model = GPT(vocabulary, length, width).to(device)
    texts = [torch.randint(vocabulary, (batch, length + 1), device=device) for _ in range(_BATCHES)]
    batches = [(text[:, :-1], text[:, 1:]) for text in texts]
    return _task(model, optimizer, batches, lambda y, z: functional.cross_entropy(y.flatten(0, 1), z.flatten()))


def normal(device, optimizer):
    """12 blocks of width 256, 148 tensors, 9.5 M parameters, batch 4 x 64."""
    return _gpt(device, optimizer, 256, 64, 256, 4)


def gpt2(device, optimizer):
    """GPT-2 of 124 M parameters, batch 32 x 1,024."""
    return _gpt(device, optimizer, 50257, 1024, 768, 32)


_MODELS = {"stress": stress, "normal": normal, "gpt2": gpt2}
_OPTIMIZERS = {
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=1e-4, fused=True),
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=1e-4),
}


def make(name, device):
    """The task of a name like ``"stress SGD"``; AdamW unless the name says otherwise."""
    model, _, optimizer = name.partition(" ")
    torch.manual_seed(0)
    return _MODELS[model](device, _OPTIMIZERS[optimizer or "AdamW"])


def _task(model, optimizer, batches, criterion):
    on_card = batches[0][0].device.type == "cuda"

    def compute(x, y):
        with torch.autocast("cuda", torch.bfloat16) if on_card else nullcontext():
            return criterion(model(x), y)

    return Task(model, optimizer(model.parameters()), compute, itertools.cycle(batches))
