"""How large a training is: to test, to run on a core, and as in the paper."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Network and training.

    Attributes:
        layers: bidirectional LSTM layers.
        hidden: units in each direction.
        batch: mixtures in a batch.
        frames: their length in frames of 8 ms.
        steps: iterations.
        mixtures: how many are drawn from voices to train on; as in the paper, each is seen about 100 times.
        tested: mixtures in the test.
        tested_frames: their length.
    """

    layers: int
    hidden: int
    batch: int
    frames: int
    steps: int
    mixtures: int
    tested: int
    tested_frames: int


SIZES = {
    "fast": Size(layers=1, hidden=24, batch=4, frames=30, steps=400, mixtures=64, tested=20, tested_frames=126),
    "cpu": Size(layers=2, hidden=32, batch=8, frames=40, steps=4000, mixtures=320, tested=200, tested_frames=126),
    "paper": Size(
        layers=2, hidden=300, batch=25, frames=400, steps=80_000, mixtures=20_000, tested=3000, tested_frames=501
    ),
}
