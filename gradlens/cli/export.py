"""``gradlens export``: figures from the shell, and the verbs for tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gradlens import figures
from gradlens.analysis import thresholds
from gradlens.cli import export_tables
from gradlens.cli.output import print_json
from gradlens.clipping import autoclip, fixed
from gradlens.store import Run, RunError, open_runs


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and what it exports."""
    kinds = verbs.add_parser("export", help="export a figure, or every number").add_subparsers(
        metavar="WHAT", required=True
    )
    parser = kinds.add_parser("figure", help="a figure fit for a paper, with its numbers and caption")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders of runs")
    parser.add_argument("--figure", choices=("training_dynamics", "threshold_history"), default="training_dynamics")
    parser.add_argument("--percentile", type=float, help="threshold_history: replay AutoClip at this percentile")
    parser.add_argument("--max-norm", type=float, help="threshold_history: replay a fixed norm")
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
    figure = _threshold_history(runs, given) if given.figure == "threshold_history" else figures.training_dynamics(runs)
    written = figures.save(figure, given.out, given.formats, given.style, given.column)
    if given.json:
        print_json({"figure": figure.name, "caption": figure.caption, "files": [str(path) for path in written]})
    else:
        print(figure.caption + "\n")
        print("\n".join(str(path) for path in written))
    return 0


def _threshold_history(runs: Sequence[Run], given: argparse.Namespace) -> figures.Figure:
    if len(runs) != 1:
        raise ValueError(f"threshold_history draws one run; got {len(runs)}. Name one run folder.")
    if (given.percentile is None) == (given.max_norm is None):
        raise ValueError("threshold_history replays one rule: give --percentile P or --max-norm C.")
    rule = autoclip(given.percentile) if given.percentile is not None else fixed(given.max_norm)
    return figures.threshold_history(thresholds(runs[0], rule))
