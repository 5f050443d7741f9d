"""The time lines in `docs/policies.md`, read and replayed: each row is done at its time, and what follows is compared.

A section has its settings in a fenced block, and below it a table with the columns `time | what happens | then`.
`HAPPENS` and `THEN` have the sentences that a table may use; a sentence that is in neither is an error.
"""

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from config.settings import Settings
from tests.contract.lines import NotedBell
from tests.contract.set_clock import SetClock
from tests.contract.shop import LEASE, ref
from worker.domain.catalog import CatalogReference
from worker.domain.events import Event
from worker.models import Status
from worker.processes.bootstrap import Parts
from worker.services import item_policies
from worker.services.wire import request_json
from worker.store import admin, claims, lists, recording, requests, stock, sweep
from worker.store.recording import Ends
from worker.store.requests import Filter, NewRequest

HEADER: Final = "| time | what happens | then |"
START: Final = datetime(2026, 11, 23, tzinfo=UTC)
"""Midnight of the first day, a Monday."""
DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TIME: Final = re.compile(r"(?:day (\d+) |(\w{3}) )?(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: when, what happens, what is then so."""

    time: str
    happens: str
    then: str


@dataclass(frozen=True, slots=True)
class TimeLine:
    """The table of one section, with its settings."""

    section: str
    settings: Mapping[str, str]
    rows: Sequence[Row]


def read(page: str) -> Iterator[TimeLine]:
    """Yields the time lines of a page."""
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        for before, table in _tables(section):
            settings = dict(line.split("=", 1) for line in re.findall(r"^STOCKBELL_\w+=.*$", before, re.MULTILINE))
            rows = [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in table]
            yield TimeLine(section.partition("\n")[0], settings, rows)


def _tables(section: str) -> Iterator[tuple[str, Sequence[str]]]:
    """Yields the text before each table, from the last one on, and its rows."""
    before, *parts = section.split(f"{HEADER}\n")
    for part in parts:
        lines = part.splitlines()[1:]  # the line of dashes
        end = next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))
        yield before, lines[:end]
        before = "\n".join(lines[end:])


def moment(text: str) -> datetime:
    """Returns the time that a row names: `09:05`, `Tue 09:05` or `day 90 09:05`."""
    found = _TIME.fullmatch(text)
    if not found:
        raise AssertionError(f"no time: {text!r}")
    day, weekday, hour, minute = found.groups()
    days = int(day) - 1 if day else DAYS.index(weekday) if weekday else 0
    return START + timedelta(days=days, hours=int(hour), minutes=int(minute))


@dataclass
class Replay:
    """A shop in which a time line happens."""

    clock: SetClock
    settings: Mapping[str, str]
    told: int = 0
    """by the row that is being replayed"""
    mails: int = 0
    """that they got"""
    _events: int = 0
    _customers: int = 0
    _names: list[str] = field(default_factory=list)
    """of the customers who were told, in order"""
    _says_told: bool = False
    _waiting: dict[tuple[str, str | None], int] = field(default_factory=dict)
    """what the row says of those who wait: how many, by the reason and the minute until which they do"""

    def __post_init__(self) -> None:
        self.shop = self.clock.shop
        given: Any = dict(self.settings)
        self.policies = Parts(Settings(**given)).policies

    def run(self, rows: Sequence[Row]) -> None:
        """Replays all rows. Raises AssertionError at the first one that is not as the page has it."""
        for number, row in enumerate(rows):
            # Two things of one minute happen one after the other.
            self.clock.set(moment(row.time) + timedelta(milliseconds=number))
            try:
                _do(HAPPENS, self, row.happens)
                self.told = self._work()
                self._compare(row.then)
            except AssertionError as wrong:
                raise AssertionError(f"{row.time} {row.happens}: {wrong}") from None

    def _compare(self, then: str) -> None:
        self._says_told, self._waiting = False, {}
        for sentence in then.split("; "):
            _do(THEN, self, sentence)
        assert self._says_told, "the page does not say how many are told"
        assert self._waiting in ({}, self._all_waiting()), f"there wait {self._all_waiting()}"

    def _all_waiting(self) -> dict[tuple[str, str | None], int]:
        rows: list[Any] = []
        self.shop.database.read(lambda c: rows.extend(requests.find(c, Filter(status=Status.RECEIVED))))
        found = [(str(each["waiting"]), str(each.get("waitingUntil", ""))[:16]) for each in map(request_json, rows)]
        return dict(Counter((reason, until or None) for reason, until in found))

    def _work(self) -> int:
        """Lets workers tell whom they may. Returns how many they told."""
        self._names, self.mails, notes_mails = [], 0, self.policies.contact_interval is not None
        self.shop.write(sweep.put_in_line)
        while list_ids := self.shop.database.read(lists.with_work, None, self.policies):
            found = self.shop.write(claims.claim, self.shop.owner(), LEASE, list_ids, 500, self.policies, first=True)
            assert found.claims or notes_mails, "a bell rings, and nobody can be claimed"
            self.shop.write(recording.record, Ends(told=found.one_by_one), notes_mails=notes_mails)
            self.mails += len(found.claims)
            self._names += [each.email.partition("@")[0].title() for each in found.one_by_one]
        return len(self._names)

    # what happens

    def nothing(self) -> None:
        """Only time passes."""

    def sign_up(self, number: str, item: str) -> None:
        """Customers ask to be told."""
        new = []
        for _ in range(int(number)):
            self._customers += 1
            new.append(NewRequest(f"customer{self._customers}@example.com", _item(item)))
        self.shop.write(requests.create, new)

    def sign_up_as(self, name: str, items: str, priority: str | None) -> None:
        """One customer asks to be told of items: `mug, the cup and the pan`."""
        address, wanted = f"{name.lower()}@example.com", map(_item, re.split(r", the | and the ", items))
        new = [NewRequest(address, each, priority=int(priority) if priority else None) for each in wanted]
        self.shop.write(requests.create, new)

    def report(self, item: str) -> None:
        """An admin orders all who wait for an item to be told."""
        which = Filter(status=Status.RECEIVED, lists=[self.shop.list_id(ref(item))])
        self.shop.write(lambda c: admin.report(c, [row.id for row in list(requests.find(c, which))]))

    def event(self, quantity: str, item: str | None) -> None:
        """An event says how many pieces of an item there are."""
        self._events += 1
        about = _item(item or "mug")
        event = Event(f"{self._events}-0", None, about, self.clock.at, False, None, int(quantity), {}, ())
        self.shop.write(stock.apply, [event], self.policies)

    def set_policies(self, arguments: str) -> None:
        """An admin sets policies of an item."""
        item, *words = shlex.split(arguments)
        is_reset = "--reset" in words
        pairs = [word for word in words if word != "--reset"]
        given = dict(zip([name[2:].replace("-", "_") for name in pairs[::2]], pairs[1::2], strict=True))
        wish, errors = item_policies.read(given, is_reset=is_reset)
        assert not errors, errors
        item_policies.change(self.shop.database, NotedBell(), ref(item).item, wish, self.policies, "cli:ada")

    # what is then so

    def are_told(self, number: str, mails: str | None) -> None:
        """So many requests were told by this row, in so many mails."""
        self._says_told = True
        assert self.told == (0 if number == "nobody" else int(number)), f"{self.told} were told"
        assert mails is None or self.mails == int(mails), f"in {self.mails} mails"

    def are_told_by_name(self, names: str) -> None:
        """These and no others were told by this row, in this order."""
        self._says_told = True
        assert self._names == re.split(", | and ", names), f"{self._names} were told"

    def wait(self, number: str, reason: str, until: str | None) -> None:
        """So many wait for this reason, until this minute. All who wait must be told of."""
        self._waiting[reason, until and moment(until).isoformat()[:16]] = int(number)


def _item(name: str) -> CatalogReference:
    return ref(f"{name}-1")


Sentences = Mapping[str, Callable[..., None]]
HAPPENS: Final[Sentences] = {
    r"nothing": Replay.nothing,
    r"(\d+) customers? waits? for the (\w+)": Replay.sign_up,
    r"([A-Z]\w+) waits for the (.+?)(?: with priority (\d))?": Replay.sign_up_as,
    r"an event says (\d+) pieces?(?: of the (\w+))?": Replay.event,
    r"`stockbell report --item ([^` ]+)`": Replay.report,
    r"`stockbell items set ([^`]+)`": Replay.set_policies,
}
THEN: Final[Sentences] = {
    r"(nobody|\d+) (?:is|are) told(?: in (\d+) mails?)?": Replay.are_told,
    r"([A-Z]\w+(?:(?:, | and )[A-Z]\w+)*) (?:is|are) told": Replay.are_told_by_name,
    r"(\d+) waits?: `(\w+)`(?: until ((?:\w{3} |day \d+ )?\d\d:\d\d))?": Replay.wait,
}


def _do(sentences: Sentences, replay: Replay, sentence: str) -> None:
    for pattern, what in sentences.items():
        if found := re.fullmatch(pattern, sentence):
            what(replay, *found.groups())
            return
    raise AssertionError(f"no test knows what this means: {sentence!r}")
