"""The files that go to print: the same bytes every time, fonts embedded, text that is text."""

from __future__ import annotations

import io
import re

import matplotlib as mpl
import numpy as np
import pytest
from pypdf import PdfReader

from gradlens.figures import export
from gradlens.figures.figure import Axis, Figure, Line, Panel
from gradlens.figures.venues import page, styles

WORDS = ("Coloured points", "gradient norm, before clipping, log scale", "95 % interval", "share of steps clipped")


@pytest.fixture(scope="module")
def drawn(every_mark: Figure) -> dict[str, bytes]:
    return {form: export.draw(every_mark, form) for form in ("pdf", "svg", "png")}


@pytest.mark.parametrize("form", ["pdf", "svg", "png"])
def test_the_same_figure_gives_the_same_bytes_whatever_the_users_settings(
    every_mark: Figure, drawn: dict[str, bytes], form: str
) -> None:
    with mpl.rc_context({"font.size": 20, "axes.grid": True, "lines.linewidth": 9, "text.usetex": True}):
        assert export.draw(every_mark, form) == drawn[form]


@pytest.mark.parametrize("style", ["icml2024", "beamer_moml"])
def test_fonts_are_embedded_and_text_can_be_selected(every_mark: Figure, drawn: dict[str, bytes], style: str) -> None:
    file = drawn["pdf"] if style == "icml2024" else export.draw(every_mark, "pdf", style)
    (sheet,) = PdfReader(io.BytesIO(file)).pages
    fonts = [font.get_object() for font in sheet["/Resources"]["/Font"].values()]  # type: ignore[index]
    assert fonts
    for font in fonts:
        assert font["/Subtype"] == "/Type0"
        (embedded,) = font["/DescendantFonts"]
        assert "/FontFile2" in embedded.get_object()["/FontDescriptor"].get_object()
    said = " ".join(sheet.extract_text().split())
    for words in WORDS:
        assert words in said


def test_text_in_svg_is_text(drawn: dict[str, bytes]) -> None:
    said = re.sub(r"<[^>]+>", " ", drawn["svg"].decode())
    for words in ("Coloured points", "encoder.layers.3.weight", "95 % interval", "10,000"):
        assert words in said


def test_text_of_any_script_is_drawn_without_a_warning() -> None:
    x = np.arange(3.0)
    line = Line(x, x, "ink", "损失 ‖θ‖₂")
    assert export.draw(Figure("f", (Panel("损失", "", Axis("шаг"), Axis("ℓ"), (line,)),), ""), "pdf")


def test_there_is_a_page_for_every_style() -> None:
    assert {"icml2024", "neurips2024", "iclr2024", "jmlr2001", "aaai2024", "cvpr2024", "beamer_moml"} <= set(styles())
    for style in styles():
        full, half = page(style), page(style, "half")
        assert 2.3 < half.width < full.width < 7.1
        assert 7 <= full.small <= full.size <= 9
