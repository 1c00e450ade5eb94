"""Drawing a saved figure again from its recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradlens.figures.drawing import draw
from gradlens.figures.export import save
from gradlens.figures.figure import Figure
from gradlens.figures.recipe import SUFFIX, Recipe, content, read_recipe, steps_of
from gradlens.store import Run, RunError, open_run


def redraw(
    recipe: str | os.PathLike[str], path: str | os.PathLike[str] | None = None, runs: Sequence[Run] = ()
) -> tuple[Path, ...]:
    """Draw a saved figure again, from the same runs with the same arguments, for the same page.

    Args:
        recipe: the ``.recipe.json`` beside a saved figure.
        path: where to, without a suffix; over the saved figure if not given.
        runs: where to look for runs that are no longer where they were; they are known by their ids.

    Returns:
        The files written: with this version of gradlens and its libraries the same bytes as before.

    Raises:
        RunError: if the recipe or one of its runs is missing, or a run has changed; nothing is written then.
    """
    file = Path(recipe)
    held = read_recipe(file)
    return save(redrawn(held, file.parent, runs), _target(file, path), held.formats, held.style, held.column)


def redrawn(recipe: Recipe, folder: Path, runs: Sequence[Run] = ()) -> Figure:
    """The figure of a recipe; its runs' paths begin in a folder."""
    found = [_run(entry, folder, runs) for entry in recipe.runs]
    return draw(recipe.figure, found, **{str(key): value for key, value in recipe.arguments.items()})


def _target(recipe: Path, path: str | os.PathLike[str] | None) -> Path:
    return recipe.with_name(recipe.name.removesuffix(SUFFIX)) if path is None else Path(path)


def _run(entry: Mapping[str, Any], folder: Path, runs: Sequence[Run]) -> Run:
    run = next((run for run in runs if run.run_id == entry["run_id"]), None) or _where_it_was(entry, folder)
    if content(run) != entry["content"]:
        now = steps_of(run)
        grown = f"{entry['steps']:,} steps then, {now:,} now" if now != entry["steps"] else "other numbers than then"
        raise RunError(
            f"run {run.name!r} has changed since the figure was drawn ({grown}); "
            "draw it anew with gradlens export figure, or figures.draw."
        )
    return run


def _where_it_was(entry: Mapping[str, Any], folder: Path) -> Run:
    path = Path(os.path.normpath(folder / str(entry["path"])))
    advice = "Say where it is now: gradlens export figure RUNS --recipe ..., or redraw(..., runs=...)."
    try:
        run = open_run(path)
    except RunError as error:
        raise RunError(f"run {entry['name']!r} ({entry['run_id']}) is missing: {error} {advice}") from error
    if run.run_id != entry["run_id"]:
        raise RunError(f"{path} holds another run than {entry['name']!r} ({entry['run_id']}). {advice}")
    return run
