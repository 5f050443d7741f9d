"""The program under test: its real processes, what can be done to them, and what they left behind."""

import os
import random
import re
import shutil
import signal
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any, Literal

import redis
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from tests.acceptance.stockbell import (
    CONNECTIONS,
    DOUBLES_A_KILL,
    Loaded,
    Process,
    Stockbell,
    children,
    descendants,
    is_alive,
)
from tests.faults.checker import Request, Try
from tests.faults.relay import LoggingRelay
from tests.polling import eventually
from tests.redis_server import RedisServer
from worker.domain.errors import DatabaseAway
from worker.store.database import Connection

Role = Literal["listener", "worker", "scheduler"]

COMMANDS: dict[Role, str] = {"listener": "listen", "worker": "work", "scheduler": "schedule"}
READY: dict[Role, str] = {"listener": "listener.started", "worker": "worker.ready", "scheduler": "scheduler.started"}
"""The event that each process logs when it is up."""
STREAM, BELLS = "inventory:events", "stockbell:bells"
SECONDS_TO_END = 30

_REQUESTS = text(
    """SELECT r.email, r.status, r.auto_notified, r.notified_date IS NOT NULL AS is_dated, r.attempts, r.rescues,
        r.failure_code, r.failure_reason, r.id FROM request AS r"""
)
_TRIES = text("SELECT r.email, a.event, a.smtp_code, r.id FROM attempt AS a JOIN request AS r ON r.id = a.request_id")
_STORY = text(
    """SELECT r.email, a.request_id, a.at, a.event, a.smtp_code, a.reply FROM attempt AS a
    JOIN request AS r ON r.id = a.request_id ORDER BY a.at"""
)
_LEFT = text(
    """SELECT i.catalog_item_id AS item, count(*) AS number FROM request AS r
    JOIN waiting_list AS w ON w.id = r.waiting_list_id JOIN item AS i ON i.id = w.item_id
    WHERE r.status IN ('RECEIVED', 'PROCESSING') GROUP BY i.catalog_item_id"""
)
_HOLDERS = text(
    """SELECT o.host, r.email FROM request AS r JOIN owner AS o ON o.id = r.owner
    WHERE r.status = 'PROCESSING' ORDER BY r.created_date"""
)
_AGE = text(
    """WITH aged AS (UPDATE request SET rescues = :deaths WHERE email = :address RETURNING id)
    INSERT INTO attempt (id, request_id, at, event)
    SELECT gen_random_uuid(), aged.id, now(), 'rescued' FROM aged, generate_series(1, :deaths)"""
)


class System(Loaded):
    """`Stockbell` with roles, which some init system would keep filled."""

    relay: LoggingRelay

    def __init__(
        self,
        url: str,
        redis_server: RedisServer,
        relay: LoggingRelay,
        directory: Path,
        workers: int,
        *,
        quick: bool = False,
    ) -> None:
        """`quick`: processes begin as copies of one that is loaded, which takes a quarter of the time."""
        super().__init__(url, redis_server, relay, directory)
        self.url = url
        self.environment["SMTP_URL"] = relay.url
        self.redis = redis_server
        self.is_quick = quick
        self.children = workers
        """The number of children of each worker."""
        self.roles: dict[Role, list[Process]] = {role: [] for role in COMMANDS}

    def _start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Process:
        is_ours = environment.get("PYTHONPATH") == os.environ.get("PYTHONPATH")  # else it is another release
        if self.is_quick and is_ours:
            return super()._start(command, environment, log)
        return Stockbell._start(self, command, environment, log)

    # What ops do

    def fill(self, role: Role, count: int = 1) -> None:
        """Starts processes until a role is filled."""
        self.roles[role] = [process for process in self.roles[role] if process.poll() is None]
        while len(self.roles[role]) < count:
            self.start_one(role)

    def start_one(self, role: Role) -> Process:
        """Starts one more process of a role."""
        options = ("-c", str(self.children)) if role == "worker" else ()
        self.roles[role].append(self.start(COMMANDS[role], *options))
        return self.roles[role][-1]

    def ready(self, *roles: Role) -> int:
        """Returns how many processes of these roles have said, since the beginning, that they are up. None: of all."""
        logs = self.logs()
        return sum(logs.count(f'"{READY[role]}"') for role in roles or READY)

    def end(self, processes: Collection[Process]) -> list[int | str]:
        """Stops processes in order. Returns how those ended that did not end as they should."""
        for process in processes:
            process.terminate()
        return self.wait_for(processes)

    def wait_for(self, processes: Collection[Process]) -> list[int | str]:
        """Waits for processes that were asked to end. Returns how those ended that did not end as they should."""
        return [code for code in map(_code, processes) if code != 0]

    def end_all(self) -> list[int | str]:
        """Stops all that was started and still runs, once it is up. Before that, SIGTERM just ends a process."""
        eventually(self.are_up, 60, until="all that runs is up")
        return self.end([process for process in self.processes if process.poll() is None])

    def are_up(self) -> bool:
        """Returns whether all that runs has said so."""
        events = {COMMANDS[role]: f'"{event}"' for role, event in READY.items()}
        return all(
            events[log.stem.partition("-")[2]] in log.read_text()
            for number, process in enumerate(self.processes)
            if process.poll() is None
            for log in self._directory.glob(f"{number}-*.log")
        )

    def longest_log(self) -> int:
        """Returns the size of the longest log in bytes."""
        return max(log.stat().st_size for log in self._directory.glob("*.log"))

    # Who may be killed

    def pool_parents(self) -> list[int]:
        """Returns the Celery workers, one below each `stockbell work`."""
        return [pid for worker in self.roles["worker"] for pid in children(worker.pid) if is_alive(pid)]

    def pool_children(self) -> list[int]:
        """Returns the processes that send."""
        return [pid for parent in self.pool_parents() for pid in children(parent) if is_alive(pid)]

    def everybody(self) -> list[int]:
        """Returns all processes."""
        started = [process.pid for process in self.processes if process.poll() is None]
        return [pid for each in started for pid in (each, *descendants(each))]

    def holders(self) -> dict[int, list[str]]:
        """Returns the addresses whose claims each process holds, oldest first."""
        held: dict[int, list[str]] = {}
        for row in self._database.read(_all, _HOLDERS):
            held.setdefault(int(row.host.rpartition(":")[2]), []).append(row.email)
        return held

    @property
    def repeats_a_kill(self) -> int:
        """How many mails the kill of one process may repeat."""
        return DOUBLES_A_KILL

    @property
    def connections(self) -> int:
        """How many connections one child has."""
        return CONNECTIONS

    def has_survived(self, address: str, deaths: int) -> None:
        """Makes it look as if so many processes had died that held this row."""
        with self._database._engine.begin() as connection:
            connection.execute(_AGE, {"address": address, "deaths": deaths})

    # What can be seen

    def requests_left(self) -> list[Request]:
        rows = self._database.read(_all, _REQUESTS)
        return [
            Request(
                row.email,
                row.status,
                None if row.auto_notified is None else bool(row.auto_notified),
                bool(row.is_dated),
                row.attempts,
                row.rescues,
                row.failure_code,
                row.failure_reason,
                str(row.id),
            )
            for row in rows
        ]

    def reasons(self) -> dict[str, str]:
        """Returns why those wait who are neither told nor failed, as `stockbell requests list` tells it."""
        return {each["email"]: each["waiting"] for each in self.requests("--status", "RECEIVED")}

    def tries(self) -> list[Try]:
        return [Try(row.email, row.event, row.smtp_code, str(row.id)) for row in self._database.read(_all, _TRIES)]

    def counted(self) -> Mapping[str, int]:
        """Returns how many mails were counted by each outcome, as `stockbell metrics` tells it."""
        counts = Counter[str]()
        for family in text_string_to_metric_families(self.run("metrics").stdout):
            for sample in family.samples:
                if sample.name == "stockbell_mails_total":
                    counts[sample.labels["outcome"]] += int(sample.value)
        return counts

    def stories(self, words: str) -> list[str]:
        """Returns the attempt log of everybody named in these words, a line for each try."""
        named = [row for row in self._database.read(_all, _STORY) if row.email in words]
        return [" ".join(map(str, row)) for row in named]

    def keep_logs(self, directory: Path) -> None:
        """Copies what the processes wrote."""
        for log in self._directory.glob("*.log"):
            shutil.copy(log, directory)

    def unresolved(self) -> dict[str, int] | None:
        """Returns how many are neither told nor failed, for each item, or None while the database is away."""
        try:
            return {row.item: row.number for row in self._database.read(_all, _LEFT)}
        except DatabaseAway:
            return None

    @property
    def is_on_sqlite(self) -> bool:
        """Whether the database is SQLite. Else it is PostgreSQL."""
        return self._database.dialect == "sqlite"

    def damage(self) -> list[str]:
        """Returns what SQLite finds wrong with its file."""
        found = self._database.read(_all, text("PRAGMA integrity_check"))
        return [str(line) for (line,) in found if line != "ok"]

    def bells(self) -> int:
        """Returns how many bells are in the queue."""
        with self.redis.client() as client:
            number: Any = client.llen(BELLS)
        return int(number)

    def unread(self) -> int:
        """Returns how many entries of the stream no listener has been given yet."""
        with self.redis.client() as client:
            entries = client.xrange(STREAM)
        last = self.last_read()
        return sum(_order(entry) > last for entry, _ in entries)

    def pending(self) -> int:
        """Returns how many entries were read and not acknowledged."""
        with self.redis.client() as client:
            return sum(group["pending"] for group in _groups(client))

    def settled_events(self) -> bool:
        """Returns whether every event was read and acknowledged."""
        with self.redis.client() as client:
            groups = _groups(client)
            newest = client.xrevrange(STREAM, count=1)
        if not newest:
            return True
        return (
            bool(groups) and not groups[0]["pending"] and _order(groups[0]["last-delivered-id"]) >= _order(newest[0][0])
        )

    def last_read(self) -> tuple[int, int]:
        """Returns the place in the stream up to which a listener was given entries."""
        with self.redis.client() as client:
            groups = _groups(client)
        return _order(groups[0]["last-delivered-id"]) if groups else (0, 0)


def _groups(client: redis.Redis) -> Any:
    """Returns what Redis knows about our consumer group, which is the only one, or nothing before there is one."""
    try:
        return client.xinfo_groups(STREAM)
    except redis.ResponseError:
        return []


def kill(chance: random.Random, pids: Collection[int]) -> bool:
    """Ends one of the processes as a power cut would. Returns False if there is none."""
    if not pids:
        return False
    with suppress(ProcessLookupError):
        os.kill(chance.choice(list(pids)), signal.SIGKILL)
        return True
    return False


def freeze(pid: int) -> None:
    """Freezes a process until SIGCONT."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")


def peak_megabytes(pid: int) -> float:
    """Returns the most memory that a process ever had at once, including what it shares with others."""
    (line,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(line) / 1000


def _all(c: Connection, statement: object) -> list:  # type: ignore[type-arg]  # rows of whatever is asked for
    return list(c.execute(statement).all())  # type: ignore[call-overload]


def _code(process: Process) -> int | str:
    try:
        return process.wait(SECONDS_TO_END)
    except TimeoutExpired:
        return "did not end"


def _order(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)
