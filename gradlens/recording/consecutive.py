r"""Smoothness from the gradients of successive batches, which a training computes anyway.

.. math:: \frac{\lVert g_{t+1} - g_t \rVert}{\lVert \theta_{t+1} - \theta_t \rVert}

with each gradient on its own batch. A noisy upper proxy: besides the curvature it holds the noise of two batches, of
squared norm about 2 sigma^2 / B for a per-example variance sigma^2 and batches of B, which does not shrink with the
step. There is no noise floor to report beside it, and it supports no claim about a correlation with the gradient norm.

Reference: the quantity is that of Zhang, He, Sra and Jadbabaie, "Why gradient clipping accelerates training: A
theoretical justification for adaptivity", ICLR 2020, arXiv 1905.11881, with a new batch at the far end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradlens.recording.norms import difference_norms, global_norm, tensor_norms, wide

Factor = Tensor | float


@dataclass(frozen=True, slots=True)
class _Held:
    """A gradient of step t, and how to see that nobody has written to it since.

    Attributes:
        tensor: the gradient itself, or a copy.
        version: autograd's count of writes to it.
        address: of its memory.
    """

    tensor: Tensor
    version: int
    address: int


class ConsecutiveProbe:
    """Compares a step's gradients with those of the next, at no extra pass.

    It holds on to the gradients of step t instead of copying them. Where somebody writes to them before step t+1 is
    measured (``zero_grad(set_to_none=False)``, accumulation in place, an optimizer that works in ``.grad``, buckets
    that are used again), there is no number for that step, and from then on gradients are copied. A write is seen by
    autograd's version, by the address, and, since ``.data`` and collective operations escape both, by the norm of each
    gradient: on the CPU like the others; on an accelerator, where the host does not look, all norms are NaN then. A
    write past autograd that keeps every norm, such as a change of sign, goes unseen.

    Nothing is read by the host on an accelerator. Sparse gradients will do.

    Memory: one copy of the gradients from step t to t+1, held or copied; one gradient more while they are compared.

    Args:
        device: where results go.

    Attributes:
        copies: whether :meth:`keep` copies; True to begin with suits a training that is known to write to gradients.

    >>> probe = ConsecutiveProbe(torch.device("cpu"))
    >>> clipped = torch.tensor([1.5, 2.0])  # of [3, 4], clipped by 0.5
    >>> probe.keep([clipped, None], torch.tensor(0.5))
    >>> norm, norms = probe.change([torch.tensor([3.0, 0.0]), None])
    >>> norm.item(), norms.tolist()
    (4.0, [4.0, nan])
    """

    def __init__(self, device: torch.device) -> None:
        self.copies = False
        self._device = device
        self._host_looks = device.type == "cpu"
        self._held: list[_Held | None] = []
        self._norms: Tensor | None = None  # of the held ones, when they were kept; None for copies
        self._factor: Factor = 1.0

    def keep(self, gradients: Sequence[Tensor | None], coefficient: Factor = 1.0, *, copy: bool = False) -> None:
        """Hold the gradients of a due step.

        Args:
            gradients: ``.grad`` of each parameter; None where there is none.
            coefficient: the factor that they carry, so that g = grad / coefficient: a loss scale, or the coefficient of
                a clip in place, a 0-d tensor.
            copy: whether they are about to be written to, as by a clip.
        """
        copy = copy or self.copies
        self._factor = coefficient
        self._held = [None if gradient is None else _hold(gradient, copy=copy) for gradient in gradients]
        self._norms = None if copy else self._norms_of_held()

    def change(self, gradients: Sequence[Tensor | None], coefficient: Factor = 1.0) -> tuple[Tensor, Tensor] | None:
        """Compare the gradients of the next step with those kept, and let go of them.

        Args:
            gradients: ``.grad`` of each parameter, unclipped.
            coefficient: the factor that they carry, such as a loss scale that a fused optimizer has yet to undo.

        Returns:
            The global norm of g_{t+1} - g_t, a 0-d tensor, and that of each parameter, (parameters,) float64 on
            ``device``, NaN where there is no gradient at either step; one at only one of the two counts whole. None if
            nothing was kept, there is no gradient at all, or a kept one was written to.

        Raises:
            ValueError: if there are not as many gradients as were kept.
        """
        try:
            return self._compare(gradients, coefficient)
        finally:
            self.forget()

    def forget(self) -> None:
        """Let go of the gradients."""
        self._held = []
        self._norms = None
        self._factor = 1.0

    @property
    def armed(self) -> bool:
        """Whether gradients are held to compare the next with."""
        return bool(self._held)

    def _compare(self, gradients: Sequence[Tensor | None], coefficient: Factor) -> tuple[Tensor, Tensor] | None:
        if not self._held:
            return None
        pairs = list(zip(gradients, self._held, strict=True))
        norms = self._norms
        same = None
        if norms is not None:
            if any(old is not None and _overwritten(old, new) for new, old in pairs):
                self.copies = True
                return None
            now = self._norms_of_held()
            same = ((now == norms) | (now.isnan() & norms.isnan())).all()
            if self._host_looks and not same:
                self.copies = True
                return None
        found = {
            index: self._difference(new, old, coefficient)
            for index, (new, old) in enumerate(pairs)
            if new is not None or old is not None
        }
        if not found:
            return None
        missing = torch.full((1,), torch.nan, dtype=wide(self._device), device=self._device)
        each = torch.cat([found.get(index, missing) for index in range(len(pairs))])
        norm = global_norm(torch.cat(list(found.values())))
        if same is not None:
            norm, each = torch.where(same, norm, torch.nan), torch.where(same, each, torch.nan)
        return norm, each

    def _difference(self, new: Tensor | None, old: _Held | None, coefficient: Factor) -> Tensor:
        """Norm of one parameter's difference, (1,); tensor by tensor, so that what it overwrites is one tensor large.

        With factors c and k, |new / c - old / k| = |new - (c / k) old| / c leaves the new gradient as it is.
        """
        if old is None or new is None:
            present, factor = (new, coefficient) if old is None else (old.tensor, self._factor)
            return tensor_norms([] if present is None else [present], self._device) / factor
        ratio = coefficient / self._factor
        scaled = old.tensor * (ratio.to(new.device) if isinstance(ratio, Tensor) else ratio)
        if new.is_sparse or scaled.is_sparse:  # each has its own places of entries
            norms = tensor_norms([new - scaled], self._device)
        else:
            norms = difference_norms([new], [scaled], self._device)
        return norms / coefficient

    def _norms_of_held(self) -> Tensor:
        return tensor_norms([held.tensor for held in self._held if held is not None], self._device)


def _hold(gradient: Tensor, *, copy: bool) -> _Held:
    tensor = gradient.detach()  # shares memory and version; what a differentiable gradient hangs on is let go of
    if copy:
        tensor = tensor.clone()
    return _Held(tensor, tensor._version, _address(tensor))


def _overwritten(old: _Held, new: Tensor | None) -> bool:
    """By autograd's count of writes, or since its memory was handed back or taken for the new gradient."""
    if old.tensor._version != old.version or _address(old.tensor) != old.address:
        return True
    return new is not None and old.address != 0 and _address(new) == old.address


def _address(tensor: Tensor) -> int:
    """Where the entries are; 0 where there are none, and for a tensor without memory (``meta``)."""
    return (tensor._values() if tensor.is_sparse else tensor).data_ptr()
