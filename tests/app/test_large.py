"""Folders of many runs, and runs that unfold to gigabytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import hostile
import pytest

from gradlens_app import create_app
from gradlens_app.data import Data

from .asking import callback, fill_table, keys_of, read
from .conftest import STEPS, write_run

RUNS = 1000
BOMBS = (
    "a steps segment by hand: a page that unfolds to 2 GiB",
    "a steps segment by hand: pages that unfold to 4 GB",
    "a tensors segment whose pages unfold to gigabytes",
)
MOST_MB = 100
_ASK = """
import json, sys
from pathlib import Path
from gradlens_app import create_app

client = create_app(sys.argv[1]).server.test_client()
paths = json.loads(sys.stdin.read())

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) >> 10

answers = [client.get(paths[0])]
before = peak()
answers += [client.get(path) for path in paths[1:]]
print(json.dumps([peak() - before, [[answer.status_code, answer.text] for answer in answers]]))
"""


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand runs, all but one of links to the files of the first."""
    root = tmp_path_factory.mktemp("thousand") / "runs"
    one = write_run(root, "one", lr=0.1)
    entries = json.loads((one / "run.json").read_text())
    for number in range(1, RUNS):
        copy = root / f"run-{number:04d}"
        shutil.copytree(one, copy, copy_function=os.link)
        (copy / "run.json").unlink()
        own = {"run_id": copy.name, "name": copy.name, "created": entries["created"] + number, "config": {"lr": number}}
        (copy / "run.json").write_text(json.dumps(entries | own))
    return root


def test_a_thousand_runs_are_listed_within_two_seconds(thousand: Path) -> None:
    begin = time.thread_time()  # of this thread, which does all the work, whatever else the machine does
    client = create_app(thousand).server.test_client()
    client.get("/")
    shown = callback(
        client,
        [("page", "children")],
        {("address", "pathname"): "/", ("there", "data"): True},
        {("address", "search"): ""},
    )
    took = time.thread_time() - begin
    assert shown.text.count('"status": "finished"') + shown.text.count('"status":"finished"') == RUNS
    assert took < 2
    answer = fill_table(client)
    rows = answer.json["response"]["run-table"]["rowData"]
    assert len(rows) == RUNS
    assert 0 < sum(row["steps"] == STEPS for row in rows) < RUNS  # numbers follow, some at a time


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_runs_that_unfold_to_gigabytes_are_told_of_in_bounded_memory(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    write_run(root, "good")
    for number, bomb in enumerate(BOMBS):
        hostile.record(root, "bad")
        hostile.CASES[bomb](root)
        entries = json.loads((root / "bad" / "run.json").read_text())
        (root / "bad" / "run.json").write_text(json.dumps(entries | {"name": f"bomb {number}"}))
        (root / "bad").rename(root / f"bomb-{number}")
    good, *bombs = sorted(keys_of(root), key=lambda key: Data([root]).find([key])[0].run.name != "good")
    search = f"series=loss,grad_norm&smooth=0&runs={','.join([good, *bombs])}"
    paths = [f"/drawing/dynamics/loss?series=loss,grad_norm&smooth=0&runs={good}"]
    paths += [f"/drawing/dynamics/{name}?{search}" for name in ("loss", "grad-norm")]
    paths += [f"/drawing/clipping/layers-{key}?runs={key}" for key in bombs]
    paths += [f"/export/dynamics.csv?{search}"]
    done = subprocess.run(
        [sys.executable, "-c", _ASK, str(root)], input=json.dumps(paths), capture_output=True, text=True, check=True
    )
    grew, answers = json.loads(done.stdout)
    assert grew < MOST_MB
    assert [status for status, _ in answers] == [200] * len(paths)
    alone, together = (json.loads(text)["traces"].values() for _, text in answers[:2])
    assert {trace["y"]["bdata"] for trace in alone} < {trace["y"]["bdata"] for trace in together}
    told = " ".join(read(Data([root]), "?" + search)[1].problems)
    assert all(f"bomb {number}: " in told for number in (0, 1))
    assert "good: " not in told
