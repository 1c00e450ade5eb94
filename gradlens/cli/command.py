"""Parsing, and one line on stderr for whatever goes wrong.

Exit codes: 0 done, 1 it failed, 2 wrong use.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import gradlens
from gradlens.cli import analyze, compact, demo, export, info, listing, show
from gradlens.store import RunError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; returns its exit code.

    >>> main(["list", "/nowhere"])
    1
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    if not hasattr(given, "run"):
        parser.print_help()
        return 2
    try:
        code: int = given.run(given)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe, head say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (RunError, OSError, RuntimeError) as error:
        print(f"gradlens: {error}", file=sys.stderr)
        return 1
    except ValueError as error:  # an argument outside its range
        print(f"gradlens: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gradlens: stopped", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gradlens",
        description="Record, analyse and browse the training dynamics of PyTorch models.",
        epilog="Attach gradlens.Recorder to a training loop, then: gradlens show RUNS",
    )
    parser.add_argument("--version", action="version", version=f"gradlens {gradlens.__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    for room in (demo, show, listing, info, analyze, export, compact):
        room.add(verbs)
    return parser
