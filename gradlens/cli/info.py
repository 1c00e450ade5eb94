"""``gradlens info``: one run, its numbers and its state on disk."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from math import isnan
from pathlib import Path

from gradlens.analysis import Summary, norm_smoothness, summarize
from gradlens.cli.on_disk import count, files_of
from gradlens.cli.output import number, print_entry, print_json, when
from gradlens.cli.progress import progress
from gradlens.clipping import describe
from gradlens.store import Run, SessionInfo, open_run


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = verbs.add_parser("info", help="say what a run holds")
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="folder of one run")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Describe a run, all of it read; 1 where a part of it is damaged or lost, or nothing of it can be read."""
    opened = open_run(given.run_folder)
    with progress("reading every byte", None, ""):
        problems = opened.verify()
    if given.json:
        print_json(
            {"run_id": opened.run_id, "name": opened.name, "status": opened.status, "clip": opened.clip}
            | {"config": dict(opened.config), "environment": dict(opened.environment), "columns": opened.columns}
            | {"problems": problems, **_on_disk(opened), **asdict(summarize(opened))}
        )
    else:
        for title, value in _entries(opened):
            print_entry(title, value)
        for problem in problems:
            print_entry("problem", problem)
        if opened.columns:
            print(f"\ndraw it with: gradlens export figure {given.run_folder} --out figure")
    return 1 if problems or not opened.columns else 0


def _on_disk(run: Run) -> dict[str, object]:
    """What a run is on disk, for machines; ``points`` are the numbers that can be read."""
    files, points = files_of(run), run.footprint.points
    return {
        **asdict(files),
        "points": points,
        "bytes_per_point": files.bytes / points if points else None,
        "sessions": [asdict(session) for session in run.sessions],
        "lost": sum(session.lost for session in run.sessions),
        "thinned": run.thinned,
    }


def _entries(run: Run) -> list[tuple[str, str]]:
    summary = summarize(run)
    environment = run.environment
    answer = norm_smoothness(run)
    low, high = answer.raw.pearson_interval
    r = (
        answer.status
        or f"{answer.raw.pearson:z.2f} [{low:z.2f}, {high:z.2f}], detrended {answer.detrended.pearson:z.2f}"
    )
    if not answer.status and answer.placebo is not None:
        doubt = f", {answer.raw.caveat}" if answer.raw.caveat else ""
        r = f"r = {r}, placebo {answer.placebo.raw:z.2f}; n = {answer.n}{doubt}"
    return [
        ("name", run.name),
        ("run", run.run_id),
        ("status", run.status),
        ("recorded", when(run.created)),
        ("clip", describe(run.clip)),
        ("config", ", ".join(f"{key} = {value}" for key, value in run.config.items()) or "none"),
        ("torch", f"{environment.get('torch')} on {environment.get('device')}"),
        ("optimizer", str(run.optimizer.get("class"))),
        ("parameters", f"{environment.get('parameters')} in {len(run.parameters)} tensors"),
        ("steps", f"{summary.steps:,} in {number(summary.seconds)} s"),
        ("final loss", _final_loss(run, summary)),
        ("clipped", number(summary.clipped, percent=True)),
        ("norm-smoothness", r),
        ("overhead", number(summary.overhead, percent=True) + " of a step, smoothness probes apart"),
        ("series", ", ".join(run.columns) or "none"),
        *_disk_entries(run),
    ]


def _final_loss(run: Run, summary: Summary) -> str:
    if "loss" not in run.columns:
        return "- (no loss was recorded)"
    of = f"; gradients not finite in {count(summary.nonfinite, 'step')}" if summary.nonfinite else ""
    return ("NaN" if isnan(summary.final_loss) else number(summary.final_loss)) + of


def _disk_entries(run: Run) -> list[tuple[str, str]]:
    files, points, sessions, thinned = files_of(run), run.footprint.points, run.sessions, run.thinned
    each = f", {files.bytes / points:.1f} bytes each" if points else ""
    lost = sum(session.lost for session in sessions)
    none = "not known, since files are damaged" if run.problems else "none"
    turns = [
        (f"session {session.number}", _session(session, is_newest=session is sessions[-1], status=run.status))
        for session in sessions
    ]
    entries = [
        ("on disk", str(files)),
        ("numbers", f"{points:,} readable{each}"),
        *(turns if len(turns) > 1 else ()),
        ("rows lost", f"{lost:,} of {lost + sum(session.rows for session in sessions):,}" if lost else none),
    ]
    if thinned:
        summaries = "some or all per-tensor values gave way to 256-step summaries (max_bytes)"
        entries.append(("thinned", f"steps {thinned[0]:,} to {thinned[1]:,}: {summaries}"))
    return entries


def _session(session: SessionInfo, status: str, *, is_newest: bool) -> str:
    """A session's rows, its end and its losses in a line."""
    rows = count(session.rows, "row")
    start = "no rows" if session.first_step is None else f"from step {session.first_step:,}, {rows}"
    end = session.closed or ("running" if is_newest and status == "running" else "never closed")
    why = f" ({session.last_error})" if session.last_error else ""
    return f"{start}, {end}" + (f"; {count(session.lost, 'row')} lost{why}" if session.lost else "")
