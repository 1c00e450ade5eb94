"""TensorBoard's time to the same chart, from event files that it wrote itself."""

import subprocess
import time
import urllib.request

from playwright.sync_api import sync_playwright

from benchmarks.processes import PEERS, ROOT

CHROMIUM, ARGUMENTS = "/usr/bin/chromium", ["--no-sandbox", "--disable-gpu"]
_WRITE = """
import sys, pathlib, random
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
root, runs, steps = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for run in range(runs):
    writer = EventFileWriter(str(root / f"run-{run:04d}"))
    for step in range(steps):
        value = Summary.Value(tag="loss", simple_value=2 / (1 + step / 100) + 0.1 * random.random())
        writer.add_event(Event(wall_time=1.8e9 + step, step=step, summary=Summary(value=[value])))
    writer.close()
"""


def tensorboard_row(folder, runs, steps):
    """Seconds from the navigation until it has fetched the one chart's points, one value; or why not, and notes."""
    root = folder / "events"
    root.mkdir()
    written = subprocess.run(
        [PEERS, "-c", _WRITE, root, str(runs), str(steps)], capture_output=True, check=False
    ) if PEERS.exists() else None  # fmt: skip
    if written is None or written.returncode:
        return "not installed", []
    server = subprocess.Popen(
        [PEERS, "-m", "tensorboard.main", "--logdir", root, "--port", "16006", "--host", "127.0.0.1",
         "--samples_per_plugin", "scalars=1000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT,
    )  # fmt: skip
    try:
        begin = time.monotonic()
        _wait_for_runs("http://127.0.0.1:16006/data/runs", runs)
        loaded = time.monotonic() - begin
        paint = _paint("http://127.0.0.1:16006/#timeseries")
    except (TimeoutError, OSError) as error:
        return f"failed: {error}", []
    finally:
        server.terminate()
        server.wait()
    note = (
        "TensorBoard: one chart of 1,000 samples a run of those short runs, from the navigation until it has fetched "
        "the points of all of them, not yet drawn. Before that it took "
        f"{loaded:.1f} s from its start to have read the files."
    )
    return [paint], [note]


def _wait_for_runs(address, runs):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.read().count(b"run-") >= runs:
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise TimeoutError("it did not read the files in two minutes")


def _paint(address):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.goto(address)
        page.wait_for_timeout(5000)  # scripts are compiled, as for anyone who has been here before
        begin = time.monotonic()
        with page.expect_response(lambda answer: "timeSeries" in answer.url, timeout=60_000) as found:
            page.reload(wait_until="commit")
        found.value.finished()
        took = time.monotonic() - begin
        browser.close()
    return took
