"""The figures of `stockbell status`."""

from dataclasses import dataclass, field
from typing import Any, Final

from worker.domain.difference import difference, options_words
from worker.domain.errors import RedisAway
from worker.domain.going import Trouble
from worker.domain.returned import Cause, Kind
from worker.queue.bell import Bell
from worker.services.webhooks import WebhookFigures
from worker.services.webhooks import figures as webhook_figures
from worker.services.wire import timestamp
from worker.store import breaker, figures, pauses, quiet_hours, report_log
from worker.store.breaker import Breaker
from worker.store.database import Connection, Database
from worker.store.figures import RequestFigures, Unheard
from worker.store.pauses import Paused
from worker.store.quiet_hours import Hours
from worker.store.report_log import CameBack
from worker.stream.event_stream import Stream
from worker.stream.figures import Figures

DUE_SECONDS = 60.0
"""The `--check` option reports requests that have been due for longer than this many seconds."""

LEAST_REFUSALS = 3
"""So many refusals without a mail that was taken are a trouble. One customer's mailbox may be the cause of fewer."""

CAME_BACK: Final = {
    Kind.DEAD: "dead",
    Kind.FAILED: "failed",
    Kind.COMPLAINT: "complaints",
    Kind.UNSUBSCRIBE: "unsubscribes",
    Kind.DELAYED: "delays",
    Kind.AUTO_REPLY: "autoReplies",
    Kind.FEEDBACK: "feedback",
    Kind.DELIVERED: "delivered",
}
"""The names of the counts of what came back."""

NOBODY_READS = "events wait and nobody reads them: run `stockbell listen`"


@dataclass(frozen=True, slots=True)
class Status:
    """The figures that `stockbell status` shows. Those that come from Redis are None if it is away."""

    requests: RequestFigures
    events: Figures | None
    bells: int | None
    breaker: Breaker
    paused: Paused
    redis_trouble: str | None = None
    came_back: CameBack = field(default_factory=CameBack)
    webhooks: WebhookFigures | None = None
    """None: there are no endpoints"""
    hours: Hours | None = None
    """when mails go out; None: at any time"""

    @property
    def is_late(self) -> bool:
        """Whether the oldest one is due for too long."""
        oldest = self.requests.oldest_due_seconds
        return oldest is not None and oldest > DUE_SECONDS

    @property
    def troubles(self) -> list[str]:
        """What needs attention: late requests, overdue claims, held mails, unread or bad events, no Redis."""
        late = [f"requests are due for over {DUE_SECONDS:.0f} s"] if self.is_late else []
        return late + [trouble.words for trouble in self.other_troubles] + self.redis_troubles

    @property
    def other_troubles(self) -> list[Trouble]:
        """What needs attention besides late requests and Redis, each with the page for admins that helps."""
        found = self.requests
        held = f"requests are held, their mail can't be made: {sum(found.held.values())}"
        troubles = {
            Trouble(f"claims are overdue: {found.overdue_claims}"): found.overdue_claims > 0,
            Trouble(held, "/mail"): bool(found.held),
            Trouble(NOBODY_READS): self.events is not None and self.events.unattended,
            Trouble(self.dead_words, "/dead-letters"): self.events is not None and self.events.recent.mostly_dead,
            **_relay_troubles(self.breaker),
        }
        return [trouble for trouble, holds in troubles.items() if holds]

    @property
    def dead_words(self) -> str:
        """How many of the last events were dead letters, with the commonest reason; "" if none was."""
        recent = self.events and self.events.recent
        if not recent or not recent.dead:
            return ""
        return (
            f"{recent.dead:,} of the last {recent.events:,} events could not be understood, mostly because: "
            f"{recent.reason}; see `stockbell dead-letters list`"
        )

    @property
    def unheard_words(self) -> str:
        """How many in-stock events woke nobody though people wait, with an example; "" if none did.

        This may be well: who waits for size L is not told of size M. So it is a warning, and no trouble.
        """
        example = self.requests.unheard
        if example is None:
            return ""
        items = self.requests.unheard_items
        return (
            f"{items:,} item{'s' * (items != 1)} came back in stock in the last 24 h and woke nobody, "
            f"though people wait under other options. {_example_words(example)}"
        )

    @property
    def warnings(self) -> list[str]:
        """What may be a trouble, or may be meant so. `--check` says it, and exits with 0 all the same."""
        return [warning.words for warning in self.remarks]

    @property
    def remarks(self) -> list[Trouble]:
        """The warnings, each with the page for admins that helps."""
        disabled = self.webhooks.disabled if self.webhooks else {}
        unheard = [Trouble(self.unheard_words, "/items")] if self.unheard_words else []
        return unheard + [
            Trouble(f"the webhook endpoint {id_} is disabled: {why}", "/webhooks") for id_, why in disabled.items()
        ]

    @property
    def redis_troubles(self) -> list[str]:
        """That Redis is away, and why."""
        return [self.redis_trouble] if self.redis_trouble else []

    def as_json(self) -> dict[str, Any]:
        """Returns the figures as JSON, with the names that scripts rely on."""
        events = self.events
        return {
            "requests": self.requests.by_status,
            "toldIsEstimated": self.requests.is_estimated,
            "events": {
                "stream": events and events.length,
                "lag": events and events.lag,
                "pending": events and events.pending,
                "deadLetters": events and events.dead_letters,
                "unattended": events and events.unattended,
                "deadShare": events and events.recent.dead_share,
                "deadReason": events and events.recent.reason,
            },
            "unheard": {"items": self.requests.unheard_items, "example": self._example_json()},
            "queue": {"bells": self.bells},
            "due": self.requests.due,
            "unconfirmed": self.requests.unconfirmed,
            "oldestDueSeconds": self.requests.oldest_due_seconds,
            "overdueClaims": self.requests.overdue_claims,
            "held": sum(self.requests.held.values()),
            "heldReasons": self.requests.held,
            "workers": self.requests.workers,
            "breaker": {
                "state": self.breaker.state,
                "since": self.breaker.since and timestamp(self.breaker.since),
                "reason": self.breaker.reason,
                "nextProbe": self.breaker.probe_at and timestamp(self.breaker.probe_at),
            },
            "relay": {
                "refusals": self.breaker.refusals,
                "refusedSince": self.breaker.refused_since and timestamp(self.breaker.refused_since),
                "reply": self.breaker.refusal,
                "putOff": self.requests.put_off,
            },
            "sendWindow": self.hours
            and {
                "window": str(self.hours.window),
                "isOpen": self.hours.is_open,
                "until": self.hours.until and timestamp(self.hours.until),
            },
            "paused": {"all": self.paused.everything, "items": list(self.paused.items)},
            "cameBack": {
                **{name: self.came_back.by_kind.get(kind, 0) for kind, name in CAME_BACK.items()},
                "unmatched": self.came_back.unmatched,
            },
            "suppressed": {cause.value: self.came_back.suppressed.get(cause, 0) for cause in Cause},
            **({"webhooks": self.webhooks.as_json()} if self.webhooks else {}),
        }

    def _example_json(self) -> dict[str, Any] | None:
        example = self.requests.unheard
        if example is None:
            return None
        return {
            "catalogItemId": example.reference.item.catalog_item_id,
            "appId": example.reference.item.app_id,
            "at": timestamp(example.at),
            "options": dict(example.reference.options),
            "waitingFor": dict(example.wanted),
            "requests": example.requests,
        }


def _example_words(example: Unheard) -> str:
    wanted, about = example.wanted, example.reference.options
    why = difference(wanted, about)
    return (
        f"Like {example.reference.item.catalog_item_id}: {example.requests:,} wait{'s' * (example.requests == 1)} for "
        f"{options_words(wanted)}, the event was about {options_words(about)}{why and f' ({why})'}"
    )


def _relay_troubles(found: Breaker) -> dict[Trouble, bool]:
    """What holds of these: nothing is sent, or the relay takes nothing. Both are told with the relay's words."""
    is_long = found.refused_seconds > DUE_SECONDS and found.refusals >= LEAST_REFUSALS
    return {
        Trouble(f"nothing is sent, the relay is down: {found.reason}"): found.open_seconds > DUE_SECONDS,
        Trouble(f"the relay takes no mail, it refused {found.refusals}, the last with: {found.refusal}"): is_long,
    }


def read_status(database: Database, stream: Stream, bell: Bell, lease: float) -> Status:
    """Reads all figures. Workers whose heartbeat is younger than `lease` (seconds) are alive. Raises DatabaseAway."""
    return status_of(database.read(read_rows, lease), read_redis(stream, bell))


@dataclass(frozen=True, slots=True)
class Rows:
    """What the database tells."""

    requests: RequestFigures
    breaker: Breaker
    paused: Paused
    came_back: CameBack
    webhooks: WebhookFigures | None
    hours: Hours | None = None


@dataclass(frozen=True, slots=True)
class Queues:
    """What Redis tells; with `trouble`, why it tells nothing, or only a part."""

    events: Figures | None = None
    bells: int | None = None
    trouble: str | None = None


def read_rows(c: Connection, lease: float, *, told: bool = True) -> Rows:
    """Reads what the database tells. For `told` see `store.figures.read`."""
    requests = figures.read(c, lease, told=told)
    return Rows(requests, breaker.read(c), pauses.read(c), report_log.count(c), webhook_figures(c), quiet_hours.read(c))


def read_redis(stream: Stream, bell: Bell) -> Queues:
    """Reads what Redis tells."""
    events = None
    try:
        events = stream.figures()
        return Queues(events, bell.queued())
    except RedisAway as away:
        return Queues(events, trouble=str(away))


def status_of(rows: Rows, queues: Queues) -> Status:
    """Puts together what both tell."""
    return Status(
        rows.requests,
        queues.events,
        queues.bells,
        rows.breaker,
        rows.paused,
        queues.trouble,
        rows.came_back,
        rows.webhooks,
        rows.hours,
    )
