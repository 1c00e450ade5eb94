"""``gradlens export``: figures from the shell, and the verbs for tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import gradlens
from gradlens import figures
from gradlens.cli import export_tables
from gradlens.cli.output import print_json
from gradlens.cli.progress import progress
from gradlens.figures.animation import FPS, FRAMES
from gradlens.figures.drawing import Option
from gradlens.figures.recipe import read_recipe
from gradlens.figures.redrawing import redrawn
from gradlens.store import Run, RunError, open_runs

Order = tuple[figures.Figure, Sequence[str], str, str]
FORMATS = ("pdf", "svg", "png")


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and what it exports."""
    kinds = verbs.add_parser("export", help="export a figure, or every number").add_subparsers(
        metavar="WHAT", required=True
    )
    parser = kinds.add_parser("figure", help="a figure fit for a paper, with its numbers and caption")
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="run folders, or folders of runs")
    parser.add_argument("--recipe", type=Path, help="draw a saved figure again; RUN is then where runs have moved to")
    parser.add_argument("--figure", choices=tuple(figures.DRAWINGS), help="which (default: training_dynamics)")
    for takers in _options().values():
        option = next(iter(takers.values()))
        number = None if option.number == 1 else option.number
        parser.add_argument(_flag(option.name), type=option.kind, nargs=number, help=_about(takers))
    parser.add_argument("--out", type=Path, required=True, help="where to, without a suffix")
    parser.add_argument("--formats", nargs="+", choices=(*FORMATS, "gif"), help="(default: all but gif)")
    parser.add_argument("--frames", type=int, help="gif: how many (default: 60)")
    parser.add_argument("--fps", type=float, help="gif: frames a second (default: 12)")
    parser.add_argument("--style", help="venue or slide, as in neurips2024 or beamer_moml (default: icml2024)")
    parser.add_argument("--column", choices=("full", "half"), help="text width (default: full)")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=run)
    export_tables.add(kinds)


def run(given: argparse.Namespace) -> int:
    """Draw the figure and write its files."""
    runs = _runs(given.runs)
    figure, formats, style, column = _again(given, runs) if given.recipe else _anew(given, runs)
    film = [_film(figure, given, style, column)] if "gif" in formats else []
    still = [form for form in formats if form != "gif"]
    written = [*film, *figures.save(figure, given.out, still, style, column)]
    if given.json:
        print_json({"figure": figure.name, "caption": figure.caption, "files": [str(path) for path in written]})
    else:
        print(figure.caption + "\n")
        print("\n".join(str(path) for path in written))
    return 0


def _film(figure: figures.Figure, given: argparse.Namespace, style: str, column: str) -> Path:
    if figure.source is None or figure.name != "training_dynamics" or "steps" in figure.source.arguments:
        raise ValueError("gif: only training_dynamics grows over time, and over all its steps.")
    frames = FRAMES if given.frames is None else given.frames
    fps = FPS if given.fps is None else given.fps
    with progress("drawing", frames, "frames") as advance:
        return figures.animate(
            figure.source.runs, given.out.with_name(given.out.name + ".gif"), frames, fps,
            style=style, column=column, on_frame=lambda: advance(1, ""), **figure.source.arguments,
        )  # fmt: skip


def _runs(paths: Sequence[Path]) -> list[Run]:
    found = [open_runs(path) for path in paths]
    for problem in (problem for each in found for problem in each.problems):
        print(f"gradlens: {problem}", file=sys.stderr)
    return [run for each in found for run in each]


def _anew(given: argparse.Namespace, runs: Sequence[Run]) -> Order:
    if not given.runs:
        raise ValueError("name the runs to draw, or a figure to draw again with --recipe.")
    if not runs:
        raise RunError(f"no runs in {', '.join(map(str, given.runs))}; give the folder that your recorder writes to.")
    options = {name: getattr(given, name) for name in _options()}
    figure = figures.draw(given.figure or "training_dynamics", runs, **options)
    return figure, given.formats or FORMATS, given.style or "icml2024", given.column or "full"


def _again(given: argparse.Namespace, runs: Sequence[Run]) -> Order:
    for name in ("figure", *_options()):
        if getattr(given, name) is not None:
            raise ValueError(f"the recipe says what to draw: leave out {_flag(name)}.")
    recipe = read_recipe(given.recipe)
    if recipe.gradlens != gradlens.__version__:
        drawn, now = recipe.gradlens, gradlens.__version__
        print(f"gradlens: drawn by gradlens {drawn}, now by {now}: it may look otherwise.", file=sys.stderr)
    figure = redrawn(recipe, given.recipe.parent, runs)
    return figure, given.formats or recipe.formats, given.style or recipe.style, given.column or recipe.column


def _options() -> dict[str, dict[str, Option]]:
    """Every option that some figure takes, by the figures that do."""
    options: dict[str, dict[str, Option]] = {}
    for name, drawing in figures.DRAWINGS.items():
        for option in drawing.options:
            options.setdefault(option.name, {})[name] = option
    return options


def _about(takers: Mapping[str, Option]) -> str:
    """What an option does, and in which figures."""
    does: dict[str, list[str]] = {}
    for name, option in takers.items():
        does.setdefault(option.help, []).append(name)
    return "; ".join(f"{', '.join(names)}: {what}" for what, names in does.items())


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
