"""Reads the rows of a CSV file as spreadsheets, databases and shops write them."""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

from worker.domain.errors import BadFile
from worker.services.import_columns import COLUMNS, OPTION, REQUIRED, Naming, columns_of
from worker.services.import_text import MAX_LINE_BYTES, BadLine, Line, Text

Row = tuple[int, Mapping[str, object] | BadLine]
"""The number of a row's first line, and the row's fields by our names, or the reason why it can't be read."""

_DELIMITERS: Final = ",;\t|"
_ADDRESS: Final = re.compile(r'[^@\s",;|]+@[^@\s",;|]+')
_SEP_LINE: Final = re.compile(rb'"?sep=([,;\t|:^~])"?[,;\t| ]*', re.IGNORECASE)
BLANKS: Final = " \t\r\n"
"""What is cut off at both ends of a value. Other blanks (as those of web pages) are damage."""
_BLANK_ROW: Final = b' \t\r\n,;|"'
_JSON_ESCAPE: Final = re.compile(r"(?<!\\)\\u(?=[0-9A-Fa-f]{4})")
_OPEN_QUOTE: Final = "has a quote that is not closed, or not doubled"


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file as understood, with its rows not read yet."""

    delimiter: str
    header: Sequence[str]
    """the columns' own names; without a header their numbers"""
    columns: Sequence[str]
    """our names of the columns"""
    rows: Iterator[Row]


def read_table(text: Text, ours_of: Naming, *, is_headless: bool = False) -> Table:
    """Opens a CSV file. If it has no header, the names of its columns are their numbers.

    Raises BadFile if the header is missing or wrong.
    """
    lines = text.lines()
    number, first = line = _first_row(lines)
    said = None
    if stated := _SEP_LINE.fullmatch(first.rstrip(b"\r\n")):
        said = stated[1].decode()
        number, first = line = next(lines, (number + 1, b""))
    try:
        sample = text.decoder.text(line)
        is_known = _ADDRESS.fullmatch if is_headless else ours_of
        likeness = partial(_likeness, sample, is_known=is_known)
        delimiter = said or max(_DELIMITERS, key=likeness)
        reader = _Reader(text, lines, delimiter)
        header = reader.cells(line)
    except BadLine as bad:
        raise BadFile(f"line {number} {bad}") from None
    if is_headless:
        reader.put_back(line, *reader.joined)
        header = [str(place) for place in range(1, len(header) + 1)]
    elif not first.strip(_BLANK_ROW) or (number > 1 and not said and not likeness(delimiter)[0]):
        raise BadFile(f"line 1 must be a header with columns of {', '.join(COLUMNS)}")
    columns = columns_of(header, ours_of, number)
    reader.expect(columns)
    return Table(delimiter, header, columns, reader.rows())


def _first_row(lines: Iterator[Line]) -> Line:
    """Returns the first line that is not blank."""
    return next((line for line in lines if line[1].strip(_BLANK_ROW)), (1, b""))


def _likeness(line: str, delimiter: str, is_known: Callable[[str], object]) -> tuple[int, int]:
    """Says how much a line looks like one with this delimiter: by what is known of its cells, then by their number."""
    cells = [cell.strip(f'{BLANKS}"') for cell in line.split(delimiter)]
    return sum(cell != "" and is_known(cell) is not None for cell in cells), len(cells)


def _dialect(delimiter: str, escape: str | None = None) -> type[csv.Dialect]:
    made = csv.reader((), delimiter=delimiter, escapechar=escape, skipinitialspace=True, strict=True).dialect
    return cast("type[csv.Dialect]", made)  # the reader takes it as it is, which saves half of its time


class _Reader:
    """Reads rows. A quoted cell may go over several lines, but a quote that is left open affects no other line."""

    def __init__(self, text: Text, lines: Iterator[Line], delimiter: str) -> None:
        self._decoder = text.decoder
        self._lines = lines
        self._ahead: deque[Line] = deque()
        self.joined: Sequence[Line] = ()
        """the further lines of the last row that had several"""
        self._tried = 0
        """up to this line rows were put together because of a backslash, in vain: each line is tried once"""
        self._delimiter = delimiter
        self._columns: Sequence[str] = ()
        self._required: Sequence[int] = ()
        self._plain = _dialect(delimiter)
        self._escaped = _dialect(delimiter, escape="\\")
        edge = f'"{re.escape(delimiter)}'
        # The quote may be the second of an empty cell, but not the second of two that stand for one.
        begins = rf'(?<=^")|(?<=[{re.escape(delimiter)} \t]")'
        self._quote_end = re.compile(rf'(?:(?<!")|{begins})"[ \t]+(?=[{re.escape(delimiter)}\r\n]|$)')
        self._null = re.compile(rf"(?<![^{edge}])\\N(?=[{edge}\r\n]|$)")

    def put_back(self, *lines: Line) -> None:
        """Makes these lines the next ones."""
        self._ahead.extendleft(reversed(lines))

    def expect(self, columns: Sequence[str]) -> None:
        """Says what the rows below have."""
        self._columns = columns
        self._required = [columns.index(name) for name in REQUIRED]

    def rows(self) -> Iterator[Row]:
        """Yields the rows that are not blank."""
        columns = self._columns
        width = len(columns)
        options = [(place, name.removeprefix(OPTION)) for place, name in enumerate(columns) if name.startswith(OPTION)]
        ahead, lines = self._ahead, self._lines
        while line := ahead.popleft() if ahead else next(lines, None):
            try:
                cells = self.cells(line)
                if len(cells) != width:
                    cells = self._padded(cells, line)
            except BadLine as bad:
                yield line[0], bad
                continue
            if cells[0] or any(cells):
                fields: dict[str, object] = dict(zip(columns, cells, strict=True))
                if options:
                    fields[OPTION] = tuple([(name, cells[place]) for place, name in options])
                yield line[0], fields

    def cells(self, line: Line) -> list[str]:
        """Returns the cells of the row that begins with this line. Raises BadLine."""
        raw = line[1]
        if len(raw) > MAX_LINE_BYTES and len(raw.rstrip(b"\r\n")) > MAX_LINE_BYTES:
            raise BadLine(f"is over {MAX_LINE_BYTES} bytes")
        text = raw.decode() if raw.isascii() else self._decoder.text(line)
        if '"' not in text and "\\" not in text:
            return [cell.strip(BLANKS) for cell in text.split(self._delimiter)]
        found = self._parsed(text, line[0], self._plain)
        if "\\" in text and (found is None or not self._fits(found, text)):
            # MySQL and phpMyAdmin put a backslash before quotes, separators and line breaks.
            found = self._parsed(text, line[0], self._escaped) or found
        if found is None and (closed := self._quote_end.sub('"', text)) != text:  # as in `"a" ; "b"`
            found = self._parsed(closed, line[0], self._plain)
        if found is None:
            raise BadLine(_OPEN_QUOTE)
        cells = [cell.strip(BLANKS) for cell in found]
        return [_without_formula(cell) for cell in cells] if '="' in text else cells

    def _fits(self, cells: Sequence[str], text: str) -> bool:
        return not text.rstrip("\r\n").endswith("\\") and not any(cells[len(self._columns) :])

    def _parsed(self, text: str, number: int, dialect: type[csv.Dialect]) -> list[str] | None:
        """Parses a row that begins with `text`. Returns None, and reads no further, if a quote is left open."""
        prepared = self._without_nulls if dialect is self._escaped else str
        try:
            return next(csv.reader((prepared(text),), dialect))
        except csv.Error:  # perhaps the row goes on
            if dialect is self._escaped and number <= self._tried:
                return None
        taken: list[Line] = []
        more: list[str] = []
        try:
            cells = next(csv.reader(map(prepared, self._feed(text, taken, more)), dialect))
            if not self._has_swallowed(cells, more):
                self.joined = taken
                return cells
        except csv.Error:
            pass
        self.put_back(*taken)
        if dialect is self._escaped and taken:
            self._tried = taken[-1][0]
        return None

    def _without_nulls(self, text: str) -> str:
        """Returns a line whose backslashes can be taken away: one for NULL and those of JSON are kept."""
        return _JSON_ESCAPE.sub(r"\\\\u", self._null.sub("NULL", text))

    def _feed(self, text: str, taken: list[Line], more: list[str]) -> Iterator[str]:
        yield text
        size = len(text)
        while size <= MAX_LINE_BYTES:
            line = self._ahead.popleft() if self._ahead else next(self._lines, None)
            if line is None:
                return
            taken.append(line)
            size += len(line[1])
            try:
                more.append(self._decoder.text(line))
            except BadLine:
                return
            yield more[-1]

    def _has_swallowed(self, cells: Sequence[str], more: Sequence[str]) -> bool:
        """Whether a row of several lines has taken others into a quoted cell: the quote was left open."""
        required = [cells[place] for place in self._required if place < len(cells)]
        return bool(
            (self._columns and any(cells[len(self._columns) :]))
            or any("\n" in cell and self._delimiter in cell for cell in required)
            or any(self._is_row(line) for line in more[:-1])
        )

    def _is_row(self, text: str) -> bool:
        cells = text.split(self._delimiter)
        return len(cells) == len(self._columns) and "@" in cells[self._required[0]]

    def _padded(self, cells: list[str], line: Line) -> list[str]:
        """Returns the cells as many as the header has. Raises BadLine if there are more, or the row may be cut off.

        Excel leaves out the separators of empty cells at the end of a row.
        """
        width = len(self._columns)
        is_cut = len(cells) < width and not line[1].endswith(b"\n") and any(cells)
        if is_cut or any(cells[width:]):
            raise BadLine(f"has {len(cells)} columns, but the header has {width}")
        return [*cells[:width], *("" for _ in range(width - len(cells)))]


def _without_formula(cell: str) -> str:
    """Returns the text in `="00123"`, by which spreadsheets keep the zeros of an id."""
    return cell[2:-1] if cell.startswith('="') and cell.endswith('"') and len(cell) > 2 else cell
