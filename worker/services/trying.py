"""Makes the mail that a customer would get, for `preview` and `send-test`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Final

from worker.domain.catalog import CatalogReference, options_text
from worker.domain.errors import Refused
from worker.domain.outcomes import Deferred, FailureCode, NotSent, Outcome, RelayDown, Sent, Unknown
from worker.domain.relays import Mailbox
from worker.domain.replies import reason
from worker.domain.return_path import ReturnPath
from worker.domain.verdicts import Failed, Tries
from worker.mail.letter import Held, LetterWriter
from worker.mail.render import MailContext
from worker.models import uuid7
from worker.services import why
from worker.smtp.mailer import Mail, Mailer
from worker.store import admin
from worker.store.claims import Claim
from worker.store.database import Database

SECONDS: Final = 60.0
"""Seconds that sending a test mail may take."""
NOBODY: Final = "customer@shop.example"
SHOP: Final = "shop@shop.example"
"""Whom mails are to and from that are only shown."""
SAMPLE_DAY: Final = date(2026, 3, 8)


@dataclass(slots=True, unsafe_hash=True)  # not frozen: the protocol `ItemFacts` has writable attributes, as rows have
class Facts:
    """The item's details for the mail."""

    catalog_item_id: str
    options: str
    name: str | None = None
    price: str | None = None
    currency: str | None = None
    image_url: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a mail is the customer's who asked for the item."""

    item_url: str | None = None
    locale: str | None = None
    created: datetime | None = None
    """None: now"""


SAMPLE: Final = Facts("stockbell-test", "{}", name="Stockbell's test mail", url="https://shop.example/")


def facts_of(database: Database, reference: CatalogReference) -> Facts:
    """Returns the item details that events reported. An unknown item has only its id. Raises DatabaseAway."""
    options = options_text(reference.spelled)
    row = database.read(admin.item, reference.item)
    if row is None:
        return Facts(reference.item.catalog_item_id, options)
    return Facts(row.catalog_item_id, options, row.name, row.price, row.currency, row.image_url, row.url)


def asked_by(database: Database, address: str, reference: CatalogReference) -> tuple[str, Asked] | None:
    """Returns the options that a customer waits for, or was told of last, and what else they asked for.

    None: they have not asked for this item. Raises BadAddress and DatabaseAway.
    """
    found = why.find(database, address, reference).story
    if found is None:
        return None
    row = found.request
    return row.options, Asked(row.item_url, row.locale, row.created_date)


def write(writer: LetterWriter, facts: Facts, address: str, *, item_url: str | None, locale: str | None) -> Mail:
    """Writes a mail with a new id. Raises Refused, with the reason, if it can't be made."""
    return _made(writer.write(_claim(address, Asked(item_url, locale)), facts))


def write_many(writer: LetterWriter, items: Sequence[tuple[Facts, Asked]], address: str) -> tuple[Mail, int]:
    """Like `write`, about one or several items. Returns the mail, and how many of them had room in it.

    Raises Refused, with the reason, also if it can't be about one of them.
    """
    first, *others = [(_claim(address, asked), facts) for facts, asked in items]
    claim = replace(first[0], others=tuple(other for other, _ in others))
    digest = writer.write_digest(claim, {each.list_id: facts for each, facts in (first, *others)})
    names = {each.id: f"{facts.catalog_item_id}: " if others else "" for each, facts in (first, *others)}
    mail = _made(digest.result, names[claim.id])
    for each, failed in digest.failed:
        _made(failed, names[each.id])
    return mail, len(digest.claim.together)


def write_sample(
    writer: LetterWriter, items: Sequence[MailContext], address: str, locale: str | None
) -> tuple[Mail, int]:
    """Like `write_many`, about items that are only shown. Somebody asked for them on SAMPLE_DAY."""
    asked = Asked(locale=locale, created=datetime.combine(SAMPLE_DAY, time(12), UTC))
    result, number = writer.write_sample(_claim(address, asked), items)
    return _made(result), number


def about_some(number: int) -> str:
    """Returns what is said of a mail that had room for so many items only."""
    return f"the mail would be too long: it is about the first {number}, and the next mail about the rest"


def _claim(address: str, asked: Asked) -> Claim:
    """Returns a claim of nobody: its way out is not that of a customer."""
    created = asked.created or datetime.now(UTC)
    return Claim(uuid7(), 0, uuid7(), uuid7(), uuid7(), address, asked.item_url, asked.locale, Tries(), created=created)


def _made(result: Mail | Failed | Held, of_which: str = "") -> Mail:
    """Returns the mail. Raises Refused, with the reason, if there is none."""
    match result:
        case Failed(FailureCode.MISSING_ITEM_URL, _, reason):
            raise Refused(f"{of_which}{reason}: give --item-url")
        case Failed(code, _, reason):
            raise Refused(f"{code}: {reason}")
        case Held(reason):
            raise Refused(reason)
        case mail:
            return mail


def message(mail: Mail) -> bytes:
    """Returns the message as it arrives, without SMTP's dot-stuffing and end mark (RFC 5321, section 4.5.2)."""
    return mail.content.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")


def return_path(path: ReturnPath | None, sender: Mailbox, mail: Mail) -> str:
    """Returns the envelope sender of a mail: STOCKBELL_BOUNCE_ADDRESS with its token, or else that of MAIL_FROM."""
    return path.with_token(mail.token) if path else sender.address


def header_lines(message: bytes) -> list[str]:
    """Returns the lines of a message's header as they are sent, folded."""
    return message.partition(b"\r\n\r\n")[0].decode("ascii", "replace").split("\r\n")


def send(mailer: Mailer, mail: Mail) -> Outcome:
    """Sends one mail now and returns its outcome. Records nothing."""
    return asyncio.run(_send(mailer, mail))


async def _send(mailer: Mailer, mail: Mail) -> Outcome:
    try:
        return await send_one(mailer, mail)
    finally:
        await mailer.close()


async def send_one(mailer: Mailer, mail: Mail) -> Outcome:
    """Sends one mail within a minute, and keeps the connection. Records nothing."""
    source = _SingleMail(mail)
    down: RelayDown | None = None
    try:
        async with asyncio.timeout(SECONDS):
            for _ in mailer.relays:
                source = _SingleMail(mail)
                down = await mailer.run(source, source.report)
                if not isinstance(source.outcome, RelayDown):  # otherwise the next relay may take the mail
                    break
    except TimeoutError:  # a mail that was being sent has an outcome all the same
        pass
    return source.outcome or down or NotSent("the relay did not accept the connection in time")


def said(outcome: Outcome, *, relay: str | None = None) -> dict[str, object]:
    """Returns an outcome as JSON: whether the mail was `sent` (null: it is unknown), and the relay's words.

    `relay` names the relay that took it, where there are several.
    """
    words = reason(outcome.reply) if isinstance(outcome, Sent | Deferred) else outcome.reason
    is_sent = None if isinstance(outcome, Unknown) else isinstance(outcome, Sent)
    found: dict[str, object] = {"sent": is_sent, "reply": words}
    return found | {"relay": relay} if relay and is_sent else found


class _SingleMail:
    """A `Source` of one mail."""

    def __init__(self, mail: Mail) -> None:
        self._unsent = [mail]
        self.outcome: Outcome | None = None

    @property
    def available(self) -> int:
        return len(self._unsent)

    @property
    def is_over(self) -> bool:
        return not self._unsent

    def next_now(self) -> Mail | None:
        return self._unsent.pop() if self._unsent else None

    def put_back(self, mail: Mail) -> None:
        self._unsent.append(mail)

    def may_write(self) -> bool:
        """See `Source`."""
        return True

    def is_wanted(self, _mail: Mail) -> bool:
        return True

    def report(self, _mail: Mail, outcome: Outcome) -> None:
        self.outcome = outcome
