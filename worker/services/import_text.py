"""Turns the bytes of an import file into numbered lines, in constant memory, whatever program wrote them.

The charset is found by a rule, not guessed: the byte order mark, or the zeros of UTF-16, or else UTF-8. A library that
guesses is of no use here: a waiting list is nearly all ASCII, and a wrong guess would change ids in silence. Lines that
are not UTF-8 are Windows-1252, which Excel writes, but only while the file has shown no UTF-8.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import BinaryIO, Final

from worker.domain.errors import BadFile

MAX_LINE_BYTES: Final = 64 * 1024

Line = tuple[int, bytes]
"""A line with its line end, in UTF-8 or (see `Decoder`) Windows-1252, and its number in the file. Lines count from 1.
A line that is too long is cut, but is still over MAX_LINE_BYTES."""

_KINDS: Final[Sequence[tuple[bytes, str]]] = (
    (b"PK\x03\x04", "a ZIP file, like those of Excel (.xlsx), LibreOffice (.ods) and Numbers; save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file (.xls); save it as CSV"),
    (b"\x1f\x8b", "compressed (gzip); unpack it first"),
    (b"BZh", "compressed (bzip2); unpack it first"),
    (b"\xfd7zXZ", "compressed (xz); unpack it first"),
    (b"7z\xbc\xaf", "compressed (7-Zip); unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed (zstd); unpack it first"),
    (b"%PDF", "a PDF file"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"{\\rtf", "a text document (RTF)"),
    (b"<", "HTML or XML; some programs name such files .xls; save it as CSV"),
    (b"-- ", "an SQL script; export the table as CSV"),
    (b"/*!", "an SQL script; export the table as CSV"),
    (b"INSERT INTO ", "an SQL script; export the table as CSV"),
)
_MARKS: Final = (
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_ZEROS: Final = ((re.compile(rb"[^\0]\0[^\0]\0"), "UTF-16-LE"), (re.compile(rb"\0[^\0]\0[^\0]"), "UTF-16-BE"))
_UTF8_CHARACTER: Final = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_OLD_MAC: Final = re.compile(rb"[^\r\n]*\r(?![\r\n])")


class BadLine(Exception):
    """The line is not valid. The text gives the reason, and never a value, which may be a customer's address."""


@dataclass(slots=True)
class Decoder:
    """Decodes the lines of one file, and counts those that were not UTF-8."""

    is_utf8: bool
    """the file is known to be UTF-8: other lines are damaged"""
    foreign: int = 0
    first_foreign: int = 0
    last_foreign: int = 0

    def text(self, line: Line) -> str:
        """Returns the line's text. Raises BadLine if it is neither UTF-8 nor, where that may be, Windows-1252."""
        try:
            text = line[1].decode()
        except UnicodeDecodeError:
            return self._foreign(*line)
        if not self.is_utf8 and not text.isascii():
            self.is_utf8 = True
        return text

    def _foreign(self, number: int, line: bytes) -> str:
        if self.is_utf8 or _UTF8_CHARACTER.search(line):
            raise BadLine("is not UTF-8")
        try:
            text = line.decode("windows-1252")
        except UnicodeDecodeError:
            raise BadLine("is not UTF-8, and not Windows-1252 either") from None
        if number > self.last_foreign:  # a line may be read again
            self.foreign += 1
            self.first_foreign = self.first_foreign or number
            self.last_foreign = number
        return text


@dataclass(frozen=True, slots=True)
class Text:
    """The text of a file, not read yet."""

    charset: str
    """as found or said"""
    decoder: Decoder
    start: bytes
    """the first piece"""
    pieces: Iterator[bytes]
    """lines with their ends; a line that is too long comes in several pieces"""

    def lines(self) -> Iterator[Line]:
        """Yields every line."""
        for number, line in enumerate(self.pieces, start=1):
            yield number, line
            rest: bytes | None = line
            while rest and len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
                rest = next(self.pieces, None)


def read_text(file: BinaryIO, charset: str | None = None) -> Text:
    """Opens the text of a file. `charset` is what the user says it is.

    Raises BadFile if the file is known not to be text, or if there is no such charset.
    """
    first, pieces = _peeked(iter(partial(file.readline, MAX_LINE_BYTES + 2), b""))
    for start, kind in _KINDS:
        if first.startswith(start):
            raise BadFile(f"the file is {kind}")
    found = _known(charset) if charset else _found(first)
    # Without a mark nobody said UTF-8: it is only the first thing to try.
    is_sure = charset is not None or found != "UTF-8" or first.startswith(codecs.BOM_UTF8)
    if found != "UTF-8":
        first, pieces = _peeked(_in_utf8(pieces, found))
    if b"\0" in first:
        raise BadFile("the file is no text: it has NUL bytes")
    if first.startswith(codecs.BOM_UTF8):
        next(pieces)
        first = first.removeprefix(codecs.BOM_UTF8)
        pieces = chain([first], pieces)
    if _OLD_MAC.match(first):
        first, pieces = _peeked(_split(piece.replace(b"\r", b"\n") for piece in pieces))
    return Text(found, Decoder(is_sure), first, pieces)


def _peeked(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    first = next(pieces, b"")
    return first, chain([first] if first else [], pieces)


def _found(first: bytes) -> str:
    marked = (charset for mark, charset in _MARKS if first.startswith(mark))
    zeros = (charset for pattern, charset in _ZEROS if pattern.match(first))
    return next(chain(marked, zeros), "UTF-8")


def _known(charset: str) -> str:
    try:
        codec = codecs.lookup(charset)
        is_charset = isinstance(codec.incrementaldecoder().decode(b"", final=True), str)  # "hex" is a codec, too
    except (LookupError, TypeError, ValueError):
        is_charset = False
    if not is_charset:
        raise BadFile("there is no such charset; examples are utf-8, windows-1252, windows-1250 and shift_jis")
    return "UTF-8" if codecs.lookup(charset).name in ("utf-8", "utf-8-sig") else charset


def _in_utf8(pieces: Iterator[bytes], charset: str) -> Iterator[bytes]:
    """Translates pieces to UTF-8. What can't be decoded becomes U+FFFD, which no field takes."""
    decoder = codecs.getincrementaldecoder(charset)("replace")
    texts = (decoder.decode(piece) for piece in pieces)
    rest = (decoder.decode(b"", final=True) for _ in (0,))  # asked for after the last piece
    return _split(text.encode(errors="replace") for text in chain(texts, rest))


def _split(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Cuts pieces anew: at each line end, and where a line is too long."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line + b"\n" for line in whole)
        if len(rest) > MAX_LINE_BYTES:
            yield rest
            rest = b""
    if rest:
        yield rest
