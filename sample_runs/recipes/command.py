"""The command line of a recipe, and what keeps one folder to one set of settings."""

import argparse
import json
import os
from pathlib import Path


def parser(text):
    """A recipe's parser: --out, --fast and --processes."""
    found = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--out", required=True, type=Path, help="folder for the runs, figures and results")
    found.add_argument("--fast", action="store_true", help="the small version; FAST=1 in the environment does the same")
    found.add_argument("--processes", type=int, help="trainings at once; as many as there are cores if not given")
    return found


def wants_fast(given):
    """Whether the small version is asked for."""
    return given.fast or os.environ.get("FAST", "0") not in ("", "0")


def once(root, settings, record):
    """Record unless an earlier call has, and note the settings.

    Args:
        root: the recipe's folder.
        settings: what JSON can hold.
        record: takes nothing.

    Returns:
        Whether it was recorded now.

    Raises:
        FileExistsError: for a folder that holds something else, or this recipe with other settings.
    """
    done = root / "recipe.json"
    new = not done.exists()
    if new:
        if root.exists() and any(root.iterdir()):
            raise FileExistsError(
                f"{root} is not empty and holds no finished recipe; remove it, or name another --out."
            )
        record()
        root.mkdir(parents=True, exist_ok=True)
        done.write_text(json.dumps(settings))
    if json.loads(done.read_text()) != json.loads(json.dumps(settings)):
        raise FileExistsError(f"{root} holds this recipe with other settings; remove it, or give another --out.")
    return new
