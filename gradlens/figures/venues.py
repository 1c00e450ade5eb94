"""The pages that figures are printed on: width and type of each venue, by tueplots."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from tueplots import bundles

COLUMNS: Final = ("full", "half")
_SMALLEST, _LARGEST = 7.0, 9.0

_FALLBACK: Final = {
    # Some venues' styles name fonts that are on no plain machine; STIX and DejaVu ship with matplotlib.
    "serif": ("Times New Roman", "Times", "Nimbus Roman", "STIXGeneral", "DejaVu Serif"),
    "sans-serif": ("Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"),
}


@dataclass(frozen=True, slots=True)
class Page:
    """What a venue prescribes.

    Attributes:
        width: of the figure, in inches.
        size: of labels and titles, in points.
        small: of ticks and legends, in points; none is smaller.
        family: ``"serif"`` or ``"sans-serif"``.
    """

    width: float
    size: float
    small: float
    family: str

    @property
    def settings(self) -> dict[str, Any]:
        """Matplotlib's settings for this page."""
        small = ("legend.fontsize", "xtick.labelsize", "ytick.labelsize")
        return {
            "font.family": self.family,
            f"font.{self.family}": list(_FALLBACK[self.family]),
            "mathtext.fontset": "stix" if self.family == "serif" else "stixsans",
            **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize"), self.size),
            **dict.fromkeys(small, self.small),
        }


def styles() -> tuple[str, ...]:
    """The venues and slides that tueplots knows, those on dark ground left out: figures are drawn for white."""
    public = (name for name, _ in inspect.getmembers(bundles, inspect.isfunction) if not name.startswith("_"))
    return tuple(name for name in public if not name.endswith("_dark_bg"))


@cache
def page(style: str = "icml2024", column: str = "full") -> Page:
    """The page of a style.

    Args:
        style: one of :func:`styles`, as in ``"icml2024"`` or ``"beamer_moml"``.
        column: ``"full"`` text width or ``"half"``: a column of two, or half the width where there is one column only.

    Raises:
        ValueError: for a style or column that there is not; it names those that there are.

    >>> page("icml2024").width, page("icml2024", "half").width, page("neurips2024", "half").width
    (6.75, 3.25, 2.75)
    """
    if style not in styles():
        raise ValueError(f"expected one of the styles {', '.join(styles())}; got {style!r}.")
    if column not in COLUMNS:
        raise ValueError(f"column is 'full' or 'half'; got {column!r}.")
    bundle = getattr(bundles, style)
    taken = inspect.signature(bundle).parameters
    # tueplots would have LaTeX typeset some venues' text, which few machines can.
    wanted = {"column": column, "usetex": False}
    given = bundle(**{name: value for name, value in wanted.items() if name in taken})
    width = given["figure.figsize"][0]
    return Page(
        width=width if column == "full" or "column" in taken else width / 2,
        size=min(max(given["font.size"], _SMALLEST), _LARGEST),
        small=min(max(given["legend.fontsize"], _SMALLEST), _LARGEST),
        family=given["font.family"],
    )
