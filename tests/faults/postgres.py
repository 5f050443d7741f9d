"""A PostgreSQL that can be restarted, frozen and cut off. Data that it calls committed survives all of that."""

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal, LiteralString
from uuid import uuid4

import psycopg
from sqlalchemy.engine import make_url

from tests import postgres_server
from tests.acceptance.stockbell import descendants, is_alive
from tests.bench.processes import answers
from tests.bench.servers import plain
from tests.confidential import PASSWORD
from tests.polling import eventually
from tests.ports import free_port
from worker.migrations import migrate

OPTIONS = ("-c", "unix_socket_directories=", "-c", "max_connections=200")
# The machine stays up, so nothing has to reach the disk. But commits are written before they are answered.
QUICK = ("-c", "fsync=off", "-c", "full_page_writes=off")
STOPS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class PostgresServer:
    """One server at one port. It is a context manager."""

    def __init__(self, directory: Path, programs: Path | None = None, host: str = "127.0.0.1") -> None:
        """`programs`: where PostgreSQL's programs are that everybody may run. Default: those of the wheel."""
        self._home = directory / "postgres"
        self._home.mkdir()
        self._log = directory / "postgres.log"
        self._programs, self._identity = postgres_server.programs_and_identity(self._home, programs)
        self._host, self.port = host, free_port()
        self.options: tuple[str, ...] = ()
        """Options of the next start, on top of the usual ones."""
        self._url = make_url(f"postgresql+psycopg://{postgres_server.USER}:{PASSWORD}@{host}:{self.port}/postgres")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "PostgresServer":
        try:
            self.begin()
            self.execute("CREATE DATABASE template")
            migrate(self._at("template"))
        except BaseException:  # also Ctrl-C
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the server. The data is not used any more."""
        self.stop("immediate")

    def begin(self) -> None:
        """Makes the data, and starts with it."""
        self.run(
            "initdb", "-D", "data", f"--username={postgres_server.USER}", "--auth=trust", "--encoding=UTF8", "--no-sync"
        )
        with (self._home / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all all trust\n")
        self.start()

    def put(self, name: str, content: bytes) -> None:
        """Puts a file beside the data, which nobody but the server may read."""
        path = self._home / name
        path.write_bytes(content)
        path.chmod(0o600)
        if "user" in self._identity:
            os.chown(path, self._identity["user"], self._identity["group"])

    def start(self) -> None:
        """Starts with the data that is there, and waits until the server lets somebody in."""
        self._process = self._run(
            "postgres",
            *("-D", "data", "-p", str(self.port), *OPTIONS, *QUICK, "-c", f"listen_addresses={self._host}"),
            *self.options,
        )
        eventually(self._lets_in, until="PostgreSQL lets somebody in")

    def stop(self, how: Literal["fast", "immediate"]) -> None:
        """Ends the server: in order, or as a crash would."""
        if self._process is not None:
            self.resume()
            self._process.send_signal(STOPS[how])
            self._process.wait(60)
            self._process = None

    def restart(self, how: Literal["fast", "immediate"]) -> None:
        self.stop(how)
        self.start()

    def kill(self) -> None:
        """Ends all of the server's processes as a power cut would."""
        if self._process is not None:
            below = descendants(self._process.pid)
            self._signal(signal.SIGKILL)
            self._process.wait(60)
            self._process = None
            # The data is locked as long as any of them lives.
            eventually(lambda: not any(map(is_alive, below)), until="all processes of PostgreSQL have ended")

    def pause(self) -> None:
        """Freezes the whole server: connections stay, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def cut(self, chance: random.Random) -> int:
        """Ends some of the program's connections, whatever they are doing. Returns how many."""
        return self._cut("true", chance, share=0.7)

    def cut_all(self) -> int:
        """Ends all of the program's connections."""
        return self._cut("true")

    def cut_waiting(self) -> int:
        """Ends those of the program's connections that wait for a lock."""
        return self._cut("wait_event_type = 'Lock'")

    def _cut(self, which: LiteralString, chance: random.Random | None = None, share: float = 1.0) -> int:
        with psycopg.connect(plain(self._at("postgres")), autocommit=True) as connection:
            found = connection.execute(
                f"SELECT pid FROM pg_stat_activity WHERE application_name = 'stockbell' AND {which}"
            ).fetchall()
            pids = [pid for (pid,) in found if chance is None or chance.random() < share]
            connection.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (pids,))
        return len(pids)

    def execute(self, statement: str, url: str | None = None) -> None:
        """Does what only an admin may do: in the database of this URL, or in none of ours."""
        with closing(psycopg.connect(plain(url or self._at("postgres")), autocommit=True)) as connection:
            connection.execute(statement.encode())

    def ask(self, question: str, url: str, *values: object) -> int:
        """Returns a number that PostgreSQL knows, over a connection of its own."""
        with closing(psycopg.connect(plain(url), autocommit=True)) as connection:
            (answer,) = connection.execute(question.encode(), values).fetchone() or (0,)
            return int(answer)

    def said(self, words: str, lines: int = 30) -> list[str]:
        """Returns the lines of the server's log with these words, each with so many that follow it."""
        log = self._log.read_text().splitlines()
        return [line for place, found in enumerate(log) if words in found for line in log[place : place + lines]]

    def deadlocks(self, url: str) -> int:
        """Returns how many deadlocks there were in a database, as far as it has counted them."""
        return self.ask("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()", url)

    @property
    def url(self) -> str:
        """The URL of a database that has none of our tables."""
        return self._at("postgres")

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yields the URL of a new database with our tables and no rows."""
        name = f"faults_{uuid4().hex}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE template")
        try:
            yield self._at(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def run(self, program: str, *arguments: str) -> None:
        """Runs one of PostgreSQL's programs on this server's data, and waits for its end."""
        process = self._run(program, *arguments)
        if process.wait(120):
            raise RuntimeError(f"{program} ended with {process.returncode}: {self._log.read_text()[-1000:]}")

    def _run(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [self._programs / program, *arguments],
                cwd=self._home,
                env={"LC_ALL": "C"},
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._identity,
            )

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            for pid in (self._process.pid, *descendants(self._process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _at(self, database: str) -> str:
        return self._url.set(database=database).render_as_string(hide_password=False)

    def _lets_in(self) -> bool:
        if not answers(self.port, self._host):
            return False
        try:
            with psycopg.connect(plain(self._at("postgres"))):
                return True
        except psycopg.OperationalError:
            return False
