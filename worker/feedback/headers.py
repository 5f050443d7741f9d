"""Headers: a block of header fields, read with bounds, and the parts of their values (RFC 5322, 2045, 2047, 2231).

Pure. The header classes of `email.policy.default` raise on hostile fields, so these are plain strings.
"""

import re
from collections.abc import Iterator, Sequence
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Final
from urllib.parse import unquote_to_bytes

from worker.feedback.charsets import decoded

HEAD_LIMIT: Final = 128 * 1024
"""Octets of a block of fields that are read."""
FIELD_LIMIT: Final = 1_000
"""Fields of a block that are read."""
_VALUE_LIMIT: Final = 8_000
"""Characters of a value that are kept. RFC 5322 allows 998 in a line."""
_WORDS_LIMIT: Final = 2_000
"""Characters of a value whose encoded words are decoded."""
_PARAMETERS_LIMIT: Final = 1_000
"""Characters of a value in which parameters are looked for."""

_FIELD: Final = re.compile(rb"^([!-9;-~]{1,80})[ \t]*:(.*(?:\n[ \t].*)*)", re.MULTILINE)
_BEGINS: Final = re.compile(rb"[!-9;-~]{1,80}[ \t]*:")
_MBOX_LINE: Final = re.compile(rb"\A\n*>?From [^\n]*\n")
_TYPE: Final = re.compile(r"\s*([\w.+-]{1,80}/[\w.+-]{1,80})")
_PARAMETER: Final = re.compile(r""";\s*([\w-]{1,40})(\*?)(\d{0,3})(\*?)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|"?([^;\s"]*))""")


class Headers:
    """Header fields in their order. Names are found in any case; values are unfolded, and not decoded."""

    def __init__(self, fields: Sequence[tuple[str, str]] = ()) -> None:
        self._fields = fields

    def __bool__(self) -> bool:
        return bool(self._fields)

    def __contains__(self, name: str) -> bool:
        return any(field == name for field, _ in self._fields)

    def items(self) -> Sequence[tuple[str, str]]:
        """Returns all fields: names in lower case, and values."""
        return self._fields

    def get(self, name: str) -> str:
        """Returns the value of the first field with this name (in lower case), or an empty text."""
        return next((value for field, value in self._fields if field == name), "")

    def all(self, *names: str) -> Iterator[str]:
        """Yields the values of all fields with these names (in lower case), in the message's order."""
        return (value for field, value in self._fields if field in names)

    @property
    def content_type(self) -> str:
        """The media type, in lower case. Without one a message is plain text (RFC 2045 section 5.2)."""
        found = _TYPE.match(self.get("content-type"))
        return found[1].lower() if found else "text/plain"

    def parameter(self, name: str, field: str = "content-type") -> str:
        """Returns a parameter of a field, or an empty text. Pieces are joined (RFC 2231 section 3)."""
        pieces = [
            match
            for match in _PARAMETER.finditer(f";{self.get(field)[:_PARAMETERS_LIMIT]}")
            if match[1].lower() == name
        ]
        return "".join(_piece(match) for match in (pieces if pieces and pieces[0][3] else pieces[:1]))

    def words(self, name: str) -> str:
        """Returns the value of the first field with this name, with its encoded words decoded (RFC 2047)."""
        return decode_words(self.get(name))


def _piece(match: re.Match[str]) -> str:
    value = re.sub(r"\\(.)", r"\1", match[5]) if match[5] is not None else match[6]
    is_encoded = match[4] if match[3] else match[2]
    if not is_encoded:
        return value
    charset, _, rest = value.rpartition("'")
    return decoded(unquote_to_bytes(rest), charset.partition("'")[0])


def decode_words(value: str) -> str:
    """Returns a header's text with encoded words decoded. What cannot be decoded is left as it is."""
    if "=?" not in value:
        return value
    value = value[:_WORDS_LIMIT]
    try:
        pieces = decode_header(value)
    except (HeaderParseError, ValueError):
        return value
    return "".join(piece if isinstance(piece, str) else decoded(piece, charset or "") for piece, charset in pieces)


def split_head(message: bytes) -> tuple[Headers, bytes]:
    """Returns the header fields and the body of a message or a part, whose lines end in LF.

    A line of an mbox on top is left out. A text that does not begin with a field has no head.
    """
    if mbox_line := _MBOX_LINE.match(message):
        message = message[mbox_line.end() :]
    if message.startswith(b"\n"):
        return Headers(), message[1:]
    if not _BEGINS.match(message):
        return Headers(), message
    end = message.find(b"\n\n")
    head, body = (message, b"") if end < 0 else (message[:end], message[end + 2 :])
    return parse_head(head), body


def parse_head(head: bytes) -> Headers:
    """Returns the fields of a head. Lines that are no field are left out."""
    found = _FIELD.finditer(head[:HEAD_LIMIT])
    return Headers([_field(match) for match, _ in zip(found, range(FIELD_LIMIT), strict=False)])


def _field(match: re.Match[bytes]) -> tuple[str, str]:
    value = decoded(match[2]).replace("\n", "").strip()
    return match[1].decode("ascii").lower(), value[:_VALUE_LIMIT]
