"""The mail that asks a customer to confirm a sign-up (double opt-in).

It has no offer and no prices, and names items only as events have named them.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final, Protocol
from uuid import UUID

from worker.domain.brand import NO_BRAND, Brand
from worker.domain.catalog import options_from_text
from worker.domain.errors import TemplateBroken
from worker.domain.relays import Mailbox
from worker.domain.tokens import Tokens
from worker.mail.details import language_direction, shop_variables, shown_name, shown_options, without_soft_hyphens
from worker.mail.folders import DEFAULT_LOCALE, Case, Compiled, Folder, Trial
from worker.mail.letterhead import letterhead
from worker.mail.message import (
    Rendered,
    dot_stuffed,
    envelope_address,
    head,
    remainder,
    sender_domain,
    with_tokens,
)
from worker.mail.samples import CONFIRM
from worker.mail.sources import Made, Sources
from worker.mail.ways_out import NO_WAY_OUT, WaysOut
from worker.smtp.mailer import Mail

FOLDER: Final = "confirm"
MOST_NAMED: Final = 5
"""A mail names no more items than that."""

_NOBODY: Final = UUID(int=0)


class ItemRow(Protocol):
    """What a mail says of an item."""

    @property
    def name(self) -> str | None:
        """As events have named it."""

    @property
    def options(self) -> str:
        """As JSON."""


class ConfirmationWriter:
    """Writes mails with a link to `{public_url}/confirm/{token}`. One instance per process."""

    def __init__(
        self,
        sources: Sources,
        store_name: str,
        *,
        sender: Mailbox,
        tokens: Tokens,
        public_url: str,
        ways: WaysOut = NO_WAY_OUT,
        reply_to: Mailbox | None = None,
        brand: Brand = NO_BRAND,
        default_locale: str = DEFAULT_LOCALE,
    ) -> None:
        self._page = ConfirmationPage(sources, store_name, brand, default_locale)
        self._sender = sender
        self._tokens = tokens
        self._link = f"{public_url}/confirm/"
        self._ways, self._tokens_of = ways, ways.naming(tokens)
        self._letterhead = letterhead(sender, store_name, reply_to=reply_to, ways=ways)

    def write(self, mail_id: UUID, contact_id: UUID, email: str, items: Sequence[ItemRow], locale: str | None) -> Mail:
        """Returns the mail. Raises BadAddress, and TemplateBroken.

        A bounce of it is nobody's: it proves nothing about a mail to a customer.
        """
        recipient = envelope_address(email)
        tokens = self._tokens_of(contact_id)
        ways_out = with_tokens(self._ways.shown, self._ways.marks, tokens)
        link = self._link + self._tokens.for_confirming(contact_id)
        rendered, language = self._page.render(items, link, ways_out, locale)
        lines = with_tokens(self._letterhead, self._ways.marks, tokens)
        date = format_datetime(datetime.now(UTC))
        content = head(recipient, mail_id, sender_domain(self._sender), date) + dot_stuffed(
            remainder(rendered, sender=self._sender, locale=language, letterhead=lines)
        )
        return Mail(mail_id, recipient, content, self._tokens.for_return(_NOBODY, 0))

    def check(self) -> None:
        """Renders every language. Raises TemplateBroken."""
        for trial in self._page.trials():
            if isinstance(trial.outcome, TemplateBroken):
                raise trial.outcome


class ConfirmationPage:
    """What the mail says."""

    def __init__(self, sources: Sources, store_name: str, brand: Brand, default_locale: str) -> None:
        self._folder = Made(sources, lambda now: Folder(now, FOLDER, default_locale))
        self._store_name = store_name
        self._brand = brand

    def render(
        self, items: Sequence[ItemRow], confirm_url: str, unsubscribe_url: str, locale: str | None
    ) -> tuple[Rendered, str]:
        """Returns the mail in the language nearest to `locale`, and that language. Raises TemplateBroken."""
        with self._folder as folder:
            mail = folder.compiled(folder.nearest(locale))
            return self._about(mail, items, confirm_url, unsubscribe_url), mail.locale

    def trials(self) -> Iterator[Trial]:
        """Tries the mail in all languages, about no items, one, and more than it names."""
        confirm, leave = "https://shop.example/confirm/sample", "https://shop.example/u/sample"
        urls = {"confirm_url": [confirm], "unsubscribe_url": [leave]}
        cases = [
            Case(name, urls, lambda mail, items=items: self._about(mail, items, confirm, leave))  # type: ignore[misc]
            for name, items in CONFIRM.items()
        ]
        with self._folder as folder:
            yield from folder.tried(cases)

    def _about(self, mail: Compiled, items: Sequence[ItemRow], confirm_url: str, unsubscribe_url: str) -> Rendered:
        direction = language_direction(mail.locale)
        named: list[dict[str, Any]] = [
            {"name": name, "options": shown_options(dict(options_from_text(item.options)), direction)}
            for item in items
            if (name := shown_name(item.name, direction))
        ][:MOST_NAMED]
        variables: dict[str, Any] = {
            "items": named,
            # Those whose name nobody told are among them, unless there are no others.
            "more": max(0, len(items) - MOST_NAMED) if named else 0,
            "confirm_url": confirm_url,
            "unsubscribe_url": unsubscribe_url,
            "locale": mail.locale,
            "direction": direction,
            **shop_variables(self._store_name, self._brand, direction),
        }
        without = [{**item, "name": without_soft_hyphens(item["name"])} for item in named]
        return mail.render(variables, {**variables, "items": without})
