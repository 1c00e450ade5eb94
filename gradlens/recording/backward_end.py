"""The moment when a backward pass has left its gradients, before anything else can change them."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import Tensor

from gradlens.recording.eager import not_compiled
from gradlens.recording.step_row import Evaluated

_engine = torch.autograd.Variable._execution_engine


class BackwardEnd:
    """Calls a method once at the end of each backward pass that goes through a watched loss.

    A hook on the loss itself fires when the pass begins, and asks autograd for a call at its end; no parameter is
    hooked. The loss does not keep the method's owner alive.

    Args:
        ended: a bound method that takes the gradient of what ``backward`` was called on with respect to the loss, a
            0-d tensor: 1, the loss scale, or a share of it.
    """

    def __init__(self, ended: Callable[[Tensor], None]) -> None:
        self._ended = weakref.WeakMethod(ended)
        self._pass = -1

    def watch(self, loss: Tensor, noted: Evaluated | None = None) -> None:
        """Call at the end of the passes that this loss will see; a loss without a graph sees none.

        Args:
            loss: of a micro-batch.
            noted: the row's note of it, which learns that a pass has reached it.
        """
        if loss.requires_grad:
            mine = weakref.ref(self)
            loss.register_hook(lambda seed: _begins(mine(), noted, seed))  # type: ignore[no-untyped-call]

    def begins(self, seed: Tensor) -> None:
        """A pass has begun; two losses of one sum are one pass."""
        current = torch._C._current_graph_task_id()
        if current == self._pass:
            return
        self._pass = current
        seed = seed.detach()
        # What data parallelism queues during the pass has to come first, so the call is queued again at the end.
        _engine.queue_callback(lambda: _engine.queue_callback(lambda: self._call(seed)))

    def _call(self, seed: Tensor) -> None:
        ended = self._ended()
        if ended is not None:
            ended(seed)


@not_compiled
def _begins(watching: BackwardEnd | None, noted: Evaluated | None, seed: Tensor) -> None:
    if noted is not None:
        noted.reached = True
    if watching is not None:
        watching.begins(seed)
