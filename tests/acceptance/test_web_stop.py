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
def streaming_server(url: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    command = [sys.executable, "-m", "tests.acceptance.streaming_server", url]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_0_and_says_nothing_while_streams_and_uploads_are_open(number: int, sqlite_url: str) -> None:
    """Plain uvicorn waits for them, cancels them with an error, and raises the signal again."""
    with streaming_server(sqlite_url) as (process, port), ExitStack() as opened:

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
