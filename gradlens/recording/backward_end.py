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
    """Calls a method when a backward pass comes to a watched loss, and another once when the pass has ended.

    A hook on the loss itself fires when the pass comes to it, and asks autograd for a call at the end; no parameter is
    hooked. The loss does not keep the methods' owner alive.

    Args:
        began: a bound method without arguments.
        ended: a bound method that takes the gradient of what ``backward`` was called on with respect to the first loss
            that the pass came to, a 0-d tensor (1, the loss scale, or a share of it), and the notes of all of them.
    """

    def __init__(self, began: Callable[[], None], ended: Callable[[Tensor, list[Evaluated]], None]) -> None:
        self._began = weakref.WeakMethod(began)
        self._ended = weakref.WeakMethod(ended)
        self._pass = -1
        self._notes: list[Evaluated] = []

    def watch(self, loss: Tensor, noted: Evaluated) -> None:
        """Call for the passes that this loss will see; a loss without a graph sees none.

        Args:
            loss: of a micro-batch.
            noted: the note of it, which learns that a pass has reached it.
        """
        if loss.requires_grad:
            mine = weakref.ref(self)
            loss.register_hook(lambda seed: _begins(mine(), noted, seed))  # type: ignore[no-untyped-call]

    def begins(self, noted: Evaluated, seed: Tensor) -> None:
        """A pass has come to a loss; two losses of one sum are one pass."""
        current = torch._C._current_graph_task_id()
        if current == self._pass:
            self._notes.append(noted)
            return
        self._pass, self._notes = current, [noted]
        seed, notes = seed.detach(), self._notes
        # What data parallelism queues during the pass has to come first, so the call is queued again at the end.
        _engine.queue_callback(lambda: _engine.queue_callback(lambda: self._call(seed, notes)))
        began = self._began()
        if began is not None:
            began()

    def _call(self, seed: Tensor, notes: list[Evaluated]) -> None:
        ended = self._ended()
        if ended is not None:
            ended(seed, notes)


@not_compiled
def _begins(watching: BackwardEnd | None, noted: Evaluated, seed: Tensor) -> None:
    noted.reached = True
    if watching is not None:
        watching.begins(noted, seed)
