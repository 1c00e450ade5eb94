"""The process that waits at the other end of the pipe; `benchmarks.processes` holds this end."""

import json
import os
import sys
from pathlib import Path


def serve(make, turn):
    """Work whenever told to, until told to close.

    A line of JSON each way. At first ``{"version"}`` or ``{"error"}``; then ``{"steps": n}`` is answered by the
    nanoseconds of each call, and ``{"close": true}`` by the folder's bytes and what ``close`` says.

    Args:
        make: makes what works; it has a ``version``, a ``folder`` and ``close``.
        turn: takes that and the number of steps; gives the nanoseconds of each.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not be taken for an answer
    try:
        worker = make()
    except ImportError:
        print(json.dumps({"error": "not installed"}), file=answers)
        return
    print(json.dumps({"version": worker.version}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        if "close" in request:
            said = worker.close() or {}
            print(json.dumps({"bytes": folder_bytes(worker.folder), **said}), file=answers)
            return
        print(json.dumps({"calls": turn(worker, request["steps"])}), file=answers)


def folder_bytes(folder):
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
