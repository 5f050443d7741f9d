"""The preview over HTTP: this machine alone, and nothing but what is to be looked at."""

import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from tests.unit.preview.galleries import parts_of
from worker.domain.errors import Refused
from worker.preview.server import Server
from worker.preview.shelf import Shelf


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


@pytest.fixture
def server(own: Path) -> Iterator[Server]:
    with Server(Shelf(parts_of(own), {}), 0) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def get(server: Server, path: str, host: str | None = None) -> tuple[HTTPResponse, str]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    try:
        connection.request("GET", path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("/", "text/html; charset=utf-8", "<h1>Mails of Blue Door</h1>"),
        ("/?sample=emoji", "text/html; charset=utf-8", '<option value="emoji" selected>emoji</option>'),
        ("/page.css", "text/css; charset=utf-8", "color-scheme: light dark"),
        ("/page.js", "text/javascript; charset=utf-8", "setInterval"),
        ("/mail?sample=usual&locale=de&look=dark", "text/html; charset=utf-8", 'content="dark"'),
        ("/mail", "text/html; charset=utf-8", 'lang="en"'),
        ("/mail?sample=all&locale=all&look=all", "text/html; charset=utf-8", 'lang="en"'),
        ("/message.eml?sample=all", "message/rfc822", "Content-Language: en"),
        ("/findings", "text/html; charset=utf-8", "150 mails"),
        ("/message.eml?sample=usual&locale=ar", "message/rfc822", "Content-Language: ar"),
    ],
)
def test_what_there_is(server: Server, path: str, kind: str, words: str) -> None:
    answer, text = get(server, path)
    assert (answer.status, answer.headers["Content-Type"]) == (200, kind)
    assert words in text
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_message_is_saved_as_a_file(server: Server) -> None:
    name = get(server, "/message.eml?sample=long+name&locale=pt")[0].headers["Content-Disposition"]
    assert name == 'attachment; filename="preview-long_name-pt-BR.eml"'


@pytest.mark.parametrize("path", ["/x", "/page.html", "/page.py", "/../gallery.py", "/%2e%2e/pyproject.toml"])
def test_what_there_is_not(server: Server, path: str) -> None:
    assert get(server, path)[0].status == 404


def test_a_mail_runs_no_script_and_is_framed_by_the_page_alone(server: Server) -> None:
    policy = get(server, "/mail?sample=hostile")[0].headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-same-origin; default-src 'none'; ")
    assert "script-src" not in policy
    assert "frame-ancestors 'self'" in policy
    assert "script-src 'self'" in get(server, "/")[0].headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8090", "a@localhost", "127.0.0.1.evil.example", "localhost@evil.example", "["],
)
def test_a_page_elsewhere_that_gives_its_name_our_address_gets_nothing(server: Server, host: str) -> None:
    answer, text = get(server, "/", host)
    assert answer.status == 421
    assert "Blue Door" not in text


@pytest.mark.parametrize("host", ["localhost:9000", "127.0.0.1", "[::1]:8090", "LOCALHOST"])
def test_a_tunnel_is_this_machine(server: Server, host: str) -> None:
    assert get(server, "/", host)[0].status == 200


def test_nothing_can_be_sent_to_it(server: Server) -> None:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request("POST", "/", body=b"a=b")
    assert connection.getresponse().status == 501
    connection.close()


def test_each_change_of_a_file_has_another_version(server: Server, own: Path) -> None:
    first = get(server, "/version")[1]
    assert get(server, "/version")[1] == first
    assert f'data-version="{first}"' in get(server, "/")[1]
    (own / "new.css").touch()
    second = get(server, "/version")[1]
    assert second != first
    assert f'data-version="{second}"' in get(server, "/")[1]


def test_whatever_a_template_leads_to_is_told_and_harms_nothing_else(
    server: Server, own: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (own / "_base").mkdir()
    (own / "_base" / "mail.css").write_text("a{b:" + "(" * 5_000)
    assert {get(server, path)[0].status for path in ("/findings", "/mail?look=word", "/mail", "/")} <= {200, 500}
    assert get(server, "/version")[0].status == 200
    assert capfd.readouterr().err == ""


def test_a_page_that_is_closed_at_once_is_no_trouble(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    for sent in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        connection = socket.create_connection(("127.0.0.1", server.server_port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends with a reset
        connection.sendall(sent)
        connection.close()
    assert get(server, "/?sample=all&view=text")[0].status == 200
    assert capfd.readouterr().err == ""


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Refused, match=rf"^port {port} is taken\. stockbell preview --serve 0 takes a free one$"):
            Server(Shelf(parts_of(), {}), port)


def test_what_is_no_http_gets_no_traceback(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port)) as connection, connection.makefile("rb") as answer:
        connection.sendall(b"\x16\x03\x01\x00 hello\r\n\r\n")
        assert b"Error code: 400" in answer.read()
    assert get(server, "/" + "x" * 70_000)[0].status == http.client.REQUEST_URI_TOO_LONG
    assert capfd.readouterr().err == ""
