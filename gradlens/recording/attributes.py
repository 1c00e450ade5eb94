"""What modules keep as plain attributes: recurrent states, kept activations, counters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

_TORCHS = frozenset(vars(nn.Module()))


@contextmanager
def attributes_put_back(model: nn.Module) -> Iterator[None]:
    """Let a model's modules set plain attributes; afterwards each is the object that it was, also after an exception.

    Lists, dicts and sets among them have the items that they had. What other objects hold is not looked at.

    Args:
        model: torch's own attributes of its modules (parameters, buffers, hooks, modes) are left alone.

    >>> model = nn.Module()
    >>> model.steps, model.seen = 0, []
    >>> with attributes_put_back(model):
    ...     model.steps += 1
    ...     model.seen.append(1)
    ...     model.last = 1
    >>> model.steps, model.seen, hasattr(model, "last")
    (0, [], False)
    """
    kept = [(module, _own(module)) for module in model.modules()]
    contents = [
        (value, value.copy()) for _, own in kept for value in own.values() if isinstance(value, list | dict | set)
    ]
    try:
        yield
    finally:
        for module, own in kept:
            for name in _own(module).keys() - own.keys():
                del vars(module)[name]
            vars(module).update(own)
        for value, items in contents:
            value.clear()
            if isinstance(value, list):
                value.extend(items)
            else:
                value.update(items)


def _own(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name not in _TORCHS}
