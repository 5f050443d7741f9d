"""One customer's mail: from a claim to the bytes for the relay, or the reason why there is none."""

import json
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cached_property, lru_cache
from typing import Final, Protocol
from urllib.parse import quote

from worker.domain.catalog import options_from_text
from worker.domain.errors import BadAddress, BadSetting, TemplateBroken
from worker.domain.outcomes import FailureCode
from worker.domain.relays import Mailbox
from worker.domain.tokens import Tokens
from worker.domain.verdicts import Failed
from worker.mail.letterhead import letterhead
from worker.mail.message import (
    Form,
    Rendered,
    dot_stuffed,
    envelope_address,
    head,
    remainder,
    sender_domain,
    with_tokens,
)
from worker.mail.render import UNSUBSCRIBE, MailContext, Renderer, fit_blanks, in_html
from worker.mail.ways_out import NO_WAY_OUT, WaysOut
from worker.smtp.mailer import Mail
from worker.store.claims import Claim

LETTERS: Final = 256
"""The number of letters kept. A bell names at most 100 lists, mostly in few languages. A letter takes about 15 kB."""


class ItemFacts(Hashable, Protocol):
    """The facts about an item that a mail may show: a row of `Claimed.items`. Equal facts make the same mail."""

    catalog_item_id: str
    options: str
    name: str | None
    price: str | None
    currency: str | None
    image_url: str | None
    url: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """The mail can't be rendered, which is our fault. The request waits until the template is repaired."""

    reason: str


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
        self._paper = _Paper(renderer, sender, _letterhead(renderer.store_name, sender, reply_to, ways), ways)
        self._renderer = renderer
        self._domain = sender_domain(sender)
        self._item_url_template = item_url_template
        self._clock = clock
        self._tokens = tokens
        self._tokens_of = ways.naming(tokens)
        self._date_cache = (0, "")
        self._letter = lru_cache(LETTERS)(self._new_letter)
        self._last: tuple[ItemFacts, str | None, str | None, _Letter] | None = None

    def write(self, claim: Claim, item: ItemFacts) -> Mail | Failed | Held:
        """Returns the mail for this claim, the verdict if it can never be sent, or `Held` if a template is broken."""
        letter = self._letter_for(item, claim.locale, claim.extras)
        url = claim.item_url or letter.item_url
        if url is None:
            return Failed(FailureCode.MISSING_ITEM_URL, claim.tries, "no itemUrl in request or event")
        try:
            recipient = envelope_address(claim.email)
            tokens = self._tokens_of(claim.contact_id)
            content = letter.written(head(recipient, claim.id, self._domain, self._date()), url, tokens)
            if self._tokens is None:
                return Mail(claim.id, recipient, content)
            # The first token is the one for a mail to us, if that is a way out.
            contact = tokens[0] if self._paper.ways.mail else self._tokens.for_mail(claim.contact_id)
            return Mail(claim.id, recipient, content, self._tokens.for_return(claim.id, claim.claim_no), contact)
        except BadAddress as error:
            return Failed(FailureCode.INVALID_ADDRESS, claim.tries, str(error))
        except TemplateBroken as error:
            return Held(str(error))

    def _letter_for(self, item: ItemFacts, locale: str | None, extras: str | None) -> "_Letter":
        # Claims for one item come in a row. A cache lookup hashes the facts, which takes as long as everything else.
        last = self._last
        if last is None or last[0] is not item or last[1] != locale or last[2] != extras:
            self._last = last = item, locale, extras, self._letter(item, self._renderer.variant(locale), extras)
        return last[3]

    def _new_letter(self, item: ItemFacts, locale: str, extras: str | None) -> "_Letter":
        return _Letter(self._paper, item, self.url_of(item), locale, extras)

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


def _letterhead(store_name: str, sender: Mailbox, reply_to: Mailbox | None, ways: WaysOut) -> str:
    try:
        sender_domain(sender)
    except BadAddress as error:
        raise BadSetting(f"MAIL_FROM can't be used: {error}") from None
    try:
        return letterhead(sender, store_name, reply_to=reply_to, ways=ways)
    except BadAddress as error:
        raise BadSetting(f"STOCKBELL_REPLY_TO can't be used: {error}") from None


@dataclass(frozen=True, slots=True)
class _Paper:
    """What all letters of a process have in common."""

    renderer: Renderer
    sender: Mailbox
    letterhead: str
    ways: WaysOut


class _Letter:
    """The mail about one item in one language, with the same extras from its order, without its recipient.

    Rendering is delayed until it is needed: a broken template must not hide that a request itself is invalid.
    """

    def __init__(self, paper: _Paper, item: ItemFacts, item_url: str | None, locale: str, extras: str | None) -> None:
        self.item_url = item_url
        """The URL for requests that have none, if known."""
        self._paper = paper
        self._item = item
        self._locale = locale
        self._extra: Mapping[str, str] = json.loads(extras) if extras else {}
        self._last: tuple[str, Form] | None = None

    def written(self, head: bytes, url: str, tokens: Sequence[str]) -> bytes:
        """Returns the mail with this head, dot-stuffed for DATA. Raises TemplateBroken.

        `tokens` take the places of the marks in the ways out.
        """
        if self._last is not None and self._last[0] == url:
            return self._last[1].filled(tokens=tokens, head=head)
        if tokens and not self._prints_way_out:
            return head + self._rendered_for(url, tokens)
        # A form costs as much as one full rendering. Mostly one rendering is enough, because all get the same URL.
        if self._last is None or not fit_blanks(url) or self._form is None:
            rendered, locale = self._paper.renderer.render(self._context(url), self._locale)
            if any(mark in rendered.subject for mark in self._paper.ways.marks):  # the subject is encoded as a whole
                return head + self._rendered_for(url, tokens)
            self._last = url, self._form_of(rendered, locale, ())
            return self._last[1].filled(tokens=tokens, head=head)
        return self._form.filled((url,), (in_html(url),), tokens, head=head)

    @cached_property
    def _prints_way_out(self) -> bool:
        """Whether the templates do nothing with the way out but print it."""
        return self._paper.renderer.only_prints(UNSUBSCRIBE, self._locale)

    @cached_property
    def _form(self) -> Form | None:
        """None if the templates do more with the URL than print it."""
        found = self._paper.renderer.with_blanks(self._context(""), self._locale)
        return self._form_of(*found, tuple(self._paper.renderer.blanks.values())) if found else None

    def _form_of(self, rendered: Rendered, locale: str, blanks: Sequence[str]) -> Form:
        paper = self._paper
        return Form(rendered, blanks, paper.ways.marks, sender=paper.sender, locale=locale, letterhead=paper.letterhead)

    def _rendered_for(self, url: str, tokens: Sequence[str]) -> bytes:
        """Renders the mail for one customer alone: the templates do more with the way out than print it."""
        paper, marks = self._paper, self._paper.ways.marks
        context = replace(self._context(url), unsubscribe_url=with_tokens(paper.ways.shown, marks, tokens))
        rendered, locale = paper.renderer.render(context, self._locale)
        lines = with_tokens(paper.letterhead, marks, tokens)
        return dot_stuffed(remainder(rendered, sender=paper.sender, locale=locale, letterhead=lines))

    def _context(self, url: str) -> MailContext:
        item = self._item
        return MailContext(
            item_url=url,
            catalog_item_id=item.catalog_item_id,
            options=_options(item.options),
            item_name=item.name,
            price=item.price,
            currency=item.currency,
            image_url=item.image_url,
            unsubscribe_url=self._paper.ways.shown,
            extra=self._extra,
        )


def _options(text: str) -> Mapping[str, str]:
    return dict(options_from_text(text)) if text != "{}" else {}
