"""Every check there is, in the order in which they are quick to fail; a line each, and what failed in full.

Where Chromium is missing the browser tests are left out and the last line says so, unless GRADLENS_REQUIRE_BROWSER=1.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent


MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of a random name is made in it


def scratch():
    """A folder for what the tests write, in memory where there are 4 GiB for it: they sync ten thousands of files."""
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= 4 << 30
    return tempfile.TemporaryDirectory(prefix="gradlens-tests-", dir=MEMORY if roomy else None)


def checks(browser):
    """Name and command of each check."""
    pytest = [str(BIN / "pytest"), "-q", "--numprocesses", "2", "--dist", "worksteal"]
    return {
        "format": [str(BIN / "ruff"), "format", "--check", "."],
        "lint": [str(BIN / "ruff"), "check", "."],
        "floors": [str(BIN / "lint-imports"), "--no-logo"],
        "types": [str(BIN / "mypy")],
        "tests": pytest if browser else [*pytest, "-m", "not browser"],
    }


def main():
    """Run all checks; returns 1 at the first that fails."""
    required = os.environ.get("GRADLENS_REQUIRE_BROWSER", "") == "1"
    browser = required or any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    for name, command in checks(browser).items():
        begin = time.monotonic()
        # The tests speak for themselves, since they take minutes; the others only when they fail.
        live = name == "tests"
        with scratch() as folder:
            environment = os.environ | {"TMPDIR": folder}
            environment.pop("PYTHONDONTWRITEBYTECODE", None)  # the tests start many processes, which would compile anew
            result = subprocess.run(command, check=False, text=True, capture_output=not live, env=environment)
        took = f"{time.monotonic() - begin:.0f} s"
        if result.returncode != 0:
            if not live:
                print(result.stdout + result.stderr, end="")
            print(f"{name:<8} FAILED after {took}: {' '.join([Path(command[0]).name, *command[1:]])}")
            return 1
        print(f"{name:<8} ok, {took}", flush=True)
    if not browser:
        print("browser tests NOT RUN: install chromium")
    return 0


if __name__ == "__main__":
    sys.exit(main())
