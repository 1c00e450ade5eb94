"""Where logged numbers go, each in a process of its own that is told over a pipe how many steps to log.

The processes take turns, so that whatever else the machine does meets all of them. A step is a millisecond of matrix
products, the training, and the one call that logs; only the call counts.
"""

import gc
import time

import numpy as np

from benchmarks import serving
from benchmarks.content import Steps

FIRST = 6192
"""The first step that is measured. gradlens has written as many before, so that it seals a log in the middle."""

_SIZE = 384  # of the matrices: about a millisecond on one core


def serve(make):
    """Log whenever told to, until told to close.

    Args:
        make: makes the sink; ``prepare(step, scalars, norms)`` gives what its ``log`` takes.
    """
    steps = Steps(FIRST)
    serving.serve(make, lambda sink, count: _turn(sink, steps.take(count)))


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
