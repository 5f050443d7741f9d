"""How it goes, at a glance: for the page "Overview", `status` and `status --watch`."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from worker.domain.going import Facts, Sentence, Trouble, seconds_left, sentence_of
from worker.domain.policies import NO_POLICIES, Policies
from worker.services.policy_words import shop_json, shop_lines
from worker.services.status import Queues, Rows, Status, read_rows, status_of
from worker.services.wire import timestamp
from worker.store import clock, progress, tally
from worker.store.database import Connection
from worker.store.progress import Host, Progress, Settled

RATE_SECONDS: Final = 10.0
MINUTE: Final = 60.0
HOUR: Final = 3600.0
NEWEST_MINUTES: Final = 2
"""Only so many minutes are counted anew at each look: what is older does not change any more."""
SAMPLE_SECONDS: Final = 5.0
MOST_SAMPLES: Final = 120
MOST_MINUTES: Final = 2 * 24 * 60


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at the database has found."""

    rows: Rows
    at: datetime
    """by the database's clock"""
    items: Sequence[Progress]
    """what is being mailed"""
    failures: Mapping[str, int]
    """of the last hour, by code"""
    sweep_seconds: float | None
    hosts: Sequence[Host]
    told_today: int
    """since midnight in UTC"""
    rate: float | None
    """mails told a second, over the last ten; None: not known"""
    minute_rate: float | None
    """the same over the last minute"""
    is_empty: bool
    """nobody has ever signed up"""
    backlog: Sequence[tuple[datetime, int]] = ()
    """how many were left at which time, oldest first: every five seconds since somebody watches, for ten minutes"""


@dataclass(frozen=True, slots=True)
class Overview:
    """What database and Redis tell, put together."""

    seen: Seen
    status: Status
    policies: Policies = NO_POLICIES
    """the sending policies of the shop"""

    @property
    def waiting(self) -> int:
        """Requests that wait: RECEIVED."""
        return self.status.requests.by_status["RECEIVED"]

    @property
    def sending(self) -> int:
        """Requests that are being sent: PROCESSING."""
        return self.status.requests.by_status["PROCESSING"]

    @property
    def left(self) -> int:
        """Mails that are still to be sent now."""
        return self.status.requests.due + self.sending

    @property
    def seconds_left(self) -> float | None:
        """How long that takes at the present rate."""
        return seconds_left(self.left, self.seen.rate)

    @property
    def policy_words(self) -> Sequence[str]:
        """A sentence for each policy of the shop that is on."""
        return shop_lines(self.policies)

    @property
    def sentence(self) -> Sentence:
        """How it goes."""
        status = self.status
        # Those whose item is paused don't count as due. Who pauses everything wants to know how many they are.
        due = sum(item.due for item in self.seen.items) if status.paused.everything else status.requests.due
        return sentence_of(
            Facts(
                waiting=self.waiting,
                due=due,
                sending=self.sending,
                rate=self.seen.rate,
                workers=status.requests.workers,
                down=status.breaker.is_open,
                down_since=status.breaker.since,
                down_why=status.breaker.reason or "",
                quiet_until=status.hours.quiet_until if status.hours else None,
                paused=status.paused.everything,
                paused_items=len(status.paused.items),
                sweep_seconds=self.seen.sweep_seconds,
                troubles=status.other_troubles + [Trouble(f"Redis is away: {why}") for why in status.redis_troubles],
                late=status.is_late,
                warnings=status.remarks,
                is_empty=self.seen.is_empty,
            )
        )

    def as_json(self) -> dict[str, Any]:
        """Returns the figures with the names that scripts rely on: those of `Status`, and more."""
        sentence = self.sentence
        return {
            **self.status.as_json(),
            "sentence": {"text": sentence.words, "tone": sentence.tone.value},
            "rate": {"tenSeconds": _rounded(self.seen.rate), "minute": _rounded(self.seen.minute_rate)},
            "secondsLeft": _rounded(self.seconds_left),
            "toldToday": self.seen.told_today,
            "failedLastHour": dict(self.seen.failures),
            "policies": shop_json(self.policies),
            "lastSweepSeconds": _rounded(self.seen.sweep_seconds),
            "mailing": [_progress_json(each) for each in self.seen.items],
        }


def overview_of(seen: Seen, queues: Queues, policies: Policies = NO_POLICIES) -> Overview:
    """Puts together what both tell, and the sending policies of the shop."""
    return Overview(seen, status_of(seen.rows, queues), policies)


@dataclass(slots=True)
class Rates:
    """Rates from samples of a total that only grows. A total that has become smaller begins anew."""

    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, at: float, total: int) -> None:
        """Notes the total at a time (seconds)."""
        if self._samples and (total < self._samples[-1][1] or at <= self._samples[-1][0]):
            self._samples.clear()
        self._samples.append((at, total))
        while len(self._samples) > 2 and self._samples[1][0] <= at - MINUTE:
            self._samples.popleft()

    def over(self, seconds: float) -> float | None:
        """Returns the rate a second over about the last `seconds`. None: it was not watched for that long."""
        if not self._samples:
            return None
        at, total = self._samples[-1]
        old = [sample for sample in self._samples if sample[0] <= at - seconds]
        return (total - old[-1][1]) / (at - old[-1][0]) if old else None


class Watcher:
    """Looks at the database again and again. It keeps what it needs to count only what is new."""

    def __init__(self, lease: float, *, told: bool = False) -> None:
        """Workers whose heartbeat is younger than `lease` (seconds) are alive. `told`: see `store.figures.read`."""
        self._lease = lease
        self._told = told
        self._settled: dict[UUID, Settled] = {}
        self._minutes: dict[datetime, int] = {}
        self._counted: datetime | None = None
        self._rates = Rates()
        self._backlog: deque[tuple[datetime, int]] = deque(maxlen=MOST_SAMPLES)

    def look(self, c: Connection) -> Seen:
        """Reads everything once."""
        at = clock.now(c)
        items = progress.of_lists(c, self._settled)
        told_today = self._count_told(c, at)
        self._rates.add(at.timestamp(), sum(self._minutes.values()))
        rate = self._rates.over(RATE_SECONDS)
        minute_rate = self._rates.over(MINUTE)
        rows = read_rows(c, self._lease, told=self._told)
        self._note_backlog(at, rows.requests.due + rows.requests.by_status["PROCESSING"])
        return Seen(
            rows,
            at,
            items,
            progress.failed_by_code(c, HOUR),
            progress.sweep_seconds(c),
            progress.hosts(c, self._lease),
            told_today,
            sum(item.rate for item in items) if rate is None else rate,
            self._of_two_minutes(at) if minute_rate is None else minute_rate,
            not progress.is_anybody(c),
            list(self._backlog),
        )

    def _note_backlog(self, at: datetime, left: int) -> None:
        last = self._backlog[-1][0] if self._backlog else None
        if last is None or not 0 <= (at - last).total_seconds() < SAMPLE_SECONDS:
            self._backlog.append((at, left))

    def _count_told(self, c: Connection, at: datetime) -> int:
        """Brings the counts by the minute up to date, and returns how many were told today."""
        midnight = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        newest = at - timedelta(minutes=NEWEST_MINUTES - 1)
        is_old = self._counted is None or self._counted < newest or self._counted > at
        since = min(midnight, newest) if is_old else newest
        if is_old or len(self._minutes) > MOST_MINUTES:
            self._minutes = {} if is_old else {minute: n for minute, n in self._minutes.items() if minute >= midnight}
        self._minutes |= {row.at: row.n for row in tally.by_minute(c, since, 1) if row.kind == "told"}
        self._counted = at
        return sum(n for minute, n in self._minutes.items() if minute >= midnight)

    def _of_two_minutes(self, at: datetime) -> float:
        """Returns the rate over this minute and the one before, as the tally has them."""
        minute = at.astimezone(UTC).replace(second=0, microsecond=0)
        before = minute - timedelta(minutes=1)
        told = self._minutes.get(minute, 0) + self._minutes.get(before, 0)
        return told / (at - before).total_seconds()


def _progress_json(each: Progress) -> dict[str, Any]:
    return {
        "catalogItemId": each.catalog_item_id,
        "appId": each.app_id,
        "options": dict(each.options),
        "name": each.name,
        "since": timestamp(each.since),
        "told": each.told,
        "left": each.left,
        "rate": _rounded(each.rate),
        "secondsLeft": _rounded(each.seconds_left),
        "paused": each.is_paused,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
