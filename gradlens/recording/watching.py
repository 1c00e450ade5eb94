"""Recording a loop whose code stays as it is."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from gradlens.recording.recorder import Recorder
from gradlens.schedules import never


def watch(model: nn.Module, optimizer: torch.optim.Optimizer, root: str | os.PathLike[str], **options: Any) -> Recorder:
    """Record a loop without touching it: hook the optimizer, and close when the process ends.

    The loss is not seen (``recorder.log(loss=loss)`` adds it), so by default no smoothness is measured.

    Args:
        model: as for :class:`Recorder`.
        optimizer: as for :class:`Recorder`.
        root: as for :class:`Recorder`.
        options: any keyword of :class:`Recorder`.

    Returns:
        The recorder, attached.
    """
    return Recorder(model, optimizer, root, **{"smoothness": never, **options})
