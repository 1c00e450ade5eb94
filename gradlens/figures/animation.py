"""The training-dynamics figure as a film."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from gradlens.figures.gallery.growing import growing
from gradlens.store import Disk, Run

FRAMES = 60
FPS = 12.0


def animate(
    runs: Sequence[Run],
    path: str | os.PathLike[str],
    frames: int = FRAMES,
    fps: float = FPS,
    *,
    labels: Sequence[str] | None = None,
    smoothing: float = 0.02,
    style: str = "icml2024",
    column: str = "full",
    on_frame: Callable[[], None] = lambda: None,
) -> Path:
    """Write ``training_dynamics`` as a GIF in which the panels grow and the clip threshold moves.

    Limits, moving averages and layout are of the whole runs and stay the same over the frames; the last one is the
    figure itself, and stays for two seconds.

    Args:
        runs: one or more.
        path: where to; ``.gif`` is added where it is missing.
        frames: how many, at least 2, at evenly spaced steps.
        fps: frames a second, more than 0 and at most 50.
        labels: what to call the runs, as for :func:`training_dynamics`.
        smoothing: span of the moving average, as for :func:`training_dynamics`.
        style: a venue or slide, as for :func:`save`.
        column: ``"full"`` or ``"half"``.
        on_frame: called after each frame, for a progress bar.

    Returns:
        The file written.

    Raises:
        ValueError: for a number that is out of range, a style or column that there is not, or no runs.
        OSError: if the file cannot be written.
    """
    if not 0 < fps <= 50:  # what viewers of GIFs keep up with
        raise ValueError(f"fps is more than 0 and at most 50; got {fps:g}.")
    sheet = import_module("gradlens.figures.venues").page(style, column)
    whole, grown = growing(runs, frames, labels=labels, smoothing=smoothing)
    render = import_module("gradlens.figures.matplotlib_animation").render_gif
    data: bytes = render(whole, grown, sheet, fps, on_frame)
    target = Path(path)
    target = target if target.suffix == ".gif" else target.with_name(target.name + ".gif")
    disk = Disk()
    disk.make_folder(target.parent)
    disk.write(target, data)
    return target
