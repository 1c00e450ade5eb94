"""Which runs a page shows when nobody has chosen."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens_app.data import Entry


def default_pair(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The first run without clipping, and of those with it the one whose config is nearest; or what there is."""
    unclipped = next((entry for entry in entries if entry.run.clip is None), None)
    clipped = [entry for entry in entries if entry.run.clip is not None]
    if unclipped is None:
        return tuple(clipped[:1])
    config = unclipped.run.config

    def differences(entry: Entry) -> int:
        other = entry.run.config
        return sum(config.get(name) != other.get(name) for name in {*config, *other})

    return (unclipped, min(clipped, key=differences)) if clipped else (unclipped,)


def first_unclipped(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The first run without clipping, or the first of all: a clip changes the norms that come after it."""
    unclipped = tuple(entry for entry in entries if entry.run.clip is None)
    return (unclipped or tuple(entries))[:1]
