"""The charts as a browser gets them: whole once, then only what is new."""

from __future__ import annotations

import base64
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from gradlens.store import RunWriter
from gradlens_app import create_app
from gradlens_app.chart import picture
from gradlens_app.data import Data
from gradlens_app.drawings import Sent
from gradlens_app.kept import Kept
from gradlens_app.looking import drawn

from .asking import keys_of, see
from .conftest import add_steps, write_run


def apply(news: str, before: list[Any]) -> list[Any]:
    """What a browser makes of an answer: see ``take`` in assets/charts.js."""
    sent = json.loads(news)
    data = list(before) if sent["base"] else []
    for place, trace in sorted((int(place), trace) for place, trace in sent["traces"].items()):
        data[place : place + 1] = [trace]
    return data


def test_what_is_sent_makes_the_new_drawing_of_the_old_one() -> None:
    rng = random.Random(0)
    sent, has, browser = Sent(), "", list[Any]()
    sizes = []
    for _ in range(300):
        traces = [rng.randrange(3) for _ in range(rng.choice((4, 4, 4, 2, 5)))]
        news = sent.news(traces, '"around"', has)
        if news:
            browser, has = apply(news, browser), json.loads(news)["id"]
            sizes.append(len(json.loads(news)["traces"]) / len(traces))
        assert browser == traces
        assert sent.news(traces, '"around"', has) == ""
        assert sent.news(traces, '"another foot"', has) != ""
    assert np.mean(sizes) < 0.9
    assert json.loads(sent.news([1, 2], '""', "of another server"))["base"] is None


def test_a_drawing_is_sent_once_and_then_only_what_is_new(live: RunWriter, tmp_path: Path) -> None:
    write_run(tmp_path / "live", "still")
    client = create_app(live.path.parent, fresh=0).server.test_client()
    path = f"/drawing/dynamics/loss?series=loss&smooth=0&runs={','.join(keys_of(live.path.parent))}"
    whole = client.get(path).json
    assert (whole["base"], list(whole["traces"])) == (None, ["0", "1"])
    assert whole["around"][1][0] == "Training loss"
    assert client.get(f"{path}&has={whole['id']}").status_code == 204
    add_steps(live, 100, 150)
    news = client.get(f"{path}&has={whole['id']}").json
    assert (news["base"], len(news["traces"])) == (whole["id"], 1)
    assert news["around"][1][2].startswith("550 of 550 points")
    dark = client.get(f"{path}&theme=dark&has={news['id']}").json
    assert len(dark["traces"]) == 2


@pytest.mark.parametrize("path", ["none/loss", "dynamics/none", "runs/loss", "dynamics/loss?theme=pink"])
def test_what_a_page_does_not_draw_is_not_sent(client: FlaskClient, path: str) -> None:
    for route in ("drawing", "numbers"):
        answer = client.get(f"/{route}/{path}")
        assert (answer.status_code, answer.data) == (204, b"")


def test_a_chart_gives_its_numbers(client: FlaskClient, read_pair: Path) -> None:
    found = client.get(f"/numbers/dynamics/loss?smooth=0&runs={','.join(keys_of(read_pair))}").json
    assert found["head"][1:] == ["No clipping", "With AutoClip, p = 10"]
    assert {len(row) for row in found["rows"]} == {3}


def test_a_joined_curve_is_its_runs_curves_with_their_names(tmp_path: Path) -> None:
    for number in range(12):
        write_run(tmp_path, f"run {number}", seed=number, probes=False, lr=number)
    found = see(Data([tmp_path]))
    chart = found.answer.charts[1]
    figure = drawn(chart)
    shown = picture(chart, figure, "light", found.view)
    curves = {mark.label: mark for mark in figure.panels[0].marks if not mark.faint}  # type: ignore[union-attr]
    named: set[str] = set()
    for each in shown["layout"]["meta"]["curves"]:
        trace = shown["data"][each["trace"]]
        assert trace["hoverinfo"] == "none"
        y = np.frombuffer(base64.b64decode(trace["y"]["bdata"]), "<" + trace["y"]["dtype"])
        for name, start, end in zip(each["names"], each["starts"], [*each["starts"][1:], len(y)], strict=True):
            assert np.array_equal(y[start : end - 1], curves[name].y.astype(np.float32))  # type: ignore[union-attr]
            assert np.isnan(y[end - 1])
            named.add(name)
    assert named == set(curves)


def test_a_page_that_is_opened_is_begun_with_before_it_asks(read_pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr("gradlens_app.warming.drawn", lambda chart: begun.append(chart.name))
    client = create_app(read_pair).server.test_client()
    client.get("/")
    client.get("/dynamics?series=loss,lr")
    end = time.monotonic() + 10
    while len(begun) < 4 and time.monotonic() < end:
        time.sleep(0.01)
    assert begun[:2] == ["loss", "lr"]


def test_kept_answers_take_no_more_bytes_than_allowed() -> None:
    kept = Kept(most_bytes=100)
    for number in range(10):
        kept.put(number, "", number, 30)
    assert [number for number in range(10) if kept.get(number, "") is not None] == [7, 8, 9]
    kept.put(9, "", 9, 60)
    assert [number for number in range(10) if kept.get(number, "") is not None] == [8, 9]
    kept.put(10, "", 10, 1000)  # alone, it is kept all the same
    assert [number for number in range(11) if kept.get(number, "") is not None] == [10]
