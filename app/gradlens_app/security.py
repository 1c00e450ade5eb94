"""What stands between the dashboard and the rest of the web: a gate that every request passes first.

A page open in the same browser can send requests to a server on this machine. The gate answers only requests that name
this machine, come from this machine's own pages, and are small; and every answer tells the browser to run and load
nothing that this server did not send.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MAX_BODY = 1 << 20
_READING = ("GET", "HEAD", "OPTIONS")
_HOST = re.compile(r"(?P<name>\[[0-9a-f:]+\]|[0-9a-z.]+)(:(?P<port>[0-9]{1,5}))?")

Headers = list[tuple[str, str]]


def is_loopback(name: str) -> bool:
    """Whether a host name can only mean this machine.

    >>> [is_loopback(name) for name in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "example.org", "127.1")]
    [True, True, True, False, False, False]
    """
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address == ipaddress.IPv6Address("::1") or (address.version == 4 and address.is_loopback)


def content_policy(script_hashes: Sequence[str]) -> str:
    """The Content-Security-Policy: everything from this server, and of inline scripts only those that Dash wrote.

    Args:
        script_hashes: of Dash's inline scripts, as ``app.csp_hashes()`` gives them.
    """
    rules = {
        "default-src": "'self'",
        "script-src": " ".join(("'self'", *script_hashes)),
        "style-src": "'self' 'unsafe-inline'",  # Mantine and Plotly write style elements; a style runs nothing
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{rule} {sources}" for rule, sources in rules.items())


class Gate:
    """WSGI middleware: refuses what should not come in, and marks what goes out.

    Args:
        application: what answers the requests let through.
        policy: the Content-Security-Policy.
    """

    def __init__(self, application: WSGIApplication, policy: str) -> None:
        self._application = application
        self._headers: Headers = [
            ("Content-Security-Policy", policy),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
        ]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        refusal = _refusal(environ)
        if refusal is not None:
            status, sentence = refusal
            body = sentence.encode()
            plain = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
            start_response(status, [*plain, *self._headers])
            return [body]

        def start(status: str, headers: Headers, error: object = None) -> object:
            ours = {name.lower() for name, _ in self._headers}
            kept = [(name, value) for name, value in headers if name.lower() not in ours]
            return start_response(status, [*kept, *self._headers], error)  # type: ignore[arg-type]

        return self._application(environ, start)  # type: ignore[arg-type]


def _refusal(environ: WSGIEnvironment) -> tuple[str, str] | None:
    host = str(environ.get("HTTP_HOST", ""))
    if not _names_this_machine(host):
        return "421 Misdirected Request", "This server answers to localhost and 127.0.0.1 only; open it by that name."
    if environ["REQUEST_METHOD"] not in _READING:
        if not _from_own_page(environ, host):
            return "403 Forbidden", "This request comes from another site's page; it is refused."
        if _length(environ) > MAX_BODY:
            return "413 Content Too Large", f"Expected a request of at most {MAX_BODY >> 20} MiB."
    return None


def _names_this_machine(host: str) -> bool:
    """Any port will do: through an SSH tunnel the browser sees another one than the server."""
    match = _HOST.fullmatch(host.lower())
    if match is None or int(match["port"] or 0) > 65_535:
        return False
    name = match["name"]
    return is_loopback(name[1:-1]) and ":" in name if name[0] == "[" else is_loopback(name)


def _from_own_page(environ: WSGIEnvironment, host: str) -> bool:
    """Browsers name the origin of every POST; a request without one comes from a program on this machine."""
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and str(origin).lower() != f"{environ['wsgi.url_scheme']}://{host}".lower():
        return False
    return environ.get("HTTP_SEC_FETCH_SITE", "same-origin") in ("same-origin", "none")


def _length(environ: WSGIEnvironment) -> int:
    """The announced length of the body; one that is no number counts as too long."""
    text = str(environ.get("CONTENT_LENGTH") or "0")
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else MAX_BODY + 1
