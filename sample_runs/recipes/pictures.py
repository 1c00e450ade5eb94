"""Figures as the samples keep them."""

import io

from PIL import Image

from gradlens import figures

_COLOURS = 128  # a figure's, text smoothed: a quarter of the bytes, and no difference to see


def save(figure, path, formats=("pdf", "png")):
    """Write a figure, its numbers and its caption, the PNG with a palette: samples lie in the repository.

    Args:
        figure: of the gallery.
        path: where to, without a suffix.
        formats: any of ``"pdf"``, ``"svg"``, ``"png"``.
    """
    for file in figures.save(figure, path, formats=formats):
        if file.suffix == ".png":
            file.write_bytes(_with_palette(file.read_bytes()))


def _with_palette(png):
    picture, out = Image.open(io.BytesIO(png)).convert("RGB"), io.BytesIO()
    few = picture.quantize(_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(out, "PNG", optimize=True)
    return out.getvalue()
