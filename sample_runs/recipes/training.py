"""Many trainings, some at once in processes of their own, behind one progress bar."""

import json
import os
import subprocess
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# One process trains job after job: what a script imports takes longer than a short training.
_TRAIN = """
import json, runpy, sys
sys.path[0] = sys.argv[1]
for line in sys.stdin:
    sys.argv = json.loads(line)
    runpy.run_path(sys.argv[0], run_name="__main__")
    print("ended", flush=True)
"""


@dataclass(frozen=True)
class Job:
    """One call of a training script.

    Attributes:
        arguments: of its command line.
        steps: how many it takes in all; it says so with lines such as ``steps 50``.
    """

    arguments: tuple[str, ...]
    steps: int


def job(total, /, **options):
    """A job of so many steps in all, from options: ``lr=0.1, seeds=(0, 1)`` is ``--lr 0.1 --seeds 0 1``.

    What is None is left out.
    """
    arguments = []
    for name, value in options.items():
        if value is not None:
            values = value if isinstance(value, (tuple, list)) else (value,)
            arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
    return Job(tuple(arguments), total)


def train_all(script, jobs, processes=None):
    """Run a training script for each job, as if it were called from a shell.

    Args:
        script: its file.
        jobs: what to call it with.
        processes: how many at once; as many as there are cores if not given.

    Raises:
        RuntimeError: with its last lines, where one fails.
    """
    columns = TextColumn("recording"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"), TimeRemainingColumn()
    console = Console(stderr=True)
    waiting = deque(jobs)
    count = min(len(waiting), processes or os.cpu_count() or 1)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=sum(each.steps for each in waiting))

        def work(_):
            _serve(script, waiting, lambda steps: progress.advance(bar, steps))

        with ThreadPoolExecutor(max(1, count)) as pool:
            list(pool.map(work, range(count)))


def _serve(script, waiting, advance):
    """Start a process and give it one waiting job after another."""
    command = [sys.executable, "-c", _TRAIN, str(script.parent)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, text=True, **pipes) as process:
        while waiting:
            try:
                each = waiting.popleft()
            except IndexError:  # another took it
                return
            print(json.dumps([str(script), *each.arguments]), file=process.stdin, flush=True)
            said = deque(maxlen=12)
            for line in process.stdout:
                if line == "ended\n":
                    break
                said.append(line)
                if line.startswith("steps "):
                    advance(int(line.split()[1]))
            else:
                raise RuntimeError(f"{' '.join((script.name, *each.arguments))} failed:\n{''.join(said)}")
