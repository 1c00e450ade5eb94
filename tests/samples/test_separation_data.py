"""What the separation sample trains on: voices and their split, mixtures, and folders of a user's own."""

import stat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.io import wavfile


def test_no_voice_is_trained_on_and_held_out(separation: SimpleNamespace) -> None:
    training, held_out = separation.speech.VOICES
    for trained, kept in zip(training, held_out, strict=True):
        variants = {voice.rsplit(" ", 1)[0].partition("+")[2] for voice in kept}
        assert variants
        assert variants & {voice.rsplit(" ", 1)[0].partition("+")[2] for voice in trained} == set()


def test_each_voice_reads_sentences_of_its_own(separation: SimpleNamespace) -> None:
    texts = separation.speech.readings(70)
    sentences = [set(text.split(". ")) for text in texts]
    assert all(len(text) > 30 * separation.speech.SECONDS / 2 for text in texts)
    assert len(set().union(*sentences)) == sum(map(len, sentences))
    assert "   " not in texts[0]


def test_pauses_are_cut_and_speech_is_not(separation: SimpleNamespace) -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(8000) / 8000)
    cut = separation.speech.without_pauses(np.concatenate([tone, np.zeros(16000), tone]))
    assert abs(len(cut) - 16000) <= 2 * 4 * 160
    assert len(separation.speech.without_pauses(tone)) == 8000


def test_synthetic_voices_are_low_and_high_and_the_same_each_time(separation: SimpleNamespace) -> None:
    first, again = (separation.speech.synthetic(voices=2, held_out=1, seconds=2) for _ in range(2))
    for group, other, (low, high) in zip(
        (*first.training, *first.held_out), (*again.training, *again.held_out), 2 * ((70, 160), (140, 290)), strict=True
    ):
        for voice, same in zip(group, other, strict=True):
            assert np.array_equal(voice, same)
            assert np.sqrt(np.mean(np.square(voice, dtype=np.float64))) == pytest.approx(0.1, rel=1e-3)
            assert low < pitch(voice) < high


def pitch(voice: np.ndarray) -> float:
    """Median over stretches of 64 ms of the lag, between 70 and 290 Hz, at which each is most like itself."""
    lags = np.arange(8000 // 290, 8000 // 70)
    found = []
    for start in range(0, len(voice) - 1024, 1024):
        piece = voice[start : start + 512].astype(np.float64)
        moved = np.stack([voice[start + lag : start + lag + 512] for lag in lags])
        found.append(lags[(moved @ piece / np.linalg.norm(moved, axis=1)).argmax()])
    return 8000 / float(np.median(found))


def test_mixtures_are_sums_at_most_five_decibels_apart(separation: SimpleNamespace) -> None:
    voices = tuple((np.full(9000, 0.1, dtype=np.float32),) for _ in range(2))
    sources, mixtures = separation.mixtures.Drawn(voices).batch(np.random.default_rng(0), 400, 800)
    assert np.allclose(sources.sum(dim=1), mixtures, atol=1e-6)
    levels = 20 * np.log10(sources.abs().mean(dim=-1).numpy() / 0.1)
    gap = levels[:, 0] - levels[:, 1]
    assert np.abs(gap).max() < 5
    assert np.abs(gap).max() > 4.9
    gain = levels.mean(axis=1) * np.log(10) / 20  # log-normal, of sd 0.5: its standard error here is 0.02
    assert np.std(gain) == pytest.approx(separation.mixtures.LOUDNESS, abs=0.06)


def test_a_kept_set_holds_as_many_mixtures_as_it_says(separation: SimpleNamespace) -> None:
    rng = np.random.default_rng(3)
    voices = tuple((rng.standard_normal(9000).astype(np.float32),) for _ in range(2))
    kept = separation.mixtures.Kept(separation.mixtures.Drawn(voices), 5)
    sources, mixtures = kept.batch(rng, 60, 300)
    assert np.allclose(sources.sum(dim=1), mixtures, atol=1e-6)
    again = kept.batch(rng, 60, 300)[1]
    assert len({row.tobytes() for row in mixtures.numpy()} | {row.tobytes() for row in again.numpy()}) == 5


def test_a_synthesiser_is_called_once(
    separation: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tone = (8000 * np.sin(2 * np.pi * 200 * np.arange(60 * 16000) / 16000)).astype(np.int16)
    wavfile.write(tmp_path / "said.wav", 16000, tone)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, out in (("espeak-ng", "$6"), ("flite", "$6")):
        script = programs / name
        script.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && exit\necho x >> {tmp_path}/calls\ncp {tmp_path}/said.wav "{out}"\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setattr(
        separation.speech, "VOICES", ((("espeak-ng en-us+m1 50",), ("flite slt",)), (("flite rms",), ("flite awb",)))
    )
    first, again = (separation.speech.synthesised(tmp_path / "cache") for _ in range(2))
    assert first.key == again.key
    assert [len(voice) for group in (*first.training, *first.held_out) for voice in group] == 4 * [40 * 8000]
    assert (tmp_path / "calls").read_text().count("x") == 4
    (folder,) = (tmp_path / "cache").iterdir()
    assert "Synthesised speech, nobody's recording" in (folder / "README.txt").read_text()


def test_without_a_synthesiser_a_sentence_says_what_to_do(
    separation: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        RuntimeError, match=r"espeak-ng and flite not found: install with apt-get .* --speech synthetic"
    ):
        separation.speech.synthesised(tmp_path)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder as LibriMix has them, at 16 kHz: a tone for each speaker."""
    time = np.arange(16000) / 16000
    for name in ("one.wav", "two.wav"):
        signals = {"s1": np.sin(2 * np.pi * 300 * time), "s2": np.sin(2 * np.pi * 700 * time)}
        for folder, signal in (signals | {"mix_clean": sum(signals.values())}).items():
            (tmp_path / "tr" / folder).mkdir(parents=True, exist_ok=True)
            wavfile.write(tmp_path / "tr" / folder / name, 16000, (8000 * signal).astype(np.int16))
    return tmp_path / "tr"


def test_a_folder_of_ones_own_is_read_at_8_khz(separation: SimpleNamespace, own: Path) -> None:
    folder = separation.mixtures.open_folder(own)
    assert folder.names == ("one.wav", "two.wav")
    sources, mixtures = folder.batch(np.random.default_rng(0), 3, 4000)
    assert (sources.shape, mixtures.shape) == ((3, 2, 4000), (3, 4000))
    assert np.allclose(sources.sum(dim=1), mixtures, atol=1e-3)
    for speaker, frequency in enumerate((300, 700)):
        peak = np.abs(np.fft.rfft(sources[0, speaker].numpy())).argmax() * 8000 / 4000
        assert peak == pytest.approx(frequency, abs=4)
    assert float(sources[0, 0].abs().max()) == pytest.approx(8000 / 32768, rel=0.02)
    long, _ = folder.batch(np.random.default_rng(0), 1, 9000)
    assert float(long[0, :, 8000:].abs().max()) == 0  # it lasts one second; silence after it


def test_a_wrong_folder_gets_a_sentence(separation: SimpleNamespace, own: Path) -> None:
    opened = separation.mixtures.open_folder
    with pytest.raises(ValueError, match=r"has no folder mix, s1, s2: expected mix .or mix_clean., s1 and s2 with WAV"):
        opened(own.parent)
    (own / "s2" / "two.wav").rename(own / "away.wav")
    with pytest.raises(ValueError, match=r"s2 lacks 1 of the 2 files of mix_clean, as two.wav: the three folders hold"):
        opened(own)
    (own / "away.wav").rename(own / "s2" / "two.wav")
    wavfile.write(own / "s1" / "one.wav", 16000, np.zeros(8000, dtype=np.int16))
    with pytest.raises(ValueError, match=r'one.wav has 8,000, 4,000, 8,000 samples in mix_clean, s1 and s2.*"min"'):
        opened(own)
    wavfile.write(own / "s1" / "one.wav", 16000, np.zeros((16000, 2), dtype=np.int16))
    with pytest.raises(ValueError, match=r"one.wav has 2 channels; expected one"):
        opened(own)
    wavfile.write(own / "s1" / "one.wav", 16000, np.full(16000, np.nan, dtype=np.float32))
    with pytest.raises(ValueError, match=r"one.wav holds samples that are not finite"):
        opened(own)
    (own / "s1" / "one.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"one.wav cannot be read as a WAV file"):
        opened(own)
    for file in own.glob("mix_clean/*.wav"):
        file.unlink()
    with pytest.raises(ValueError, match=r"mix_clean holds no WAV file"):
        opened(own)


def test_training_and_test_folders_belong_together(separation: SimpleNamespace, own: Path) -> None:
    with pytest.raises(ValueError, match=r"--train and --test belong together"):
        separation.train.data(separation.sizes.SIZES["fast"], train=own)
    both = separation.train.data(separation.sizes.SIZES["fast"], train=own, test=own)
    assert both.source == "a folder of mixtures"
