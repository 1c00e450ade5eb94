"""At one step's weights: each sample's own gradient, and later, on the host, what micro-batch clipping would do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from gradlens.recording.per_sample import in_chunks
from gradlens.recording.projection import project
from gradlens.recording.replayed_loss import modes_of, modes_shielded
from gradlens.stats.micro_batch_estimator import MicroBatchEstimate, micro_batch_estimates

DIMENSIONS = 1024
"""Inner products of projections are off by about 1 / 32 of the product of the norms."""

_ENTRIES = 1 << 24
"""Most entries of per-sample gradients that exist at once: 64 MB in single precision."""

_ADDITIONS = 30_000_000
"""That the host makes in a probe: some tenths of a second."""


class FrozenWeightsProbe:
    """Each sample's gradient in a step's batch, in few dimensions.

    It measures at the parameters' present values, with the modes of the step's own evaluation and fresh masks. Weights,
    gradients, buffers, random states and modes are those of before afterwards, also after an exception. Nothing is
    read by the host, unless ``compute`` does: :func:`estimates` works on the numbers when they have arrived there.

    Cost: a forward and a backward pass, by sample where the loss cannot be vectorised (see
    :func:`gradlens.per_sample_gradients`); above all, B times as many numbers as there are parameters are written, read
    and added up, some 5 ns each on a CPU core: 0.3 s for 64 samples of a million parameters, or 25 of its training
    steps. Probe rarely. Memory: 64 MB of gradients in single precision, or one sample's if that is more, with the
    graphs of as many samples; between probes the step's inputs, and nothing else.

    Args:
        model: its buffers, modes and gradients are shielded.
        parameters: those to differentiate by.
        device: where the result goes.
        dimensions: how many there are at most; more entries than that are projected.

    Raises:
        ValueError: if there are no dimensions.

    >>> theta = nn.Linear(1, 1, bias=False)
    >>> probe = FrozenWeightsProbe(theta, list(theta.parameters()), torch.device("cpu"))
    >>> probe.remember(partial(lambda x: theta(x).mean(), torch.tensor([[1.0], [3.0]])))
    >>> probe.measure(seed=0).tolist()
    [[1.0], [3.0]]
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: Sequence[nn.Parameter],
        device: torch.device,
        dimensions: int = DIMENSIONS,
    ) -> None:
        if dimensions < 1:
            raise ValueError(f"dimensions must be at least 1; got {dimensions!r}.")
        self._model = model
        self._parameters = parameters
        self._device = device
        self._dimensions = dimensions
        self._call: partial[Any] | None = None
        self._modes: list[tuple[nn.Module, bool]] = []

    def remember(self, call: Callable[[], Any]) -> None:
        """Note the step's loss: ``functools.partial(compute, *inputs, **named_inputs)``, whose inputs can be cut."""
        self._call = call if isinstance(call, partial) else partial(call)
        self._modes = modes_of(self._model)

    def forget(self) -> None:
        """Let go of the step: its inputs."""
        self._call = None
        self._modes = []

    @property
    def armed(self) -> bool:
        """Whether a loss of this step can be evaluated again."""
        return self._call is not None

    def measure(self, seed: int) -> Tensor:
        """Take the gradients.

        Args:
            seed: of the projection; the step's number makes the errors of different steps independent.

        Returns:
            (B, k) on the probe's device, inner products as those of the gradients: exactly, where the parameters have
            no more entries than the probe has dimensions.

        Raises:
            RuntimeError: if no loss was remembered.
            ValueError: and others, as :func:`gradlens.per_sample_gradients`, for a loss without samples in its inputs
                among them.
        """
        if self._call is None:
            raise RuntimeError("no loss was remembered for this step")
        wanted = {str(index): p for index, p in enumerate(self._parameters) if p.requires_grad}
        size = max(1, _ENTRIES // max(1, sum(parameter.numel() for parameter in wanted.values())))
        with modes_shielded(self._model, self._modes):
            chunks = in_chunks(self._model, self._call.func, self._call.args, self._call.keywords, wanted, size)
            rows = [project(list(found.values()), self._dimensions, seed, self._device) for found in chunks]
        return torch.cat(rows)


def estimates(rows: ArrayLike, *, resamples: int | None = None, seed: int = 0) -> dict[int, MicroBatchEstimate]:
    """What micro-batch clipping would do to the step, for every size of micro-batch: the host's part.

    The batch of B samples stands for the data. That is a strong assumption where it is not well above the noise scale:
    see :func:`~gradlens.stats.micro_batch_estimator.micro_batch_estimates`.

    Args:
        rows: (B, k) as :meth:`FrozenWeightsProbe.measure` gave them, on the host.
        resamples: mini-batches drawn; if not given 1,000, and fewer, at least 100, for batches of more than 64 samples,
            so that the time does not grow with their square.
        seed: of the draws.

    Returns:
        b -> alpha, bias and noise for every divisor b of B, ascending; empty where a gradient is not finite.

    >>> found = estimates([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [4.0, 0.0]])
    >>> list(found), found[1].alpha < found[2].alpha < found[4].alpha
    ([1, 2, 4], True)
    """
    matrix = np.asarray(rows, dtype=np.float64)
    if not np.isfinite(matrix).all():
        return {}
    size = len(matrix)
    divisors = [b for b in range(1, size + 1) if size % b == 0]
    if resamples is None:
        resamples = max(100, min(1000, _ADDITIONS // (size * min(matrix.shape) * len(divisors))))
    return micro_batch_estimates(matrix, size, divisors, resamples=resamples, seed=seed)
