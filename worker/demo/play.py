"""The steps of the demo, from an empty directory to the final checks."""

import json
import re
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
from worker.demo.shelf import Shelf
from worker.demo.shop.server import Shop
from worker.demo.story import Event
from worker.demo.world import READY, START_SECONDS, STREAM, RedisServer, environment, free_port, start_redis
from worker.domain.errors import RedisAway
from worker.models import Status
from worker.processes.stop import Stop
from worker.store.database import Database
from worker.stream.event_stream import Stream

SAMPLE: Final = Path(__file__).parent / "requests.csv"
_FIRST_LINK: Final = re.compile(r"http://\S+/admin/first/\S+")
QUIET_SECONDS: Final = 120.0
"""Seconds that a round of mails may take."""
LOOK_SECONDS: Final = 0.3
"""Seconds between two reads of the rows for the progress bars."""


def play(stop: Stop, screen: Screen, *, stays: bool = False) -> bool:
    """Runs the demo. Returns False if a check fails.

    With `stays` it runs on after its checks, until it is stopped.

    Raises Interrupted if it was stopped, and CantGoOn, RedisAway or DatabaseAway if it can't run.
    """
    output = prepare()
    with tempfile.TemporaryDirectory(prefix="stockbell-demo-", ignore_cleanup_errors=True) as directory:
        facts = _perform(Processes(output.logs, Path(directory), stop), output, screen, stays)
        output.keep(Path(directory))
    if facts.arrived:
        output.first_mail.write_text(html_of(facts.arrived[0].file), encoding="utf-8")
    checks = books.check(facts)
    report(screen, facts, checks, output)
    return not any(check.wrong for check in checks)


def _perform(processes: Processes, output: Output, screen: Screen, stays: bool) -> Facts:
    inbox = Inbox(output.mails, output.logs / "inbox.log")
    try:
        with processes:
            try:
                screen.title("Stockbell demo: 1,000 customers wait for six items. Press Ctrl-C to stop.")
                return Play(processes, inbox, output, screen, start_redis(processes)).play(stays=stays)
            except Interrupted:
                screen.say("Stopping all processes ...")
                raise
            except RedisAway:
                processes.check()  # has the better message if Redis has ended
                raise
    finally:
        inbox.stop()


class Play:
    """One run of the demo."""

    def __init__(self, processes: Processes, inbox: Inbox, output: Output, screen: Screen, redis: RedisServer) -> None:
        self._processes = processes
        self._inbox = inbox
        self._output = output
        self._screen = screen
        self._facts = Facts()
        self._database_url = f"sqlite:///{processes.cwd / output.database.name}"
        self._database = Database(self._database_url)
        self._web_port = free_port()
        self._shop = Shop(self._web_port, inbox.arrived)
        self._shelf = Shelf(self._shop, self._publish)
        self._redis = redis
        self._stream = Stream(redis.url, STREAM)
        self._console: set[UUID] = set()
        """The requests for the item that sells out."""
        self._looked_at = 0.0
        self._has_sold_out = False

    def play(self, *, stays: bool = False) -> Facts:
        """Runs all steps and returns what happened. With `stays` it runs on until it is stopped.

        Raises Interrupted, CantGoOn, RedisAway, DatabaseAway.
        """
        try:
            self._prepare()
            self._start_processes()
            if stays:
                self._open_admin_pages()
            with self._screen:
                self._deliver()
                self._retry()
                self._sign_up()
            self._collect_facts()
            if stays:
                self._stay()
        finally:
            self._shop.close()
            self._stream.close()
            self._database.close()
        return self._facts

    def _prepare(self) -> None:
        screen, processes = self._screen, self._processes
        # Celery's pool may leave files behind if it ends slowly. In our own directory they are removed with it.
        temporary = {"TMPDIR": str(processes.cwd)}
        processes.env = environment(self._database_url, self._redis.url, self._inbox.port, self._web_port)
        processes.env |= temporary
        screen.say(f"Uses {self._redis.about}, SQLite and an SMTP inbox. Output is in {self._output.shown}/")
        screen.command("stockbell migrate")
        processes.run("migrate", ["stockbell", "migrate"])
        screen.command(f"stockbell import {SAMPLE.name}")
        result = json.loads(processes.run("import", ["stockbell", "import", str(SAMPLE), "--json"]).splitlines()[-1])
        self._facts.imported = result["created"]
        screen.say(f"{result['created']:,} requests imported, {result['duplicate']} duplicates skipped")

    def _start_processes(self) -> None:
        for name, command in procfile():
            self._screen.command(" ".join(command))
            self._processes.start(name, command)
        self._inbox.start()
        self._shop.open(self._key())
        self._processes.wait(self._is_ready, START_SECONDS, "all processes to start")
        for event in story.opening():
            self._stream.publish(event.fields)
        self._processes.wait(self._is_heard, START_SECONDS, "the listener to handle the events")
        self._console = {request.id for request in books.read(self._database) if request.item == story.CONSOLE}
        self._screen.say("Ready: all items are sold out, and all customers wait.")
        self._screen.say(f"A page of the shop, with the sign-up form: {self._shop.origin}/")

    def _key(self) -> str:
        """Makes the key that the shop's page holds."""
        command = ["stockbell", "keys", "create", "shop", "--scope", "create", "--origin", self._shop.origin]
        self._screen.command(" ".join(command))
        return str(json.loads(self._processes.run("keys", [*command, "--json"]).splitlines()[-1])["key"])

    def _is_ready(self) -> bool:
        return all(process.has_said(READY.get(process.name, "")) for process in self._processes.running)

    def _deliver(self) -> None:
        self._screen.title("Stock events arrive")
        for event in story.deliveries(datetime.now(UTC)):
            published_at = self._publish(event)
            if event.wakes:
                self._facts.published.setdefault(event.item, published_at)
        self._screen.title("Mails are sent")
        self._until_quiet()
        self._facts.first_round = books.read(self._database)
        self._facts.arrived_in_first_round = len(self._inbox.arrived)

        self._facts.published_late = self._publish(story.late_delivery())
        self._until_quiet()

    def _publish(self, event: Event) -> float:
        """Publishes an event. Returns the time before (monotonic)."""
        published_at = time.monotonic()
        self._stream.publish(event.fields)
        self._screen.event(event.item, event.says)
        return published_at

    def _retry(self) -> None:
        screen = self._screen
        screen.title("An admin fixes the failures and retries")
        failed = [request for request in self._facts.first_round if request.ending.status == Status.FAILED]
        for reason, count in Counter(f"{request.ending.reason} {request.detail}" for request in failed).items():
            screen.say(f"{count} failed: {reason}")
        for reason in self._dead_letters():
            screen.say(f"1 dead letter: {reason}")
        self._fix_causes()
        screen.command("stockbell retry --all")
        result = json.loads(self._processes.run("retry", ["stockbell", "retry", "--all", "--json"]).splitlines()[-1])
        self._facts.retried = result["changed"]
        screen.say(f"{result['changed']} requests wait again")
        self._until_quiet()

    def _fix_causes(self) -> None:
        self._inbox.knows_moved = True
        self._screen.say("some mailboxes had only moved: the inbox accepts them now")
        self._publish(story.lamp_gets_its_link())
        self._processes.wait(self._is_heard, START_SECONDS, "the listener to handle an event")

    def _sign_up(self) -> None:
        self._screen.title("A customer signs up on the shop's page")
        where = self._shop.sign_up(story.VISITOR, story.BAG, story.OLIVE)
        self._screen.say(f"POST {where}: the bag in olive")
        self._facts.published_for_visitor = time.monotonic()
        self._shelf.restock()
        self._until_quiet()

    def _stay(self) -> None:
        """Lets people use the shop's page, until Ctrl-C."""
        screen, processes = self._screen, self._processes
        screen.title(f"Sign up on the shop's page: {self._shop.origin}/")
        screen.say("Some seconds later the bag is back, and the mail is in the inbox. Press Ctrl-C to end the demo.")
        self._shelf.sell_out()
        while not processes.stop.wait(LOOK_SECONDS):
            processes.check()
            self._shelf.look(books.read(self._database), time.monotonic())

    def _open_admin_pages(self) -> None:
        """Starts them on a port of their own, and shows the one-time link: the mails can be watched there, too."""
        command = ["stockbell", "web", "--serve", "admin", "--port", str(free_port())]
        self._screen.command(" ".join(command))
        process = self._processes.start("admin", command)
        link = self._processes.wait(lambda: process.found(_FIRST_LINK), START_SECONDS, "the pages for admins to start")
        self._screen.say(f"The pages for admins, once and within 10 minutes: {link}")

    def _collect_facts(self) -> None:
        facts = self._facts
        facts.requests = books.read(self._database)
        facts.arrived = list(self._inbox.arrived)
        facts.deferred = list(self._inbox.deferred)
        facts.dead_letters = self._dead_letters()

    def _dead_letters(self) -> list[str]:
        return [letter.fields[b"reason"].decode() for letter in self._stream.dead_letters.newest(0)]

    def _until_quiet(self) -> None:
        self._processes.wait(self._is_quiet, QUIET_SECONDS, "all mails to be sent")

    def _is_quiet(self) -> bool:
        self._maybe_sell_out()
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = now
        # The order matters: only events that were handled before the read are certain to be in the rows.
        is_heard = self._is_heard()
        requests = books.read(self._database)
        self._screen.show(requests)
        return is_heard and self._has_sold_out and books.is_quiet(requests)

    def _is_heard(self) -> bool:
        """Whether the listener has handled all events."""
        stream = self._stream.figures()
        return stream.lag == 0 and stream.pending == 0

    def _maybe_sell_out(self) -> None:
        if self._has_sold_out:
            return
        told = sum(arrival.request_id in self._console for arrival in self._inbox.arrived)
        if told >= story.SELLS_OUT_AFTER:
            self._has_sold_out = True
            self._publish(story.console_sells_out())
