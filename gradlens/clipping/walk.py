"""Replaying, step by step in plain floats, a rule whose groups are independent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradlens.clipping import floats
from gradlens.clipping.rule import Floats


def walk(step: Callable[..., tuple[Any, ...]], norms: Floats, states: Floats) -> Floats:
    """What a formula gives over a whole series.

    Args:
        step: (namespace, norm, *state) -> (one number, another, *state), of one group.
        norms: (steps, groups).
        states: (groups, numbers in a state), before the first step.

    Returns:
        (2, steps, groups), the two numbers of each step.

    >>> walk(lambda xp, norm, seen: (seen, 0.0, norm), np.array([[1.0], [2.0]]), np.array([[9.0]]))[0].tolist()
    [[9.0], [1.0]]
    """
    found = np.empty((2, *norms.shape))
    for group, state in enumerate(states.tolist()):
        pairs = []
        for norm in norms[:, group].tolist():
            one, other, *state = step(floats, norm, *state)
            pairs.append((one, other))
        found[:, :, group] = np.array(pairs).reshape(-1, 2).T
    return found
