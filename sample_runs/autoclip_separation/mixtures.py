"""Mixtures of two speakers: drawn from voices, or read from a folder of WSJ0-2mix or LibriMix."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.io import wavfile
from speech import at_rate

LOUDNESS = 0.5
"""Standard deviation of the log-normal gain of a mixture: 4.3 dB."""


@dataclass(frozen=True)
class Drawn:
    """Mixtures drawn from voices: a low and a high one, at most 5 dB apart, with a log-normal gain.

    Attributes:
        voices: samples of each low voice, and of each high one.
    """

    voices: tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]

    def batch(self, rng, size, samples):
        """Sources (size, 2, samples) of fresh mixtures, and their mixtures (size, samples)."""
        sources = np.empty((size, 2, samples), dtype=np.float32)
        for pair in sources:
            gain = np.exp(LOUDNESS * rng.standard_normal())
            half_gap = rng.uniform(-2.5, 2.5)  # dB
            for source, voices, sign in zip(pair, self.voices, (1, -1), strict=True):
                voice = voices[rng.integers(len(voices))]
                start = rng.integers(len(voice) - samples)
                source[:] = gain * 10 ** (sign * half_gap / 20) * voice[start : start + samples]
        return _tensors(sources, sources.sum(axis=1))


@dataclass(frozen=True)
class Kept:
    """A set of mixtures, as a data set is: each is drawn again, the same, whenever it is used.

    Attributes:
        drawn: what they are drawn from.
        number: how many.
    """

    drawn: Drawn
    number: int

    def batch(self, rng, size, samples):
        """Sources (size, 2, samples) and mixtures (size, samples), chosen with replacement."""
        chosen = [
            self.drawn.batch(np.random.default_rng([1, index]), 1, samples)
            for index in rng.integers(self.number, size=size)
        ]
        return tuple(torch.cat(parts) for parts in zip(*chosen, strict=True))


@dataclass(frozen=True)
class Folder:
    """Mixtures on disk, read when they are drawn.

    Attributes:
        mixed: folder of the mixtures.
        names: file names that it shares with the folders ``s1`` and ``s2`` beside it.
    """

    mixed: Path
    names: tuple[str, ...]

    def batch(self, rng, size, samples):
        """Sources (size, 2, samples) and mixtures (size, samples): random stretches; shorter files end in silence."""
        mixtures = np.zeros((size, samples), dtype=np.float32)
        sources = np.zeros((size, 2, samples), dtype=np.float32)
        for row, choice in enumerate(rng.integers(len(self.names), size=size)):
            mixture, *pair = read_three(self.mixed, self.names[choice])
            start = rng.integers(max(1, len(mixture) - samples + 1))
            for out, signal in ((mixtures[row], mixture), (sources[row, 0], pair[0]), (sources[row, 1], pair[1])):
                stretch = signal[start : start + samples]
                out[: len(stretch)] = stretch
        return _tensors(sources, mixtures)


def _tensors(sources, mixtures):
    return torch.from_numpy(sources), torch.from_numpy(np.ascontiguousarray(mixtures))


def open_folder(path):
    """A folder of WSJ0-2mix or LibriMix: ``mix`` (or ``mix_clean``), ``s1`` and ``s2`` with WAV files of equal names.

    Raises:
        ValueError: where a folder or file is missing, or the first ones do not fit; the sentence says what to do.
    """
    root = Path(path)
    mixed = next((root / name for name in ("mix", "mix_clean") if (root / name).is_dir()), root / "mix")
    absent = [folder.name for folder in (mixed, root / "s1", root / "s2") if not folder.is_dir()]
    if absent:
        raise ValueError(
            f"{root} has no folder {', '.join(absent)}: expected mix (or mix_clean), s1 and s2 with WAV files of the "
            "same names, as in wav8k/min/tr of WSJ0-2mix or wav8k/min/train-100 of LibriMix."
        )
    names = sorted(file.name for file in mixed.glob("*.wav"))
    if not names:
        raise ValueError(f"{mixed} holds no WAV file.")
    for other in ("s1", "s2"):
        lost = sorted(set(names) - {file.name for file in (root / other).glob("*.wav")})
        if lost:
            raise ValueError(
                f"{root / other} lacks {len(lost)} of the {len(names)} files of {mixed.name}, as {lost[0]}: "
                "the three folders hold files of the same names."
            )
    read_three(mixed, names[0])
    return Folder(mixed, tuple(names))


def read_three(mixed, name):
    """A mixture and its two sources at 8 kHz, each (samples,) float32 within [-1, 1]."""
    signals = [_read(folder / name) for folder in (mixed, mixed.parent / "s1", mixed.parent / "s2")]
    if len({len(signal) for signal in signals}) > 1:
        lengths = ", ".join(f"{len(signal):,}" for signal in signals)
        raise ValueError(
            f"{name} has {lengths} samples in {mixed.name}, s1 and s2: expected as many in each. "
            'Use the variant "min" of the data set.'
        )
    return signals


def _read(file):
    try:
        rate, samples = wavfile.read(file)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as a WAV file: {error}") from error
    if samples.ndim != 1:
        raise ValueError(f"{file} has {samples.shape[1]} channels; expected one.")
    if samples.dtype.kind == "i":
        samples = samples / float(2 ** (8 * samples.dtype.itemsize - 1))
    elif samples.dtype.kind == "u":
        samples = (samples - 128.0) / 128
    if not np.isfinite(samples).all():
        raise ValueError(f"{file} holds samples that are not finite.")
    return at_rate(samples, rate).astype(np.float32)
