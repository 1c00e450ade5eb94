"""The command line: the library's verbs, for people and for machines."""

from gradlens.cli.command import main

__all__ = ["main"]
