"""The play itself, from an empty directory to balanced books."""

import json
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from worker.demo import books, story
from worker.demo.books import Facts
from worker.demo.inbox import Inbox, html_of
from worker.demo.output import Output, prepare
from worker.demo.processes import Interrupted, Processes, procfile
from worker.demo.report import report
from worker.demo.screen import Screen
from worker.demo.story import Event
from worker.demo.world import READY, START_SECONDS, STREAM, RedisServer, environment, start_redis
from worker.domain.errors import RedisAway
from worker.models import Status
from worker.processes.stop import Stop
from worker.store.database import Database
from worker.stream.event_stream import Stream

SAMPLE: Final = Path(__file__).parent / "requests.csv"
QUIET_SECONDS: Final = 120.0
"""How long a round of mails may take."""
LOOK_SECONDS: Final = 0.3
"""How often the rows are read for the bars."""


def play(stop: Stop, screen: Screen) -> bool:
    """Plays it all; False if the books don't balance.

    Raises Interrupted if it was stopped, and CantGoOn, RedisAway or DatabaseAway where it can't be played.
    """
    output = prepare()
    with tempfile.TemporaryDirectory(prefix="stockbell-demo-", ignore_cleanup_errors=True) as directory:
        facts = _perform(Processes(output.logs, Path(directory), stop), output, screen)
        output.keep(Path(directory))
    if facts.arrived:
        output.first_mail.write_text(html_of(facts.arrived[0].file), encoding="utf-8")
    checks = books.check(facts)
    report(screen, facts, checks, output)
    return not any(check.wrong for check in checks)


def _perform(processes: Processes, output: Output, screen: Screen) -> Facts:
    inbox = Inbox(output.mails, output.logs / "inbox.log")
    try:
        with processes:
            try:
                screen.title("Stockbell: 1,000 customers wait for six items. Ctrl-C ends this at any time.")
                return Play(processes, inbox, output, screen, start_redis(processes)).play()
            except Interrupted:
                screen.say("Stopping everything ...")
                raise
            except RedisAway:
                processes.check()  # says it better, if that is why
                raise
    finally:
        inbox.stop()


class Play:
    """One performance."""

    def __init__(self, processes: Processes, inbox: Inbox, output: Output, screen: Screen, redis: RedisServer) -> None:
        self._processes = processes
        self._inbox = inbox
        self._output = output
        self._screen = screen
        self._facts = Facts()
        self._database_url = f"sqlite:///{processes.cwd / output.database.name}"
        self._database = Database(self._database_url)
        self._redis = redis
        self._stream = Stream(redis.url, STREAM)
        self._console: set[UUID] = set()
        """The requests for the item that sells out."""
        self._looked_at = 0.0
        self._has_sold_out = False

    def play(self) -> Facts:
        """Act by act; raises Interrupted, CantGoOn, RedisAway, DatabaseAway."""
        try:
            self._set_the_stage()
            self._start_the_line()
            with self._screen:
                self._deliver()
                self._retry()
            self._close_the_books()
        finally:
            self._stream.close()
            self._database.close()
        return self._facts

    def _set_the_stage(self) -> None:
        screen, processes = self._screen, self._processes
        # What Celery's pool leaves behind when the machine is slow to end it goes with our own directory.
        temporary = {"TMPDIR": str(processes.cwd)}
        processes.env = environment(self._database_url, self._redis.url, self._inbox.port) | temporary
        screen.say(f"Redis {self._redis.version}, SQLite and an SMTP inbox; all output goes to {self._output.shown}/")
        screen.command("stockbell migrate")
        processes.run("migrate", ["stockbell", "migrate"])
        screen.command(f"stockbell import {SAMPLE.name}")
        said = json.loads(processes.run("import", ["stockbell", "import", str(SAMPLE), "--json"]).splitlines()[-1])
        self._facts.imported = said["created"]
        screen.say(f"{said['created']:,} requests taken in, {said['duplicate']} duplicates left out")

    def _start_the_line(self) -> None:
        for name, command in procfile():
            self._screen.command(" ".join(command))
            self._processes.start(name, command)
        self._inbox.start()
        self._processes.wait(self._is_ready, START_SECONDS, "all processes to be ready")
        for event in story.opening():
            self._stream.publish(event.fields)
        self._processes.wait(self._is_heard, START_SECONDS, "the listener to take in events")
        self._console = {request.id for request in books.read(self._database) if request.item == story.CONSOLE}
        self._screen.say("ready: everything is sold out, and everybody waits")

    def _is_ready(self) -> bool:
        return all(process.has_said(READY.get(process.name, "")) for process in self._processes.running)

    def _deliver(self) -> None:
        self._screen.title("Events come in")
        for event in story.deliveries(datetime.now(UTC)):
            published_at = self._publish(event)
            if event.wakes:
                self._facts.published.setdefault(event.item, published_at)
        self._screen.title("And mails go out")
        self._until_quiet()
        self._facts.first_round = books.read(self._database)
        self._facts.arrived_in_first_round = len(self._inbox.arrived)

        self._facts.published_late = self._publish(story.late_delivery())
        self._until_quiet()

    def _publish(self, event: Event) -> float:
        """Publishes an event, and returns when (monotonic time)."""
        published_at = time.monotonic()
        self._stream.publish(event.fields)
        self._screen.event(event.item, event.says)
        return published_at

    def _retry(self) -> None:
        screen = self._screen
        screen.title("An admin looks into the failures")
        failed = [request for request in self._facts.first_round if request.ending.status == Status.FAILED]
        for reason, count in Counter(f"{request.ending.reason} {request.detail}" for request in failed).items():
            screen.say(f"{count} {reason}")
        for reason in self._dead_letters():
            screen.say(f"1 dead letter: {reason}")
        self._put_right()
        screen.command("stockbell retry --all")
        said = json.loads(self._processes.run("retry", ["stockbell", "retry", "--all", "--json"]).splitlines()[-1])
        self._facts.retried = said["changed"]
        screen.say(f"{said['changed']} wait again")
        self._until_quiet()

    def _put_right(self) -> None:
        self._inbox.knows_moved = True
        self._screen.say("some mailboxes had only moved: the inbox knows them now")
        self._publish(story.lamp_gets_its_link())
        self._processes.wait(self._is_heard, START_SECONDS, "the listener to take in an event")

    def _close_the_books(self) -> None:
        facts = self._facts
        facts.requests = books.read(self._database)
        facts.arrived = list(self._inbox.arrived)
        facts.deferred = list(self._inbox.deferred)
        facts.dead_letters = self._dead_letters()

    def _dead_letters(self) -> list[str]:
        return [letter.fields[b"reason"].decode() for letter in self._stream.dead_letters(0)]

    def _until_quiet(self) -> None:
        self._processes.wait(self._is_quiet, QUIET_SECONDS, "all mails to be sent")

    def _is_quiet(self) -> bool:
        self._maybe_sell_out()
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = now
        # In this order: what was heard before we look has changed the rows that we see.
        is_heard = self._is_heard()
        requests = books.read(self._database)
        self._screen.show(requests)
        return is_heard and self._has_sold_out and books.is_quiet(requests)

    def _is_heard(self) -> bool:
        """Whether the listener has taken in all events."""
        stream = self._stream.figures()
        return stream.lag == 0 and stream.pending == 0

    def _maybe_sell_out(self) -> None:
        if self._has_sold_out:
            return
        told = sum(arrival.request_id in self._console for arrival in self._inbox.arrived)
        if told >= story.SELLS_OUT_AFTER:
            self._has_sold_out = True
            self._publish(story.console_sells_out())
