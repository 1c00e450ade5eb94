"""Where logged numbers go, each in a process of its own that is told over a pipe how many steps to log.

The processes take turns, so that whatever else the machine does meets all of them. A step is a millisecond of matrix
products, the training, and the one call that logs; only the call counts.
"""

import gc
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.content import Steps

FIRST = 6192
"""The first step that is measured. gradlens has written as many before, so that it seals a log in the middle."""

_SIZE = 384  # of the matrices: about a millisecond on one core


def serve(make):
    """Log whenever told to, until told to close.

    A line of JSON each way. At first ``{"version"}`` or ``{"error"}``; then ``{"steps": n}`` is answered by the
    nanoseconds of each call, and ``{"close": true}`` by the folder's bytes.

    Args:
        make: makes the sink; ``prepare(step, scalars, norms)`` gives what its ``log`` takes.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not be taken for an answer
    try:
        sink = make()
    except ImportError:
        print(json.dumps({"error": "not installed"}), file=answers)
        return
    print(json.dumps({"version": sink.version}), file=answers)
    steps = Steps(FIRST)
    for line in sys.stdin:
        request = json.loads(line)
        if "close" in request:
            sink.close()
            print(json.dumps({"bytes": folder_bytes(sink.folder)}), file=answers)
            return
        print(json.dumps({"calls": _turn(sink, steps.take(request["steps"]))}), file=answers)


def _turn(sink, steps):
    """Nanoseconds of each call."""
    prepared = [sink.prepare(*step) for step in steps]
    left = np.random.default_rng(0).standard_normal((_SIZE, _SIZE), np.float32)
    right, product = left.T.copy(), np.empty_like(left)
    gc.collect()
    calls = []
    for arguments in prepared:
        np.matmul(left, right, out=product)
        begin = time.perf_counter_ns()
        sink.log(*arguments)
        calls.append(time.perf_counter_ns() - begin)
    return calls


def folder_bytes(folder):
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
