"""The recording wing: probes that measure a training step, and the recorder that attaches them."""

from gradlens.recording.recorder import Recorder, watch

__all__ = ["Recorder", "watch"]
