"""Saving a figure: the drawing, its numbers and its caption, side by side."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from gradlens.figures.figure import Band, Figure, Hexbin, Line, Points, Rule, Text
from gradlens.store import Disk


def save(
    figure: Figure,
    path: str | os.PathLike[str],
    formats: Sequence[str] = ("pdf", "svg", "png"),
    style: str = "icml2024",
    column: str = "full",
) -> tuple[Path, ...]:
    """Write a figure, the numbers drawn in it as CSV, and its caption as text.

    Fonts are embedded (type 42) in the PDF and kept as text in the SVG. The same figure gives the same bytes.

    Args:
        figure: any figure of the gallery.
        path: where to, without a suffix; folders are made.
        formats: any of ``"pdf"``, ``"svg"``, ``"png"``.
        style: a venue of tueplots, as in ``"icml2024"`` or ``"neurips2024"``.
        column: ``"full"`` or ``"half"`` text width.

    Returns:
        The files written.

    Raises:
        ValueError: for a format, style or column that there is not; nothing is written then.
        OSError: if a file cannot be written.
    """
    base = Path(path)
    files = {f".{form}": draw(figure, form, style, column) for form in formats}
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


def numbers_csv(figure: Figure) -> str:
    """Every number drawn in a figure: panel, mark, label, x, y. A hexbin gives its points.

    Text that a spreadsheet would take for a formula gets a quote in front.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["panel", "mark", "label", "x", "y"])
    for panel in figure.panels:
        for row in _numbers(panel.marks):
            writer.writerow([_inert(panel.title), row[0], _inert(row[1]), *row[2:]])
    return out.getvalue()


def _numbers(marks: Sequence[object]) -> Iterator[tuple[str, str, str, str]]:
    for mark in marks:
        match mark:
            case Line() | Points() | Hexbin():
                name = type(mark).__name__.lower()
                faint = " (raw)" if isinstance(mark, Line) and mark.faint else ""
                for x, y in zip(mark.x.tolist(), mark.y.tolist(), strict=True):
                    yield name + faint, mark.label, f"{x:.9g}", f"{y:.9g}"
            case Band():
                for side, heights in (("low", mark.low), ("high", mark.high)):
                    for x, y in zip(mark.x.tolist(), heights.tolist(), strict=True):
                        yield f"band ({side})", mark.label, f"{x:.9g}", f"{y:.9g}"
            case Rule():
                at = f"{mark.at:.9g}"
                yield "rule", mark.label, *((at, "") if mark.along == "x" else ("", at))
            case Text():
                yield "text", mark.text, "", ""


def _inert(text: str) -> str:
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
