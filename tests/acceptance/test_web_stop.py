"""A web process ends at once, whatever its connections are busy with."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.audit import ROOT


@contextmanager
def streaming_server(url: str) -> Iterator[tuple[subprocess.Popen[bytes], int, str]]:
    command = [sys.executable, "-m", "tests.acceptance.streaming_server", url]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout
        port, secret = process.stdout.readline().split()
        yield process, int(port), secret.decode()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_0_and_says_nothing_while_streams_and_uploads_are_open(number: int, sqlite_url: str) -> None:
    """Plain uvicorn waits for them, cancels them with an error, and raises the signal again."""
    with streaming_server(sqlite_url) as (process, port, _), ExitStack() as opened:

        def connect() -> socket.socket:
            return opened.enter_context(socket.create_connection(("127.0.0.1", port)))

        for _ in range(20):
            stream = connect()
            stream.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            assert stream.recv(20).startswith(b"HTTP/1.1 200")
            connect().sendall(b"POST /stream HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nbegun")
            connect()  # and says nothing
        process.send_signal(number)
        assert process.wait(30) == 0
        assert process.stderr
        assert process.stderr.read() == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_0_while_twenty_admins_watch(number: int, sqlite_url: str) -> None:
    with streaming_server(sqlite_url) as (process, port, secret), ExitStack() as opened:
        ask = f"GET /admin/live HTTP/1.1\r\nHost: x\r\nCookie: stockbell={secret}\r\n\r\n".encode()
        streams = [opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(20)]
        for stream in streams:
            stream.sendall(ask)
        for stream in streams:
            received = b""
            while b'id="sentence"' not in received:
                more = stream.recv(65536)
                assert more, received
                received += more
            assert b"x-accel-buffering: no" in received
        process.send_signal(number)
        for stream in streams:
            while stream.recv(65536):
                pass
        assert process.wait(30) == 0
        assert process.stderr
        assert process.stderr.read() == b""
