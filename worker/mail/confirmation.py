"""The mail that asks a customer to confirm a sign-up (double opt-in).

One layout, and a table of words for each language (`confirm/words.toml`). It has no offer and no prices, and names
items only as events have named them.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID

from worker.domain.catalog import options_from_text
from worker.domain.errors import BadSetting
from worker.domain.languages import pick
from worker.domain.relays import Mailbox
from worker.domain.tokens import Tokens
from worker.mail.details import isolated, language_direction, shown_name, shown_options, without_soft_hyphens
from worker.mail.folders import rendered_file
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
from worker.mail.templates import Templates
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
    """Writes mails with a link to `{public_url}/confirm/{token}`. One instance per process.

    `template_dir` has the folder `confirm`, else `shipped` is used for this mail.
    """

    def __init__(
        self,
        template_dir: Path,
        shipped: Path,
        store_name: str,
        *,
        sender: Mailbox,
        tokens: Tokens,
        public_url: str,
        ways: WaysOut = NO_WAY_OUT,
        reply_to: Mailbox | None = None,
    ) -> None:
        directory = template_dir if (template_dir / FOLDER).is_dir() else shipped
        self._plain, self._html = Templates(directory, escape=False), Templates(directory, escape=True)
        self._words = _words(directory / FOLDER / "words.toml")
        self._store_name = store_name
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
        rendered, language = self._render(items, locale, self._tokens.for_confirming(contact_id), ways_out)
        lines = with_tokens(self._letterhead, self._ways.marks, tokens)
        date = format_datetime(datetime.now(UTC))
        content = head(recipient, mail_id, sender_domain(self._sender), date) + dot_stuffed(
            remainder(rendered, sender=self._sender, locale=language, letterhead=lines)
        )
        return Mail(mail_id, recipient, content, self._tokens.for_return(_NOBODY, 0))

    def check(self) -> None:
        """Renders every language. Raises TemplateBroken."""
        for language in self._words:
            for items in ((), (_Sample(), _Sample(), *[_Sample()] * MOST_NAMED)):
                self._render(items, language, "x" * 43, "https://shop.example/u/x")

    def _render(
        self, items: Sequence[ItemRow], locale: str | None, token: str, unsubscribe_url: str
    ) -> tuple[Rendered, str]:
        language = pick(locale, self._words)
        direction = language_direction(language)
        named = [
            {"name": name, "options": shown_options(dict(options_from_text(item.options)), direction)}
            for item in items
            if (name := shown_name(item.name, direction))
        ]
        variables: dict[str, Any] = {
            "w": self._words[language],
            "items": named[:MOST_NAMED],
            # Those whose name nobody told are among them, unless there are no others.
            "more": str(len(items) - MOST_NAMED) if named and len(items) > MOST_NAMED else "",
            "confirm_url": self._link + token,
            "unsubscribe_url": unsubscribe_url,
            "store_name": isolated(self._store_name, direction),
            "locale": language,
            "direction": direction,
        }
        return self._parts(variables), language

    def _parts(self, variables: dict[str, Any]) -> Rendered:
        named = [{**item, "name": without_soft_hyphens(item["name"])} for item in variables["items"]]
        plain = {**variables, "items": named}
        subject = " ".join(rendered_file(self._plain, f"{FOLDER}/subject.txt", plain).split())
        text = rendered_file(self._plain, f"{FOLDER}/body.txt", plain)
        html = rendered_file(self._html, f"{FOLDER}/body.html", {**variables, "subject": subject})
        return Rendered(subject, text, html)


@dataclass(frozen=True, slots=True)
class _Sample:
    name: str = "Blue mug"
    options: str = '{"Size":"L"}'


def _words(path: Path) -> Mapping[str, Mapping[str, str]]:
    """Returns the words of each language. Raises BadSetting."""
    try:
        found: dict[str, dict[str, str]] = tomllib.loads(path.read_text(encoding="utf-8"))
        return {language: found["en"] | own for language, own in found.items()}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise BadSetting(f"{FOLDER}/{path.name} can't be used: {type(error).__name__}: {error}") from None
