"""Names that must fit beside a chart."""

from __future__ import annotations


def shortened(name: str, most: int = 32) -> str:
    """The end of a name that is too long, which tells parameters apart.

    >>> shortened("encoder.layer.0.weight", 10)
    '….0.weight'
    """
    return name if len(name) <= most else "…" + name[len(name) - most + 1 :]
