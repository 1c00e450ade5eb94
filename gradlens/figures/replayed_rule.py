"""Options of the figures that replay one clip rule, and of those that draw a part of the steps."""

from __future__ import annotations

from typing import Final

from gradlens.figures.drawing import Option

RULE: Final = (
    Option("percentile", float, "replay AutoClip at this percentile"),
    Option("max_norm", float, "replay a fixed norm"),
    Option("z_score", float, "replay ZClip at this z-score, without a cap"),
)
"""Of which one is given, as :func:`gradlens.clipping.one_rule` takes them."""
EXAMPLE: Final = {"percentile": 10.0}

STEPS: Final = Option("steps", int, "first and last step to draw", 2)
