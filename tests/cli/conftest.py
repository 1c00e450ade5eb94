"""What the tests of the shell share."""

import pytest


@pytest.fixture
def small_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many segments of few rows, which end in the middle of a block."""
    monkeypatch.setattr("gradlens.store.session.SEAL_ROWS", 90)
    monkeypatch.setattr("gradlens.store.session.BLOCK", 1)
    monkeypatch.setattr("gradlens.store.session.COMPACT_ABOVE", 10**6)
