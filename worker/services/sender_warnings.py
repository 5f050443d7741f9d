"""What mails lack because of the settings of their sender, for `doctor`. They are sent all the same. Pure."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from worker.domain.relays import Mailbox
from worker.mail.ways_out import WaysOut

_NO_REPLY: Final = re.compile(r"(?:do[._-]?)?(?:no|not)[._-]?reply\b.*", re.IGNORECASE)


def takes_no_replies(address: str) -> bool:
    """Returns whether nobody reads what is sent to an address, by the name that it has."""
    return _NO_REPLY.fullmatch(address.partition("@")[0]) is not None


def warnings_about(
    sender: Mailbox | None, reply_to: Mailbox | None, public_url: str | None, ways: WaysOut
) -> Sequence[str]:
    """Returns what to set, and which rule asks for it."""
    found = [*_about_ways_out(ways), *_about_url(public_url)]
    author = reply_to or sender
    if author and takes_no_replies(author.address):
        name = "STOCKBELL_REPLY_TO" if reply_to else "MAIL_FROM"
        found.append(f"{name} is a no-reply address, and Microsoft asks for one that takes replies: STOCKBELL_REPLY_TO")
    return found


def _about_ways_out(ways: WaysOut) -> Iterator[str]:
    if not ways.shown:
        yield (
            "a customer can't leave: mails have no List-Unsubscribe, which Gmail and Yahoo ask of bulk senders: set"
            " STOCKBELL_SECRET_KEY, and STOCKBELL_PUBLIC_URL (https) or STOCKBELL_BOUNCE_ADDRESS, best both"
        )


def _about_url(public_url: str | None) -> Iterator[str]:
    if public_url and not public_url.lower().startswith("https://"):
        yield "STOCKBELL_PUBLIC_URL is not https, so mails have no link to leave with one click (RFC 8058)"
