"""HTTP to endpoints: which address is connected to, and by which name."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import trustme

from tests.contract.web.receiver import Reply, receiver
from tests.redis_server import RedisServer
from worker.domain.errors import RedisAway
from worker.stream.sink import STREAM, Sink
from worker.web import posting
from worker.web.posting import Answer, Poster

NAME = "hook.shop.example"


@dataclass
class Seen:
    port: int = 0
    names: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)


@contextmanager
def https_server(authority: trustme.CA, name: str) -> Iterator[Seen]:
    seen = Seen()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            seen.hosts.append(self.headers["host"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    context.sni_callback = lambda _socket, given, _context: seen.names.append(str(given))
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that ends the handshake is no fault
    server.socket = context.wrap_socket(server.socket, server_side=True)
    seen.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield seen
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def post(url: str, authority: trustme.CA | None = None, *, allows_private: bool = True) -> Answer:
    trusted = ssl.create_default_context()
    if authority:
        authority.configure_trust(trusted)

    async def run() -> Answer:
        poster = Poster(url, allows_private=allows_private, trusted=trusted)
        try:
            return await poster.post("{}", {"webhook-id": "1"})
        finally:
            await poster.close()

    return asyncio.run(run())


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Sets the addresses that names have, one list for each time that they are asked for."""

    def answers(*lists: list[str]) -> list[str]:
        left, asked = list(lists), []

        def addresses_of(host: str, _port: int) -> list[str]:
            asked.append(host)
            return left.pop(0)

        monkeypatch.setattr(posting, "addresses_of", addresses_of)
        return asked

    return answers


def test_the_checked_address_is_connected_to_by_the_name(
    authority: trustme.CA, resolve: Callable[..., list[str]]
) -> None:
    asked = resolve(["127.0.0.1"])  # a second question would have no answer
    with https_server(authority, NAME) as server:
        answer = post(f"https://{NAME}:{server.port}/x", authority)
    assert (answer.status, answer.why) == (200, None)
    assert (server.names, server.hosts) == ([NAME], [f"{NAME}:{server.port}"])
    assert asked == [NAME]


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1"]]
)
def test_a_name_with_a_private_address_is_not_connected_to(
    addresses: list[str], authority: trustme.CA, resolve: Callable[..., list[str]]
) -> None:
    resolve(addresses)
    with https_server(authority, NAME) as server:
        answer = post(f"https://{NAME}:{server.port}/x", authority, allows_private=False)
    assert "not a public one" in str(answer.why)
    assert server.names == []


def test_the_next_address_is_tried_if_one_does_not_answer(
    authority: trustme.CA, resolve: Callable[..., list[str]]
) -> None:
    resolve(["127.0.0.2", "127.0.0.1"])
    with https_server(authority, NAME) as server:
        assert post(f"https://{NAME}:{server.port}/x", authority).status == 200


@pytest.mark.parametrize("name", [NAME, "other.example"])
def test_a_certificate_that_is_not_trusted_or_of_another_name_is_refused(
    name: str, authority: trustme.CA, resolve: Callable[..., list[str]]
) -> None:
    resolve(["127.0.0.1"])
    trusted = None if name == NAME else authority
    with https_server(authority, name) as server:
        answer = post(f"https://{NAME}:{server.port}/x", trusted)
    assert answer.status is None
    assert "certificate" in str(answer.why).lower()
    assert server.hosts == []


def test_http_that_leads_elsewhere_than_here_is_refused(resolve: Callable[..., list[str]]) -> None:
    resolve(["10.0.0.1"])
    assert "this machine only" in str(post("http://localhost:1/x").why)


def test_a_name_without_address_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_host: str, _port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(posting, "addresses_of", nothing)
    assert "no address" in str(post("https://nowhere.example/").why)


def test_a_proxy_of_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with receiver() as got:
        assert post(got.url).status == 204


def test_a_body_that_never_ends_does_not_undo_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "READ_SECONDS", 0.1)
    with receiver(lambda _call: Reply(200, {"Content-Length": "100"}, b"ok")) as got:
        answer = post(got.url)
    assert (answer.status, answer.why, answer.text) == (200, None, "ok")


def test_a_reply_that_is_no_http_is_a_failure() -> None:
    with receiver(lambda _call: Reply(200, {"X": "a\r\nbroken header line"})) as got:
        assert post(got.url).why


def test_a_stream_in_redis_gets_the_same_bodies(redis_server: RedisServer) -> None:
    sink = Sink(redis_server.url)
    sink.add("id.1", '{"type": "x"}')
    sink.close()
    client: Any = redis_server.client()
    assert [fields for _, fields in client.xrange(STREAM)] == [{b"id": b"id.1", b"event": b'{"type": "x"}'}]


def test_a_redis_that_is_away_is_said() -> None:
    with pytest.raises(RedisAway, match="webhooks"):
        Sink("redis://127.0.0.1:1/0").add("1", "{}")


def test_a_retry_after_that_can_not_be_read_changes_nothing() -> None:
    date = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
    with receiver(lambda _call: Reply(200, {"Retry-After": date})) as got:
        assert post(got.url) == Answer(200)
