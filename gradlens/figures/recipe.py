"""What a figure was made of, beside it as JSON: enough to draw it again, and to notice that a run has changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

import gradlens
from gradlens.figures.figure import Source
from gradlens.schema import is_text
from gradlens.store import Run, RunError
from gradlens.store.files import read_json

SUFFIX: Final = ".recipe.json"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a figure was drawn.

    Attributes:
        figure: name of the drawing.
        runs: for each run its path from the recipe's folder, run_id, name, steps and content.
        arguments: what else the drawing was given.
        gradlens: version that drew it.
        style: of the page.
        column: of the page.
        formats: of the files.
    """

    figure: str
    runs: tuple[Mapping[str, Any], ...]
    arguments: Mapping[str, Any]
    gradlens: str
    style: str
    column: str
    formats: tuple[str, ...]


def recipe_json(source: Source, folder: Path, formats: Sequence[str], style: str, column: str) -> bytes:
    """The recipe of a figure that is saved into a folder."""
    written = {
        "figure": source.name,
        "runs": [_entry(run, folder) for run in source.runs],
        "arguments": dict(source.arguments),
        "gradlens": gradlens.__version__,
        "style": style,
        "column": column,
        "formats": list(formats),
    }
    return (json.dumps(written, indent=2, ensure_ascii=False) + "\n").encode()


def _entry(run: Run, folder: Path) -> dict[str, Any]:
    return {
        "path": Path(os.path.relpath(run.path.resolve(), folder.resolve())).as_posix(),
        "run_id": run.run_id,
        "name": run.name,
        "steps": steps_of(run),
        "content": content(run),
    }


def steps_of(run: Run) -> int:
    """How many steps a run has recorded."""
    return len(run.series("step")[0]) if "step" in run.columns else 0


def content(run: Run) -> str:
    """A checksum of what a run says: its name, its clip, and every number of its step table.

    It stays the same when the run is copied, compacted or opened elsewhere, and becomes another with every new row.
    """
    names = [name for name in run.columns if not is_text(name)]
    found = run.several(*names)
    digest = hashlib.sha256(json.dumps([run.name, run.clip, run.thinned], sort_keys=True, default=str).encode())
    for name in sorted(found):
        steps, values = found[name]
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(steps, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    return "sha256:" + digest.hexdigest()[:32]


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file.

    Raises:
        RunError: if there is none, or it is not a recipe.
    """
    try:
        held = read_json(path)
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; give the {SUFFIX} that lies beside a saved figure.") from None
    texts = [held.get(name) for name in ("figure", "gradlens", "style", "column")]
    runs, arguments, formats = held.get("runs"), held.get("arguments"), held.get("formats")
    if (
        not all(isinstance(text, str) for text in texts)
        or not isinstance(arguments, dict)
        or not isinstance(formats, list)
        or not isinstance(runs, list)
        or not all(isinstance(run, dict) and {"path", "run_id", "name", "steps", "content"} <= set(run) for run in runs)
    ):
        raise RunError(f"{path} is not a recipe of a figure; give the {SUFFIX} that lies beside a saved figure.")
    figure, version, style, column = map(str, texts)
    return Recipe(figure, tuple(runs), arguments, version, style, column, tuple(map(str, formats)))
