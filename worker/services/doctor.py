"""Checks everything that Stockbell depends on, one part after the other."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from worker.domain.errors import RedisAway, StockbellError
from worker.domain.policies import NO_POLICIES, Policies
from worker.domain.reply_rules import ReplyRules, shipped
from worker.feedback.imap import ImapMailbox
from worker.mail.inspection import Inspection
from worker.queue.bell import Bell
from worker.services.policy_words import shop_lines
from worker.services.schema_check import check_schema
from worker.services.status import LEAST_REFUSALS, NOBODY_READS
from worker.services.story_words import count_words
from worker.services.wire import timestamp
from worker.smtp.mailer import Mailer
from worker.store import breaker
from worker.store.database import Database
from worker.store.policies import count_own
from worker.stream.event_stream import OLDEST_REDIS, Stream

SMTP_SECONDS: Final = 5.0
"""Seconds that a relay may take until the login is complete. A worker would wait longer."""
IMAP_SECONDS: Final = 5.0
"""Seconds that the mailbox's server may take for each answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `is_well` is None if the part could not be checked."""

    name: str
    is_well: bool | None
    text: str

    def as_json(self) -> dict[str, object]:
        """Returns the finding as JSON, for programs."""
        return {"name": self.name, "ok": self.is_well, "text": self.text}


@dataclass(frozen=True, slots=True)
class Installation:
    """The parts to check. Parts that may lack settings are functions, so that they are made only when checked."""

    database: Database
    stream: Stream
    bell: Bell
    check_events: Callable[[], None]
    check_broker: Callable[[], None]
    """Raise BadSetting if the Redis of the events, or of the bells, is none that can be used."""
    is_one_redis: bool
    """Whether events and bells use the same Redis."""
    inspection: Callable[[], Inspection]
    mailer: Callable[[], Mailer]
    reply_rules: Callable[[], ReplyRules] | None
    """None if there is no file of the ops' own."""
    mailbox: Callable[[], ImapMailbox] | None
    """None if no folder on an IMAP server is set."""
    policies: Policies = NO_POLICIES
    """the sending policies of the shop"""
    sender_warnings: Sequence[str] = ()
    """What the settings of the sender make mails lack."""


def examine(installation: Installation) -> Iterator[Finding]:
    """Yields one finding per check. A part that depends on a failed part is not checked, so each cause shows once."""
    ill = set[str]()
    for name, look in _LOOKS.items():
        cause = _cause(name, installation)
        is_hopeless = cause in ill
        findings = (
            [Finding(name, None, f"not checked: see {cause}")] if is_hopeless else _looked(name, look, installation)
        )
        if not all(finding.is_well for finding in findings):
            ill.add(name)
        yield from findings


def _cause(name: str, installation: Installation) -> str | None:
    if name == "broker" and not installation.is_one_redis:
        return None
    return _CAUSES.get(name)


def _looked(
    name: str, look: "Callable[[Installation], _Look | list[_Look]]", installation: Installation
) -> list[Finding]:
    try:
        seen = look(installation)
    except StockbellError as error:
        return [Finding(name, False, str(error))]
    if isinstance(seen, tuple):
        return [Finding(name, *seen)]
    return [Finding(f"{name} {number}", *each) for number, each in enumerate(seen, 1)]


_Look = tuple[bool, str]


def _database(installation: Installation) -> _Look:
    database = installation.database
    weakness = database.weakness
    warning = f"; warning: the connection is {weakness}" if weakness else ""
    return True, f"{database.where} answers{' through a pooler' if database.is_pooled else ''}{warning}"


def _schema(installation: Installation) -> _Look:
    check_schema(installation.database)
    return True, "is current"


def _breaker(installation: Installation) -> _Look:
    found = installation.database.read(breaker.read)
    if found.is_open:
        since = f" since {timestamp(found.since)}" if found.since else ""
        probe = f"; next probe at {timestamp(found.probe_at)}" if found.probe_at else ""
        return False, f"open{since}, nothing is sent: {found.reason}{probe}"
    if found.refusals >= LEAST_REFUSALS and found.refused_since:
        words = f"it has taken no mail since {timestamp(found.refused_since)} and refused {found.refusals}"
        return False, f"closed, but the relay seems to refuse us: {words}, the last with: {found.refusal}"
    return True, "closed"


def _events(installation: Installation) -> _Look:
    installation.check_events()
    try:
        server = installation.stream.ping()
        if tuple(map(int, server.version.split(".")[:2])) < OLDEST_REDIS:
            return False, f"{server}, but 6.2 or newer is needed"
        installation.stream.figures()  # fails if the keys are not streams
        if policy := installation.stream.eviction():
            return False, f"a full Redis drops events: its maxmemory-policy is {policy}, and must be noeviction"
    except RedisAway as away:
        return False, f"{away}; check REDIS_URL, STOCKBELL_EVENTS_URL and STOCKBELL_EVENT_STREAM"
    return True, f"{server}, stream {installation.stream.name}"


def _listener(installation: Installation) -> _Look:
    if installation.stream.figures().unattended:
        return False, NOBODY_READS
    return True, "no event waits for one that is not there"


def _broker(installation: Installation) -> _Look:
    installation.check_broker()
    try:
        return True, f"bells queued: {installation.bell.queued()}"
    except RedisAway as away:
        return False, f"{away}; check REDIS_URL"


def _smtp(installation: Installation) -> _Look | list[_Look]:
    """Checks every relay, also those that are only a fallback."""
    mailer = installation.mailer()
    looks = [_relay(mailer, place) for place in range(len(mailer.relays))]
    return looks[0] if len(looks) == 1 else looks


def _relay(mailer: Mailer, place: int) -> _Look:
    name = "the relay" if len(mailer.relays) == 1 else str(mailer.relays[place])
    down = asyncio.run(_asked(mailer, place, name))
    if down is None:
        return True, f"{name} accepts connections, and mail from MAIL_FROM"
    named = down if name in down or len(mailer.relays) == 1 else f"{name}: {down}"
    return False, f"{named}; check SMTP_URL and MAIL_FROM"


async def _asked(mailer: Mailer, place: int, name: str) -> str | None:
    try:
        async with asyncio.timeout(SMTP_SECONDS):
            down = await mailer.ask(place, mail_from=True)
    except TimeoutError:
        return f"{name} did not accept the connection within {SMTP_SECONDS:.0f} s"
    return None if down is None else down.reason


def _replies(installation: Installation) -> _Look | list[_Look]:
    if installation.reply_rules is None:
        return []
    own = len(installation.reply_rules().rules) - len(shipped().rules)
    return True, f"rows of your own: {own}"


def _templates(installation: Installation) -> _Look | list[_Look]:
    inspection = installation.inspection()
    looks = [(not each.is_fault, f"{'' if each.is_fault else 'warning: '}{each}") for each in inspection.findings]
    if not inspection.faults:
        looks.insert(0, (True, f"{inspection.mails} mails in {len(inspection.languages)} languages are made"))
    return looks[0] if len(looks) == 1 else looks


def _policies(installation: Installation) -> _Look | list[_Look]:
    lines = shop_lines(installation.policies)
    if window := installation.policies.window:
        lines.append(f"Mails go out at these times only: {window}.")
    lines = lines or ["Everybody is told at once."]
    if own := installation.database.read(count_own):
        lines.append(f"{count_words(own, 'item has', 'items have')} policies of their own: `stockbell items list`.")
    return (True, lines[0]) if len(lines) == 1 else [(True, line) for line in lines]


def _sender(installation: Installation) -> _Look | list[_Look]:
    """Mails are sent all the same, so these are warnings."""
    looks = [(True, f"warning: {warning}") for warning in installation.sender_warnings]
    return looks[0] if len(looks) == 1 else list(looks)


def _mailbox(installation: Installation) -> _Look | list[_Look]:
    if installation.mailbox is None:
        return []
    with closing(installation.mailbox()) as mailbox:
        return True, f"{mailbox.where}: {mailbox.look()}"


_CAUSES: Final = {
    "schema": "database",
    "breaker": "schema",
    "policies": "schema",
    "listener": "events",
    "broker": "events",
}
_LOOKS: Final[dict[str, Callable[[Installation], _Look | list[_Look]]]] = {
    "database": _database,
    "schema": _schema,
    "breaker": _breaker,
    "policies": _policies,
    "events": _events,
    "listener": _listener,
    "broker": _broker,
    "smtp": _smtp,
    "replies": _replies,
    "templates": _templates,
    "bounces": _mailbox,
    "sender": _sender,
}
