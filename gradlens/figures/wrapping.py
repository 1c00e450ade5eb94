"""Text that fits: wrapped at spaces, shortened in the middle where a single word is too long."""

from __future__ import annotations

from collections.abc import Callable

_TIE = "\u00a0"
Measure = Callable[[str], float]


def wrapped(text: str, width: float, measure: Measure) -> str:
    r"""Lines no wider than a width.

    Args:
        text: words.
        width: most that a line may take.
        measure: width of a text, in the same unit.

    >>> wrapped("local smoothness, log scale", 17, len)
    'local smoothness,\nlog scale'
    >>> wrapped("gradient norm at T = 119", 20, len)
    'gradient norm at\nT = 119'
    """
    lines: list[str] = []
    words = " ".join(text.split()).replace("log scale", f"log{_TIE}scale").replace(" = ", f"{_TIE}={_TIE}")
    for word in words.split(" "):
        fitting = shortened(word, width, measure)
        if lines and measure(f"{lines[-1]} {fitting}") <= width:
            lines[-1] = f"{lines[-1]} {fitting}"
        else:
            lines.append(fitting)
    return "\n".join(lines).replace(_TIE, " ")


def shortened(text: str, width: float, measure: Measure) -> str:
    """A text without its middle, where all of it is too wide.

    >>> shortened("encoder.layers.10.weight", 15, len)
    'encoder….weight'
    """
    if measure(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        candidate = text[: (kept + 1) // 2] + "…" + text[-(kept // 2) :]
        if measure(candidate) <= width:
            return candidate
    return "…"
