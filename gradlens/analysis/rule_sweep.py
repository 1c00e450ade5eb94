"""How much would a rule clip at other values of its parameter? The values are chosen for the reader."""

from __future__ import annotations

from typing import Final

import numpy as np

from gradlens.analysis.threshold_sweep import ThresholdSweep, threshold_sweep
from gradlens.analysis.thresholds import norm_span
from gradlens.clipping import ClipRule, autoclip, fixed
from gradlens.clipping.spec import zclip_alone
from gradlens.store import Run

PERCENTILES: Final = (0.0, 2.0, 5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 90.0, 100.0)
SCORES: Final = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)
TRIED: Final = 33
"""Fixed norms from the smallest to the largest recorded one."""
PARAMETERS: Final = {"autoclip": "percentile", "fixed": "max_norm", "zclip": "z_threshold"}
"""Of each rule that is swept, what varies."""


def sweep_rule(run: Run, name: str) -> ThresholdSweep:
    """Replay one kind of rule at values of its parameter that suit the run's norms.

    AutoClip is tried at ten percentiles, ZClip without a cap at nine z-scores, a fixed norm at 33 values evenly spaced
    in the logarithm from the smallest to the largest recorded norm.

    Args:
        run: a run with gradient norms.
        name: ``"autoclip"``, ``"fixed"`` or ``"zclip"``.

    Returns:
        As of :func:`gradlens.analysis.threshold_sweep`.

    Raises:
        ValueError: for another rule.
    """
    if name == "autoclip":
        return threshold_sweep(run, autoclip, PERCENTILES)
    if name == "zclip":
        return threshold_sweep(run, zclip_alone, SCORES)
    if name == "fixed":
        return threshold_sweep(run, fixed, _spread(run))
    raise ValueError(f"expected one of {', '.join(PARAMETERS)} to sweep; got {name!r}.")


def parameter_of(rule: ClipRule) -> float:
    """The value of what :func:`sweep_rule` varies.

    >>> parameter_of(autoclip(10)), parameter_of(fixed(0.5))
    (10.0, 0.5)
    """
    return float(rule.parameters[PARAMETERS[rule.name]])


def _spread(run: Run) -> tuple[float, ...]:
    """Fixed norms to try: with no norm to choose by, the 1 that clips are often set to."""
    low, high = norm_span(run)
    if not low <= high:
        return (1.0,)
    return tuple(dict.fromkeys(float(f"{norm:.4g}") for norm in np.geomspace(low, high, TRIED)))
