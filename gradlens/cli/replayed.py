"""The rule that a question replays, as the shell says it: one number, whose option says which rule."""

from __future__ import annotations

import argparse

from gradlens.clipping import ClipRule, one_rule

Numbers = tuple[float | None, float | None, float | None]


def add_rule(parser: argparse.ArgumentParser, where: str = "") -> None:
    """The options, one of which is to be given.

    Args:
        parser: of the question.
        where: what the rule is replayed on, added to each option's help.
    """
    parser.add_argument("--percentile", type=float, help=f"replay AutoClip at this percentile{where}")
    parser.add_argument("--max-norm", type=float, help=f"replay a fixed norm{where}")
    parser.add_argument("--z-score", type=float, help=f"replay ZClip at this z-score, without a cap{where}")


def numbers_of(given: argparse.Namespace) -> Numbers:
    """What was given of them, as :func:`gradlens.clipping.one_rule` takes it."""
    return given.percentile, given.max_norm, given.z_score


def rule_of(given: argparse.Namespace) -> ClipRule:
    """The rule that was given.

    Raises:
        ValueError: for none or several.
    """
    return one_rule(*numbers_of(given))


def option_of(given: argparse.Namespace) -> str:
    """The option as it was given, for the command that draws the same."""
    names = ("--percentile", "--max-norm", "--z-score")
    return " ".join(
        f"{name} {value:g}" for name, value in zip(names, numbers_of(given), strict=True) if value is not None
    )
