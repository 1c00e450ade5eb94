"""Opening runs, and finding them under a folder: one that cannot be opened is left out and named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from gradlens.schema import SCHEMA_VERSION
from gradlens.store import files, layout
from gradlens.store.errors import RunError
from gradlens.store.run import Run

_MAX_DEPTH = 12
_MAX_SESSIONS = 10_000


@dataclass(frozen=True)
class Runs(Sequence[Run]):
    """The runs found under a root, oldest first.

    Attributes:
        root: the folder searched.
        problems: a sentence for each run that could not be opened.
    """

    root: Path
    items: tuple[Run, ...]
    problems: tuple[str, ...]

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Run, ...]: ...
    def __getitem__(self, index: int | slice) -> Run | tuple[Run, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        return f"Runs({str(self.root)!r}, {len(self)} runs, {len(self.problems)} problems)"


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open one run folder.

    Raises:
        RunError: if it is not a run folder, or its ``run.json`` cannot be read.
    """
    folder = Path(path)
    _check_folder(folder, f"give the folder of a run, which holds a {layout.RUN_FILE}.")
    return _open(folder)


def open_runs(root: str | os.PathLike[str], known: Callable[[Path], Run | None] | None = None) -> Runs:
    """Find every run under a folder, at any depth; symbolic links are not followed.

    A run that cannot be opened is left out and named in ``problems``. An empty folder gives no runs.

    Args:
        root: the folder.
        known: gives the run of a folder that was opened before and has not changed since, None where it must be opened.

    Raises:
        RunError: if the root itself is missing or is not a folder.
    """
    folder = Path(root)
    _check_folder(folder, "give the folder that your recorder writes to.")
    runs: list[Run] = []
    problems: list[str] = []
    for candidate in _run_folders(folder, problems):
        try:
            runs.append((known(candidate) if known is not None else None) or _open(candidate))
        except RunError as error:
            problems.append(f"{error} The run is skipped.")
    runs.sort(key=lambda run: (run.created, run.run_id))
    return Runs(folder, tuple(runs), tuple(problems))


def _check_folder(folder: Path, advice: str) -> None:
    if not os.path.exists(folder):  # noqa: PTH110 - Path.exists raises for a name that is too long
        raise RunError(f"{folder} does not exist; {advice}")
    if not folder.is_dir():
        raise RunError(f"{folder} is a file; {advice}")


def _open(folder: Path) -> Run:
    try:
        entries = files.read_json(folder / layout.RUN_FILE)
    except FileNotFoundError:
        raise RunError(
            f"{folder} is not a run: it holds no {layout.RUN_FILE}. If runs lie inside: gradlens list {folder}"
        ) from None
    version = entries.get("schema_version")
    if not isinstance(version, int):
        raise RunError(f"{folder / layout.RUN_FILE} is not gradlens': it names no schema version.")
    if version > SCHEMA_VERSION:
        raise RunError(
            f"{folder / layout.RUN_FILE}: expected schema version {SCHEMA_VERSION} or older, got {version}; "
            "a newer gradlens wrote it: update to read it."
        )
    clip, (health, problems) = entries.get("clip"), _health(folder)
    return Run(
        path=folder,
        run_id=files.text(entries.get("run_id"), folder.name),
        name=files.text(entries.get("name"), folder.name),
        config=_mapping(entries.get("config")),
        clip=clip if isinstance(clip, dict) else None,
        environment=_mapping(entries.get("environment")),
        created=files.number(entries.get("created")) or 0.0,
        _health=health,
        _problems=problems,
    )


def _run_folders(root: Path, problems: list[str], depth: int = 0) -> Iterator[Path]:
    if depth > _MAX_DEPTH:
        return
    try:
        with os.scandir(root) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        problems.append(f"{root} cannot be listed: {error.strerror}.")
        return
    if any(entry.name == layout.RUN_FILE for entry in entries):
        yield root
        return
    for entry in entries:
        if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
            yield from _run_folders(Path(entry.path), problems, depth + 1)


def _health(folder: Path) -> tuple[dict[int, dict[str, Any]], tuple[str, ...]]:
    """What each session says of itself, and a sentence for each that cannot be read."""
    found: dict[int, dict[str, Any]] = {}
    problems: list[str] = []
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return {}, ()
    for name in names:
        session = layout.session_of(name)
        if session is None or len(found) >= _MAX_SESSIONS:
            continue
        found.setdefault(session, {})
        if name == layout.health_file(folder, session).name:
            try:
                found[session] = files.read_json(folder / name, files.MAX_HEALTH)
            except FileNotFoundError:
                continue
            except RunError as error:
                problems.append(str(error))
    return found, tuple(problems)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
