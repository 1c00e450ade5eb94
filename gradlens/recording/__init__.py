"""The recording wing: probes that measure a training step, and the recorder that attaches them."""

from gradlens.recording.recorder import Recorder
from gradlens.recording.watching import watch

__all__ = ["Recorder", "watch"]
