"""Every chart of every page is a figure that can be asked for by name, with the numbers that the page shows."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

import gradlens
from gradlens import figures
from gradlens.figures.figure import Figure
from gradlens.figures.numbers import numbers_csv
from gradlens_app.data import Data
from gradlens_app.looking import drawn, look
from gradlens_app.pages import PAGES


def numbers(figure: Figure) -> list[dict[str, str]]:
    """The rows of its numbers without the panels' titles, which say on a page of several runs whose they are."""
    rows = csv.DictReader(io.StringIO(numbers_csv(figure.only(0))))
    return [{name: value for name, value in row.items() if name != "panel"} for row in rows]


def shown(root: Path, path: str, search: str = "") -> dict[str, Figure]:
    """The charts of a page at an address, by name."""
    page = next(page for page in PAGES if page.path == path)
    found = look(page, Data([root], fresh=0), search)
    return {chart.name: drawn(chart) for chart in found.answer.charts}


def test_every_chart_is_in_the_table(read_pair: Path, sweep: Path) -> None:
    named = {
        figure.name
        for root in (read_pair, sweep)
        for page in PAGES
        if page.answer is not None
        for figure in shown(root, page.path).values()
    }
    assert named <= set(figures.DRAWINGS)
    assert named >= {"series", "norm_clouds", "smoothness_trajectory", "micro_batch_bias", "layer_clipping"}


@pytest.mark.parametrize(
    ("path", "kind", "name", "panel", "options"),
    [
        ("/dynamics", "loss", "series", 1, {}),
        ("/dynamics", "cloud", "norm_clouds", 0, {}),
        ("/smoothness", "difference", "smoothness_difference", 0, {}),
        ("/smoothness", "at-loss", "smoothness_at_loss", 0, {}),
        ("/smoothness", "safety", "step_size_safety", 0, {}),
        ("/smoothness", "parts", "smoothness_by_group", 0, {}),
        ("/clipping", "norms", "norm_distribution", 0, {"percentile": 10.0}),
        ("/clipping", "sweep", "threshold_sweep", 0, {"chosen": 10.0}),
        ("/clipping", "layers", "layer_clipping", 0, {"percentile": 10.0}),
        ("/clipping?rule=zclip", "path", "threshold_history", 0, {"z_score": 2.5}),
        ("/clipping?zoom=100..200", "rate", "threshold_history", 1, {"percentile": 10.0, "steps": (100, 200)}),
    ],
)
def test_the_page_draws_the_figure_of_that_name(
    read_pair: Path, path: str, kind: str, name: str, panel: int, options: dict[str, object]
) -> None:
    runs = list(gradlens.open_runs(read_pair))
    page, _, search = path.partition("?")
    (chart, *_) = (figure for key, figure in shown(read_pair, page, search).items() if key.startswith(kind))
    asked = figures.draw(name, runs[: figures.DRAWINGS[name].most], **options)
    assert numbers(chart) == numbers(asked.only(panel))


@pytest.mark.parametrize(
    ("kind", "name", "panel"),
    [
        ("sweep-0", "micro_batch_bias", 0),
        ("sweep-3", "micro_batch_bias", 3),
        ("predicted", "sweet_spot", 0),
        ("micro-batches-1", "dragger_profile", 1),
        ("domains", "domain_detections", 0),
        ("noise", "noise_scale", 0),
    ],
)
def test_so_do_the_micro_batches(sweep: Path, kind: str, name: str, panel: int) -> None:
    runs = list(gradlens.open_runs(sweep))
    asked = figures.draw(name, runs[: figures.DRAWINGS[name].most])
    assert numbers(shown(sweep, "/micro-batches")[kind]) == numbers(asked.only(panel))
