"""Lines of CSV files (RFC 4180) that are safe to open in a spreadsheet. Pure."""

import csv
import io
from collections.abc import Iterable
from typing import Final

# What a spreadsheet would take for a formula (OWASP, "CSV Injection").
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def csv_line(cells: Iterable[object]) -> str:
    """Returns a line of CSV, in which no cell is a formula for a spreadsheet."""
    line = io.StringIO()
    csv.writer(line).writerow([_cell(cell) for cell in cells])
    return line.getvalue()


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) and not isinstance(value, int) else text
