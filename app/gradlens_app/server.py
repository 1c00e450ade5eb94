"""Serving the dashboard on this machine."""

from __future__ import annotations

import errno
import logging
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterable

import waitress

from gradlens_app.application import create_app
from gradlens_app.security import MAX_BODY, check_token, is_loopback, prefixed

TRIES = 50
PORTS = 65_536


def serve(
    roots: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    host: str = "127.0.0.1",
    port: int = 8050,
    *,
    token: str = "",
    base_path: str = "/",
    open_browser: bool = True,
    announce: Callable[[str], object] = print,
) -> None:
    """Serve folders of runs until Ctrl-C.

    Args:
        roots: the folder that a recorder writes to, or several.
        host: the address to listen on; another than loopback needs a token.
        port: the first port to try; a busy one makes way for the next. 0 takes any free one.
        token: what a reader must bring, once; none is asked for if empty.
        base_path: what every address begins with, as behind a proxy that serves more than this.
        open_browser: open the page, where there is a display.
        announce: is given the address once the server listens.

    Raises:
        RunError: if a root is missing or is not a folder.
        ValueError: for a host that other machines reach, without a token, or that is not this machine's; for a token,
            port or base path that is none.
        OSError: if no port is free.
    """
    if token:
        check_token(token)
    elif not is_loopback(host):
        raise ValueError(
            f"host expects a loopback address, as in 127.0.0.1; got {host!r}. Other machines would reach it: "
            f"give a token too, or leave it here and run on the other machine: "
            f"ssh -L {port}:127.0.0.1:{port} user@machine"
        )
    given = (roots,) if isinstance(roots, (str, os.PathLike)) else tuple(roots)
    names = (host, socket.gethostname(), socket.getfqdn()) if not is_loopback(host) else ()
    app = create_app(*given, base_path=base_path, token=token, hosts=tuple(name for name in names if name))
    listening = _listen("127.0.0.1" if host == "localhost" else host, port)
    server = waitress.create_server(
        app.server, sockets=[listening], threads=8, ident="gradlens", max_request_body_size=MAX_BODY
    )
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a page asks for twenty scripts at once
    name = socket.gethostname() if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - only compared
    shown = f"[{name}]" if ":" in name else name
    address = f"http://{shown}:{listening.getsockname()[1]}{prefixed(base_path)}" + (f"?token={token}" if token else "")
    announce(address)
    if open_browser and _has_display():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    try:
        server.run()
    finally:
        server.close()


def _listen(host: str, port: int) -> socket.socket:
    """Bind the first free port; binding it here, and not asking first, leaves no gap for another process."""
    if not 0 <= port < PORTS:
        raise ValueError(f"port expects a number from 0 to {PORTS - 1}; got {port}.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, min(port + TRIES, PORTS)):
        listening = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, candidate))
            listening.listen(128)
        except OSError as error:
            listening.close()
            if error.errno == errno.EADDRNOTAVAIL:
                raise ValueError(
                    f"host expects an address of this machine, or 0.0.0.0 for all; got {host!r}."
                ) from error
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
        else:
            return listening
    raise OSError(errno.EADDRINUSE, f"no free port from {port} to {min(port + TRIES, PORTS) - 1}; give another port")


def _has_display() -> bool:
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
