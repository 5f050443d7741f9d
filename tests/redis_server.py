"""A real Redis server for tests, which start, kill and empty it as they need.

TEST_REDIS_SERVER names the program. Without it, it is the one that the demo takes.
TEST_REDIS_URL names a server that runs already. Its data is deleted, and tests that have to kill it are skipped.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.ports import free_port
from worker.demo import redis_program

HOST = "127.0.0.1"
SECONDS_TO_START = 30.0
_BUS = 10_000
"""The distance between the two ports of a cluster's server. It talks to the other servers at the higher one."""


class RedisServer:
    """One server on a port of its own. It writes before it answers, so a kill loses nothing."""

    def __init__(self, options: Mapping[str, str] | None = None, *, password: str = "", host: str = HOST) -> None:
        """`options` are those of redis.conf."""
        self._options = {"bind": host, **(options or {}), "requirepass": password}
        given = os.environ.get("TEST_REDIS_URL")
        self.is_ours = given is None
        self.port = free_port(second=_BUS if "cluster-enabled" in self._options else 0)
        self.url = given or f"redis://{password and f':{password}@'}{host}:{self.port}/0"
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the server with the data that is still there, and waits until it answers."""
        if self.is_ours:
            self._spawn()
        self._wait()

    def stop(self) -> None:
        """Ends the server and deletes its data."""
        self._end()
        if self._directory is not None:
            shutil.rmtree(self._directory)
            self._directory = None

    def close(self) -> None:
        """Does the same as `stop`, for `contextlib.closing`."""
        self.stop()

    def kill(self) -> None:
        """Ends the server as a power cut would. Its data stays."""
        self.skip_unless_ours()
        self._end()

    def skip_unless_ours(self) -> None:
        """Skips a test that can't be done with a server that somebody else started."""
        if not self.is_ours:
            pytest.skip("TEST_REDIS_URL names a server that the tests did not start")

    def restart(self, *, empty: bool) -> None:
        """Kills the server and starts it again at the same port, with or without its data."""
        self.kill()
        if empty and self._directory is not None:
            shutil.rmtree(self._directory)
            self._directory = None
        self.start()

    def pause(self) -> None:
        """Freezes the server: connections stay, and nobody answers."""
        self.skip_unless_ours()
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets the server go on after `pause`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        """Returns a new client, such as another program would have."""
        return redis.Redis.from_url(self.url, protocol=2, retry=Retry(NoBackoff(), 0))

    def flush(self) -> None:
        """Deletes all data while the server runs."""
        with self.client() as client:
            client.flushall()

    def _end(self) -> None:
        # Not SIGTERM: a replica that still writes its first append-only file ignores it (seen with 6.2 and 7.0).
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _spawn(self) -> None:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="stockbell-redis-"))
        options = {"port": self.port, "dir": self._directory, "save": ""}
        options |= {"appendonly": "yes", "appendfsync": "no", "logfile": "redis.log"}
        options |= self._options
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        self._process = subprocess.Popen([binary(), *arguments], stdout=subprocess.DEVNULL)

    def _wait(self) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while not self._answers():
            assert time.monotonic() < deadline, "the Redis server doesn't answer"
            assert not self._has_ended(), "the Redis server ended at once"
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                answering = client.info("server")["process_id"]
        except redis.ConnectionError:
            return False
        # Another program may have taken the port first.
        assert self._process is None or self._process.pid == answering
        return True

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None


@cache
def binary() -> str:
    return os.environ.get("TEST_REDIS_SERVER") or redis_program.find()


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """An empty Redis server for one test."""
    server = RedisServer()
    with closing(server):
        server.start()
        server.flush()
        yield server
