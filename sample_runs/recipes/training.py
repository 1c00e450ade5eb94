"""Many trainings at once, each a process, behind one progress bar."""

import os
import subprocess
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


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
    """Run a training script for each job.

    Args:
        script: its file.
        jobs: what to call it with.
        processes: how many at once; as many as there are cores if not given.

    Raises:
        RuntimeError: with its last lines, where one fails.
    """
    columns = TextColumn("recording"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=sum(each.steps for each in jobs))

        def run(each):
            said = deque(maxlen=12)
            command = [sys.executable, str(script), *each.arguments]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
                for line in process.stdout:
                    said.append(line)
                    if line.startswith("steps "):
                        progress.advance(bar, int(line.split()[1]))
            if process.returncode != 0:
                raise RuntimeError(f"{' '.join((script.name, *each.arguments))} failed:\n{''.join(said)}")

        with ThreadPoolExecutor(processes or os.cpu_count() or 1) as pool:
            list(pool.map(run, jobs))
