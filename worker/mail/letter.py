"""One customer's mail: from a claim to the bytes for the relay, or the reason why there is none."""

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cached_property, lru_cache
from typing import Final, Protocol
from urllib.parse import quote

from worker.domain.catalog import options_from_text
from worker.domain.errors import BadAddress, BadSetting, TemplateBroken
from worker.domain.outcomes import FailureCode
from worker.domain.relays import Mailbox
from worker.domain.verdicts import Failed
from worker.mail.message import Form, dot_stuffed, envelope_address, head, remainder, sender_domain
from worker.mail.render import MailContext, Renderer, fit_blanks, in_html
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
    """Writes mails. One instance per process; `clock` returns Unix time. Raises BadSetting for an invalid sender."""

    def __init__(
        self,
        renderer: Renderer,
        sender: Mailbox,
        item_url_template: str | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._renderer = renderer
        self._sender = sender
        self._domain = _domain(sender)
        self._item_url_template = item_url_template
        self._clock = clock
        self._date_cache = (0, "")
        self._letter = lru_cache(LETTERS)(self._new_letter)
        self._last: tuple[ItemFacts, str | None, _Letter] | None = None

    def write(self, claim: Claim, item: ItemFacts) -> Mail | Failed | Held:
        """Returns the mail for this claim, the verdict if it can never be sent, or `Held` if a template is broken."""
        letter = self._letter_for(item, claim.locale)
        url = claim.item_url or letter.item_url
        if url is None:
            return Failed(FailureCode.MISSING_ITEM_URL, claim.tries, "no itemUrl in request or event")
        try:
            recipient = envelope_address(claim.email)
            content = head(recipient, claim.id, self._domain, self._date()) + letter.remainder(url)
            return Mail(claim.id, recipient, content)
        except BadAddress as error:
            return Failed(FailureCode.INVALID_ADDRESS, claim.tries, str(error))
        except TemplateBroken as error:
            return Held(str(error))

    def _letter_for(self, item: ItemFacts, locale: str | None) -> "_Letter":
        # Claims for one item come in a row. A cache lookup hashes the facts, which takes as long as everything else.
        if self._last is None or self._last[0] is not item or self._last[1] != locale:
            self._last = item, locale, self._letter(item, self._renderer.variant(locale))
        return self._last[2]

    def _new_letter(self, item: ItemFacts, locale: str) -> "_Letter":
        return _Letter(self._renderer, self._sender, item, item.url or self._url_from_template(item), locale)

    def _url_from_template(self, item: ItemFacts) -> str | None:
        if self._item_url_template is None:
            return None
        return self._item_url_template.replace("{catalogItemId}", quote(item.catalog_item_id, safe=""))

    def _date(self) -> str:
        second = int(self._clock())
        if self._date_cache[0] != second:
            self._date_cache = second, format_datetime(datetime.fromtimestamp(second, UTC))
        return self._date_cache[1]


def _domain(sender: Mailbox) -> str:
    try:
        return sender_domain(sender)
    except BadAddress as error:
        raise BadSetting(f"MAIL_FROM can't be used: {error}") from None


class _Letter:
    """The mail about one item in one language, without its recipient.

    Rendering is delayed until it is needed: a broken template must not hide that a request itself is invalid.
    """

    def __init__(self, renderer: Renderer, sender: Mailbox, item: ItemFacts, item_url: str | None, locale: str) -> None:
        self.item_url = item_url
        """The URL for requests that have none, if known."""
        self._renderer = renderer
        self._sender = sender
        self._item = item
        self._locale = locale
        self._last: tuple[str, bytes] | None = None

    def remainder(self, url: str) -> bytes:
        """Returns all of the mail except its head, dot-stuffed for DATA. Raises TemplateBroken."""
        if self._last is None or self._last[0] != url:
            self._last = url, self._remainder_for(url)
        return self._last[1]

    def _remainder_for(self, url: str) -> bytes:
        # A form costs as much as one full rendering. Mostly one rendering is enough, because all get the same URL.
        is_first = self._last is None
        if is_first or not fit_blanks(url) or self._form is None:
            return self._fully_rendered(url)
        return self._form.filled((url,), (in_html(url),))

    @cached_property
    def _form(self) -> Form | None:
        """None if the templates do more with the URL than print it."""
        found = self._renderer.with_blanks(self._context(""), self._locale)
        if found is None:
            return None
        rendered, locale = found
        return Form(rendered, tuple(self._renderer.blanks.values()), sender=self._sender, locale=locale)

    def _fully_rendered(self, url: str) -> bytes:
        rendered, locale = self._renderer.render(self._context(url), self._locale)
        return dot_stuffed(remainder(rendered, sender=self._sender, locale=locale))

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
        )


def _options(text: str) -> Mapping[str, str]:
    return dict(options_from_text(text)) if text != "{}" else {}
