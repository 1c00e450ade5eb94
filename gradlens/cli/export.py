"""``gradlens export``: figures from the shell, and the verbs for tables."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gradlens import figures
from gradlens.cli import export_tables
from gradlens.cli.output import print_json
from gradlens.figures.drawing import Option
from gradlens.store import RunError, open_runs


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and what it exports."""
    kinds = verbs.add_parser("export", help="export a figure, or every number").add_subparsers(
        metavar="WHAT", required=True
    )
    parser = kinds.add_parser("figure", help="a figure fit for a paper, with its numbers and caption")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders of runs")
    parser.add_argument("--figure", choices=tuple(figures.DRAWINGS), default="training_dynamics")
    for option, takers in _options().values():
        number = None if option.number == 1 else option.number
        about = f"{', '.join(takers)}: {option.help}"
        parser.add_argument(_flag(option.name), type=option.kind, nargs=number, help=about)
    parser.add_argument("--out", type=Path, required=True, help="where to, without a suffix")
    parser.add_argument("--formats", nargs="+", choices=("pdf", "svg", "png"), default=["pdf", "svg", "png"])
    parser.add_argument("--style", default="icml2024", help="venue, as in neurips2024 (default: %(default)s)")
    parser.add_argument("--column", choices=("full", "half"), default="full", help="text width (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=run)
    export_tables.add(kinds)


def run(given: argparse.Namespace) -> int:
    """Draw the figure and write its files."""
    found = [open_runs(path) for path in given.runs]
    runs = [run for each in found for run in each]
    for problem in (problem for each in found for problem in each.problems):
        print(f"gradlens: {problem}", file=sys.stderr)
    if not runs:
        raise RunError(f"no runs in {', '.join(map(str, given.runs))}; give the folder that your recorder writes to.")
    figure = figures.draw(given.figure, runs, **{name: getattr(given, name) for name in _options()})
    written = figures.save(figure, given.out, given.formats, given.style, given.column)
    if given.json:
        print_json({"figure": figure.name, "caption": figure.caption, "files": [str(path) for path in written]})
    else:
        print(figure.caption + "\n")
        print("\n".join(str(path) for path in written))
    return 0


def _options() -> dict[str, tuple[Option, list[str]]]:
    """Every option that some figure takes, and which figures do."""
    options: dict[str, tuple[Option, list[str]]] = {}
    for name, drawing in figures.DRAWINGS.items():
        for option in drawing.options:
            options.setdefault(option.name, (option, []))[1].append(name)
    return options


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
