"""Replies: what a relay said at which step of the session, as a value and as one line that is safe to show.

Pure. `outcomes` decides what a reply means for the attempt.
"""

import re
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Final

REASON_LIMIT: Final = 300
"""Characters of a reason, at most."""
RECEIPT_LIMIT: Final = 120
"""Characters of a receipt, at most. Relays say their queue id within the first hundred."""
CLOSING: Final = 421
"""After this reply, to any command, the relay closes the connection (RFC 5321 section 3.8)."""

_ENHANCED: Final = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})\b")
# Control characters, line and direction marks, what is not seen, and lone surrogates (which no database can store).
_UNPRINTABLE: Final = re.compile(
    r"[\x00-\x20\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    r"\U000e0000-\U000e007f]+"
)
# Matches only at the start of a word. This keeps the search linear in the length of the text.
_ADDRESS: Final = re.compile(r"(?<![^\s<>()\[\]\"',;:])[^\s<>()\[\]\"',;:@]*@[^\s<>()\[\]\"',;:]*")
# Sendmail writes `550 5.1.1 <jane.doe>... User unknown`.
_BRACKETED: Final = re.compile(r"<[^<>\s\[\]*]+>")


class Stage(StrEnum):
    """The step of the SMTP session at which something happened."""

    CONNECT = auto()
    GREETING = auto()
    EHLO = auto()
    STARTTLS = auto()
    AUTH = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    DOT = auto()


CONNECTING: Final = frozenset({Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.AUTH})
"""The stages before a connection can be used for a mail."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A relay's reply: the three-digit code, and the text after it (lines joined by LF)."""

    code: int
    text: str

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code (RFC 3463), or None if it is missing or contradicts the three-digit code."""
        match = _ENHANCED.match(self.text)
        return match[0] if match and int(match[1]) == self.code // 100 else None


# A reply as it stands in a log: lines are joined by line breaks, by "\n", or (as Postfix does) by blanks.
_LOGGED: Final = re.compile(r"\s*(?P<code>[45][0-9]{2})(?![0-9])(?P<more>-)?(?P<text>.*)", re.DOTALL)


def parse_reply(text: str) -> Reply:
    """Parses a whole reply with its code, as it stands in a log. Raises ValueError."""
    match = _LOGGED.fullmatch(text)
    if match is None:
        raise ValueError("must begin with the three digits of a refusal, like 550 or 451")
    code = match["code"]
    breaks = rf"(?:\\r\\n|\\n|[\r\n]+)(?:{code}[- ])?" + (rf"|\s+{code}[- ]" if match["more"] else "")
    lines = re.split(breaks, match["text"])
    return Reply(int(code), "\n".join(line.strip() for line in lines).strip())


def mask_addresses(text: str) -> str:
    """Returns `text` with everything masked that looks like an e-mail address or a part of one."""
    return _BRACKETED.sub("<***>", _ADDRESS.sub("***@***", text))


def one_line(text: str) -> str:
    """Returns `text` as one printable line of at most 300 characters with addresses masked, safe to store and show."""
    return mask_addresses(_UNPRINTABLE.sub(" ", text).strip())[:REASON_LIMIT]


def receipt(reply: Reply) -> str | None:
    """Returns what a relay said when it took a mail: "2.0.0 Ok: queued as 4XyZ". None: nothing but the code."""
    text = reply.text
    # Nearly all are such that nothing has to be changed, and to find that out is a tenth of the work.
    if not (text.isascii() and text.isprintable()) or "@" in text or "<" in text:
        text = one_line(text)
    return text[:RECEIPT_LIMIT].strip() or None


def reason(reply: Reply) -> str:
    """Returns the reply as a failure reason: "550 5.1.1 no such user"."""
    return one_line(f"{reply.code} {reply.text}")
