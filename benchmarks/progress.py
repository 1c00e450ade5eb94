"""Lines that say how far the benchmark is."""

import sys
import time

_begun = time.monotonic()


def say(what):
    """A line with the time since the start."""
    print(f"[{time.monotonic() - _begun:4.0f} s] {what}", file=sys.stderr, flush=True)
