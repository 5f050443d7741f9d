"""The measured program: its real processes on a database, with a Redis of its own, watched from outside."""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Any

import redis
from sqlalchemy import text

from tests.acceptance.stockbell import children
from tests.bench.processes import (
    NotInTime,
    cpu_seconds,
    cpu_seconds_of_all,
    resident_megabytes,
    running,
    until,
)
from tests.bench.servers import Relay, redis_server
from worker.store.database import Connection, Database

STREAM = "inventory:events"
READY = {"listen": "listener.started", "work": "worker.ready", "schedule": "scheduler.started", "web": "web.started"}
"""The event that each process logs when it is up."""
IDLE_SECONDS, IDLE_SHARE = 0.5, 0.1
"""The system is idle if all its processes together use less than this share of one core in so many seconds."""

_ITEM = """FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
    JOIN item AS i ON i.id = w.item_id WHERE i.catalog_item_id = :item"""
LAST = f"SELECT r.id {_ITEM} ORDER BY r.created_date DESC LIMIT 1"
STATUS = "SELECT status FROM request WHERE id = :id"
LEFT = f"SELECT count(*) {_ITEM} AND r.status IN ('RECEIVED', 'PROCESSING')"
TOLD = f"SELECT count(*) {_ITEM} AND r.status = 'NOTIFICATION_SENT'"
TIMES = (
    f"SELECT CAST(extract(epoch FROM r.notified_date) AS float8) {_ITEM} AND r.notified_date >= to_timestamp(:since)"
)


class Program:
    """The processes of one system, and the view from outside. `servers` are processes to watch along with them."""

    def __init__(
        self, database_url: str, relay: Relay, directory: Path, servers: Mapping[str, int], settings: Mapping[str, str]
    ) -> None:
        self._directory = directory
        self._servers = dict(servers)
        self._processes: dict[str, Popen[bytes]] = {}
        self.database = Database(database_url)
        self._environment = environment(database_url, **{"SMTP_URL": f"smtp://127.0.0.1:{relay.port}", **settings})

    @contextmanager
    def up(self, *commands: str) -> Iterator["Program"]:
        """Starts these processes (`listen`, `work -c 2`), and yields when they are idle."""
        with ExitStack() as stack:
            stack.callback(self.database.close)
            server = stack.enter_context(redis_server(self._directory))
            self.redis = stack.enter_context(redis.Redis.from_url(server.url, protocol=2))
            self._servers |= {"Redis": server.pid}
            self._environment["REDIS_URL"] = server.url
            for command in commands:
                self._start(stack, command.split())
            stack.callback(self._end_all)
            for name in self._processes:
                until(partial(self._is_ready, name), f"`stockbell {name}` is up", 60)
            self.until_idle()
            yield self

    def _start(self, stack: ExitStack, words: Sequence[str]) -> None:
        self._log(words[0]).unlink(missing_ok=True)
        command = [sys.executable, "-m", "worker", *words]
        process = running(command, log=self._log(words[0]), environment=self._environment, directory=self._directory)
        self._processes[words[0]] = stack.enter_context(process)

    def _end_all(self) -> None:
        """Tells all processes to end before it waits for each of them."""
        for process in self._processes.values():
            process.terminate()

    def _is_ready(self, name: str) -> bool:
        log = self._log(name).read_text()
        if self._processes[name].poll() is not None:
            raise NotInTime(f"`stockbell {name}` ended: {log[-2000:]}")
        return READY[name] in log

    def _log(self, name: str) -> Path:
        return self._directory / f"{name}.log"

    def until_idle(self) -> None:
        """Waits until no process does anything any more."""
        until(self._is_idle, "the program is idle", 60, every=0)

    def _is_idle(self) -> bool:
        before = self.cpu()
        time.sleep(IDLE_SECONDS)
        return sum(spent(before, self.cpu()).values()) < IDLE_SECONDS * IDLE_SHARE

    # What it is told

    def restock(self, item: str, *, quantity: int = 5) -> float:
        """Publishes an event, as any stock system does. Returns the time just before that (`time.time`)."""
        now = time.time()
        self.redis.xadd(STREAM, {"catalogItemId": item, "quantity": str(quantity)})
        return now

    # What became of it

    def ask(self, question: str, **params: object) -> Any:
        """Returns the first value of a query."""
        return self.database.read(lambda c: _rows(c, question, params))[0][0]

    def last_of(self, item: str) -> object:
        """Returns the id of the request for this item whose turn comes last."""
        return self.ask(LAST, item=item)

    def wait_for(self, item: str, last: object, seconds: float) -> bool:
        """Waits until all who wait for an item have been told. Returns False if the time was too short.

        Asks for the last one by its key, which costs nothing. Asks for all of them only when the last one was told.
        """
        try:
            until(
                lambda: self.ask(STATUS, id=last) == "NOTIFICATION_SENT" and not self.ask(LEFT, item=item), "", seconds
            )
        except NotInTime:
            return False
        return True

    def times(self, item: str, since: float) -> list[float]:
        """Returns the times at which people who wait for an item were told, since then (PostgreSQL only)."""
        return [row[0] for row in self.database.read(lambda c: _rows(c, TIMES, {"item": item, "since": since}))]

    # What it costs

    def pid_of(self, command: str) -> int:
        """Returns the process id of `listen`, `work` or `schedule`."""
        return self._processes[command].pid

    def pids(self) -> dict[str, list[int]]:
        """Returns the ids of our processes, by their kind."""
        pids = {name: [process.pid] for name, process in self._processes.items()}
        if work := pids.pop("work", None):
            celery = children(work[0])
            pids |= {
                "supervisor": work,
                "Celery parent": celery,
                "worker child": [n for p in celery for n in children(p)],
            }
        return {{"listen": "listener", "schedule": "scheduler"}.get(name, name): found for name, found in pids.items()}

    def cpu(self) -> dict[str, float]:
        """Returns the CPU seconds so far, of all processes of a kind together."""
        ours = {role: sum(map(cpu_seconds, pids)) for role, pids in self.pids().items()}
        return ours | {role: cpu_seconds_of_all(pid) for role, pid in self._servers.items()}

    def memory(self) -> dict[str, float]:
        """Returns the resident megabytes of the largest of our processes of each kind."""
        return {role: max(map(resident_megabytes, pids), default=0.0) for role, pids in self.pids().items()}


def environment(database_url: str, **settings: str) -> dict[str, str]:
    """Returns the environment for our processes: all settings are these or the default."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("STOCKBELL_")},
        "DATABASE_URL": database_url,
        "MAIL_FROM": "Shop <shop@shop.example>",
        "STOCKBELL_ITEM_URL_TEMPLATE": "https://shop.example/p/{catalogItemId}",
        "STOCKBELL_LOG_FORMAT": "json",
        **settings,
    }


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Returns the CPU seconds between two measurements."""
    return {role: seconds - before.get(role, 0.0) for role, seconds in after.items()}


def _rows(c: Connection, question: str, params: Mapping[str, object]) -> Sequence[Any]:
    return c.execute(text(question), params).all()
