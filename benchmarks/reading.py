"""Times one question to a run, or to a folder of them, in a process that has asked nothing before.

``python -m benchmarks.reading QUESTION PATH NAME`` prints the seconds of the first answer, opening included, of some
repeated ones, and the answer's size, as JSON. What Python imports is there already, and not counted.
"""

import json
import sys
import time

import numpy  # noqa: F401, ICN001 - not counted
import pandas  # noqa: F401, ICN001
import pyarrow.parquet  # noqa: F401

from benchmarks.own import KIND
from gradlens.store import open_run, open_runs

_REPEATS = 5
_QUESTIONS = {
    "series": lambda path, name: len(open_run(path).series(name)[0]),
    "pyramid": lambda path, name: len(open_run(path).pyramid(name)),
    "tensor": lambda path, name: len(open_run(path).tensors(KIND, name)),
    "runs": lambda path, _: len(open_runs(path)),
}


def main(question, path, name):
    """Ask once, then again."""
    seconds = []
    for _ in range(1 + _REPEATS):
        begin = time.perf_counter()
        size = _QUESTIONS[question](path, name)
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({"first": seconds[0], "repeated": seconds[1:], "size": size}))


if __name__ == "__main__":
    main(*sys.argv[1:])
