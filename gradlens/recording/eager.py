"""What a compiled training step calls of gradlens runs as it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

_Function = TypeVar("_Function", bound=Callable[..., Any])


def not_compiled(function: _Function) -> _Function:
    """Keep ``torch.compile`` out of a function: traced, a recorder would be compiled anew whenever a number changes."""
    return torch.compiler.disable(function)  # type: ignore[no-any-return, no-untyped-call]
