"""One customer's mail: from a claim to the bytes for the relay, or the reason why there is none."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final, NamedTuple, Protocol, TypeVar
from urllib.parse import quote
from uuid import UUID

from worker.domain.errors import BadAddress, BadSetting, TemplateBroken
from worker.domain.outcomes import FailureCode
from worker.domain.relays import Mailbox
from worker.domain.tokens import Tokens
from worker.domain.verdicts import Failed
from worker.mail.letterhead import letterhead
from worker.mail.message import envelope_address, head, sender_domain
from worker.mail.render import MailContext, Renderer
from worker.mail.unaddressed import ItemFacts, Letter, LetterOfMany, LetterOfSample, Paper, Personal, TooLong
from worker.mail.ways_out import NO_WAY_OUT, WaysOut
from worker.smtp.mailer import Mail
from worker.store.claims import Claim

__all__ = ["LETTERS", "Digest", "Held", "ItemFacts", "LetterWriter"]

LETTERS: Final = 256
"""The number of letters kept. A bell names at most 100 lists, mostly in few languages. A letter takes about 15 kB."""

_Personal = TypeVar("_Personal", contravariant=True)


@dataclass(frozen=True, slots=True)
class Held:
    """The mail can't be rendered, which is our fault. The request waits until the template is repaired."""

    reason: str


@dataclass(frozen=True, slots=True)
class Digest:
    """What becomes of claims that are to go in one mail."""

    result: Mail | Failed | Held
    """a mail about, or `Held` for, all of `claim.together`; `Failed` is about the first alone"""
    claim: Claim
    """the first, with those others only that this is about"""
    failed: Sequence[tuple[Claim, Failed]] = ()
    """others that can never be sent"""
    left: Sequence[Claim] = ()
    """others that are not in this mail, and may go in the next"""


class _Part(NamedTuple):
    """One item of a mail about several."""

    claim: Claim
    item: ItemFacts
    url: str


class _Written(Protocol[_Personal]):
    """A letter."""

    def written(self, head: bytes, personal: _Personal, tokens: Sequence[str], /) -> bytes:
        """Returns the whole mail, for DATA."""


class LetterWriter:
    """Writes mails. One instance per process; `clock` returns Unix time. Raises BadSetting for an invalid sender.

    With `tokens` each mail is named, so that what comes back is recognised. `ways` is what the customer is offered to
    leave by; it needs `tokens`.
    """

    def __init__(
        self,
        renderer: Renderer,
        sender: Mailbox,
        item_url_template: str | None,
        clock: Callable[[], float] = time.time,
        *,
        tokens: Tokens | None = None,
        ways: WaysOut = NO_WAY_OUT,
        reply_to: Mailbox | None = None,
    ) -> None:
        self._paper = Paper(renderer, sender, _letterhead(renderer.store_name, sender, reply_to, ways), ways)
        self._domain = sender_domain(sender)
        self._item_url_template = item_url_template
        self._clock = clock
        self._tokens = tokens
        self._tokens_of = ways.naming(tokens)
        self._date_cache = (0, "")
        self._letter = lru_cache(LETTERS)(self._new_letter)
        self._last: tuple[ItemFacts, str | None, str | None, Letter] | None = None

    def write(self, claim: Claim, item: ItemFacts) -> Mail | Failed | Held:
        """Returns the mail for this claim, the verdict if it can never be sent, or `Held` if a template is broken."""
        letter = self._letter_for(item, claim.locale, claim.extras)
        url = claim.item_url or letter.item_url
        return _without_url(claim) if url is None else self._addressed(claim, letter, Personal(url, claim.created))

    def write_digest(self, claim: Claim, items: Mapping[UUID, ItemFacts]) -> Digest:
        """Returns one mail for all of `claim.together`, or for as many as can be in it. `items` is by waiting list.

        The mail is the first one's: id, recipient and tokens are as `write` makes them. An item without a URL is left
        out, and its request has failed. A mail that is too long, or whose template breaks at one of the items, is about
        half as many, and so on: one item must not hold all others.
        """
        parts, failed = self._parts(claim.together, items)
        if failed and failed[0][0] is claim:
            return Digest(failed[0][1], replace(claim, others=()), left=claim.others)
        locale = next((each.locale for each in claim.together if each.locale), None)
        result, number = self._about_most(parts, locale)
        if isinstance(result, Failed):
            return Digest(result, replace(claim, others=()), left=claim.others)
        others = tuple(part.claim for part in parts)
        return Digest(result, replace(claim, others=others[1:number]), tuple(failed), others[number:])

    def write_sample(self, claim: Claim, items: Sequence[MailContext]) -> tuple[Mail | Failed | Held, int]:
        """Returns a mail about items that are only shown, or about as many as can be in it, and their number.

        What they say is said, but the way out is the customer's.
        """
        asked = claim.created.date() if claim.created else None
        try:
            return self._addressed(claim, LetterOfSample(self._paper, items, claim.locale), asked), len(items)
        except TooLong:
            return self.write_sample(claim, items[: len(items) // 2])

    def _parts(
        self, claims: Sequence[Claim], items: Mapping[UUID, ItemFacts]
    ) -> tuple[Sequence[_Part], Sequence[tuple[Claim, Failed]]]:
        """Returns those that can be in a mail, and the others."""
        parts, failed = list[_Part](), list[tuple[Claim, Failed]]()
        for claim in claims:
            item = items[claim.list_id]
            if (url := claim.item_url or self.url_of(item)) is None:
                failed.append((claim, _without_url(claim)))
            else:
                parts.append(_Part(claim, item, url))
        return parts, failed

    def _about_most(self, parts: Sequence[_Part], locale: str | None) -> tuple[Mail | Failed | Held, int]:
        """Returns the mail about as many of the first ones as can be in one, and their number."""
        number, broken = len(parts), None
        while number > 1:
            result = self._about(parts[:number], locale)
            if isinstance(result, Mail | Failed):
                return result, number
            number, broken = number // 2, result
        if broken is None or not isinstance(self._about(parts[:1], locale), Held):
            return self.write(parts[0].claim, parts[0].item), 1
        # If it breaks at the last one as well, it is broken as such.
        return broken, len(parts) if isinstance(self._about(parts[-1:], locale), Held) else 1

    def _about(self, parts: Sequence[_Part], locale: str | None) -> Mail | Failed | Held | None:
        """Returns the mail about all of these. None: it is too long."""
        extras = [part.claim.extras for part in parts]
        letter = LetterOfMany(self._paper, [part.item for part in parts], extras, locale)
        personal = [Personal(part.url, part.claim.created) for part in parts]
        try:
            return self._addressed(parts[0].claim, letter, personal)
        except TooLong:
            return None

    def _addressed(self, claim: Claim, letter: _Written[_Personal], personal: _Personal) -> Mail | Failed | Held:
        """Returns the mail of this claim of the letter with what is personal."""
        try:
            recipient = envelope_address(claim.email)
            tokens = self._tokens_of(claim.contact_id)
            content = letter.written(head(recipient, claim.id, self._domain, self._date()), personal, tokens)
            if self._tokens is None:
                return Mail(claim.id, recipient, content)
            # The first token is the one for a mail to us, if that is a way out.
            contact = tokens[0] if self._paper.ways.mail else self._tokens.for_mail(claim.contact_id)
            return Mail(claim.id, recipient, content, self._tokens.for_return(claim.id, claim.claim_no), contact)
        except BadAddress as error:
            return Failed(FailureCode.INVALID_ADDRESS, claim.tries, str(error))
        except TemplateBroken as error:
            return Held(str(error))

    def _letter_for(self, item: ItemFacts, locale: str | None, extras: str | None) -> Letter:
        # Claims for one item come in a row. A cache lookup hashes the facts, which takes as long as everything else.
        last = self._last
        if last is None or last[0] is not item or last[1] != locale or last[2] != extras:
            self._last = last = item, locale, extras, self._letter(item, self._paper.renderer.variant(locale), extras)
        return last[3]

    def _new_letter(self, item: ItemFacts, locale: str, extras: str | None) -> Letter:
        return Letter(self._paper, item, self.url_of(item), locale, extras)

    def url_of(self, item: ItemFacts) -> str | None:
        """Returns where the mail about an item leads whose request has no URL of its own; None: nowhere."""
        return item.url or self._url_from_template(item)

    def _url_from_template(self, item: ItemFacts) -> str | None:
        if self._item_url_template is None:
            return None
        return self._item_url_template.replace("{catalogItemId}", quote(item.catalog_item_id, safe=""))

    def _date(self) -> str:
        second = int(self._clock())
        if self._date_cache[0] != second:
            self._date_cache = second, format_datetime(datetime.fromtimestamp(second, UTC))
        return self._date_cache[1]


def _without_url(claim: Claim) -> Failed:
    return Failed(FailureCode.MISSING_ITEM_URL, claim.tries, "no itemUrl in request or event")


def _letterhead(store_name: str, sender: Mailbox, reply_to: Mailbox | None, ways: WaysOut) -> str:
    try:
        sender_domain(sender)
    except BadAddress as error:
        raise BadSetting(f"MAIL_FROM can't be used: {error}") from None
    try:
        return letterhead(sender, store_name, reply_to=reply_to, ways=ways)
    except BadAddress as error:
        raise BadSetting(f"STOCKBELL_REPLY_TO can't be used: {error}") from None
