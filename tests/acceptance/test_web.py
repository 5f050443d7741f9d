"""The web process: how it starts, where it listens, what it serves, and what it does without its database."""

import json
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from tests.acceptance.stockbell import Process, Stockbell, refused
from tests.polling import eventually
from tests.ports import free_port
from worker.domain.api_keys import Scope
from worker.store import keys
from worker.web.protocol import MAX_HEAD

STORES = "215238eb-22a5-4c36-9e7b-e7c08025e04e"
R = "/v1/back-in-stock-notification-requests"
SIGN_UP = json.dumps(
    {
        "request": {"email": "jane@customer.example", "catalogReference": {"catalogItemId": "mug-1", "appId": STORES}},
        "itemDetails": {"name": "Mug", "price": "12.50"},
    }
)
AWAY = "postgresql://127.0.0.1:1/none"


@pytest.fixture
def program(alone: Stockbell) -> Iterator[Stockbell]:
    """The program with a database, and without Redis: signing up needs none."""
    yield alone
    alone.stop_all()


def started(program: Stockbell, *options: str, **settings: str) -> tuple[Process, int]:
    """Starts a web process. Returns it and its port, once it answers."""
    port = free_port()
    process = program.start("web", *options, PORT=str(port), **settings)
    eventually(lambda: '"web.started"' in program.logs(), until="it listens")
    return process, port


def call(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str], Any]:
    """Returns the reply: status, headers and JSON."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        return reply.status, dict(reply.headers), json.loads(reply.read())


def code_of(body: Any) -> str:
    return str(body["details"]["applicationError"]["code"])


def test_it_answers_on_loopback_only_and_ends_with_0_while_a_client_keeps_its_connection(program: Stockbell) -> None:
    process, port = started(program)
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as kept:
        for path in ("/healthz", "/readyz"):
            kept.request("GET", path)
            reply = kept.getresponse()
            assert (reply.status, json.loads(reply.read())) == (200, {"status": "ok"})
        with pytest.raises(OSError, match=r"refused|not available|unreachable"):
            socket.create_connection(("127.0.0.2", port), timeout=5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert '"web.stopped"' in program.logs()
    assert "Traceback" not in program.logs()


def test_it_waits_for_no_database_that_says_nothing_when_it_shall_end(stockbell: Stockbell) -> None:
    """Supervisors kill after 5 s. What the database has not committed is not done, and nobody was told that it was."""
    key = stockbell.write(keys.create, "test", Scope.ADMIN).text
    process, port = started(stockbell)
    with stockbell.locked("request"), socket.create_connection(("127.0.0.1", port)) as connection:
        head = f"POST {R} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: {key}\r\n"
        connection.sendall(f"{head}Content-Length: {len(SIGN_UP)}\r\n\r\n{SIGN_UP}".encode())
        eventually(lambda: stockbell.is_waited_for("request"), until="the sign-up waits for the table")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert '"process.cut_off"' in stockbell.logs()
    assert "Traceback" not in stockbell.logs()
    assert not any(stockbell.counts().values())


def test_one_for_customers_only_has_no_api(program: Stockbell) -> None:
    _, port = started(program, "--serve", "unsubscribe")
    for path in (R, f"/back-in-stock-service{R}", "/openapi.json", "/v1/events"):
        status, _, body = call(port, path)
        assert (status, code_of(body)) == (404, "NOT_FOUND")
    assert call(port, "/healthz")[0] == 200


def test_without_the_database_it_is_alive_says_so_and_loses_nobody(program: Stockbell) -> None:
    """It starts: a supervisor that starts it again and again would help nobody."""
    key = program.write(keys.create, "test", Scope.ADMIN).text
    _, port = started(program, DATABASE_URL=AWAY)
    assert call(port, "/healthz")[0] == 200
    status, _, body = call(port, "/readyz")
    assert (status, body["status"]) == (503, "unavailable")
    status, headers, body = call(port, R, Authorization=key)
    assert (status, code_of(body)) == (503, "DATABASE_AWAY")
    assert int(headers["retry-after"]) > 0
    assert "Traceback" not in program.logs()


def test_what_is_no_http_and_heads_without_end_are_refused_as_all_else_is(program: Stockbell) -> None:
    """By uvicorn, a head may have any size, and strangers may fill the log."""
    _, port = started(program)
    begun = f"GET {R} HTTP/1.1\r\nHost: x\r\n".encode()
    for sent, status, code in (
        (b"HELO shop.example\r\n\r\n", 400, "INVALID_ARGUMENT"),
        (f"GET /{'x' * 70_000} HTTP/1.1\r\n\r\n".encode(), 400, "INVALID_ARGUMENT"),
        ((begun + b"x-a: " + b"b" * 140_000)[: MAX_HEAD + 1], 431, "HEADERS_TOO_LARGE"),
        ((begun + b"x-a: b\r\n" * 20_000)[: MAX_HEAD + 1], 431, "HEADERS_TOO_LARGE"),
        (begun + b"Connection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n", 401, "UNAUTHENTICATED"),
    ):
        with socket.create_connection(("127.0.0.1", port)) as connection, closing(HTTPResponse(connection)) as reply:
            connection.sendall(sent)
            reply.begin()
            assert (reply.status, code_of(json.loads(reply.read()))) == (status, code)
            assert reply.headers["x-wix-request-id"]
            assert status == 401 or reply.headers["access-control-allow-origin"] == "*"
    assert '"warning"' not in program.logs()


def test_a_port_that_is_taken_is_named_in_one_line(program: Stockbell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(program.run("web", "--port", str(port)))
    assert f"127.0.0.1:{port}" in said
    assert "in use" in said


def test_a_part_that_is_not_known_is_refused_with_those_that_are(program: Stockbell) -> None:
    answer = program.run("web", "--serve", "api,admins")
    assert answer.returncode == 2
    assert "api, unsubscribe, hooks" in answer.stderr
