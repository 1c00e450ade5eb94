"""A training's own ``clip_grad_norm_``, seen by name: where it is called through the recorder, or captured."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

_PLACES = (torch.nn.utils, torch.nn.utils.clip_grad)
_NAME = "clip_grad_norm_"


class CapturedClipping(AbstractContextManager["CapturedClipping"]):
    """Puts a wrapper in the place of ``torch.nn.utils.clip_grad_norm_`` until it is removed.

    Whoever has imported the function itself before (``from torch.nn.utils import clip_grad_norm_``) calls it unseen;
    the recorder then infers the clip from the gradient's norms.

    Args:
        announce: called before each clip with the parameters, the threshold and the order of the norm.
    """

    def __init__(self, announce: Callable[[list[Tensor], float, float], None]) -> None:
        self._replaced: list[tuple[Any, Any, Any]] = []
        for place in _PLACES:
            original = getattr(place, _NAME)
            wrapped = _announced(original, announce)
            self._replaced.append((place, original, wrapped))
            setattr(place, _NAME, wrapped)

    @property
    def active(self) -> bool:
        """Whether it still sees clips."""
        return bool(self._replaced)

    def remove(self) -> None:
        """Put torch's function back; where somebody has put another in its place since, that stays."""
        for place, original, wrapped in self._replaced:
            if getattr(place, _NAME) is wrapped:
                setattr(place, _NAME, original)
        self._replaced = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def _announced(original: Callable[..., Tensor], announce: Callable[[list[Tensor], float, float], None]) -> Any:
    @functools.wraps(original)
    def wrapped(
        parameters: Tensor | Iterable[Tensor], max_norm: float, norm_type: float = 2.0, *rest: Any, **options: Any
    ) -> Tensor:
        parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        announce(parameters, float(max_norm), float(norm_type))
        return original(parameters, max_norm, norm_type, *rest, **options)

    return wrapped
