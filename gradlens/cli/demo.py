"""``gradlens demo``: record a real training, analyse it, draw it, browse it."""

from __future__ import annotations

import argparse
import importlib.util
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradlens
from gradlens.cli import show

_RECIPE = Path("autoclip_digits", "recipe.py")


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = verbs.add_parser("demo", help="record, analyse and draw a real training, then browse it")
    parser.add_argument("--out", default="gradlens-demo", help="folder for runs and figures (default: %(default)s)")
    parser.add_argument("--fast", action="store_true", help="a few seconds instead of minutes, too short to learn")
    parser.add_argument("--no-show", action="store_true", help="stop after the figures")
    show.add_server_options(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Run the recipe, then serve its runs."""
    if find_spec("sklearn") is None:
        raise RuntimeError(
            "the demo's data come with scikit-learn: install it, or gradlens-dynamics with its extra [samples]."
        )
    runs = _recipe().main(given.out, fast=given.fast)
    figures = Path(given.out) / "figures"
    print(
        f"runs:    {runs}\nfigures: {figures} (PDF, SVG, PNG, CSV, caption)\nresults: {Path(given.out) / 'results.md'}"
    )
    if given.no_show:
        print(f"\nbrowse them with: gradlens show {runs}")
        return 0
    return show.serve((runs,), given)


def _recipe() -> Any:
    """The recipe's module: beside the package in a wheel, in ``sample_runs`` in a checkout."""
    package = Path(gradlens.__file__).parent
    for folder in (package / "_recipes", package.parent / "sample_runs"):
        path = folder / _RECIPE
        spec = importlib.util.spec_from_file_location("gradlens_demo_recipe", path) if path.is_file() else None
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    raise RuntimeError(f"the demo's recipe {_RECIPE} is missing from this installation; install gradlens again.")
