"""Serving: addresses, ports, many readers."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import gradlens
from gradlens.figures.palette import THEMES
from gradlens_app import create_app, serve

from .asking import keys_of


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", ""])  # noqa: S104 - refused
def test_other_hosts_are_refused_with_the_tunnel_recipe(read_pair: Path, host: str) -> None:
    with pytest.raises(ValueError, match=r"host expects a loopback address, .*ssh -L 8050:127.0.0.1:8050 user@machine"):
        serve(read_pair, host=host)


def test_a_missing_root_speaks_before_the_server_starts(tmp_path: Path) -> None:
    with pytest.raises(gradlens.RunError, match="does not exist; give the folder that your recorder writes to"):
        serve(tmp_path / "none")


_SERVE = """
import sys
from gradlens_app import serve
serve(sys.argv[1], port=int(sys.argv[2]), announce=lambda address: print(address, flush=True))
"""


def test_it_serves_on_the_next_free_port_and_stops_at_an_interrupt(read_pair: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        taken = busy.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(read_pair), str(taken)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert int(address.rstrip("/").rsplit(":", 1)[1]) > taken
            with urllib.request.urlopen(address, timeout=10) as answer:
                assert answer.status == 200
            wrong = urllib.request.Request(address, headers={"Host": "example.org"})
            with pytest.raises(urllib.error.HTTPError, match="421") as refused:
                urllib.request.urlopen(wrong, timeout=10)
            refused.value.close()
        finally:
            process.send_signal(2)
            code = process.wait(timeout=10)
            process.stdout.close()
        assert code == 0


def test_many_readers_at_once_get_the_same_figure(read_pair: Path) -> None:
    app = create_app(read_pair)
    path = f"/export/dynamics.pdf?runs={','.join(keys_of(read_pair))}"
    found: list[bytes] = []
    readers = [threading.Thread(target=lambda: found.append(app.server.test_client().get(path).data)) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_run_colours_on_the_page_are_those_of_the_figures() -> None:
    text = (Path(create_app.__code__.co_filename).parent / "assets" / "gradlens.css").read_text()
    light, dark = text.split('[data-mantine-color-scheme="dark"]')[:2]
    for part, theme in ((light, "light"), (dark, "dark")):
        for role, shade in THEMES[theme].items():
            if role.startswith(("run-", "unclipped", "clipped")) and shade != (theme == "dark") * THEMES["light"][role]:
                assert f"--{role}: {shade};" in part
        assert f"--card: {THEMES[theme]['ground']};" in part
