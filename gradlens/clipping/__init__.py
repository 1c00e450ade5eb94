"""Clip rules as values: the same rule drives a training and is replayed over recorded norms."""

from gradlens.clipping.autoclip import autoclip
from gradlens.clipping.fixed import fixed
from gradlens.clipping.replay import NOT_DETERMINED, Replay, replay
from gradlens.clipping.rule import Clip, ClipRule, Measured
from gradlens.clipping.spec import describe, from_spec

__all__ = [
    "NOT_DETERMINED",
    "Clip",
    "ClipRule",
    "Measured",
    "Replay",
    "autoclip",
    "describe",
    "fixed",
    "from_spec",
    "replay",
]
