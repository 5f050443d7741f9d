"""The servers around the program: PostgreSQL as in production (fsync on), and Postfix's pair of load tools."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests import postgres_server
from tests import redis_server as tests_redis
from tests.bench.processes import answers, running, until
from tests.ports import free_port
from tests.postgres_server import Databases, database_name
from worker.migrations import migrate

INSTALL_POSTFIX = (
    "make bench needs smtp-sink and smtp-source, which come with Postfix: on Debian and Ubuntu `apt install postfix`"
)
OPTIONS = ("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
"""All else is PostgreSQL's default: fsync, full_page_writes and synchronous_commit on, 128 MB of shared buffers."""
SESSIONS = 20
"""The number of smtp-source's connections. Two children have as many."""
SOURCE_SECONDS = 60.0


class Postgres:
    """One server, on which every measurement gets a database of its own."""

    def __init__(self, pid: int, url: str) -> None:
        self.pid = pid
        self.url = url
        self._databases = Databases(url)

    @contextmanager
    def migrated(self) -> Iterator["Postgres"]:
        """Yields the server, with a database that has our tables, to make copies of."""
        with closing(self._databases), self._databases.database() as url:
            migrate(url)
            self._template = database_name(url)
            yield self

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yields the URL of a new database with our tables and no rows, and drops it afterwards."""
        with self._databases.database(template=self._template) as url:
            yield url


@contextmanager
def postgres(directory: Path) -> Iterator[Postgres]:
    """Yields a durable server: what it reports as committed is on the disk."""
    home = directory / "postgres"
    home.mkdir()
    programs, identity = postgres_server.programs_and_identity(home)
    data, environment = home / "data", {"LC_ALL": "C"}
    subprocess.run(
        [
            programs / "initdb",
            f"--pgdata={data}",
            f"--username={postgres_server.USER}",
            "--auth=trust",
            "--encoding=UTF8",
        ],
        check=True,
        cwd=home,
        env=environment,
        stdout=subprocess.DEVNULL,
        **identity,
    )
    port = free_port()
    url = f"postgresql+psycopg://{postgres_server.USER}@127.0.0.1:{port}/postgres"
    with running(
        [programs / "postgres", "-D", data, "-p", str(port), *OPTIONS],
        log=directory / "postgres.log",
        environment=environment,
        directory=home,
        end=signal.SIGINT,  # does not wait for clients
        **identity,
    ) as process:
        until(lambda: _lets_in(url), "PostgreSQL answers")
        with Postgres(process.pid, url).migrated() as server:
            yield server


def _lets_in(url: str) -> bool:
    try:
        with psycopg.connect(plain(url)):
            return True
    except psycopg.OperationalError:
        return False


def plain(url: str) -> str:
    """Returns a database URL in the form that libpq knows."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


@dataclass(frozen=True, slots=True)
class Relay:
    """A sink for mails."""

    pid: int
    port: int


def postfix_tool(name: str) -> str:
    """Returns the path of one of Postfix's tools. /usr/sbin is not on everybody's PATH."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
    if found is None:
        raise SystemExit(INSTALL_POSTFIX)
    return found


def _not_root() -> dict[str, Any]:
    """Returns the user (for `subprocess`) for programs that refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A Redis that nobody else uses."""

    pid: int
    url: str


@contextmanager
def redis_server(directory: Path) -> Iterator[RedisServer]:
    """Yields a Redis as in production: its data goes to the disk every second (its `appendfsync everysec`)."""
    port = free_port()
    options = {"port": str(port), "bind": "127.0.0.1", "dir": str(directory), "save": "", "appendonly": "yes"}
    command = [tests_redis.binary(), *(word for name, value in options.items() for word in (f"--{name}", value))]
    with running(command, log=directory / "redis.log", directory=directory) as process:
        until(lambda: answers(port), "Redis answers")
        yield RedisServer(process.pid, f"redis://127.0.0.1:{port}/0")


@contextmanager
def smtp_sink(directory: Path) -> Iterator[Relay]:
    """Yields Postfix's smtp-sink, which offers pipelining, takes everything and throws it away."""
    port = free_port()
    command = [postfix_tool("smtp-sink"), f"127.0.0.1:{port}", "1000"]
    with running(command, log=directory / "smtp-sink.log", directory=Path("/"), **_not_root()) as process:
        until(lambda: answers(port), "smtp-sink answers")
        yield Relay(process.pid, port)


def smtp_source(relay: Relay, mails: int, payload: int) -> float:
    """Returns the seconds that Postfix's generator takes for so many mails of so many bytes, on kept connections."""
    options = ("-d", "-s", str(SESSIONS), "-l", str(payload), "-m", str(mails))
    began = time.monotonic()
    subprocess.run(
        [postfix_tool("smtp-source"), *options, f"127.0.0.1:{relay.port}"], check=True, timeout=SOURCE_SECONDS
    )
    return time.monotonic() - began
