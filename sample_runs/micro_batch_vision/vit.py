"""A small vision transformer: an 8 x 8 image in patches of 2 x 2, two blocks of width 24."""

import torch
from torch import nn

PATCH, WIDTH, BLOCKS, HEADS = 2, 24, 2, 2
TOKENS = (8 // PATCH) ** 2


class SmallViT(nn.Module):
    """Patches, learned positions, transformer blocks with the norm first, and the mean of the tokens to the classes."""

    def __init__(self, classes):
        super().__init__()
        self.embed = nn.Linear(PATCH**2, WIDTH)
        self.position = nn.Parameter(0.5 * torch.randn(TOKENS, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, pixels):
        """Logits of (n, 64) pixels."""
        images = pixels.unflatten(1, (8 // PATCH, PATCH, 8 // PATCH, PATCH))
        patches = images.transpose(2, 3).flatten(1, 2).flatten(2)
        tokens = self.blocks(self.embed(patches) + self.position)
        return self.head(self.norm(tokens).mean(dim=1))


class Block(nn.Module):
    """Attention, then a layer of its own for each token."""

    def __init__(self):
        super().__init__()
        self.norm_1, self.norm_2 = (nn.LayerNorm(WIDTH, elementwise_affine=False) for _ in range(2))
        self.qkv, self.out = (nn.Linear(WIDTH, n * WIDTH, bias=False) for n in (3, 1))
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x):
        q, k, v = (part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in self.qkv(self.norm_1(x)).chunk(3, dim=2))
        weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(dim=-1)
        x = x + self.out((weights @ v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_2(x))
