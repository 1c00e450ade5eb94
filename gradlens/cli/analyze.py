"""``gradlens analyze``: a question to recorded runs; each file in ``questions`` is one."""

from __future__ import annotations

import argparse

from gradlens.cli.questions import QUESTIONS


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb and its questions."""
    kinds = verbs.add_parser("analyze", help="put a question to runs").add_subparsers(metavar="QUESTION", required=True)
    for question in QUESTIONS:
        question.add(kinds)
