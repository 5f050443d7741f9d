"""The header lines that all mails of a shop have, beside those that a message needs to be one.

Pure. Nothing here is about one customer, but for the marks in List-Unsubscribe (`ways_out`).
"""

import re
from typing import Final

from worker.domain.relays import Mailbox
from worker.mail.message import envelope_address, phrase, sender_domain
from worker.mail.ways_out import WaysOut

_CAMPAIGN: Final = "back-in-stock"
_SENDER_ID: Final = "stockbell"
_COLUMNS: Final = 78  # RFC 5322 section 2.1.1
_LIST_ID_LIMIT: Final = 255  # RFC 2919 section 3
_SLUG_LIMIT: Final = 40


def letterhead(sender: Mailbox, store_name: str, *, reply_to: Mailbox | None, ways: WaysOut) -> str:
    """Returns header lines, each with CRLF. Raises BadAddress if sender or `reply_to` is invalid."""
    lines = [
        *_reply_to(reply_to),
        *_list_id(store_name, sender_domain(sender)),
        *_unsubscribe(ways),
        f"Feedback-ID: {_CAMPAIGN}:{_slug(store_name) or _slug(sender_domain(sender))}:{_SENDER_ID}",
        # For Exchange: no out-of-office notices and other answers. Failure reports are wanted, so it is not "All".
        "X-Auto-Response-Suppress: OOF, AutoReply",
    ]
    return "".join(f"{line}\r\n" for line in lines)


def _reply_to(mailbox: Mailbox | None) -> list[str]:
    return [_named("Reply-To", mailbox.name, envelope_address(mailbox.address))] if mailbox else []


def _list_id(store_name: str, domain: str) -> list[str]:
    """The same for all items: people sort and block mail of a shop by it (RFC 2919)."""
    list_id = f"{_CAMPAIGN}.{domain}"
    return [_named("List-Id", store_name, list_id)] if len(list_id) <= _LIST_ID_LIMIT else []


def _unsubscribe(ways: WaysOut) -> list[str]:
    """RFC 2369 section 3.2, and RFC 8058 section 3.1: the link is first, and there is only one."""
    urls = [url for url in (ways.link, ways.mail) if url]
    if not urls:
        return []
    header = "List-Unsubscribe: " + ",\r\n ".join(f"<{url}>" for url in urls)
    return [header, "List-Unsubscribe-Post: List-Unsubscribe=One-Click"] if ways.link else [header]


def _named(header: str, name: str, value: str) -> str:
    """Returns a header of a name and a value in brackets, folded between them if it is long."""
    words = phrase(name)
    line = f"{header}: {words}<{value}>"
    is_long = words and any(len(each) > _COLUMNS for each in line.split("\r\n"))
    return f"{header}: {words.rstrip()}\r\n <{value}>" if is_long else line


def _slug(name: str) -> str:
    """Returns a name for the Feedback-ID, whose fields are separated by colons."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:_SLUG_LIMIT].strip("-")
