"""An older backup is restored as docs/operations.md says: nobody is told twice. Without care, many are."""

import os
import pwd
import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.acceptance.stockbell import Loaded, Stockbell, done
from tests.polling import eventually
from tests.ports import free_port
from tests.postgres_server import OPTIONS, USER
from tests.redis_server import RedisServer
from tests.relay import ScriptedRelay
from worker.migrations import migrate

BIN = max(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"), default=Path(shutil.which("pg_dump") or "-")).parent


class SqliteBackup:
    """A backup by SQLite's own means, of a file that is in use."""

    def __init__(self, url: str, directory: Path) -> None:
        self._file = Path(str(make_url(url).database))
        self._copy = directory / "backup.db"

    def take(self) -> None:
        with closing(sqlite3.connect(self._file)) as used, closing(sqlite3.connect(self._copy)) as copy:
            used.backup(copy)

    def restore(self) -> None:
        for name in self._file.parent.glob(f"{self._file.name}*"):
            name.unlink()  # with what its journal holds
        shutil.copy(self._copy, self._file)


class PostgresBackup:
    """A backup by pg_dump, and its restoration by pg_restore."""

    def __init__(self, url: str, directory: Path) -> None:
        self._url = make_url(url).set(drivername="postgresql")
        self._dump = directory / "stockbell.dump"
        self._is_restored = False

    def take(self) -> None:
        self._run("pg_dump", "--format=custom", f"--file={self._dump}", self._url.render_as_string(hide_password=False))

    def restore(self) -> None:
        server = self._url.set(database="postgres").render_as_string(hide_password=False)
        if self._is_restored:  # once over what is there, and once as on a new server
            self._run("dropdb", f"--maintenance-db={server}", str(self._url.database))
        self._is_restored = True
        self._run(
            "pg_restore", "--clean", "--if-exists", "--create", "--exit-on-error", f"--dbname={server}", str(self._dump)
        )

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run([BIN / program, *arguments], check=True)


Backup = SqliteBackup | PostgresBackup


@contextmanager
def running(url: str, redis_server: RedisServer, relay: ScriptedRelay, directory: Path) -> Iterator[Stockbell]:
    program = Loaded(url, redis_server, relay, directory)
    try:
        yield program
    finally:
        program.stop_all()


@contextmanager
def server() -> Iterator[str]:
    """Yields the URL of a database on a server that pg_dump belongs to: it refuses servers that are newer."""
    with TemporaryDirectory(prefix="stockbell-backup-") as name:
        home = Path(name)
        identity: dict[str, Any] = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("nobody")
            os.chown(home, nobody.pw_uid, nobody.pw_gid)
            identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

        def run(program: str, *arguments: str) -> None:
            subprocess.run([BIN / program, *arguments], check=True, cwd=home, env={"LC_ALL": "C"}, **identity)

        run("initdb", "--pgdata=data", f"--username={USER}", "--auth=trust", "--encoding=UTF8", "--no-sync")
        port = free_port()
        run("pg_ctl", "start", "--wait", "--pgdata=data", "--log=log", f"--options={OPTIONS} -p {port}")
        try:
            run("createdb", f"--username={USER}", "--host=127.0.0.1", f"--port={port}", "stockbell")
            yield f"postgresql+psycopg://{USER}@127.0.0.1:{port}/stockbell"
        finally:
            run("pg_ctl", "stop", "--wait", "--mode=fast", "--pgdata=data")


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param(
            "postgresql",
            marks=pytest.mark.skipif(not (BIN / "initdb").exists(), reason="there is no server beside pg_dump"),
        ),
    ]
)
def backup(
    request: pytest.FixtureRequest, redis_server: RedisServer, relay: ScriptedRelay, tmp_path: Path
) -> Iterator[tuple[Stockbell, Backup]]:
    """The program, and a way to back its database up."""
    if request.param == "sqlite":
        url: str = request.getfixturevalue("sqlite_url")
        with running(url, redis_server, relay, tmp_path) as program:
            yield program, SqliteBackup(url, tmp_path)
        return
    with server() as url:
        migrate(url)
        with running(url, redis_server, relay, tmp_path) as program:
            yield program, PostgresBackup(url, tmp_path)


def publish(program: Stockbell) -> None:
    """What a stock system says when it is asked for the stock of everything."""
    program.publish(catalogItemId="mug-1", quantity=5)
    program.publish(catalogItemId="cup-1", quantity=5)
    program.publish(catalogItemId="jar-1", quantity=0)


def amid_mails(program: Stockbell, number: int, action: Callable[[], None]) -> None:
    """Does something while the relay has taken so many mails, and others are on their way."""

    def on_accept(accepted: int) -> None:
        if accepted == number:
            action()

    program.relay.on_accept = on_accept


def stop(program: Stockbell) -> None:
    for process in program.processes:
        process.send_signal(signal.SIGTERM)
    assert {process.wait(60) for process in program.processes} == {0}


def restored(program: Stockbell, backup: Backup) -> None:
    """Stops everything, and puts the older database in its place."""
    stop(program)
    program._database.close()
    backup.restore()


def told(program: Stockbell) -> list[str]:
    """Returns the ids of the requests whose mails the relay took, from what it logs: Message-IDs."""
    log = "".join(mail.message_id for mail in program.relay.accepted)
    return re.findall(r"<([0-9a-f-]{36})@", log)


MUGS, CUPS, JARS = 60, 20, 5
TOLD = MUGS + CUPS


def test_an_older_backup_tells_nobody_twice_if_it_is_restored_with_care(backup: tuple[Stockbell, Backup]) -> None:
    program, saved = backup
    waiting = {
        item: program.waiting(item, count) for item, count in (("mug-1", MUGS), ("cup-1", CUPS), ("jar-1", JARS))
    }
    amid_mails(program, 20, saved.take)
    program.start_all()
    publish(program)
    program.until(NOTIFICATION_SENT=TOLD)
    assert set(program.mails().values()) == {1}

    # Without care: everything is started as usual, and the stock system says again what is in stock.
    restored(program, saved)
    before = program.counts()
    assert before["PROCESSING"] > 0, "the backup was made amid mails"
    told_before = before["NOTIFICATION_SENT"]
    program.start_all()
    publish(program)
    program.until(NOTIFICATION_SENT=TOLD)
    assert sum(count - 1 for count in program.mails().values()) == TOLD - told_before

    # With care: the steps of docs/operations.md.
    restored(program, saved)
    ids = told(program)
    done(program.run("pause"))
    program.start("schedule")
    eventually(lambda: program.counts()["PROCESSING"] == 0, until="what was being sent is back in line")
    marked = program.run("mark-sent", "--json", *ids)
    assert f'"changed": {TOLD - told_before}' in marked.stdout
    program.start_all()
    publish(program)
    eventually(lambda: program.status()["events"]["lag"] == 0, until="the events are taken in")
    mails = len(program.relay.accepted)
    done(program.run("resume"))
    late = program.waiting("jar-1-late", 1)
    program.publish(catalogItemId="jar-1", quantity=5)
    program.publish(catalogItemId="jar-1-late", quantity=5)
    program.until(NOTIFICATION_SENT=TOLD + JARS + 1)
    assert len(program.relay.accepted) == mails + JARS + 1
    assert {mail.recipient for mail in program.relay.accepted[mails:]} == {*waiting["jar-1"], *late}
