"""The whole program as its users run it, watched from outside: real processes, a real Redis, a real relay."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, text

from tests.acceptance.prompt import Copy, prompt
from tests.polling import eventually
from tests.redis_server import RedisServer
from tests.relay import ScriptedRelay
from worker.domain.catalog import CatalogReference, item_of
from worker.store import breaker, figures
from worker.store.breaker import Breaker
from worker.store.database import Database
from worker.store.requests import NewRequest, create

LEASE = 5.0
SWEEP = 0.5
CONNECTIONS = 4
NOBODY_THERE = "redis://127.0.0.1:1/0"
DOUBLES_A_KILL = CONNECTIONS + max(50, 4 * CONNECTIONS)
"""What a kill -9 may repeat: the mails on their way, and those whose outcome was not committed."""

P = ParamSpec("P")
T = TypeVar("T")
Process = subprocess.Popen[bytes] | Copy


class Stockbell:
    """Starts processes of the program, asks it about its state, and stops whatever it started."""

    def __init__(self, database_url: str, redis_server: RedisServer, relay: ScriptedRelay, directory: Path) -> None:
        self.relay = relay
        self._redis = redis_server
        self._directory = directory
        self._database = Database(database_url, is_patient=True)  # some of its locks are held for long
        self.processes: list[Process] = []
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("STOCKBELL_")},
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_server.url,
            "SMTP_URL": relay.url,
            "MAIL_FROM": "Shop <shop@shop.example>",
            "STOCKBELL_ITEM_URL_TEMPLATE": "https://shop.example/p/{catalogItemId}",
            "STOCKBELL_LEASE_SECONDS": str(LEASE),
            "STOCKBELL_SWEEP_SECONDS": str(SWEEP),
            "STOCKBELL_SMTP_CONNECTIONS": str(CONNECTIONS),
            "STOCKBELL_RETRY_SECONDS": "0.5",
            "STOCKBELL_LOG_FORMAT": "json",
            "TMPDIR": str(directory),  # a killed supervisor cleans nothing up
        }

    def start(self, *command: str, **settings: str) -> Process:
        """Starts `stockbell ...` in a process group of its own. Its log goes to a file."""
        log = self._directory / f"{len(self.processes)}-{command[0]}.log"
        process = self._start(command, self.environment | settings, log)
        self.processes.append(process)
        return process

    def _start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
        with log.open("wb") as errors:
            return subprocess.Popen(
                [sys.executable, "-m", "worker", *command],
                env=environment,
                cwd=self._directory,
                stdout=errors,  # nothing should come there; if it does, it is seen
                stderr=errors,
                start_new_session=True,
            )

    def start_all(self, *, listeners: int = 1, workers: int = 1, children: int = 1, schedulers: int = 1) -> None:
        """Starts processes of every kind. Does not wait for them."""
        for _ in range(listeners):
            self.start("listen")
        for _ in range(workers):
            self.start("work", "-c", str(children))
        for _ in range(schedulers):
            self.start("schedule")

    def stop_all(self) -> None:
        """Kills whatever still runs, with its children."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._database.close()

    def run(self, *command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end, in a process that was loaded before."""
        return prompt().run(*command, environment=self.environment, directory=self._directory, text=text)

    def run_anew(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Does the same in a process of its own: for another program than that of the tests, named by PYTHONPATH."""
        return subprocess.run(
            [sys.executable, "-m", "worker", *command],
            env=self.environment,
            cwd=self._directory,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Writes to the database, as `Database.write` does."""
        return self._database.write(work, *args, **kwargs)

    def waiting(self, item: str, count: int) -> list[str]:
        """Creates so many requests for an item. Returns their addresses."""
        addresses = [f"{item}-{number}@customer.example" for number in range(count)]
        reference = CatalogReference(item_of(item))
        new = [NewRequest(address, reference) for address in addresses]
        assert len(self.write(create, new)) == count
        return addresses

    def publish(self, **fields: str | int) -> str:
        """Publishes an event as any stock system does: XADD with flat fields."""
        with self._redis.client() as client:
            entry: Any = {name: str(value) for name, value in fields.items()}
            return str(client.xadd("inventory:events", entry), "ascii")

    def status(self) -> dict[str, Any]:
        """Returns the answer of `stockbell status --json`."""
        answer = self.run("status", "--json")
        assert answer.stdout, answer.stderr
        status: dict[str, Any] = json.loads(answer.stdout)
        return status

    def requests(self, *options: str) -> list[dict[str, Any]]:
        """Returns the answer of `stockbell requests list --json`: all requests."""
        answer = self.run("requests", "list", "--json", "--limit", "0", *options)
        assert answer.returncode == 0, answer.stderr
        return [json.loads(line) for line in answer.stdout.splitlines()]

    def counts(self) -> dict[str, int]:
        """Returns how many requests are in each state. Asks the database, since `status` takes a second to start."""
        return self._database.read(figures.read, LEASE).by_status

    def breaker(self) -> Breaker:
        """Returns the breaker. Asks the database, too."""
        return self._database.read(breaker.read)

    def until(self, seconds: float = 90, **counts: int) -> dict[str, int]:
        """Waits until so many requests are in these states. Returns the counts of all states."""
        try:
            eventually(lambda: counts.items() <= self.counts().items(), seconds)
        except AssertionError:
            raise AssertionError(f"{counts} was not reached: {self.counts()}\n{self.logs()}") from None
        return self.counts()

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Keeps everybody else from writing to this table, or on SQLite to any table."""
        self._database._engine.dispose()  # the connections that it has kept may have been cut
        with self._database._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
            yield

    def is_waited_for(self, table: str) -> bool:
        """Returns whether somebody waits for the lock on this table of PostgreSQL."""
        asked = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = CAST(:table AS regclass)")
        with self._database._engine.connect() as connection:
            return bool(connection.execute(asked, {"table": table}).scalar())

    def mails(self) -> Counter[str]:
        """Returns how often the relay took a mail for each address."""
        return Counter(mail.recipient for mail in list(self.relay.accepted))

    def logs(self) -> str:
        """Returns what all processes have logged."""
        return "\n".join(path.read_text() for path in sorted(self._directory.glob("*.log")))


class Loaded(Stockbell):
    """Its processes are copies of one that has loaded the program: for tests of what they do, not of how they begin."""

    def _start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
        return prompt().start(*command, environment=environment, directory=self._directory, log=log)


def descendants(pid: int) -> list[int]:
    """Returns the living processes below a process, nearest first."""
    found: list[int] = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def children(pid: int) -> list[int]:
    """Returns the living children of a process."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in text.split()]


def is_alive(pid: int) -> bool:
    """Returns whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def told_exactly_once(mails: Mapping[str, int], addresses: Iterable[str]) -> bool:
    """Returns whether each of these got one mail, and nobody else got any."""
    return dict(mails) == dict.fromkeys(addresses, 1)


def done(answer: subprocess.CompletedProcess[str]) -> str:
    """Returns what the command wrote to stdout. Fails if the command failed."""
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def refused(answer: subprocess.CompletedProcess[str], *, code: int = 1) -> str:
    """Returns what the command wrote to stderr. Fails unless that is one line, without a traceback."""
    assert answer.returncode == code, answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    return answer.stderr.removeprefix("stockbell: ").strip()
