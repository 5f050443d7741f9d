"""Composes one message: from its rendered parts to the bytes for the relay.

A message is a `head`, which is different for each recipient, and a `remainder`, which all recipients of the same texts
share. A `Form` makes the remainder for texts that differ in a few values only.

Pure. Messages are composed without `EmailMessage`, following RFC 5322 and 2045 to 2047: an `EmailMessage` takes a
millisecond, and on Python 3.11.7 it allows header injection by an encoded line break (CVE-2024-6923). The tests parse
every message with the standard library.
"""

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Final, NewType
from uuid import UUID

import idna

from worker.domain.errors import BadAddress
from worker.domain.relays import Mailbox

# RFC 5321 section 4.5.3.1: the most octets of a local part, and of a path without its brackets.
_LOCAL_LIMIT: Final = 64
_ADDRESS_LIMIT: Final = 254

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")

# Forbidden in a header: C0 and C1 controls, line separators, lone surrogates.
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_LINE: Final = re.compile(r"[^\n]*\n")
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,4}")
_UNDETERMINED: Final = "und"

# "=_" can't occur in quoted-printable text (RFC 2045 section 6.7), so no part can contain this boundary, not even on
# purpose. It may be the same in all mails, because no mail contains another one.
_BOUNDARY: Final = "=_stockbell"

_FINAL_DOT: Final = b".\r\n"
_SOFT_BREAK: Final = b"=\r\n"  # RFC 2045 section 6.7, rule 5

# Longer text is encoded, because only encoded words are folded here. "Subject: " and this stay within 78 columns.
_PLAIN_LIMIT: Final = 66
# 39 octets make an encoded word of 64 characters, which fits on the line of "Subject: " (RFC 2047 section 2: at most
# 76 characters).
_WORD_OCTETS: Final = 39


Address = NewType("Address", str)
"""An address from `envelope_address`. It can't inject anything into a header or an SMTP command."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The result of rendering: a subject of one line, and the body as text and as HTML."""

    subject: str
    text: str
    html: str


def envelope_address(email: str) -> Address:
    """Returns `email` in the form for SMTP: ASCII, with the domain as A-labels (IDNA, UTS 46).

    Raises BadAddress for invalid addresses, quoted local parts, address literals, and local parts that could be read as
    an encoded word. The error text does not contain the address.
    """
    local, at, domain = email.rpartition("@")
    if not local.isascii():
        raise BadAddress("the part before the @ is not ASCII")
    address = email if domain.isascii() else f"{local}{at}{_a_label(domain)}"
    if len(local) > _LOCAL_LIMIT or len(address) > _ADDRESS_LIMIT:
        raise BadAddress("the address is too long")
    if not _ADDRESS.fullmatch(address) or "=?" in local:
        raise BadAddress("the address is not of the form name@host.example")
    return Address(address)


def _a_label(domain: str) -> str:
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except UnicodeError:  # the base class of idna's errors
        raise BadAddress("the domain is not a valid internationalised name") from None


def message_id(request_id: UUID, domain: str) -> str:
    """Returns the Message-ID. It is the same for every attempt, so that receivers can drop a repeated mail."""
    digits = request_id.bytes.hex()  # `str` takes four times as long
    return f"<{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}@{domain}>"


def head(recipient: Address, request_id: UUID, domain: str, date: str) -> bytes:
    """Returns the recipient's header lines. `domain` is the sender's; `date` is from `email.utils.format_datetime`.

    No line begins with a dot, so dot-stuffing is not needed.
    """
    return f"To: {recipient}\r\nMessage-ID: {message_id(request_id, domain)}\r\nDate: {date}\r\n".encode("ascii")


def remainder(rendered: Rendered, *, sender: Mailbox, locale: str, letterhead: str = "") -> bytes:
    """Returns the rest of the message. All lines end in CRLF; they are not dot-stuffed (RFC 5321 section 4.5.2).

    Equal arguments give equal bytes. `locale` is a BCP 47 tag; "und" replaces an invalid one. `letterhead` is further
    header lines, as they are. Raises BadAddress for an invalid sender.
    """
    return b"".join(
        (
            _shared_head(rendered.subject, sender, locale, letterhead),
            _TEXT_HEAD,
            _quoted_printable(_lines(rendered.text)),
            _HTML_HEAD,
            _quoted_printable(_lines(rendered.html)),
            _END,
        )
    )


class Form:
    """The remainder of messages whose texts differ in a few values only. All other lines are encoded in advance.

    `blanks` are the placeholders of any values in the text and the HTML of `rendered`; the subject has none.
    Quoted-printable encodes each line on its own (RFC 2045 section 6.7), and so does dot-stuffing. So only lines with
    `blanks` are encoded for each message. `marks` are the placeholders of tokens, also in the letterhead: a token has
    the length of its mark, and only characters that need no encoding, so that it takes the place of the encoded mark.
    """

    def __init__(
        self,
        rendered: Rendered,
        blanks: Sequence[str],
        marks: Sequence[str] = (),
        *,
        sender: Mailbox,
        locale: str,
        letterhead: str = "",
    ) -> None:
        self._blanks = blanks
        self._marks = marks
        self._chunks = [b""]
        """The first one is for the head."""
        self._lines_with_blanks: list[tuple[int, str, bool]] = []
        """For each group of lines with blanks: its index in `_chunks`, its text, and whether it is HTML."""
        self._lines_with_both: list[tuple[int, str, bool]] = []
        """Likewise, of those that have marks as well."""
        self._values: tuple[Sequence[str], Sequence[str]] | None = None
        """The values that are filled in. Customers who asked on one day come in a row."""
        self._tokens: list[tuple[int, int, int]] = []
        """For each token: its index in `_chunks`, that of its mark, and after how many characters its line is broken,
        or 0."""
        self._mark = _mark_pattern(marks) if marks else None
        self._add(_shared_head(rendered.subject, sender, locale, letterhead) + _TEXT_HEAD)
        self._add_text(rendered.text, is_html=False)
        self._add(_HTML_HEAD)
        self._add_text(rendered.html, is_html=True)
        self._add(_END)
        self._add_chunk(_FINAL_DOT)

    def filled(
        self,
        text_values: Sequence[str] = (),
        html_values: Sequence[str] = (),
        tokens: Sequence[str] = (),
        *,
        head: bytes = b"",
    ) -> bytes:
        """Returns `head` and what `dot_stuffed(remainder(...))` returns for the texts with these values.

        They are in the order of `blanks`. None may contain a line end. `html_values` must be escaped for HTML. `tokens`
        are in the order of `marks`. The head is joined here because it takes as long to copy a mail as to sign a token.
        """
        if self._values != (text_values, html_values):
            for place, lines, is_html in self._lines_with_blanks:
                filled = self._with_values(html_values if is_html else text_values, lines)
                self._chunks[place] = _stuffed(_quoted_printable(filled))
            self._values = text_values, html_values
        chunks = self._chunks.copy()
        chunks[0] = head
        for place, lines, is_html in self._lines_with_both:
            filled = self._with_values(html_values if is_html else text_values, lines)
            chunks[place] = _stuffed(_quoted_printable(with_tokens(filled, self._marks, tokens)))
        for place, number, cut in self._tokens:
            token = tokens[number].encode("ascii")
            chunks[place] = token[:cut] + _SOFT_BREAK + token[cut:] if cut else token
        return b"".join(chunks)

    def _with_values(self, values: Sequence[str], lines: str) -> str:
        for blank, value in zip(self._blanks, values, strict=True):
            lines = lines.replace(blank, value)
        return lines

    def _add(self, lines: bytes) -> None:
        stuffed, done = _stuffed(lines), 0
        for found in self._mark.finditer(stuffed) if self._mark else ():
            self._add_chunk(stuffed[done : found.start()])
            number = (found.lastindex or 1) - 1
            self._tokens.append((len(self._chunks), number, max(0, found[0].find(_SOFT_BREAK))))
            self._chunks.append(b"")
            done = found.end()
        self._add_chunk(stuffed[done:])

    def _add_chunk(self, chunk: bytes) -> None:
        """Adds to the last chunk if nothing has to be filled in between: fewer chunks are joined faster."""
        if self._chunks and self._chunks[-1]:
            self._chunks[-1] += chunk
        else:
            self._chunks.append(chunk)

    def _add_text(self, text: str, *, is_html: bool) -> None:
        for has_blanks, lines in groupby(_LINE.findall(_lines(text)), self._has_blanks):
            if has_blanks:
                joined = "".join(lines)
                has_marks = any(mark in joined for mark in self._marks)
                lines_of_kind = self._lines_with_both if has_marks else self._lines_with_blanks
                lines_of_kind.append((len(self._chunks), joined, is_html))
                self._chunks.append(b"")
            else:
                self._add(_quoted_printable("".join(lines)))

    def _has_blanks(self, line: str) -> bool:
        return any(blank in line for blank in self._blanks)


def with_tokens(text: str, marks: Sequence[str], tokens: Sequence[str]) -> str:
    """Returns the text with tokens in place of their marks."""
    for mark, token in zip(marks, tokens, strict=True):
        text = text.replace(mark, token)
    return text


def _mark_pattern(marks: Sequence[str]) -> re.Pattern[bytes]:
    """Returns a pattern for encoded marks, with a group for each. A soft line break may stand in one."""
    soft_break = f"(?:{re.escape(_SOFT_BREAK.decode())})?"
    groups = (f"({soft_break.join(map(re.escape, mark))})" for mark in marks)
    return re.compile("|".join(groups).encode("ascii"))


def dot_stuffed(content: bytes) -> bytes:
    """Returns `content` as it follows DATA, with the final dot (RFC 5321 section 4.5.2).

    Converts all line ends to CRLF. Some relays accept a bare CR or LF as a line end; such a relay could read a final
    dot, and commands after it, inside a mail (CVE-2023-51764).
    """
    ends = content.count(b"\r\n")
    if content.count(b"\n") != ends or content.count(b"\r") != ends:
        content = _LINE_END.sub(b"\r\n", content)
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    return _stuffed(content) + _FINAL_DOT


def _stuffed(lines: bytes) -> bytes:
    stuffed = lines.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if lines.startswith(b".") else stuffed


def _shared_head(subject: str, sender: Mailbox, locale: str, letterhead: str) -> bytes:
    author, _ = _author(sender)
    return (
        f"From: {author}\r\n"
        f"Subject: {_unstructured(subject)}\r\n"
        f"{letterhead}"
        "Auto-Submitted: auto-generated\r\n"  # RFC 3834
        "MIME-Version: 1.0\r\n"
        f"Content-Language: {_language(locale)}\r\n"
        f'Content-Type: multipart/alternative; boundary="{_BOUNDARY}"\r\n'
        "\r\n"
    ).encode("ascii")


def _part_head(subtype: str) -> bytes:
    return (
        f"--{_BOUNDARY}\r\n"
        f"Content-Type: text/{subtype}; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n"
        "\r\n"
    ).encode("ascii")


_TEXT_HEAD: Final = _part_head("plain")
_HTML_HEAD: Final = _part_head("html")
_END: Final = f"--{_BOUNDARY}--\r\n".encode("ascii")


def _lines(text: str) -> str:
    """Returns `text` with LF line ends. The end of the last line belongs to the boundary that follows (RFC 2046)."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    return f"{lines}\n"


def _quoted_printable(lines: str) -> bytes:
    # b2a_qp writes its soft line breaks like the first line end that it finds.
    return b2a_qp(lines.replace("\n", "\r\n").encode("utf-8", "replace"))


def sender_domain(sender: Mailbox) -> str:
    """Returns the domain for Message-IDs. Raises BadAddress for an invalid sender."""
    return _author(sender)[1]


@lru_cache(maxsize=16)
def _author(sender: Mailbox) -> tuple[str, str]:
    """Returns the value of From and the sender's domain."""
    address = envelope_address(sender.address)
    return f"{phrase(sender.name)}<{address}>", address.rpartition("@")[2]


def phrase(name: str) -> str:
    """Returns a display name (RFC 5322 section 3.2.5), with what separates it from the brackets that follow."""
    name = _cleaned(name)
    if not name:
        return ""
    if not _is_plain(name):
        return f"{_encoded(name)}\r\n "
    escaped = name.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}" '


def _unstructured(value: str) -> str:
    value = _cleaned(value)
    return value if _is_plain(value) else _encoded(value)


def _cleaned(value: str) -> str:
    return (value if value.isprintable() else _UNSAFE.sub(" ", value)).strip(" ")


def _is_plain(value: str) -> bool:
    # Text that looks like an encoded word is encoded, so that no mail program decodes it.
    return value.isascii() and len(value) <= _PLAIN_LIMIT and "=?" not in value


def _encoded(value: str) -> str:
    """Returns `value` as encoded words, one per line, each of whole characters (RFC 2047 section 5)."""
    octets = value.encode("utf-8")
    words = []
    start = 0
    while start < len(octets):
        end = min(start + _WORD_OCTETS, len(octets))
        while end < len(octets) and octets[end] & 0xC0 == 0x80:  # in the middle of a character
            end -= 1
        words.append(f"=?utf-8?b?{b2a_base64(octets[start:end], newline=False).decode()}?=")
        start = end
    return "\r\n ".join(words)


def _language(locale: str) -> str:
    tag = locale.replace("_", "-")
    return tag if _LANGUAGE.fullmatch(tag) else _UNDETERMINED
