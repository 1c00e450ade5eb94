"""What the host makes of a step's numbers once they have arrived."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlens.recording.step_row import Part
from gradlens.schema import CONSECUTIVE, ESTIMATORS

logger = logging.getLogger("gradlens")

Norms = NDArray[np.float64]

_CLIPPED = "grad_norm_clipped"
_SAME = 1e-5
"""Relative difference of two norms below which a gradient counts as left alone."""


class RowFinisher:
    """Turns arrived numbers into the columns of a row, in the order of the steps.

    A smoothness that means nothing becomes null with a reason: after a step of length zero, with a gradient that is not
    finite, and from a probe that finds a loss that does not repeat until one finds that it does. The noise floor is
    what a repeat of the gradient changes, and at least the gradient's rounding.

    Args:
        epsilon: relative rounding error of the weights' dtype.
    """

    def __init__(self, epsilon: float) -> None:
        self._epsilon = epsilon
        self._repeats = True
        self._warned = False
        self._judged = False
        self._written_silently = False

    def __call__(
        self, arrived: Mapping[str | Part, Any], tensors: Mapping[str, Norms] | None = None
    ) -> tuple[dict[str, Any], dict[str, Norms]]:
        """The row of one step and its per-parameter norms, from the numbers that were pushed for it."""
        row = {name: value for name, value in arrived.items() if isinstance(name, str)}
        norms = dict(tensors or {})
        if Part.SILENT in arrived:
            self._judge(arrived[Part.LEFT], arrived[Part.SILENT])
        untouched = Part.LEFT not in arrived or self._compare(row, norms, arrived)
        for name, kind in (("nonfinite", int), ("clipped", bool), ("stepped", bool)):
            if row.get(name) is not None:
                row[name] = kind(row[name])
        if row.get("update_norm") is not None and row.get("param_norm"):
            row["update_ratio"] = row["update_norm"] / row["param_norm"]
        self._smoothness(row, arrived, untouched=untouched)
        return row, norms

    def _smoothness(self, row: dict[str, Any], arrived: Mapping[str | Part, Any], *, untouched: bool) -> None:
        """Divide, or say why not."""
        moved, change, noise = (arrived.get(part) for part in (Part.MOVED, Part.CHANGE, Part.NOISE))
        method = row.get("smoothness_method")
        if method not in ESTIMATORS or moved is None or change is None:
            return
        gradient = row.get("grad_norm") or 0.0
        if noise is not None:
            self._repeats = not (noise > 0.1 * change and noise > 0.01 * gradient)
        reason = _reason(moved, change, repeats=self._repeats)
        if method == CONSECUTIVE and not reason:
            next_left = arrived.get(Part.NEXT_LEFT)
            if not untouched or (next_left is not None and not _same(next_left, arrived[Part.NEXT_TAKEN])):
                reason = "none: gradient was changed before the step"
        if reason:
            row["smoothness_method"] = reason
            return
        row["smoothness"] = change / moved
        if method != CONSECUTIVE:  # whose noise is that of two batches, which nothing here has measured
            row["smoothness_noise"] = max(noise or 0.0, self._epsilon * gradient) / moved

    def _judge(self, left: float, taken: float) -> None:
        """Whether a gradient that nothing says was written to is what it was."""
        self._written_silently = self._written_silently or not _same(left, taken)
        self._judged = True

    @property
    def doubtful(self) -> bool:
        """Whether the gradient has to be measured at both points: something writes to it silently, or may."""
        return self._written_silently or not self._judged

    def _compare(self, row: dict[str, Any], norms: dict[str, Norms], arrived: Mapping[str | Part, Any]) -> bool:
        """Say what the training did to the gradient between backward and the step; True if nothing that shows."""
        left, taken = arrived[Part.LEFT], row["grad_norm"]
        scale = arrived.get(Part.SCALE)
        if scale is None and arrived[Part.SEED] > 1 + _SAME:
            # A scaled loss whose scaler is not known: what was left cannot be compared with what was taken.
            row["clip_source"] = row.get("clip_source") or "unknown"
            if _CLIPPED in norms:
                norms["grad_norm"] = norms.pop(_CLIPPED)
            if not self._warned:
                self._warned = True
                logger.warning(
                    "gradlens: the loss is scaled before backward. Give Recorder the scaler=, or a clip of your own is "
                    "not seen in grad_norm."
                )
            return True
        scale = scale or 1.0
        left /= scale
        row["grad_norm"] = left
        if "grad_norm" in norms:
            norms["grad_norm"] = norms["grad_norm"] / scale
        declared, finite = Part.DECLARED in arrived, math.isfinite(left)
        same = not left > 0 or not finite or abs(taken / left - 1) <= _SAME
        if same:
            norms.pop(_CLIPPED, None)
        if row.get("clip_source") is not None:  # gradlens' own clip, of what the training's own had left
            if not same and finite:
                self._clipped_twice(row, left)
            return same
        if declared:
            row["clip_source"] = "declared"
        elif not same:  # a gradient that grew was not clipped: something was added
            row["clip_source"] = "inferred" if taken < left else "unknown"
        if row.get("clip_source") in ("declared", "inferred") and finite:
            threshold = row.get("clip_threshold")
            row["clip_coef"] = 1.0 if same else taken / left
            row["clipped"] = not same if threshold is None else left > threshold
        return same

    def _clipped_twice(self, row: dict[str, Any], left: float) -> None:
        """The row says what both clips did together."""
        row["clip_coef"] = row[_CLIPPED] / left
        row["clipped"] = bool(row.get("clipped")) or row[_CLIPPED] < left
        if not self._warned:
            self._warned = True
            logger.warning(
                "gradlens: the training clips, or otherwise changes, its gradient itself before the rule of clip= "
                "does. The rule sees what that leaves, so that a replay over grad_norm is not what it did; take one of "
                "them out."
            )


def _same(left: float, taken: float) -> bool:
    return left == taken or (left != left and taken != taken) or (left > 0 and abs(taken / left - 1) <= _SAME)


def _reason(moved: float, change: float, *, repeats: bool) -> str | None:
    if not math.isfinite(change) or not math.isfinite(moved):
        return "none: gradient is not finite"
    if moved == 0:
        return "none: zero step"
    return None if repeats else "none: loss does not repeat"
