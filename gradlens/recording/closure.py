"""An optimizer that takes a closure has no gradient until the closure has run: measure inside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

StepArguments = tuple[tuple[Any, ...], dict[str, Any]]


def measure_first_evaluation(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    measure: Callable[[], None],
    evaluates: Callable[[bool], None] = lambda _: None,
) -> StepArguments | None:
    """Arguments of ``optimizer.step`` whose closure calls ``measure`` once, after its first evaluation.

    The first evaluation leaves the gradient at theta_t; a line search may come back with others.

    Args:
        args: positional arguments of the step, the optimizer itself first.
        kwargs: its keyword arguments.
        measure: what to do between the gradient and the update.
        evaluates: told when an evaluation begins (True) and ends (False).

    Returns:
        The arguments to step with instead, as an optimizer's pre-hook returns them; None where there is no closure.

    >>> events = []
    >>> step = ("optimizer", lambda: events.append("loss"))
    >>> (_, closure), _ = measure_first_evaluation(step, {}, lambda: events.append("norm"))
    >>> closure(), closure(), events
    (None, None, ['loss', 'norm', 'loss'])
    """
    closure = kwargs["closure"] if "closure" in kwargs else args[1] if len(args) > 1 else None
    if not callable(closure):  # an optimizer's own first argument may be something else
        return None
    evaluations = 0

    def measured() -> Any:
        nonlocal evaluations
        evaluates(True)
        try:
            result = closure()
        finally:
            evaluates(False)
        evaluations += 1
        if evaluations == 1:
            measure()
        return result

    if "closure" in kwargs:
        return args, {**kwargs, "closure": measured}
    return (args[0], measured, *args[2:]), kwargs
