"""What a gradient scaler does to a training: steps that it leaves out, and gradients that still carry its scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.amp.grad_scaler import OptState


class CarriedScales:
    """The loss scale that each optimizer's gradients have at a moment.

    A plain optimizer's are unscaled just before its own step, or by ``unscale_``; a fused one is handed the scale.

    Args:
        optimizers: of the training.
        scaler: the scaler, if there is one.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer], scaler: torch.amp.GradScaler | None) -> None:
        self._optimizers = optimizers
        self._scaler = scaler if scaler is not None and scaler.is_enabled() else None

    @property
    def scaling(self) -> bool:
        """Whether a scaler is at work, which unscales gradients without a sign of it."""
        return self._scaler is not None

    @property
    def scale(self) -> Tensor | None:
        """What losses are multiplied by now; None without a scaler, and before it has scaled one."""
        return None if self._scaler is None else self._scaler._scale

    def of(self, which: int) -> Tensor | None:
        """What the gradients of one optimizer are still multiplied by; None where by nothing."""
        handed: Tensor | None = getattr(self._optimizers[which], "grad_scale", None)
        return handed if handed is not None or not self._waits(which) else self.scale

    def unscale_others(self, stepping: int) -> None:
        """Before one clip of all gradients: let them all carry what those of the stepping optimizer do.

        Does no more than the scaler itself would before their steps.

        Raises:
            RuntimeError: if the others were unscaled and this fused optimizer's were not.
        """
        others = [which for which in range(len(self._optimizers)) if which != stepping]
        if self._scaler is None or not others:
            return
        if self.of(stepping) is not None:
            if not all(self._waits(which) for which in others):
                raise RuntimeError(
                    "one clip acts on the gradients of all optimizers, but only some of them are unscaled; call "
                    "scaler.unscale_ for each optimizer before the first steps, or for none."
                )
            return
        for which in others:
            if self._waits(which):
                self._scaler.unscale_(self._optimizers[which])

    def _waits(self, which: int) -> bool:
        """Whether the scaler has scaled the loss, and not yet unscaled this optimizer's gradients."""
        if self._scaler is None or self._scaler._scale is None:
            return False
        state = self._scaler._per_optimizer_states.get(id(self._optimizers[which]))
        return state is None or state["stage"] is OptState.READY


class ScalerWatch:
    """Calls back when a scaler's ``step`` has left an optimizer's step out.

    The scaler's own decision is waited for by the scaler itself; nothing more is read.

    Args:
        scaler: the scaler; its ``step`` is wrapped on this instance until :meth:`remove`.
        optimizers: whose steps are of interest.
        steps: how many steps they have made.
        left_out: called after a step that was not made, with its optimizer.
    """

    def __init__(
        self,
        scaler: torch.amp.GradScaler,
        optimizers: Sequence[torch.optim.Optimizer],
        steps: Callable[[], int],
        left_out: Callable[[torch.optim.Optimizer], None],
    ) -> None:
        self._scaler = scaler
        self._step = _WatchedStep(scaler, scaler.step, self._stepped)
        self._optimizers, self._steps, self._left_out = optimizers, steps, left_out
        vars(scaler)["step"] = self._step

    def remove(self) -> None:
        """Take the wrapper off; where somebody has put another around it, it stays and does nothing any more."""
        self._step.watching = None
        if vars(self._scaler).get("step") is self._step:
            del vars(self._scaler)["step"]

    def _stepped(self, step: Callable[..., Any], stepped: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        before = self._steps()
        result = step(stepped, *args, **kwargs)
        if self._steps() == before and any(stepped is optimizer for optimizer in self._optimizers):
            self._left_out(stepped)
        return result


class _WatchedStep:
    """Stands in for ``scaler.step``; a pickled or copied scaler has its own plain one."""

    def __init__(
        self, scaler: torch.amp.GradScaler, original: Callable[..., Any], watching: Callable[..., Any] | None
    ) -> None:
        self._scaler, self._original, self.watching = scaler, original, watching

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.watching is None:
            return self._original(*args, **kwargs)
        return self.watching(self._original, *args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self._scaler, "step")
