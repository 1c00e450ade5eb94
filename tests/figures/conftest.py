"""Figures to draw: one of every mark, each figure that can be asked for by name, and one with names that do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from micro_batch_sweep import write_sweep

import gradlens
from gradlens import figures
from gradlens.analysis import Landscape
from gradlens.figures.figure import (
    Axis,
    Band,
    Bars,
    Figure,
    Heatmap,
    Hexbin,
    Line,
    Panel,
    Points,
    Rule,
    Text,
)  # fmt: skip
from gradlens.store import Run

SAMPLES = Path(__file__).parents[2] / "sample_runs"
NARROW_AND_LONG = tuple(f"encoder.layers.{index}.self_attention.projection.weight" for index in range(40))


@pytest.fixture(scope="session")
def sample_pair() -> list[Run]:
    """Two recorded trainings, one unclipped and one clipped."""
    runs = gradlens.open_runs(SAMPLES / "autoclip_digits" / "runs")
    return [runs[0], runs[-1]]


@pytest.fixture(scope="session")
def drawn_runs(sample_pair: list[Run], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Run]]:
    """For each drawing, runs that it has something to show of."""
    root = tmp_path_factory.mktemp("sweep")
    write_sweep(root, sizes=(4, 16, 64), seeds=3)
    sweep = list(gradlens.open_runs(root))  # the first has micro-batches of two domains, and frozen estimates
    of_sweep = ("micro_batch_bias", "sweet_spot", "prediction_check", "dragger_profile", "domain_detections")
    of = dict.fromkeys((*of_sweep, "noise_scale"), sweep)
    return {name: of.get(name, sample_pair)[: drawing.most] for name, drawing in figures.DRAWINGS.items()}


@pytest.fixture(scope="session")
def gallery(drawn_runs: dict[str, list[Run]]) -> dict[str, Figure]:
    """Every figure that can be asked for by name; a new one joins the tests by being in the table."""
    drawn = {
        name: figures.draw(name, drawn_runs[name], **drawing.example) for name, drawing in figures.DRAWINGS.items()
    }
    return drawn | {"landscape_bands": figures.landscape_bands(_landscapes())}  # no sample recorded any


def _landscapes() -> list[Landscape]:
    """Two runs' landscapes, with probes that overflowed."""
    rng, steps, found = np.random.default_rng(0), np.arange(0, 4000, 50), []
    for name, clipped in (("No clipping", False), ("With AutoClip, p = 10", True)):
        wave = np.exp(0.2 * rng.standard_normal((3, len(steps))))
        loss = 2.0 / (1 + steps / 500) * wave[0]
        high = np.where(steps == 500, np.inf, 1.3 * loss)
        found.append(
            Landscape(
                name, clipped, steps, loss, 0.8 * loss, high, 0.1 * wave[1], 2 * wave[1], 5 * wave[2],
                (0.5, 0.4, 0.3), (2.0, 2.1, 2.2), (5.0, 4.0, 3.0), 1, len(steps),
            )
        )  # fmt: skip
    return found


@pytest.fixture(scope="session")
def every_mark() -> Figure:
    """A panel for each mark, with gaps, zeros and intervals."""
    rng = np.random.default_rng(0)
    x = np.linspace(0, 10_000, 200)
    y = np.sin(x / 1500)
    gap = np.where((x > 3000) & (x < 4000), np.nan, y - 0.3)
    cells = np.exp(rng.normal(size=(4, 30)))
    cells[2, 10:14], cells[3, 3] = np.nan, 0.0
    names = tuple(f"encoder.layers.{index}.weight" for index in range(4))
    ends = np.array([0.4, 0.15, np.nan]), np.array([0.7, 0.22, 0.2])
    panels = (
        Panel("Band and line", "", Axis("iteration"), Axis("loss"), (
            Band(x, gap, y + 0.3, "clipped", "95 % interval"), Line(x, y, "clipped", "clipped"),
            Line(x, y / 2, "run-1", "other", dashed=True), Rule(0.5, "y", "two over the learning rate"),
        )),
        Panel("Coloured points", "", Axis("gradient norm, before clipping", "log"), Axis("smoothness", "log"), (
            Points(np.exp(y), np.exp(-y), "unclipped", values=np.where(x < 200, np.nan, x), values_label="iteration"),
        )),
        Panel("Intervals", "", Axis("micro-batch size", "log", ticks=((1, "1"), (8, "8"), (64, "64"))), Axis("bias"), (
            Points(np.array([1.0, 8.0, 64.0]), np.array([0.5, 0.2, 0.1]), "run-0", "measured",
                   error_low=ends[0], error_high=ends[1]),
        )),
        Panel("Heatmap", "", Axis("iteration"), Axis("layer"), (
            Heatmap(np.linspace(0, 2000, 31), names, cells, "gradient norm", "log"),
        )),
        Panel("Bars", "", Axis("strategy"), Axis("share of steps clipped"), (
            Bars(("AutoClip", "fixed norm", "AGC"), np.array([0.3, 0.5, 0.2]), "clipped", "early",
                 np.array([0.2, 0.4, 0.1]), np.array([0.4, 0.6, 0.3])),
            Bars(("AutoClip", "AGC"), np.array([0.35, np.nan]), "unclipped", "late"),
        )),
        Panel("Hexagons", "", Axis("x", limits=(-2.0, 2.0)), Axis("y", limits=(-2.0, 2.0)), (
            Hexbin(y, -y, "clipped", (-2.0, 2.0), (-2.0, 2.0)),
        )),
        Panel("Nothing", "", Axis("iteration"), Axis("loss"), (Text("None of these runs recorded a loss."),)),
    )  # fmt: skip
    return Figure("every_mark", panels, "Every mark.")


@pytest.fixture(scope="session")
def unwieldy() -> Figure:
    """Names and numbers that no page has room for."""
    rng = np.random.default_rng(1)
    x = np.array([0.0, 1.23456e7])
    long = "a run named at length, autoclip-percentile-10-learning-rate-0.003-batch-size-32-seed-0-second-attempt"
    panels = (
        Panel(long, "", Axis("wall time since the beginning, in milliseconds"), Axis("a quantity with a long name"), (
            *(Line(x, 1e-7 * np.array([1.0, 2.0 + index]), f"run-{index}", f"{index} {long}") for index in range(6)),
        )),
        Panel("_hidden $\\frac{$", "", Axis("x", "log"), Axis("y", "log"), (
            Line(np.array([1e-12, 1e9]), np.array([2.1, 2.3]), "ink", "_hidden $\\frac{$"),
        )),
        Panel("Rows", "", Axis("iteration"), Axis("parameter"), (
            Heatmap(np.arange(11.0), NARROW_AND_LONG, rng.normal(size=(40, 10)), "logarithm of the gradient norm"),
        )),
        Panel("Names", "", Axis("strategy"), Axis("loss"), (Bars(NARROW_AND_LONG[:9], np.arange(9.0), "ink"),)),
    )  # fmt: skip
    return Figure("unwieldy", panels, "")
