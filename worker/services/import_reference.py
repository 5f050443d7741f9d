"""Reads the item ids and options of import files, and refuses those that a program has damaged.

An id that was changed on the way would never match an event: somebody would wait forever. So it is refused, with the
reason, and not taken in silence.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from math import isfinite
from typing import Any, Final
from unicodedata import category

from worker.domain.catalog import MAX_OPTIONS_BYTES, CatalogReference, catalog_reference, given_reference, item_of
from worker.domain.errors import BadEvent
from worker.domain.event_fields import object_of, unreadable
from worker.services.import_columns import OPTION, VARIANT
from worker.services.import_text import BadLine

NULLS: Final = frozenset(
    {
        *("", "NULL", "null", "Null", "\\N", "(null)", "(NULL)", "undefined"),
        *("None", "nan", "NaN", "NaT", "<NA>", "N/A", "n/a"),
    }
)
"""How programs write that there is no value: MySQL, phpMyAdmin, .NET, Python, JavaScript."""
_NO_OPTION: Final = frozenset({"", "NULL", "null", "\\N"})

# `#REF!`, `#¡VALOR!`, `#N/A`, `#I/T` and what else Excel writes by its language; `Err:502` is LibreOffice's.
_SPREADSHEET_ERROR: Final = re.compile(
    r"#(?:NV|YOK|GETTING_DATA|[^\W\d_a-z]/[^\W\d_a-z]!?|[¡¿]?[^\W\d_a-z]+(?:/0)?[!?])|#{3,}|Err:[0-9]{3}"
)
_SUSPECT: Final = re.compile(r"(?:[=#']|Err:).*|[+-]?\d[\d.,]*(?:[eE][+-]?\d+)?", re.DOTALL)
"""A cheap first check: what is ASCII and does not match has none of the damages below."""
_SCIENTIFIC: Final = re.compile(r"[+-]?\d+(?:[.,]\d+[eE][+-]?|[eE][+-])\d+")
_GROUPED: Final = re.compile(r"\d{1,3}(?:,\d{3})+")
_MARKED: Final = re.compile(r"'[\d=+@-].*", re.DOTALL)
_DECIMAL: Final = re.compile(r"\d+[.,]0+")
_ROUNDED: Final = re.compile(r"[1-9]\d{14}0{3,}")
# Format characters, blanks of other widths, fillers, variation selectors, private and unassigned characters.
_INVISIBLE: Final = frozenset({"Cf", "Zs", "Co", "Cn"})
_FILLERS: Final = re.compile("[\u034f\u115f\u1160\u3164\uffa0\ufe00-\ufe0f]")
_EMPTY_LIST: Final = re.compile(r"\[\s*\]")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_UNESCAPED: Final[Mapping[str, str]] = {"n": "\n", "r": "\r", "t": "\t", "u": "\\u"}

_Single = tuple[tuple[str, str], ...]
"""Options that have a column or field of their own."""


def reference_of(fields: Mapping[str, Any]) -> CatalogReference:
    """Returns the item and options of a request. Raises BadLine, BadEvent and BadReference."""
    item_id, app_id, options = fields.get("catalogItemId"), fields.get("appId"), fields.get("options")
    single: _Single = fields.get(OPTION, ())
    if not isinstance(app_id, str | None):
        raise unreadable("appId", "text", app_id)
    if not isinstance(item_id, str) or not isinstance(options, str | None):
        return _reference(item_id, app_id, options, single)
    # Long options are not cached: ten thousand texts of 60 KB would fill the memory.
    size = len(options or "") + (sum(map(len, chain.from_iterable(single))) if single else 0)
    return (_known_reference if size <= MAX_OPTIONS_BYTES else _reference)(item_id, app_id, options, single)


def _id_text(item_id: object) -> str:
    """Returns an id that is no text as text. In JSON whole numbers are ids, too."""
    match item_id:
        case None:
            return ""
        case float() if isfinite(item_id):
            raise BadLine("catalogItemId has a fraction or an exponent; it must be text or a whole number")
        case int() if not isinstance(item_id, bool):
            return str(item_id)
    raise unreadable("catalogItemId", "text or a whole number", item_id)


def _reference(given_id: object, app_id: str | None, options: object, single: _Single) -> CatalogReference:
    item_id = given_id if isinstance(given_id, str) else _id_text(given_id)
    if item_id in NULLS:
        raise BadLine("catalogItemId is missing")
    if app_id and app_id in NULLS:  # empty it would choose the default, which nobody said
        raise BadLine("appId is NULL; it must be the id of the catalog's app, or empty for Wix Stores")
    _check_id("catalogItemId", item_id)
    if app_id:
        _check_id("appId", app_id)
    raw = _merged(_parsed(options), single)
    reference = catalog_reference(item_of(item_id, app_id or None), raw)
    for name, value in reference.spelled:
        _check_damage("options", name)
        (_check_id if name == VARIANT else _check_damage)("options", value)
    given = given_reference(reference, given_id, app_id or None, raw)
    return reference if given is None else replace(reference, given=given)


# Many customers wait for few items.
_known_reference: Final = lru_cache(maxsize=10_000)(_reference)


# --- options ---


def _parsed(raw: object) -> Mapping[str, object] | None:
    """Returns options that are an object or its text, or None if there are none. Raises BadLine and BadEvent."""
    if raw is None or (isinstance(raw, str) and raw in NULLS):
        return None
    if not isinstance(raw, str):
        return object_of("options", raw or None) or {}
    if _EMPTY_LIST.fullmatch(raw):  # PHP writes an empty object as []
        return {}
    readings = [raw]
    if "\\" in raw:  # MySQL has escaped what JSON had escaped already. A value with a backslash is no name of a size.
        unescaped = _ESCAPED.sub(lambda found: _UNESCAPED.get(found[1], found[1]), raw)
        readings = [unescaped, raw] if "\\\\" in raw else [raw, unescaped]
    return _first_readable(readings)


def _first_readable(readings: Sequence[str]) -> Mapping[str, object]:
    problems = []
    for text in readings:
        try:
            return object_of("options", text.encode(errors="replace")) or {}
        except BadEvent as bad:
            problems.append(bad)
    raise problems[-1]


def _merged(options: Mapping[str, object] | None, single: _Single) -> Mapping[str, object] | None:
    """Adds options that have a column of their own. Without any of both there are none."""
    merged = dict(options or {})
    for name, value in single:
        if value in _NO_OPTION or (name == VARIANT and value == "0"):  # what shops write for a product without variants
            continue
        if merged.setdefault(name, value) != value:
            raise BadLine("options name one option twice with different values")
    return merged if merged or options is not None else None


# --- damage ---


def _check_id(field: str, text: str) -> None:
    """Raises BadLine if a program on the way has changed an id."""
    if text.isascii() and not _SUSPECT.fullmatch(text):
        return
    if _SCIENTIFIC.fullmatch(text):
        raise BadLine(f"{field} is in scientific notation: a spreadsheet has rounded it; format the column as text")
    if _DECIMAL.fullmatch(text):
        raise BadLine(f"{field} ends in .0: a program took it for a number; format the column as text")
    if _ROUNDED.fullmatch(text):
        raise BadLine(f"{field} ends in zeros after 15 digits: a spreadsheet has rounded it; format the column as text")
    if _GROUPED.fullmatch(text):
        raise BadLine(
            f"{field} has commas between its digits: a program took it for a number; format the column as text"
        )
    if _MARKED.fullmatch(text):
        raise BadLine(f"{field} begins with the apostrophe by which spreadsheets mark text")
    if text.startswith("="):
        raise BadLine(f"{field} is a formula of a spreadsheet")
    _check_damage(field, text)
    if not text.isascii() and (
        _FILLERS.search(text) or any(category(letter) in _INVISIBLE for letter in text if letter != " ")
    ):
        raise BadLine(f"{field} has an invisible character, like a no-break space or a byte order mark")


def _check_damage(field: str, text: str) -> None:
    """Raises BadLine if a text stands for an error, or was read in the wrong charset."""
    if _SPREADSHEET_ERROR.fullmatch(text):
        raise BadLine(f"{field} is an error of a spreadsheet, like #N/A")
    if text.isascii():
        return
    if "\ufffd" in text:
        raise BadLine(f"{field} has a character that was lost (U+FFFD)")
    if _is_misread(text):
        raise BadLine(f"{field} was UTF-8 and read as Windows-1252 on the way, so that letters became two")


def _is_misread(text: str) -> bool:
    try:
        text.encode("windows-1252").decode()
    except UnicodeError:
        return False
    return True
