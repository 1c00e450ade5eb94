"""What a recording measures, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch

from gradlens.schedules import Schedule, Watching


@dataclass(frozen=True, slots=True)
class Plan:
    """The measuring arguments of :class:`gradlens.Recorder`, whose docstring says what each means.

    Attributes:
        norms: when to measure gradient norms.
        update: when to measure the update's and the parameters' norms.
        smoothness: when to measure smoothness.
        landscape: when to look along the gradient.
        distance: when to measure how far the parameters are from where they were first.
        fractions: when to count entries of the gradient that are zero or not finite.
        micro_batches: when to measure each micro-batch of a step.
        frozen_weights: when to estimate what micro-batch clipping would do.
        estimator: how to measure smoothness.
        etas: how far to look along the gradient, in step sizes.
    """

    norms: Schedule
    update: Schedule
    smoothness: Schedule
    landscape: Schedule
    distance: Schedule
    fractions: Schedule
    micro_batches: Schedule
    frozen_weights: Schedule
    estimator: str
    etas: Sequence[float]

    def __post_init__(self) -> None:
        if isinstance(self.etas, str) or not isinstance(self.etas, Sequence):
            raise TypeError(f"etas takes step sizes in a list, such as [0.01, 0.1]; got {self.etas!r}.")

    @property
    def schedules(self) -> dict[str, Schedule]:
        """The schedules by the names of their arguments."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in found.items() if name not in ("estimator", "etas")}

    @property
    def watching(self) -> list[Watching]:
        """The schedules that want to see what was recorded."""
        unique = {id(schedule): schedule for schedule in self.schedules.values()}
        return [schedule for schedule in unique.values() if isinstance(schedule, Watching)]

    def gradient(self, step: int) -> bool:
        """Whether something of this step needs the gradient's norm."""
        return self.norms(step) or self.smoothness(step) or self.fractions(step)


def usual_etas(optimizer: torch.optim.Optimizer) -> list[float]:
    """Half, once, twice and four times the learning rate; without one, half to four."""
    return [factor * float(optimizer.param_groups[0]["lr"]) or factor for factor in (0.5, 1.0, 2.0, 4.0)]
