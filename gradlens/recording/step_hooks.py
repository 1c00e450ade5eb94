"""Around the steps of a training's optimizers: one call before each update, one after, and one when all have stepped.

::

    one optimizer     [ before  update  after ] over
    several           [ before  update  after ]  [ before  update  after ] over
    inside backward   the same, an optimizer for each parameter or so, while backward still runs
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from gradlens.recording.closure import StepArguments, measure_first_evaluation
from gradlens.recording.eager import not_compiled
from gradlens.recording.loss_scaling import ScalerWatch

logger = logging.getLogger("gradlens")


class AroundSteps(Protocol):
    """Who is called; ``which`` is the optimizer's index, ``first`` whether it is the first in this step."""

    def before_update(self, which: int, *, first: bool) -> None:
        """Between the gradient and the update."""

    def after_update(self, which: int) -> None:
        """The optimizer has stepped."""

    def left_out(self, which: int) -> None:
        """The scaler has left its step out."""

    def over(self) -> None:
        """Every optimizer has had its turn, or one begins its next."""


class StepHooks:
    """Hooks on the optimizers that make up a training's step.

    A step is over when each optimizer has had one turn; where one does not step every time, when another begins its
    next, or when :meth:`end` is called.

    Args:
        optimizers: those of the training.
        scaler: the gradient scaler, if there is one.
        around: who is called.

    Attributes:
        evaluating: whether an optimizer evaluates its closure.
    """

    def __init__(
        self,
        optimizers: Sequence[torch.optim.Optimizer],
        scaler: torch.amp.GradScaler | None,
        around: AroundSteps,
    ) -> None:
        self._around = around
        self._optimizers = optimizers
        self._done: set[int] = set()
        self._turns = 0
        self._begun = False
        self.evaluating = False
        self._places = {id(optimizer): which for which, optimizer in enumerate(optimizers)}
        self._handles = [
            handle
            for optimizer in optimizers
            for handle in (
                optimizer.register_step_pre_hook(self._begins),
                optimizer.register_step_post_hook(self._ended),
            )
        ]
        self._scaler_watch = None
        if scaler is not None:
            self._scaler_watch = ScalerWatch(scaler, optimizers, lambda: self._turns, self._left_out)

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        if self._scaler_watch is not None:
            self._scaler_watch.remove()

    def end(self) -> None:
        """The next step begins: those that have not stepped yet do not step in this one."""
        if self._done and not self.evaluating:
            self._done, self._begun = set(), False
            self._around.over()

    @not_compiled
    def _begins(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> StepArguments | None:
        which = self._places[id(optimizer)]
        self._turns += 1
        self.evaluating = False  # one that failed has not said so
        if which in self._done:
            self.end()
        first = not (self._begun and self._done)  # begun and not done: a step that failed
        stepped_with = measure_first_evaluation(args, kwargs, lambda: self._begin(which, first=first), self._evaluates)
        if stepped_with is None:
            self._begin(which, first=first)
        return stepped_with

    def _begin(self, which: int, *, first: bool) -> None:
        self._around.before_update(which, first=first)
        self._begun = True

    def _evaluates(self, evaluating: bool) -> None:
        self.evaluating = evaluating

    @not_compiled
    def _ended(self, optimizer: torch.optim.Optimizer, _args: object, _kwargs: object) -> None:
        which = self._places[id(optimizer)]
        self.evaluating = False
        self._around.after_update(which)
        self._turn_over(which)

    def _left_out(self, optimizer: torch.optim.Optimizer) -> None:
        which = self._places[id(optimizer)]
        if which in self._done:
            self.end()
        self._around.left_out(which)
        self._turn_over(which)

    def _turn_over(self, which: int) -> None:
        self._done.add(which)
        if len(self._done) == len(self._optimizers):
            self.end()


def warn_of_others(optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Say so where another recorder is attached already, of a notebook's cell that ran twice, say."""
    for optimizer in optimizers:
        hooks = optimizer._optimizer_step_pre_hooks.values()
        if any(isinstance(getattr(hook, "__self__", None), StepHooks) for hook in hooks):
            logger.warning(
                "gradlens: this %s has a recorder already; both record, and both clip if they have a rule. Close the "
                "other one first, by its close().",
                type(optimizer).__name__,
            )
            return
