"""Parts: a message as the leaves of its MIME tree (RFC 2045, 2046), whatever is wrong with it.

Pure, and bounded: only the first `READ_LIMIT` octets are looked at, `DEPTH_LIMIT` levels and `PART_LIMIT` parts. The
parser of `email` is not used: with parts nested by the thousand it takes time that grows with the square of the size,
and it ends in RecursionError.
"""

import binascii
import quopri
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from typing import Final

from worker.feedback.charsets import decoded, without_tags
from worker.feedback.headers import Headers, split_head

READ_LIMIT: Final = 1024 * 1024
"""Octets of a message that are read. A report comes first, and the mail that it returns last."""
DEPTH_LIMIT: Final = 6
PART_LIMIT: Final = 60
TEXT_LIMIT: Final = 64 * 1024
"""Octets of a part's text that are decoded."""
_ENCODED_LIMIT: Final = 256 * 1024
"""Octets of a part whose transfer encoding is undone."""

_GUESSED: Final = re.compile(rb"^--(\S[^\n]{0,90}?)[ \t]*\n(?=Content-)", re.MULTILINE | re.IGNORECASE)
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=]*")


@dataclass(frozen=True)
class Part:
    """A leaf: its fields, and its octets as they stand in the message."""

    headers: Headers
    body: bytes = field(repr=False)

    @cached_property
    def kind(self) -> str:
        """The media type, in lower case."""
        return self.headers.content_type

    @cached_property
    def octets(self) -> bytes:
        """The octets with their transfer encoding undone (RFC 2045 section 6). One that lies is left as it is."""
        encoding = self.headers.get("content-transfer-encoding").lower()
        if "base64" in encoding:
            return with_line_feeds(_from_base64(self.body[:_ENCODED_LIMIT]))
        if "quoted-printable" in encoding:
            return with_line_feeds(quopri.decodestring(self.body[:_ENCODED_LIMIT]))
        return self.body

    @cached_property
    def text(self) -> str:
        """The first `TEXT_LIMIT` octets as text."""
        text = decoded(self.octets[:TEXT_LIMIT], self.headers.parameter("charset"))
        return without_tags(text) if self.kind == "text/html" else text


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its own fields, its leaves in their order, and what is wrong with its form, if something is."""

    headers: Headers
    leaves: Sequence[Part]
    trouble: str | None = None


def with_line_feeds(octets: bytes) -> bytes:
    """Returns the octets with LF at the end of each line, without NUL."""
    return octets.replace(b"\0", b"").replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def parse(message: bytes) -> Message:
    """Returns what is found in the first `READ_LIMIT` octets. Never raises."""
    headers, body = split_head(with_line_feeds(message[:READ_LIMIT]))
    walk = _Walk()
    leaves = list(walk.leaves(Part(headers, body), DEPTH_LIMIT))
    if len(message) > READ_LIMIT:
        walk.trouble = f"is over {READ_LIMIT // 1024} KiB, of which the first were read"
    return Message(headers, leaves, walk.trouble)


class _Walk:
    """Walks the tree, and counts its parts."""

    def __init__(self) -> None:
        self.trouble: str | None = None
        self._parts = 0

    def leaves(self, part: Part, levels: int) -> Iterator[Part]:
        if not part.kind.startswith("multipart/"):
            yield part
            return
        if not levels:
            self.trouble = f"has parts over {DEPTH_LIMIT} levels deep"
            return
        pieces = self._pieces(part)
        if pieces is None:
            self.trouble = self.trouble or "has no boundary between its parts"
            yield Part(Headers([("content-type", "text/plain")]), part.body)
            return
        for piece in pieces:
            yield from self.leaves(Part(*split_head(piece)), levels - 1)

    def _pieces(self, part: Part) -> list[bytes] | None:
        """Returns what stands between the boundaries; None if there are none."""
        boundary = part.headers.parameter("boundary").encode("utf-8", "replace").rstrip()
        return (self._split(part.body, boundary) if boundary else None) or self._split_as_guessed(part.body)

    def _split_as_guessed(self, body: bytes) -> list[bytes] | None:
        guessed = _GUESSED.search(body)
        if guessed is None:
            return None
        self.trouble = self.trouble or "has another boundary than it says"
        return self._split(body, guessed[1])

    def _split(self, body: bytes, boundary: bytes) -> list[bytes] | None:
        delimiter = re.compile(rb"^--" + re.escape(boundary) + rb"(--)?[ \t]*(?:\n|\Z)", re.MULTILINE)
        begin: int | None = None
        pieces: list[bytes] = []
        for match in delimiter.finditer(body):
            if begin is not None:
                pieces.append(body[begin : match.start()])
            if self._parts >= PART_LIMIT:
                self.trouble = f"has over {PART_LIMIT} parts"
                return pieces
            self._parts += 1
            begin = match.end()
            if match[1]:
                break
        else:
            if begin is not None:
                pieces.append(body[begin:])  # there is no last boundary
        return pieces or None


def _from_base64(body: bytes) -> bytes:
    """Returns the octets. Lines that follow (a mailing list's) are left out; a text that is no base64 stays."""
    lines = (line.strip() for line in body.split(b"\n"))
    digits = b"".join(takewhile(_BASE64.fullmatch, lines)).replace(b"=", b"")
    digits = digits[: len(digits) - (len(digits) % 4 == 1)]
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4)) or body
