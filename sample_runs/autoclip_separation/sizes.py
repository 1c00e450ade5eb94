"""How large a training is: to test, to run on a core, in some minutes of a GPU, and as in the paper."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Size:
    """Network and training.

    Attributes:
        layers: bidirectional LSTM layers.
        hidden: units in each direction.
        batch: mixtures in a batch.
        frames: their length in frames of 8 ms.
        steps: iterations.
        mixtures: how many are drawn from voices to train on, each seen about 100 times as in the paper; None for fresh
            ones in every batch, which is what little speech is best used for.
        tested: mixtures in the test.
        tested_frames: their length.
    """

    layers: int
    hidden: int
    batch: int
    frames: int
    steps: int
    mixtures: int | None
    tested: int
    tested_frames: int

    def settings(self):
        """What a run's config says of it."""
        return {name: value for name, value in asdict(self).items() if value is not None}


SIZES = {
    "fast": Size(1, 24, batch=4, frames=30, steps=400, mixtures=None, tested=20, tested_frames=126),
    "cpu": Size(2, 32, batch=8, frames=40, steps=4000, mixtures=None, tested=200, tested_frames=126),
    "kept": Size(2, 32, batch=8, frames=40, steps=4000, mixtures=320, tested=200, tested_frames=126),
    "gpu": Size(2, 300, batch=25, frames=400, steps=3300, mixtures=825, tested=500, tested_frames=501),
    "paper": Size(2, 300, batch=25, frames=400, steps=80_000, mixtures=20_000, tested=3000, tested_frames=501),
}
