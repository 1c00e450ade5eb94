"""The film of a training: panels grow, the threshold moves, limits stay, and the last frame is the figure."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradlens import figures
from gradlens.figures.figure import Hexbin, Line, Rule
from gradlens.figures.gallery.growing import growing
from gradlens.store import Run

WriteRun = Callable[..., Run]


@pytest.fixture
def pair(write_run: WriteRun) -> list[Run]:
    thresholds = np.linspace(1.0, 3.0, 100)
    clip = {"name": "autoclip", "parameters": {"percentile": 10.0}}
    return [write_run(name="a", steps=100), write_run(name="b", steps=100, clip=clip, clip_threshold=thresholds)]


def test_frames_hold_what_there_was_at_their_step(pair: list[Run]) -> None:
    whole, frames = growing(pair, 10)
    held = list(frames)
    assert held[-1] is whole
    lines = [[mark for mark in frame.panels[0].marks if isinstance(mark, Line)] for frame in held]
    at = np.linspace(0, 99, 10)
    for frame, marks, step in zip(held, lines, at, strict=True):
        steps, values = pair[0].series("update_norm")
        shown = steps <= step
        np.testing.assert_array_equal(marks[0].y, values[shown])
        (hexbin, rule) = frame.panels[3].marks
        assert isinstance(hexbin, Hexbin)
        assert isinstance(rule, Rule)
        assert len(hexbin.x) == sum(probe <= step for probe in range(0, 100, 4))
        assert rule.at == pytest.approx(math.log(1.0 + 2.0 * math.floor(step) / 99))
        for panel, complete in zip(frame.panels, whole.panels, strict=True):
            assert panel.x == complete.x
            assert panel.y == complete.y
            assert None not in (panel.x.limits, panel.y.limits)


def test_the_film_is_a_gif_that_ends_with_the_whole_figure(pair: list[Run], tmp_path: Path) -> None:
    drawn = []
    path = figures.animate(pair, tmp_path / "deep" / "film", 5, 10, column="half", on_frame=lambda: drawn.append(1))
    assert path == tmp_path / "deep" / "film.gif"
    assert len(drawn) == 5
    assert path.stat().st_size < 1e6
    with Image.open(path) as film:
        assert film.n_frames == 5  # type: ignore[attr-defined]
        inks, sizes = [], set()
        for index in range(5):
            film.seek(index)
            inks.append(int((np.asarray(film.convert("L")) < 250).sum()))
            sizes.add(film.size)
            assert film.info["duration"] == (2000 if index == 4 else 100)
    assert inks == sorted(inks)
    assert inks[0] < inks[-1]
    assert len(sizes) == 1
    again = figures.animate(pair, tmp_path / "again.gif", 5, 10, column="half")
    assert again.read_bytes() == path.read_bytes()


def test_a_run_without_a_row_is_a_film_of_sentences(write_run: WriteRun, tmp_path: Path) -> None:
    assert figures.animate([write_run(steps=0)], tmp_path / "film", 2).stat().st_size > 0


def test_numbers_out_of_range_are_refused(pair: list[Run], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"an animation has 2 frames or more; got 1\."):
        figures.animate(pair, tmp_path / "film", 1)
    for fps in (0, 51, math.nan):
        with pytest.raises(ValueError, match=r"fps is more than 0 and at most 50; got"):
            figures.animate(pair, tmp_path / "film", 2, fps)
    with pytest.raises(ValueError, match=r"expected one of the styles"):
        figures.animate(pair, tmp_path / "film", 2, style="x")
    with pytest.raises(ValueError, match=r"got 'gif'\. For a GIF: figures\.animate\."):
        figures.save(figures.training_dynamics(pair), tmp_path / "film", ("gif",))
    assert not list(tmp_path.glob("film*"))
