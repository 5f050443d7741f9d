"""Clues: what in a message may name a mail of ours: tokens, and Message-IDs of the mails that come back.

Pure. Everything that has the form of a token is a clue, wherever a mailer may have put it: a token has a MAC, so one
that was made up proves nothing (`domain.tokens`).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from worker.domain.returned import Clues
from worker.feedback.headers import Headers, parse_head, split_head
from worker.feedback.parts import TEXT_LIMIT, Part

TOKEN_LIMIT: Final = 20
ID_LIMIT: Final = 20
"""A report has one token or two, and one Message-ID."""

CONTACT_DIGITS: Final = 42
_TOKEN: Final = re.compile(
    r"(?<![0-9A-Za-z])[0-9A-Fa-f]{46}(?![0-9A-Za-z])|(?<![0-9A-Za-z])[0-9A-Fa-f]{42}(?![0-9A-Za-z])"
)
_LINK: Final = re.compile(r"/u/([A-Za-z0-9_-]{43})(?![A-Za-z0-9_-])")
# A plus or an equals sign that some relay encoded: what follows would look like two more digits of the token.
_ENCODED: Final = re.compile(r"[=%+](?:2[BbDd]|3[DdCcEe]|40)")
_ID: Final = re.compile(r"<([^<>\s@]{1,200}@[^<>\s@]{1,200})>")
_ID_LINE: Final = re.compile(
    r"^[ \t>]{0,8}(?:x-)?(?:original-)?message-id[ \t]*:[ \t\n]*<?([^<>\s@]{1,200}@[^<>\s@]{1,200})",
    re.MULTILINE | re.IGNORECASE,
)

DESTINATIONS: Final = (
    "delivered-to",
    "x-original-to",
    "envelope-to",
    "x-envelope-to",
    "x-rcpt-to",
    "x-delivered-to",
    "x-forwarded-to",
    "resent-to",
    "apparently-to",
    "to",
    "cc",
)
"""Where a message says to which address it came."""
_RECEIVED_FOR: Final = re.compile(r"\bfor\s+<?([^\s<>;]{3,320})")

RETURNED_KINDS: Final = frozenset(
    {
        "message/rfc822",
        "message/global",
        "message/global-headers",
        "message/rfc822-headers",
        "text/rfc822-headers",
        "message/partial",
    }
)
"""Parts that hold the mail that comes back, or its header fields."""


def destinations(headers: Headers) -> list[str]:
    """Returns the addresses to which a message came, as it says itself."""
    received = (match[1] for value in headers.all("received") if (match := _RECEIVED_FOR.search(value)))
    return [*headers.all(*DESTINATIONS), *received]


def tokens_in(texts: Iterable[str]) -> Iterator[str]:
    """Yields what has the form of a token: of a mail (46 digits), or of a contact (42 digits, or 43 characters)."""
    for text in texts:
        yield from (match[0] for match in _TOKEN.finditer(text))
        if _ENCODED.search(text):
            yield from (match[0] for match in _TOKEN.finditer(_ENCODED.sub(" ", text)))
        if "/u/" in text:
            yield from (match[1] for match in _LINK.finditer(text))


def names_a_contact(texts: Iterable[str]) -> bool:
    """Whether one of the texts has what looks like a contact's token."""
    return any(len(token) == CONTACT_DIGITS for token in tokens_in(texts))


def returned_head(part: Part) -> Headers:
    """Returns the header fields of the mail in a part. Some mailers leave its first lines blank."""
    if "message-id" in part.headers and "from" in part.headers:
        return part.headers
    octets = part.octets.lstrip(b"\n")
    return parse_head(octets) if part.kind.endswith("headers") else split_head(octets)[0]


def clues(headers: Headers, reports: Sequence[str], returned: Sequence[Headers], copies: Sequence[str]) -> Clues:
    """Returns the clues of a message.

    `reports` are the texts of its machine-readable parts, `returned` the header fields of mails that come back, and
    `copies` texts that have such fields in them.
    """
    answered = " ".join(headers.all("in-reply-to", "references"))
    texts = (
        *destinations(headers),
        headers.words("subject"),
        *reports,
        *("\n".join(_fields(each)) for each in returned),
        *copies,
    )
    ids = (
        *(
            found
            for each in returned
            for value in each.all("message-id", "x-original-message-id")
            for found in _ids(value)
        ),
        *(match[1] for text in (*copies, *reports) for match in _ID_LINE.finditer(text[:TEXT_LIMIT])),
        *_ID.findall(answered),
    )
    return Clues(_first(tokens_in(texts), TOKEN_LIMIT), _first(ids, ID_LIMIT))


def _fields(headers: Headers) -> Iterator[str]:
    return (value for _, value in headers.items())


def _ids(value: str) -> list[str]:
    return _ID.findall(value) or _ID.findall(f"<{value.strip()}>")


def _first(found: Iterable[str], limit: int) -> tuple[str, ...]:
    return tuple(islice(dict.fromkeys(found), limit))
