"""Saving a figure: the drawing, its numbers and its caption, side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from gradlens.figures.figure import Figure
from gradlens.figures.numbers import numbers_csv
from gradlens.figures.recipe import SUFFIX, recipe_json
from gradlens.store import Disk

__all__ = ["draw", "numbers_csv", "save"]


def save(
    figure: Figure,
    path: str | os.PathLike[str],
    formats: Sequence[str] = ("pdf", "svg", "png"),
    style: str = "icml2024",
    column: str = "full",
) -> tuple[Path, ...]:
    """Write a figure, the numbers drawn in it as CSV, its caption as text, and its recipe where it has a source.

    A figure that was asked for by name (:func:`draw`) knows its runs: :func:`redraw` draws it again from its recipe.
    Fonts are embedded (type 42) in the PDF and kept as text in the SVG. The same figure gives the same bytes.

    Args:
        figure: any figure of the gallery.
        path: where to, without a suffix; folders are made.
        formats: any of ``"pdf"``, ``"svg"``, ``"png"``.
        style: a venue or slide of tueplots, as in ``"icml2024"``, ``"neurips2024"`` or ``"beamer_moml"``.
        column: ``"full"`` or ``"half"`` text width.

    Returns:
        The files written.

    Raises:
        ValueError: for a format, style or column that there is not; nothing is written then.
        OSError: if a file cannot be written.
    """
    base = Path(path)
    files = {f".{form}": draw(figure, form, style, column) for form in formats}
    if figure.source is not None:
        files[SUFFIX] = recipe_json(figure.source, base.parent, formats, style, column)
    files |= {".csv": numbers_csv(figure).encode(), ".caption.txt": (figure.caption + "\n").encode()}
    disk = Disk()
    disk.make_folder(base.parent)
    written = []
    for suffix, data in files.items():
        written.append(base.with_name(base.name + suffix))
        disk.write(written[-1], data)
    return tuple(written)


def draw(figure: Figure, form: str, style: str = "icml2024", column: str = "full") -> bytes:
    """A figure as the bytes of a PDF, SVG or PNG file; see :func:`save`."""
    data: bytes = import_module("gradlens.figures.matplotlib_renderer").render(figure, form, style, column)
    return data
