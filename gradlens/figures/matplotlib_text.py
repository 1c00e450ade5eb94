"""How wide text is on paper."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Final

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from gradlens.figures.venues import Page
from gradlens.figures.wrapping import Measure

POINTS: Final = 72.0
"""Points in an inch."""

LINE: Final = 1.2
"""Height of a line of text over the size of its type."""


def width_of(sheet: Page, size: float) -> Measure:
    """A function from a text to its width in points.

    Args:
        sheet: whose type it is set in.
        size: of the type, in points.
    """
    return partial(_width, sheet.family, size)


@lru_cache(maxsize=4096)
def _width(family: str, size: float, text: str) -> float:
    properties = FontProperties(family=family, size=size)
    return float(text_to_path.get_text_width_height_descent(text, properties, ismath=False)[0])
