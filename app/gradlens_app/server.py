"""Serving the dashboard on this machine."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable

import waitress

from gradlens_app.application import create_app
from gradlens_app.security import MAX_BODY, is_loopback

TRIES = 50


def serve(
    root: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 8050,
    *,
    open_browser: bool = True,
    announce: Callable[[str], object] = print,
) -> None:
    """Serve a folder of runs until Ctrl-C.

    Args:
        root: the folder that a recorder writes to.
        host: a loopback address; the dashboard answers this machine only.
        port: the first port to try; a busy one makes way for the next. 0 takes any free one.
        open_browser: open the page, where there is a display.
        announce: is given the address once the server listens.

    Raises:
        RunError: if the root is missing or is not a folder.
        ValueError: for a host that is not a loopback address.
        OSError: if no port is free.
    """
    if not is_loopback(host):
        raise ValueError(
            f"host expects a loopback address, as in 127.0.0.1; got {host!r}. The dashboard has no login. "
            f"To see it from another machine, run there: ssh -L {port}:127.0.0.1:{port} user@machine"
        )
    app = create_app(root)
    listening = _listen("127.0.0.1" if host == "localhost" else host, port)
    server = waitress.create_server(
        app.server, sockets=[listening], threads=8, ident="gradlens", max_request_body_size=MAX_BODY
    )
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a page asks for twenty scripts at once
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}/"
    announce(address)
    if open_browser and _has_display():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    try:
        server.run()
    finally:
        server.close()


def _listen(host: str, port: int) -> socket.socket:
    """Bind the first free port; binding it here, and not asking first, leaves no gap for another process."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, min(port + TRIES, 65_536)):
        listening = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, candidate))
            listening.listen(128)
        except OSError as error:
            listening.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
        else:
            return listening
    raise OSError(errno.EADDRINUSE, f"no free port from {port} to {min(port + TRIES, 65_536) - 1}; give another port")


def _has_display() -> bool:
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
