"""Who is let in, what is let out, and where no address leads."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from gradlens_app import create_app, security

from .asking import fill_table, keys_of
from .conftest import MakeRun


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8050", "127.0.0.1", "127.0.0.1:9000", "[::1]", "[::1]:8050"])
def test_requests_that_name_this_machine_are_answered(client: FlaskClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.org",
        "example.org:8050",
        "localhost.example.org",
        "127.0.0.1.example.org",
        "localhost@example.org",
        "example.org#localhost",
        "0.0.0.0",  # noqa: S104 - refused
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "localhost.",
        "localhost:99999",
        "localhost:80:80",
        "[::ffff:10.0.0.1]",
        "::1",
        "localhost, example.org",
        "local host",
    ],
)
def test_requests_that_name_another_host_are_misdirected(client: FlaskClient, host: str) -> None:
    answer = client.get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert "localhost and 127.0.0.1 only" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://example.org"},
        {"Origin": "null"},
        {"Origin": "https://localhost"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "http://localhost.example.org"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_posts_from_other_sites_are_refused(client: FlaskClient, headers: dict[str, str]) -> None:
    assert fill_table(client, **headers).status_code == 403
    assert fill_table(client, Origin="http://localhost").status_code == 200


def test_bodies_over_a_mebibyte_are_refused(client: FlaskClient) -> None:
    large = b" " * (security.MAX_BODY + 1)
    assert client.post("/_dash-update-component", data=large).status_code == 413
    for length in ("-1", "9" * 30, "many"):
        answer = client.post("/_dash-update-component", environ_overrides={"CONTENT_LENGTH": length})
        assert answer.status_code == 413
    unannounced = client.post(
        "/_dash-update-component",
        input_stream=io.BytesIO(large),
        environ_overrides={"wsgi.input_terminated": True},
        content_type="application/json",
    )
    assert unannounced.status_code == 413


def test_a_body_nested_too_deeply_is_refused_in_a_sentence(client: FlaskClient) -> None:
    answer = client.post("/_dash-update-component", data="[" * 200_000, content_type="application/json")
    assert answer.status_code == 400
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/", "/dynamics", "/assets/gradlens.css", "/export/dynamics.pdf", "/x"])
def test_every_answer_carries_the_headers(client: FlaskClient, path: str) -> None:
    for host in ("localhost", "example.org"):
        headers = client.get(path, headers={"Host": host}, buffered=True).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-eval" not in policy
        assert "'unsafe-inline'" not in re.search("script-src ([^;]*)", policy)[1]  # type: ignore[index]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_nothing_on_the_page_points_away_from_the_server(client: FlaskClient) -> None:
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", client.get("/").text)


@pytest.mark.parametrize(
    "key",
    [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "....//....//etc/passwd",
        "/etc/passwd",
        "C:\\Windows\\win.ini",
        "..\\..\\etc\\passwd",
        "file:///etc/passwd",
        "%00",
        "0123456789ab/../x",
        "0123456789AB",
        "0123456789abc",
        "-1",
        "~root",
        "0123456789ab\n",
        "*",
        "𝟎123456789ab",
        "ffffffffffff",
    ],
)
@pytest.mark.parametrize("parameter", ["runs", "zoom", "chart", "x", "baseline", "style", "column"])
def test_traversal_gets_a_sentence_and_no_path(client: FlaskClient, read_pair: Path, key: str, parameter: str) -> None:
    given = {"runs": ",".join(keys_of(read_pair)), parameter: key}
    form = "svg" if parameter in ("style", "column") else "csv"
    answer = client.get(f"/export/dynamics.{form}", query_string=given)
    if (parameter, key) == ("baseline", "ffffffffffff"):  # of its form, and of no run: nothing is compared
        assert answer.status_code == 200
        return
    assert answer.status_code == 400
    assert answer.text.endswith((".", "'.", "commas."))
    assert str(read_pair) not in answer.text
    assert "root:" not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "path", ["/assets/../server.py", "/assets/%2e%2e/server.py", "/assets/..%2fserver.py", "/assets//etc/passwd",
             "/_dash-component-suites/dash/../../../etc/passwd", "/export/..%2f..%2fetc%2fpasswd.csv"]
)  # fmt: skip
def test_files_outside_the_assets_are_not_served(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert "import waitress" not in answer.text
    assert "root:" not in answer.text
    assert "Traceback" not in answer.text


def test_keys_are_opaque_and_survive_restarts(read_pair: Path) -> None:
    keys = keys_of(read_pair)
    assert keys == keys_of(read_pair)
    assert all(re.fullmatch("[0-9a-f]{12}", key) for key in keys)
    assert len(set(keys)) == 2


def test_a_link_out_of_the_root_is_not_followed(make_run: MakeRun, tmp_path: Path) -> None:
    outside = make_run("outside")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(outside)
    assert keys_of(root) == []


# ---- tokens, other hosts, a base path --------------------------------------------------------------------------------

TOKEN = "0123456789abcdef0123"  # noqa: S105 - of this test


@pytest.fixture(scope="module")
def guarded(read_pair: Path) -> Any:
    """A dashboard that asks for a token, under a base path."""
    return create_app(read_pair, token=TOKEN, hosts=("lab-7",), base_path="team/gradlens").server


def test_nothing_is_answered_without_the_token(guarded: Any) -> None:
    client = guarded.test_client()
    for path in ("/", "/team/gradlens/", "/team/gradlens/assets/gradlens.css", "/team/gradlens/export/dynamics.csv",
                 "/team/gradlens/_dash-layout", "/team/gradlens/?token=", f"/team/gradlens/?token={TOKEN[:-1]}",
                 f"/team/gradlens/?token={TOKEN}&token=x"):  # fmt: skip
        answer = client.get(path)
        assert (answer.status_code, answer.mimetype) == (401, "text/plain")
        assert "Content-Security-Policy" in answer.headers
    assert client.post(f"/team/gradlens/_dash-update-component?token={TOKEN}", json={}).status_code == 401
    for cookie in ("x", TOKEN[:-1], TOKEN + "0", "ä" * 20, ""):
        assert (
            client.get("/team/gradlens/", headers={"Cookie": f"{security.cookie_of(TOKEN)}={cookie}"}).status_code
            == 401
        )


def test_the_token_is_brought_once_and_leaves_the_address(guarded: Any) -> None:
    client = guarded.test_client()
    answer = client.get(f"/team/gradlens/?token={TOKEN}")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/team/gradlens/")
    assert re.fullmatch(
        rf"{security.cookie_of(TOKEN)}={TOKEN}; Path=/team/gradlens/; HttpOnly; SameSite=Lax",
        answer.headers["Set-Cookie"],
    )
    assert client.get("/team/gradlens/").status_code == 200


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ("/team/gradlens/dynamics?runs=a,b&token=T&zoom=1..2", "/team/gradlens/dynamics?runs=a,b&zoom=1..2"),
        ("/team/gradlens/?find=a%26b&tok%65n=T", "/team/gradlens/?find=a%26b"),
        ("/team/gradlens/%5Cevil.example?token=T", "/team/gradlens/%5Cevil.example"),
        ("/team/gradlens/%0D%0AX-Own:1?token=T", "/team/gradlens/%0D%0AX-Own%3A1"),
        ("/?token=T", "/team/gradlens/"),
        ("/team/gradlens?runs=a&token=T", "/team/gradlens/?runs=a"),
        ("/team/gradlens/..%2F..%2Fother?token=T", "/team/gradlens/"),
        (f"/team/gradlens/dynamics?find={'a' * 9_000}&token=T", f"/team/gradlens/dynamics?find={'a' * 9_000}"),
    ],
)
def test_the_rest_of_an_address_with_a_token_is_kept(guarded: Any, asked: str, place: str) -> None:
    answer = guarded.test_client().get(asked.replace("=T", f"={TOKEN}"))
    assert (answer.status_code, answer.headers["Location"]) == (303, place)


def test_a_reader_who_is_known_loses_the_token_from_the_address_too(guarded: Any) -> None:
    client = guarded.test_client()
    for token in (TOKEN, TOKEN, "another of old", ""):
        answer = client.get(f"/team/gradlens/dynamics?runs=a&token={token}")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/team/gradlens/dynamics?runs=a")


@pytest.mark.parametrize("path", ["//evil.example/", "///evil.example", "/a//evil.example"])
def test_a_link_with_a_token_never_leads_to_another_server(read_pair: Path, path: str) -> None:
    answer = (
        create_app(read_pair, token=TOKEN)
        .server.test_client()
        .get("/", query_string={"token": TOKEN}, environ_overrides={"PATH_INFO": path})
    )
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


def test_dashboards_on_two_ports_of_a_machine_keep_each_their_token(guarded: Any, read_pair: Path) -> None:
    other = create_app(read_pair, token=TOKEN[::-1], base_path="team/gradlens").server.test_client()
    client = guarded.test_client()
    brought = [
        asked.get(f"/team/gradlens/?token={token}").headers["Set-Cookie"].partition(";")[0]
        for asked, token in ((client, TOKEN), (other, TOKEN[::-1]))
    ]
    jar = dict(cookie.split("=") for cookie in brought)  # browsers share it between ports
    both = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
    for server in (guarded, other.application):
        answer = server.test_client(use_cookies=False).get("/team/gradlens/", headers=both)
        assert answer.status_code == 200


def test_the_token_is_compared_in_constant_time(guarded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    whole = security.hmac.compare_digest
    monkeypatch.setattr(security.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or whole(a, b))
    guarded.test_client().get("/team/gradlens/?token=guess")
    assert compared == [(b"guess", TOKEN.encode())]


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("lab-7", 401),
        ("LAB-7:8050", 401),
        ("10.0.0.7", 401),
        ("[fe80::1]", 401),
        ("lab-8", 421),
        ("lab-7.example.org", 421),
        ("evil.example", 421),
    ],
)
def test_with_a_token_it_answers_to_its_names_and_to_numbers(guarded: Any, host: str, code: int) -> None:
    assert guarded.test_client().get("/team/gradlens/", headers={"Host": host}).status_code == code


def test_everything_lies_under_the_base_path(read_pair: Path) -> None:
    client = create_app(read_pair, base_path="/team/gradlens").server.test_client()
    page = client.get("/team/gradlens/").text
    paths = re.findall(r'(?:src|href)="(/[^"]*)"', page)
    assert paths
    assert all(path.startswith("/team/gradlens/") for path in paths)
    assert client.get("/").status_code == 404
    key = keys_of(read_pair)[0]
    assert client.get(f"/team/gradlens/export/dynamics.csv?runs={key}").status_code == 200
    layout = json.dumps(client.get("/team/gradlens/_dash-layout").json)
    assert '"/team/gradlens/dynamics"' in layout
    assert '"/team/gradlens/assets/mark.svg"' in layout


@pytest.mark.parametrize("path", ["../x", "a//b", "a b", "<x>", "a/../b", "ä"])
def test_a_base_path_that_is_none_is_refused(read_pair: Path, path: str) -> None:
    with pytest.raises(ValueError, match="base_path expects plain parts, as in /team/gradlens; got"):
        create_app(read_pair, base_path=path)


@pytest.mark.parametrize("token", ["short", "x" * 15, "with space in it 123", "ä" * 20, "x" * 201])
def test_a_token_that_keeps_nobody_out_is_refused(read_pair: Path, token: str) -> None:
    with pytest.raises(ValueError, match="token expects 16 to 200 letters, digits"):
        create_app(read_pair, token=token)


# ---- bombs, deep and long -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "search", ["?" + "a=1&" * 9_000, "?runs=" + "0123456789ab," * 9_000, "?series=" + "x," * 90_000]
)
def test_long_addresses_get_an_answer_and_no_traceback(client: FlaskClient, search: str) -> None:
    answer = client.get("/export/dynamics.csv" + search)
    assert answer.status_code in (200, 400, 414)  # the same series many times over is one
    assert "Traceback" not in answer.text
