"""The numbers that everybody logs: seeded, and like a training's.

Each tensor's norm is log-normal about a level of its own, and its logarithm follows an AR(1) of its own; the loss falls
with noise, the learning rate follows a cosine. Norms and loss are float32, as a training on float32 has them.
"""

import math

import numpy as np

SCALARS = ("loss", "lr", "grad_norm")
TENSORS = 150
POINTS = TENSORS + len(SCALARS)
"""Numbers in a step."""

_SCHEDULE = 100_000


def tensor_names(count=TENSORS):
    """Names as a transformer has them."""
    parts = ("attention.query", "attention.key", "attention.value", "attention.out", "mlp.up", "mlp.down")
    return [f"layers.{i // 6}.{parts[i % 6]}.weight" for i in range(count)]


class Norms:
    """Norms of tensors, step by step.

    Args:
        count: of the tensors.
        seed: of the numbers.
    """

    def __init__(self, count=TENSORS, seed=0):
        self._random = np.random.default_rng(seed)
        self._level = self._random.uniform(math.log(1e-3), math.log(10), count)
        self._width = self._random.uniform(0.2, 0.6, count)
        self._memory = self._random.uniform(0.5, 0.95, count)
        self._state = self._random.standard_normal(count)

    def take(self, steps):
        """(steps, count) float32 of the next steps."""
        logs = self._random.standard_normal((steps, len(self._state)), np.float32)
        logs *= np.sqrt(1 - self._memory**2)
        for row in logs:  # in place, so that the loop costs microseconds a step
            row += self._memory * self._state
            self._state = row
        self._state = logs[-1].copy()
        logs *= self._width
        logs += self._level
        return np.exp(logs, out=logs)


class Steps:
    """What a training logs, step by step.

    Args:
        first: the step to begin with.
        seed: of the numbers.
    """

    def __init__(self, first=0, seed=0):
        self._norms = Norms(seed=seed)
        self._random = np.random.default_rng(seed + 1)
        self._next = first

    def take(self, steps):
        """The next steps, each as (step, scalars, (count,) float32 norms)."""
        norms = self._norms.take(steps)
        total = np.sqrt((norms.astype(np.float64) ** 2).sum(axis=1)).astype(np.float32)
        noise = self._random.normal(0, 0.05, steps)
        found = []
        for row, norm, bump in zip(norms, total.tolist(), noise.tolist(), strict=True):
            step = self._next
            loss = float(np.float32(1.5 + 4 / math.sqrt(1 + step / 100) + bump))
            lr = 1.5e-3 * (1 + math.cos(math.pi * min(step / _SCHEDULE, 1.0)))
            found.append((step, dict(zip(SCALARS, (loss, lr, norm), strict=True)), row))
            self._next += 1
        return found
