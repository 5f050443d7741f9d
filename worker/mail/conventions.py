"""How a locale writes numbers, prices and days, by CLDR (Babel)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final

from babel import Locale, UnknownLocaleError, localedata
from babel.numbers import NumberPattern, get_decimal_symbol, get_group_symbol

_KEPT: Final = 256
_DEFAULT: Final = "en"


@dataclass(frozen=True, slots=True, eq=False)
class Conventions:
    """What mails need of a locale. All that CLDR knows of one would take 1 MB."""

    price: NumberPattern
    number: NumberPattern
    marks: Mapping[int, str]
    """those between digits, for the English ones"""
    symbols: Mapping[str, str]
    """of currencies, by code"""
    day_format: str
    """how a day is put together, by CLDR's letters for its parts"""
    months: Mapping[int, str]
    """their names as they stand in a day"""

    def symbol(self, sign: str) -> str:
        """Returns a currency's sign: `€` for EUR, and what it has no sign for as it came."""
        return self.symbols.get(sign, sign)


def shown_day(day: date, mail: str, region: str | None) -> str:
    """Returns a day for the reader of a mail: "28 November 2026", or "28. November 2026" in German."""
    conventions = nearest(mail, region)
    return conventions.day_format % {
        "d": day.day,
        "dd": f"{day.day:02}",
        "M": day.month,
        "MM": f"{day.month:02}",
        "MMMM": conventions.months[day.month],
        "y": day.year,
    }


def nearest(mail: str, region: str | None) -> Conventions:
    """Returns those of a region, else of the language of a mail, else the English ones."""
    name = f"{language_of(mail)}_{region}" if region else mail
    found = _conventions(name) or _conventions(language_of(mail)) or _conventions(_DEFAULT)
    assert found is not None, "Babel knows English"  # noqa: S101
    return found


@lru_cache(maxsize=_KEPT)
def _conventions(name: str) -> Conventions | None:
    """Returns the conventions of a locale, or None if CLDR knows none."""
    locale = known(name)
    if locale is None:
        return None
    # An apostrophe between digits is a typographic one. Babel would also take two of them for quotes.
    group = get_group_symbol(locale).replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")
    found = Conventions(
        locale.currency_formats["standard"],
        locale.decimal_formats[None],
        {ord(","): group, ord("."): get_decimal_symbol(locale)},
        dict(locale.currency_symbols),
        _day_format(locale.date_formats["long"].format),
        dict(locale.months["format"]["wide"]),
    )
    # Babel never forgets what it has read: ten languages would be 10 MB.
    localedata.clear_caches()
    return found


def _day_format(usual: str) -> str:
    """Returns a locale's format, or ISO's if it has eras or other rare parts, as seven of 1,150 locales do."""
    parts = set(re.findall(r"%\((\w+)\)s", usual))
    return usual if parts <= {"d", "dd", "M", "MM", "MMMM", "y"} else "%(y)s-%(MM)s-%(dd)s"


@lru_cache(maxsize=1)
def english() -> Locale:
    """Returns the locale in which numbers are written before their marks are put in."""
    return Locale(_DEFAULT)


def known(name: str) -> Locale | None:
    """Returns what CLDR knows of a locale, `de` or `de-AT`, or None. It is not kept here: it would keep its data."""
    try:
        return Locale.parse(name.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return None


def language_of(locale: str) -> str:
    """Returns the language of a locale, in lower case: "de" of `de-AT`."""
    return re.split("[-_]", locale, maxsplit=1)[0].lower()
