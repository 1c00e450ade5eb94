"""One step's record while it is being measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from torch import Tensor

from gradlens.schema import CONSECUTIVE, ESTIMATORS

Parts = list[tuple[range, Tensor]]
"""Places of parameters among all of them, and a number for each."""

SINGLE_SAMPLES = "single samples"
"""What gradients of single samples are called on the way from the device."""


class Part(Enum):
    """Numbers that the host makes into columns; themselves no column, and no name that a user could give."""

    LEFT = "gradient norm where backward left it, scaled where the loss was"
    SILENT = "gradient norm at the step, as it stands, where nothing says that it was changed since"
    SCALE = "loss scale that the gradient still carried there"
    SEED = "what backward multiplied the loss by"
    DECLARED = "whether the user's clip is known by name"
    MOVED = "length of the step"
    CHANGE = "change of the gradient over the step"
    NOISE = "change of the gradient when it is repeated"
    SAMPLES_SEEN = "samples whose gradients were taken one by one"
    SAMPLES = "samples of each micro-batch"
    DOMAINS = "domain of each micro-batch"
    NEXT_LEFT = "gradient norm of the next step where backward left it"
    NEXT_TAKEN = "the same where that step takes it"


@dataclass(slots=True)
class Evaluated:
    """A loss of the step.

    Attributes:
        loss: undivided.
        samples: how many it is of; None if that is not known.
        domain: where they come from, if that was said.
        reached: whether a backward pass has gone through it.
        clipped: whether the gradient of such a pass was clipped as a micro-batch's.
    """

    loss: float | Tensor
    samples: int | None = None
    domain: str | None = None
    reached: bool = False
    clipped: bool = False


@dataclass(slots=True)
class StepRow:
    """A step under way.

    Attributes:
        step: its index.
        scalars: column -> number, text or 0-d tensor.
        tensors: kind -> (parameters,) tensor of norms.
        micro_batches: column -> (K,) tensor or list, of the micro-batch table.
        parts: kind -> the same of one optimizer's parameters after another, until the step is over.
        passes: backward passes seen to end.
        losses: what ``recorder.loss`` has evaluated so far.
        of: micro-batches in the step, as the user announced.
        declared: thresholds of the user's own clips in this step.
        smoothness: the estimator, or why there is none; None where no probe is due.
        gradient_due: whether the gradient's norms are measured in it; None before anybody asked.
        begun: whether the first optimizer's step has begun, so that theta_t was measured; further losses are a line
            search's.
        moved: whether an optimizer has stepped.
        ended: whether the step is over.
        overhead: seconds spent by gradlens.
    """

    step: int
    scalars: dict[str | Part, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    micro_batches: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Parts] = field(default_factory=dict)
    passes: int = 0
    losses: list[Evaluated] = field(default_factory=list)
    of: int = 1
    declared: list[float | None] = field(default_factory=list)
    smoothness: str | None = None
    gradient_due: bool | None = None
    begun: bool = False
    moved: bool = False
    ended: bool = False
    overhead: float = 0.0

    @property
    def probing(self) -> bool:
        """Whether a smoothness probe is under way."""
        return self.smoothness in ESTIMATORS

    @property
    def awaits_next(self) -> bool:
        """Whether it takes the next step's gradient to complete the row."""
        return self.smoothness == CONSECUTIVE

    def add_loss(self, loss: Tensor, samples: int | None, domain: str | None) -> Evaluated:
        """Note the loss of one more micro-batch."""
        self.losses.append(Evaluated(kept(loss), samples, domain))
        return self.losses[-1]

    def note_losses(self) -> None:
        """Note the step's loss, the mean over its micro-batches.

        One that no backward pass went through, such as a batch left out since its loss was not finite,
        is no part of the step, unless that is so of all.
        """
        made = [each for each in self.losses if each.reached] or self.losses
        if made:
            self.scalars |= {"loss": sum(each.loss for each in made) / len(made), "micro_batches": len(made)}
        sizes = [each.samples for each in made if each.samples is not None]
        if sizes:
            self.scalars["batch_size"] = sum(sizes)

    def note_smoothness(self, *, moved: Tensor, change: Tensor) -> None:
        """Note the two norms whose ratio is the smoothness; the host divides, since only it can see a zero."""
        self.scalars |= {Part.MOVED: moved, Part.CHANGE: change}

    def add_part(self, kind: str, places: range, values: Tensor) -> None:
        """Note (places,) numbers of one optimizer's parameters."""
        self.parts.setdefault(kind, []).append((places, values))

    def note_noise(self, noise: Tensor) -> None:
        """Note the norm of the difference between two evaluations of one gradient."""
        self.scalars[Part.NOISE] = noise


def kept(value: float | Tensor) -> float | Tensor:
    """A number to keep: a tensor on an accelerator as a copy there, anything else as a float.

    >>> kept(0.5)
    0.5
    """
    if isinstance(value, Tensor) and value.device.type != "cpu":
        return value.detach().reshape(()).clone()
    return float(value.detach() if isinstance(value, Tensor) else value)
