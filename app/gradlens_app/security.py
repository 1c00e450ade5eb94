"""What stands between the dashboard and the rest of the web: a gate that every request passes first.

A page open in the same browser can send requests to a server on this machine. The gate answers only requests that name
this machine, come from this machine's own pages, and are small; and every answer tells the browser to run and load
nothing that this server did not send.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Iterable, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, unquote_plus

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

MAX_BODY = 1 << 20
_READING = ("GET", "HEAD", "OPTIONS")
_HOST = re.compile(r"(?P<name>\[[0-9a-f:]+\]|[0-9a-z.-]+)(:(?P<port>[0-9]{1,5}))?")
_PREFIX = re.compile(r"/(?:[A-Za-z0-9_.~-]+/)*")
_TOKEN = re.compile(r"[A-Za-z0-9_.~-]{16,200}")
COOKIE = "gradlens-token"

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


def script_hash(script: str) -> str:
    """How a Content-Security-Policy names an inline script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def prefixed(base_path: str) -> str:
    """A base path with its slashes.

    Raises:
        ValueError: if it is none.

    >>> prefixed("/"), prefixed("team/gradlens")
    ('/', '/team/gradlens/')
    """
    path = f"/{base_path.strip('/')}/" if base_path.strip("/") else "/"
    if not _PREFIX.fullmatch(path) or any(set(part) <= {"."} for part in path.split("/") if part):
        raise ValueError(f"base_path expects plain parts, as in /team/gradlens; got {base_path!r}.")
    return path


def check_token(token: str) -> str:
    """A token as it is, if it can be one.

    Raises:
        ValueError: if it is too short to keep anyone out, or would not fit into an address.
    """
    if not _TOKEN.fullmatch(token):
        raise ValueError("token expects 16 to 200 letters, digits, or any of _.~-; make one: openssl rand -hex 16")
    return token


def cookie_of(token: str) -> str:
    """The cookie that keeps a token: browsers share cookies between ports, and one dashboard must not end another."""
    return f"{COOKIE}-{hashlib.sha256(token.encode()).hexdigest()[:8]}"


class Gate:
    """WSGI middleware: refuses what should not come in, and marks what goes out.

    Args:
        application: what answers the requests let through.
        policy: the Content-Security-Policy.
        token: what a reader must bring; none is asked for if empty. An address with ``?token=`` leaves it in a cookie
            that no script sees, and is followed by one without, so that it is not shared with the link.
        hosts: names to answer to, beside this machine's own. With a token every numeric address is one: another site's
            page can bring its own name to this server, but never a number.
        prefix: what every address begins with.
    """

    def __init__(
        self,
        application: WSGIApplication,
        policy: str,
        *,
        token: str = "",
        hosts: Sequence[str] = (),
        prefix: str = "/",
    ) -> None:
        self._application = application
        self._token = token and check_token(token)
        self._cookie = cookie_of(token)
        self._hosts = frozenset(host.lower() for host in hosts)
        self._prefix = prefix
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
        refusal = _refusal(environ, self._hosts, numeric=bool(self._token))
        if refusal is not None:
            return self._plain(start_response, *refusal)
        if self._token:
            is_known = self._is_known(environ)
            if not is_known or (environ["REQUEST_METHOD"] == "GET" and "token" in _fields(environ)):
                return self._enter(environ, start_response, is_known=is_known)

        def start(status: str, headers: Headers, error: object = None) -> object:
            ours = {name.lower() for name, _ in self._headers}
            kept = [(name, value) for name, value in headers if name.lower() not in ours]
            return start_response(status, [*kept, *self._headers], error)  # type: ignore[arg-type]

        return self._application(environ, start)  # type: ignore[arg-type]

    def _plain(self, start_response: StartResponse, status: str, sentence: str, *more: tuple[str, str]) -> list[bytes]:
        body = sentence.encode()
        plain = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), *more]
        start_response(status, [*plain, *self._headers])
        return [body]

    def _is_known(self, environ: WSGIEnvironment) -> bool:
        try:
            morsel = SimpleCookie(str(environ.get("HTTP_COOKIE", ""))).get(self._cookie)
        except CookieError:
            return False
        return morsel is not None and self._is_token(morsel.value)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())

    def _enter(self, environ: WSGIEnvironment, start_response: StartResponse, *, is_known: bool) -> list[bytes]:
        """Who brings the token in the address gets the cookie, and an address without; anybody else a sentence."""
        place = ("Location", self._without_token(environ))
        if is_known:
            return self._plain(start_response, "303 See Other", "Go on.", place)
        given = _fields(environ).get("token", [""])
        if environ["REQUEST_METHOD"] != "GET" or len(given) != 1 or not self._is_token(given[0]):
            sentence = "This dashboard asks for a token: open the address that gradlens printed when it started."
            return self._plain(start_response, "401 Unauthorized", sentence)
        # Lax, since a link that is clicked on another site is followed by one without the token, which a strict cookie
        # would not go along with. Nothing here is changed by a GET.
        cookie = f"{self._cookie}={self._token}; Path={self._prefix}; HttpOnly; SameSite=Lax"
        return self._plain(start_response, "303 See Other", "Go on.", place, ("Set-Cookie", cookie))

    def _without_token(self, environ: WSGIEnvironment) -> str:
        """The same address less the token; never one of another server, as //name would be, nor out of the prefix."""
        path = quote(str(environ.get("PATH_INFO", "")).encode("latin-1", "replace"))
        path = self._prefix if f"{path}/" == self._prefix else path
        if not path.startswith(self._prefix) or "//" in path or {".", ".."} & set(path.split("/")):
            return self._prefix
        fields = str(environ.get("QUERY_STRING", "")).split("&")
        kept = "&".join(field for field in fields if unquote_plus(field.partition("=")[0]) != "token")
        return f"{path}?{kept}" if kept else path


def _fields(environ: WSGIEnvironment) -> dict[str, list[str]]:
    """The fields of the address."""
    return parse_qs(str(environ.get("QUERY_STRING", "")), keep_blank_values=True)


def _refusal(environ: WSGIEnvironment, hosts: frozenset[str], *, numeric: bool) -> tuple[str, str] | None:
    host = str(environ.get("HTTP_HOST", ""))
    if not _names_this_machine(host, hosts, numeric=numeric):
        names = ", ".join(("localhost and 127.0.0.1", *sorted(hosts)))
        return "421 Misdirected Request", f"This server answers to {names} only; open it by that name."
    if environ["REQUEST_METHOD"] not in _READING:
        if not _from_own_page(environ, host):
            return "403 Forbidden", "This request comes from another site's page; it is refused."
        if _length(environ) > MAX_BODY:
            return "413 Content Too Large", f"Expected a request of at most {MAX_BODY >> 20} MiB."
    return None


def _names_this_machine(host: str, hosts: frozenset[str], *, numeric: bool) -> bool:
    """Any port will do: through an SSH tunnel the browser sees another one than the server."""
    match = _HOST.fullmatch(host.lower())
    if match is None or int(match["port"] or 0) > 65_535:
        return False
    name = match["name"][1:-1] if match["name"][0] == "[" else match["name"]
    if (":" in name) != (match["name"][0] == "["):
        return False
    return is_loopback(name) or name in hosts or (numeric and _is_number(name))


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


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
