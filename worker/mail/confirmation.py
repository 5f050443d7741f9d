"""The mail that asks a customer to confirm a sign-up (double opt-in).

It has no offer and no prices, and names items only as events have named them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final, Protocol
from uuid import UUID

from worker.domain.brand import NO_BRAND, Brand
from worker.domain.catalog import options_from_text
from worker.domain.relays import Mailbox
from worker.domain.tokens import Tokens
from worker.mail.details import language_direction, shop_variables, shown_name, shown_options, without_soft_hyphens
from worker.mail.folders import DEFAULT_LOCALE, Compiled, Folder
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
        self._folder = Made(sources, lambda now: Folder(now, FOLDER, default_locale))
        self._store_name = store_name
        self._brand = brand
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
        with self._folder as folder:
            mail = folder.compiled(folder.nearest(locale))
            rendered = self._about(mail, items, self._tokens.for_confirming(contact_id), ways_out)
        lines = with_tokens(self._letterhead, self._ways.marks, tokens)
        date = format_datetime(datetime.now(UTC))
        content = head(recipient, mail_id, sender_domain(self._sender), date) + dot_stuffed(
            remainder(rendered, sender=self._sender, locale=mail.locale, letterhead=lines)
        )
        return Mail(mail_id, recipient, content, self._tokens.for_return(_NOBODY, 0))

    def check(self) -> None:
        """Renders every language. Raises TemplateBroken."""
        with self._folder as folder:
            for mail in folder.all_compiled():
                for items in ((), (_Sample(), _Sample(), *[_Sample()] * MOST_NAMED)):
                    self._about(mail, items, "x" * 43, "https://shop.example/u/x")

    def _about(self, mail: Compiled, items: Sequence[ItemRow], token: str, unsubscribe_url: str) -> Rendered:
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
            "confirm_url": self._link + token,
            "unsubscribe_url": unsubscribe_url,
            "locale": mail.locale,
            "direction": direction,
            **shop_variables(self._store_name, self._brand, direction),
        }
        without = [{**item, "name": without_soft_hyphens(item["name"])} for item in named]
        return mail.render(variables, {**variables, "items": without})


@dataclass(frozen=True, slots=True)
class _Sample:
    name: str = "Blue mug"
    options: str = '{"Size":"L"}'
