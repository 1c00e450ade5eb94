"""Speech to separate: text-to-speech voices reading CPython's documentation, or seeded harmonic tones where none speak.

Nobody is recorded here: every voice is synthesised by Debian's flite and espeak-ng. It is rendered once, into a cache
folder outside the repository.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from scipy.signal import resample_poly

RATE = 8000
SECONDS = 40
"""Speech of each voice."""

# Variants of espeak-ng, each at two pitches (two speakers of one), and all that flite has. Every fifth is held out.
VARIANTS = {
    "men": [
        "Adam", "Alex", "Andy", "Benjamin", "Caleb", "David", "Edward", "Gene",
        "Lee", "Michael", "Mike", "Paul", "Quincy", "Rob",
        "m2", "m3", "m4", "m5", "m6", "m7",
    ],
    "women": [
        "Alicia", "Andrea", "Annie", "Belinda", "Linda", "Steph", "Steph2",
        "anika", "aunty", "f2", "f3", "f4", "f5",
    ],
}  # fmt: skip
PITCHES = {"men": (35, 55), "women": (45, 65)}
FLITE = {"men": ("awb", "kal16", "rms"), "women": ("slt",)}
ACCENTS = ("en-us", "en-gb", "en-029")


def speakers(sex):
    """Voices to train on, and voices held out: program, voice and pitch."""
    variants = list(enumerate(VARIANTS[sex]))
    training, held_out = (
        tuple(
            f"espeak-ng {ACCENTS[index % 3]}+{name} {pitch}"
            for index, name in variants
            if (index % 5 == 3) == held
            for pitch in PITCHES[sex]
        )
        for held in (False, True)
    )
    return (*training, *(f"flite {name}" for name in FLITE[sex])), held_out


VOICES = tuple(zip(speakers("men"), speakers("women"), strict=True))  # to train on, and held out: men and women
SYNTHETIC = "harmonic tones (no speech)"

Voices = tuple[np.ndarray, ...]
"""Samples of each voice, at 8 kHz, with a root mean square of 0.1."""


@dataclass(frozen=True)
class Speech:
    """Voices to mix.

    Attributes:
        training: low voices and high ones; a mixture takes one of each.
        held_out: the same, of voices that are never trained on.
        source: what they are, for people.
        key: names the samples; other samples have another key.
    """

    training: tuple[Voices, Voices]
    held_out: tuple[Voices, Voices]
    source: str
    key: str


def synthesised(cache=None):
    """Speech of flite and espeak-ng, from the cache or rendered into it.

    Args:
        cache: folder of renderings; ``$XDG_CACHE_HOME/gradlens-samples`` or ``~/.cache/gradlens-samples`` if not given.

    Raises:
        RuntimeError: where a synthesiser is missing or fails.
    """
    missing = [program for program in ("espeak-ng", "flite") if shutil.which(program) is None]
    if missing:
        raise RuntimeError(
            f"{' and '.join(missing)} not found: install with apt-get install espeak-ng flite, or train on "
            "synthetic voices with --speech synthetic."
        )
    voices = tuple(voice for half in VOICES for group in half for voice in group)
    texts = readings(len(voices))
    versions = [
        subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.partition("Data at")[
            0
        ]
        for program in ("espeak-ng", "flite")
    ]
    key = hashlib.sha256(repr((voices, texts, versions, SECONDS)).encode()).hexdigest()[:12]
    root = Path(cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradlens-samples")
    folder = root / f"speech-{key}"
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as begun:
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda item: _render(Path(begun), *item), zip(voices, texts, strict=True)))
            (Path(begun) / "README.txt").write_text(
                "Synthesised speech, nobody's recording: flite and espeak-ng reading the documentation of Python.\n"
                + "".join(versions)
            )
            Path(begun).chmod(0o755)
            try:
                shutil.copytree(begun, folder.with_suffix(".part"), dirs_exist_ok=True)
                folder.with_suffix(".part").rename(folder)
            except OSError:  # another process was quicker
                if not folder.is_dir():
                    raise
    training, held_out = (
        tuple(
            tuple(_level(wavfile.read(folder / _file_name(voice))[1].astype(np.float32)) for voice in group)
            for group in half
        )
        for half in VOICES
    )
    return Speech(training, held_out, "synthesised speech (espeak-ng, flite)", f"speech-{key}")


def readings(number):
    """Sentences of CPython's language reference, a stretch of its own for each of ``number`` voices."""
    topics = __import__("pydoc_data.topics", fromlist=["topics"]).topics
    prose = re.sub(r"\n {3,}.*", "", "\n\n".join(topics[name] for name in sorted(topics)))  # without indented code
    prose = re.sub(r"[*`_=\"|~^<>\[\]\\]+", " ", prose)
    found = (" ".join(sentence.split()) for sentence in re.findall(r"[A-Z][^.!?:]{40,240}[.!?]", prose))
    sentences = list(dict.fromkeys(found))  # some stand in several places
    share = len(sentences) // number
    return [" ".join(sentences[index * share : (index + 1) * share]) for index in range(number)]


def _file_name(voice):
    return re.sub(r"\W+", "-", voice) + ".wav"


def _render(folder, voice, text):
    """One voice reading a text, without pauses, 40 seconds at 8 kHz, as a WAV file."""
    program, name, *pitch = voice.split()
    raw = folder / f"raw-{_file_name(voice)}"
    source = folder / f"{_file_name(voice)}.txt"
    source.write_text(text[: 30 * SECONDS])  # some 15 characters are read in a second
    commands = {
        "espeak-ng": ["espeak-ng", "-v", name, "-p", *pitch, "-w", str(raw), "-f", str(source)],
        "flite": ["flite", "-voice", name, "-f", str(source), "-o", str(raw)],
    }
    result = subprocess.run(commands[program], capture_output=True, text=True, check=False)
    if result.returncode != 0 or not raw.is_file():
        raise RuntimeError(f"{voice} did not speak: {(result.stderr or result.stdout).strip() or 'no message'}")
    rate, samples = wavfile.read(raw)
    spoken = without_pauses(at_rate(samples / 32768, rate))
    if len(spoken) < SECONDS * RATE / 2:
        raise RuntimeError(f"{voice} spoke for {len(spoken) / RATE:.0f} s only; expected about {SECONDS} s.")
    wavfile.write(folder / _file_name(voice), RATE, (_level(spoken[: SECONDS * RATE]) * 32767 / 8).astype(np.int16))
    raw.unlink()
    source.unlink()


def at_rate(samples, rate):
    """Samples at 8 kHz."""
    if rate == RATE:
        return samples
    shared = gcd(rate, RATE)
    return resample_poly(samples, RATE // shared, rate // shared)


def without_pauses(samples, frame=160):
    """Samples without the frames of 20 ms that lie, with their neighbours of 60 ms, 40 dB below the loudest."""
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame)
    power = np.pad(np.square(frames).mean(axis=1), 3, mode="edge")
    loud = np.lib.stride_tricks.sliding_window_view(power, 7).max(axis=1) > 1e-4 * power.max()
    return frames[loud].ravel()


def _level(samples):
    return (samples * (0.1 / np.sqrt(np.mean(np.square(samples, dtype=np.float64))))).astype(np.float32)


def synthetic(voices=8, held_out=2, seconds=6, seed=0):
    """Voices of harmonics under moving formants, no speech: the same samples on every machine with the same NumPy.

    Args:
        voices: low voices to train on, and as many high ones.
        held_out: the same to test on.
        seconds: length of each.
        seed: of everything.
    """
    rngs = np.random.default_rng(seed).spawn(2 * (voices + held_out))
    low, high = (
        tuple(_level(_harmonics(rng, int(seconds * RATE), pitch)) for rng in rngs[sex::2])
        for sex, pitch in enumerate(((85, 135), (165, 250)))
    )
    training, others = (low[:voices], high[:voices]), (low[voices:], high[voices:])
    return Speech(training, others, SYNTHETIC, f"synthetic-{seed}-{seconds:g}")


def _harmonics(rng, samples, pitches):
    """A voice: a wandering pitch, syllables with three formants of its own vocal tract, some breath."""
    pitch = np.exp(rng.uniform(*np.log(pitches)))
    tract = rng.uniform(0.85, 1.2)
    length = int(0.16 * RATE)
    syllables = -(-samples // length) + 1
    at = np.arange(samples) / length
    low, share = at.astype(int), (at % 1)[:, None]

    def glide(values):
        return (1 - share) * values[low] + share * values[low + 1]

    formants = glide(tract * rng.uniform((300, 800, 2000), (800, 2000, 3200), (syllables, 3)))
    cents = glide(np.cumsum(rng.normal(0, 0.03, (syllables, 1)), axis=0) * 0.9 + rng.normal(0, 0.05, (syllables, 1)))
    frequency = pitch * np.exp(np.clip(cents[:, 0], -0.15, 0.15))
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    loudness = glide(np.exp(rng.normal(0, 0.5, (syllables, 1))))[:, 0] * (0.25 + np.sin(np.pi * (at % 1)) ** 2)
    out = np.zeros(samples)
    for harmonic in range(1, int(3800 / pitch) + 1):
        overtone = harmonic * frequency
        gain = sum(np.exp(-(((overtone - formants[:, k]) / (80 + 40 * k)) ** 2) / 2) / (1 + k) for k in range(3))
        out += np.where(overtone < 3900, gain + 0.02, 0) * np.sin(harmonic * phase + rng.uniform(0, 2 * np.pi))
    return loudness * (out + 0.02 * rng.standard_normal(samples))
