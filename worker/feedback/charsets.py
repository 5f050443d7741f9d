"""Charsets: octets as text, whatever the message says that they are.

Pure. Mailers label their reports wrongly every day: ISO-2022-JP as US-ASCII, EUC-JP as ISO-2022-JP, Latin-1 as UTF-8.
"""

import html
import re
from collections.abc import Iterator
from typing import Final

# Python knows more codecs than there are charsets: some are no text, some are slow, and one warns.
_CHARSET: Final = re.compile(
    r"(?:x-)?(?:utf|iso|us-ascii|ascii|latin|windows|cp|euc|shift|sjis|gb|big5|koi8|ks_c|mac|tis)"
)
_ESCAPES: Final = (b"\x1b$B", b"\x1b$@", b"\x1b(J", b"\x1b(I")
"""What ISO-2022-JP switches its character sets with (RFC 1468). All its octets are ASCII, so UTF-8 would take them."""
_KOREAN_ESCAPE: Final = b"\x1b$)C"
_JAPANESE: Final = ("iso-2022-jp", "euc-jp", "shift", "sjis", "cp932", "windows-31j", "x-sjis")
_AT_THE_END: Final = 4
"""Octets of one character, at most: a text that was cut may end within its last one."""

_HIDDEN: Final = re.compile(r"(?is)<(style|script|head|title)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)")
_BREAK: Final = re.compile(r"(?i)<(?:br|/?p|/?div|/?tr|/?li|/?h[1-6]|/?table|hr)\b[^<>]*>")
_TAG: Final = re.compile(r"<[^<>]*>")


def decoded(octets: bytes, charset: str = "") -> str:
    """Returns the text. UTF-8 is tried before the charset that is given, and Latin-1 takes what nothing else does."""
    for name in _candidates(octets, charset.strip().lower()):
        if (text := _tried(octets, name)) is not None:
            return text
    return octets.decode("latin-1")


def _candidates(octets: bytes, charset: str) -> Iterator[str]:
    if any(escape in octets for escape in _ESCAPES):
        yield "iso2022_jp_ext"
    if _KOREAN_ESCAPE in octets:
        yield "iso2022_kr"
    yield "utf-8"
    if charset.startswith(_JAPANESE):
        yield from ("euc_jp", "cp932")
    if charset.startswith(("gb", "iso-2022-cn")):
        yield "gb18030"
    if _CHARSET.match(charset):
        yield charset
    yield "cp1252"


def _tried(octets: bytes, name: str) -> str | None:
    try:
        return octets.decode(name)
    except UnicodeDecodeError as error:
        begin = octets[: error.start]
        was_cut = error.start >= len(octets) - _AT_THE_END and not begin.isascii()
        return begin.decode(name, "replace") if was_cut else None
    except (LookupError, UnicodeError):  # there is no such charset, or what follows its mark is of no kind
        return None


def without_tags(page: str) -> str:
    """Returns the text of HTML, roughly: line breaks for blocks, and no tags."""
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", _HIDDEN.sub(" ", page)))).replace("\xa0", " ")
