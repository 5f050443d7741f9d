"""One mail: from its rendered parts to the bytes that the relay is given.

Pure. Composed by hand, as RFC 5322 and 2045 to 2047 say: an `EmailMessage` takes a millisecond, and
on Python 3.11.7 it lets an encoded line break through as a header of its own (CVE-2024-6923). The
tests read every message back with the standard library's parser.
"""

import re
from binascii import b2a_base64, b2a_qp
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

import idna

from worker.errors import BadAddress
from worker.relay import Mailbox

# RFC 5321 section 4.5.3.1: octets of a local part, and of a path without its brackets.
_LOCAL_LIMIT: Final = 64
_ADDRESS_LIMIT: Final = 254

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")

# What may not stand in a header: C0 and C1 controls, line separators, halves of surrogate pairs.
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,4}")
_UNDETERMINED: Final = "und"

# Longer text is folded, for which it has to be encoded: "Subject: " and this are within 78 columns.
_PLAIN_LIMIT: Final = 66
# 39 octets make an encoded word of 64 characters, which still fits behind "Subject: " (RFC 2047
# section 2: at most 76 on a line).
_WORD_OCTETS: Final = 39


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a template makes: a subject of one line, and the same news as text and as HTML."""

    subject: str
    text: str
    html: str


def envelope_address(email: str) -> str:
    """`email` as SMTP takes it: ASCII, its domain as an A-label (IDNA, UTS 46).

    Quoted local parts and address literals are refused, and so is what could be read as an encoded
    word. Raises BadAddress, whose text does not contain the address.
    """
    local, at, domain = email.rpartition("@")
    if not local.isascii():
        raise BadAddress("the part before the @ is not ASCII")
    address = email if domain.isascii() else f"{local}{at}{_a_label(domain)}"
    if len(local) > _LOCAL_LIMIT or len(address) > _ADDRESS_LIMIT:
        raise BadAddress("the address is too long")
    if not _ADDRESS.fullmatch(address) or "=?" in local:
        raise BadAddress("the address is not of the form name@host.example")
    return address


def _a_label(domain: str) -> str:
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except UnicodeError:  # idna's own errors are of this kind too
        raise BadAddress("the domain is not a valid internationalised name") from None


def message_id(request_id: UUID, domain: str) -> str:
    """The Message-ID, the same for every try, so that receivers can drop a repeated mail."""
    return f"<{request_id}@{domain}>"


def compose(
    rendered: Rendered,
    *,
    request_id: UUID,
    sender: Mailbox,
    recipient: str,
    date: datetime,
    locale: str,
) -> bytes:
    """The complete message, all lines ended by CRLF; not yet dot-stuffed (RFC 5321 section 4.5.2).

    The same arguments give the same bytes. `date` is aware; `locale` is a BCP 47 tag, and "und" is
    written for what is not. Raises BadAddress.
    """
    author, domain = _author(sender)
    # "=_" can't occur in quoted-printable text (RFC 2045 section 6.7), so no part can contain it.
    boundary = f"=_{request_id.hex}"
    head = (
        f"Date: {format_datetime(date)}\r\n"
        f"From: {author}\r\n"
        f"To: {envelope_address(recipient)}\r\n"
        f"Subject: {_unstructured(rendered.subject)}\r\n"
        f"Message-ID: {message_id(request_id, domain)}\r\n"
        "Auto-Submitted: auto-generated\r\n"  # RFC 3834
        "MIME-Version: 1.0\r\n"
        f"Content-Language: {_language(locale)}\r\n"
        f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n'
        "\r\n"
        f"{_part_head(boundary, 'plain')}"
    )
    return b"".join(
        (
            head.encode("ascii"),
            _quoted_printable(rendered.text),
            _part_head(boundary, "html").encode("ascii"),
            _quoted_printable(rendered.html),
            f"--{boundary}--\r\n".encode("ascii"),
        )
    )


def dot_stuffed(content: bytes) -> bytes:
    """`content` as it follows DATA, final dot included (RFC 5321 section 4.5.2).

    Lines end in CRLF and nothing else: a relay that takes a bare CR or LF for the end of a line
    could be made to see a final dot, and commands behind it, within a mail (CVE-2023-51764).
    """
    ends = content.count(b"\r\n")
    if content.count(b"\n") != ends or content.count(b"\r") != ends:
        content = _LINE_END.sub(b"\r\n", content)
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    stuffed = content.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    return b"." + stuffed if content.startswith(b".") else stuffed


def _part_head(boundary: str, subtype: str) -> str:
    return (
        f"--{boundary}\r\n"
        f"Content-Type: text/{subtype}; charset=utf-8\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n"
        "\r\n"
    )


# The customers of one item mostly get the same texts, and encoding is what takes the time.
@lru_cache(maxsize=8)
def _quoted_printable(text: str) -> bytes:
    # The last CRLF belongs to the boundary that follows. It also makes sure that there is a CRLF:
    # b2a_qp looks at the first line's end to decide how to write all others, its soft ones too.
    lines = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    return b2a_qp(f"{lines}\n".replace("\n", "\r\n").encode("utf-8", "replace"))


@lru_cache(maxsize=16)
def _author(sender: Mailbox) -> tuple[str, str]:
    """The value of From, and the sender's domain."""
    address = envelope_address(sender.address)
    return f"{_phrase(sender.name)}<{address}>", address.rpartition("@")[2]


def _phrase(name: str) -> str:
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
    # What looks like an encoded word is encoded itself, so that no reader decodes it.
    return value.isascii() and len(value) <= _PLAIN_LIMIT and "=?" not in value


def _encoded(value: str) -> str:
    """`value` as encoded words, one a line, each of whole characters (RFC 2047 section 5)."""
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
