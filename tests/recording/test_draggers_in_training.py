"""Known draggers in a training with the recorder: when small micro-batches help, when they hurt, and the controls.

Gradients are benign, N(mu, s^2 I) in d dimensions, or draggers of norm D orthogonal to mu. At b = 1 a dragger counts
s sqrt(d) / D of a benign sample: D < s sqrt(d) makes small micro-batches turn towards the draggers, D > s sqrt(d) away
from them, and where the two are equal nothing changes.
"""

from pathlib import Path

import pytest
import torch
from torch import nn

import gradlens
from gradlens import clipping
from gradlens.clipping import ClipRule

DIMENSIONS, SHARE, SIZE, STEPS = 400, 0.3, 8, 40
BENIGN = DIMENSIONS**0.5  # s sqrt(d), s = 1


def towards_mu(root: Path, norm: float, b: int, clip: ClipRule | None, *, remove: bool = False) -> float:
    """Train, and ask which way it went: the cosine with mu in the plane of mu and the draggers' direction."""
    generator = torch.Generator().manual_seed(5)
    model = nn.Linear(DIMENSIONS, 1, bias=False)
    start = model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def compute(gradients: torch.Tensor) -> torch.Tensor:
        return model(gradients).mean()  # a sample's gradient is the sample

    with gradlens.Recorder(
        model, optimizer, root, clip=clip, norms=gradlens.every(20), smoothness=gradlens.never, update=gradlens.never
    ) as recorder:
        for _ in range(STEPS):
            gradients = torch.randn(SIZE, DIMENSIONS, generator=generator)
            gradients[:, 0] += 2.0
            dragger = torch.rand(SIZE, generator=generator) < SHARE
            gradients[dragger] = 0.0
            gradients[dragger, 1] = norm
            parts = (gradients[~dragger] if remove else gradients).split(b)
            optimizer.zero_grad()
            for part in parts:
                recorder.loss(compute, part, of=len(parts)).backward()
            optimizer.step()
    moved = (start - model.weight.detach())[0]
    clipped = gradlens.open_run(recorder.path or "").columns
    assert ("rho" in clipped) == (clip is not None)
    return float(moved[0] / moved[:2].norm())


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_small_micro_batches_help_against_long_draggers_and_hurt_with_short_ones(tmp_path: Path, ratio: float) -> None:
    norm = ratio * BENIGN
    plain = towards_mu(tmp_path, norm, SIZE, clipping.micro_batch())
    gain = towards_mu(tmp_path, norm, 1, clipping.micro_batch()) / plain - 1
    if ratio == 1:
        assert abs(gain) < 0.05
    else:
        assert gain * (ratio - 1) > 0.15


def test_the_controls_keep_the_step_or_the_direction(tmp_path: Path) -> None:
    """The same step length helps nothing; removal of the known draggers is what pruning aims at."""
    norm = 2 * BENIGN
    plain = towards_mu(tmp_path, norm, SIZE, None)
    clipped = towards_mu(tmp_path, norm, 1, clipping.micro_batch())
    control = towards_mu(tmp_path, norm, 1, clipping.match_step(clipping.micro_batch()))
    removed = towards_mu(tmp_path, norm, SIZE, None, remove=True)
    assert plain == pytest.approx(towards_mu(tmp_path, norm, SIZE, clipping.micro_batch()), rel=1e-4)  # one is no clip
    assert control == pytest.approx(plain, rel=0.3)  # steps differ in length, and so count differently
    assert plain < clipped < removed
    assert clipped > 1.3 * control
    assert removed > 0.99
