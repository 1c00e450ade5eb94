"""A running sum of gradients."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gradlens.recording.replayed_loss import Gradients


class GradientSum:
    """A running sum of gradients, one tensor for each parameter that had one.

    Memory: one copy of the gradients, from the first that is added.

    Args:
        parameters: whose gradients they are.

    Attributes:
        tensors: the sums; None where no gradient was added yet.

    >>> import torch
    >>> total = GradientSum([nn.Parameter(torch.zeros(2))])
    >>> for gradient in ([1.0, 2.0], [3.0, 4.0]):
    ...     total.add([torch.tensor(gradient)])
    >>> total.tensors
    [tensor([4., 6.])]
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.tensors: Gradients = [None] * len(parameters)

    def add(self, gradients: Gradients) -> None:
        """Add one gradient for each parameter, or None."""
        for index, gradient in enumerate(gradients):
            if gradient is not None:
                own = self.tensors[index]
                self.tensors[index] = gradient.detach().clone() if own is None else own.add_(gradient)

    def present(self) -> list[Tensor]:
        """The sums that there are."""
        return [tensor for tensor in self.tensors if tensor is not None]


def plain_gradient(parameter: nn.Parameter) -> Tensor | None:
    """A parameter's gradient as a strided tensor: of a sparse one, a copy."""
    gradient = parameter.grad
    return gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient
