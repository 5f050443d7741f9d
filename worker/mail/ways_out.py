"""How a customer leaves: the URLs in List-Unsubscribe (RFC 2369, RFC 8058) and in the mail's footer.

Pure. A URL holds a token of the customer's. Mails are made with a mark in its place, which is as long as the token and
of the same characters, so that everything around it can be encoded once for all customers.
"""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote
from uuid import UUID

from worker.domain.return_path import ReturnPath
from worker.domain.tokens import Tokens

MAIL_MARK: Final = secrets.token_hex(21)
"""Stands for `Tokens.for_mail`. Random, as the other one, so that no text can contain it on purpose."""
LINK_MARK: Final = secrets.token_urlsafe(32)
"""Stands for `Tokens.for_link`."""

# RFC 6068 section 2: what may stand in an address as it is.
_UNQUOTED: Final = "@+!$'*"


@dataclass(frozen=True, slots=True)
class WaysOut:
    """What mails offer: URLs with a mark each, or None."""

    link: str | None = None
    """leaves with one click"""
    mail: str | None = None
    """begins a mail to us, which our intake understands"""

    @property
    def shown(self) -> str:
        """The URL for the footer; "" if there is none."""
        return self.link or self.mail or ""

    @property
    def marks(self) -> Sequence[str]:
        """The marks in these URLs, in the order in which `naming` returns their tokens."""
        ways = (self.mail, MAIL_MARK), (self.link, LINK_MARK)
        return [mark for way, mark in ways if way]

    def naming(self, tokens: Tokens | None) -> Callable[[UUID], Sequence[str]]:
        """Returns a function that makes a contact's tokens in place of the marks."""
        if tokens is None or not self.marks:
            return lambda _contact_id: ()
        if self.link is None:
            return lambda contact_id: (tokens.for_mail(contact_id),)
        if self.mail is None:
            return lambda contact_id: (tokens.for_link(contact_id),)
        return tokens.for_contact


NO_WAY_OUT: Final = WaysOut()


def ways_out(tokens: Tokens | None, return_path: ReturnPath | None, public_url: str | None) -> WaysOut:
    """Returns what mails can offer. Without a key for tokens nothing: nobody could be told from others.

    A link needs https (RFC 8058 section 3.1). The web process answers there.
    """
    if tokens is None:
        return NO_WAY_OUT
    has_link = public_url is not None and public_url.lower().startswith("https://")
    return WaysOut(
        link=f"{public_url}/u/{LINK_MARK}" if has_link else None,
        mail=_mailto(return_path) if return_path else None,
    )


def _mailto(path: ReturnPath) -> str:
    """Returns a URL by RFC 6068. The token is in the address if there is a place for it, else in the subject."""
    address = quote(path.with_token(MAIL_MARK), safe=_UNQUOTED)
    subject = "unsubscribe" if path.has_token else f"unsubscribe%20{MAIL_MARK}"
    return f"mailto:{address}?subject={subject}"
