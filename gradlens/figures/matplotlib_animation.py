"""Figures that change, as a GIF: one layout for all frames, so that nothing jumps."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from PIL import Image

from gradlens.figures.figure import Figure, Panel
from gradlens.figures.matplotlib_marks import draw_marks
from gradlens.figures.matplotlib_renderer import compose, drawing
from gradlens.figures.venues import Page

_DPI: Final = 150
_COLOURS: Final = 128
_HOLD: Final = 2000
"""Milliseconds that the last frame stays."""


def render_gif(whole: Figure, frames: Iterable[Figure], sheet: Page, fps: float, on_frame: Callable[[], None]) -> bytes:
    """Draw frames as a GIF that repeats.

    Args:
        whole: the figure whose layout, limits and colours all frames have; its panels' limits are fixed.
        frames: figures with the same panels.
        sheet: the page.
        fps: frames a second.
        on_frame: called after each.
    """
    images: list[Image.Image] = []
    with drawing(sheet):
        canvas = compose(whole, sheet)
        canvas.set_dpi(_DPI)
        axes = canvas.axes[: len(whole.panels)]
        palette = _palette(_picture(canvas))
        for frame in frames:
            for one, panel in zip(axes, frame.panels, strict=True):
                _redraw(one, panel)
            images.append(_picture(canvas).quantize(palette=palette, dither=Image.Dither.NONE))
            on_frame()
    buffer = io.BytesIO()
    pace = [round(1000 / fps)] * (len(images) - 1) + [_HOLD]
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=pace, loop=0, optimize=True)
    return buffer.getvalue()


def _palette(picture: Image.Image) -> Image.Image:
    """The colours of a picture as few, with the paper's white among them as it is."""
    few = picture.quantize(_COLOURS, dither=Image.Dither.NONE)
    colours = np.array(few.getpalette()).reshape(-1, 3)
    colours[colours.sum(axis=1).argmax()] = 255
    few.putpalette(colours.ravel().tolist())
    return few


def _redraw(axes: Axes, panel: Panel) -> None:
    limits = axes.get_xlim(), axes.get_ylim()
    for artist in [*axes.lines, *axes.collections]:
        artist.remove()
    draw_marks(axes, panel)
    axes.set(xlim=limits[0], ylim=limits[1])


def _picture(canvas: Canvas) -> Image.Image:
    agg = canvas.canvas
    agg.draw()
    return Image.fromarray(np.asarray(agg.buffer_rgba())).convert("RGB")  # type: ignore[attr-defined]
