"""A gradient scaler that leaves a step out calls no optimizer hook: its ``step`` tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


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
        original = scaler.step

        def step(stepped: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
            before = steps()
            result = original(stepped, *args, **kwargs)
            if steps() == before and any(stepped is optimizer for optimizer in optimizers):
                left_out(stepped)
            return result

        self._step = step
        vars(scaler)["step"] = step

    def remove(self) -> None:
        """Take the wrapper off, unless somebody has put another around it."""
        if vars(self._scaler).get("step") is self._step:
            del vars(self._scaler)["step"]
