"""What the table says about the machine, and how busy others kept it meanwhile."""

import os
import platform
import re
import time
from pathlib import Path

import gradlens


def facts(**versions):
    """The machine and the versions."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "Python": platform.python_version(),
        "gradlens": gradlens.__version__,
        **versions,
    }


class Others:
    """Watches, from its making on, how many cores other processes keep busy."""

    def __init__(self):
        self._before, self._begin = _busy(), time.monotonic()

    def text(self):
        """How many it was until now. The benchmark's own processes must have ended."""
        after, seconds = _busy(), time.monotonic() - self._begin
        if self._before is None or after is None:
            return "unknown"
        machine, own = (late - early for early, late in zip(self._before, after, strict=True))
        return f"{max(0.0, machine - own) / seconds:.1f} cores on average"


def _busy():
    """Seconds that the machine's cores have worked, and those of them that were this benchmark's; None if unknown."""
    try:
        ticks = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return None
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])


def _processor():
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()
