"""Prices as a customer reads them: by CLDR (Babel), for his country.

Shops send what their database or their page holds. Plain decimal numbers are formatted. Any other price is shown as it
came, since nobody can tell whether `1,234` is a thousand. Pure.
"""

import re
from copy import copy
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Final
from unicodedata import category

from babel.core import get_global
from babel.numbers import NumberPattern, is_currency

from worker.mail.conventions import Conventions, english, known, language_of, nearest
from worker.mail.details import line

_KEPT: Final = 256

# ISO 4217: currencies that do not have two decimals. CLDR's digits are those of cash: it would round 12.50 RSD to 13.
_WHOLE: Final = ("BIF CLP DJF GNF ISK JPY KMF KRW", "PYG RWF UGX UYI VND VUV XAF XOF XPF")
_MILS: Final = "BHD IQD JOD KWD LYD OMR TND"
_DECIMALS: Final = dict.fromkeys(" ".join(_WHOLE).split(), 0) | dict.fromkeys(_MILS.split(), 3) | {"CLF": 4, "UYW": 4}
_WHOLE_SIGNS: Final = frozenset("¥₩₫")  # signs of currencies without decimals (the first also of one that has them)
_NO_CURRENCY: Final = frozenset({"XXX", "XTS", "¤"})

_PLAIN: Final = re.compile(r"\+?(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,2})?")
_LEAST: Final = Decimal("0.000001")
_TOO_LARGE: Final = Decimal(10**15)
_NEGATIVE: Final = re.compile(r"(?:[A-Za-z]{0,3}|[^\w\s]{0,4})\s?[-\N{MINUS SIGN}]\s?[^\w\s]{0,4}\s?\d")
_CODE: Final = re.compile(r"[A-Z]{3}")
_CODE_WORD: Final = re.compile(r"(?<![A-Z])[A-Z]{3}(?![A-Z])")
# A short word after the number is a currency: `kr`, `Kč`, `zł`.
_ENDS_IN_SIGN: Final = re.compile(r".*\d\s*[^\W\d_]{1,3}\.?")
_AMOUNT: Final = re.compile(r"\d[\d,]*(?:\.\d+)?")  # as English writes it
_MARKS: Final = str.maketrans("", "", "\u061c\u200e\u200f")
# CLDR's spacing of currencies: a letter and a digit don't touch.
_TOUCHING: Final = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")

# WooCommerce sends HTML: the old price in `del`, the new one in `ins`, and both again for screen readers.
_NEW_PRICE: Final = re.compile(r"<ins\b[^>]*>(.*?)</ins>", re.IGNORECASE | re.DOTALL)
_OLD_PRICE: Final = re.compile(r"<del\b[^>]*>.*?</del>", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]*>")

_REGION: Final = re.compile(r"([a-z]{2,3})(?:[-_][a-z]{4})?[-_]([a-z]{2}|[0-9]{3})(?![a-z0-9])", re.IGNORECASE)


@lru_cache(maxsize=1024)
def region_of(asked: str, mail: str) -> str | None:
    """Returns the region of the locale `asked`, if its language is that of the locale `mail`, and CLDR knows it there.

    A region is two letters or three digits: "AT", "419". None for the usual region of a language: `de-DE` is `de`.
    """
    found = _REGION.match(asked)
    if found is None or found[1].lower() != language_of(mail):
        return None
    language, region = found[1].lower(), found[2].upper()
    is_usual = get_global("likely_subtags").get(language, "").endswith(f"_{region}")
    return region if not is_usual and known(f"{language}_{region}") else None


@lru_cache(maxsize=_KEPT)
def shown_price(price: str | None, currency: str | None, mail: str, region: str | None) -> str | None:
    """Returns the price for the reader of a mail: `12.5000`, `EUR` is "€12.50", or "12,50 €" in German.

    None: it has no digit, or is zero or negative, so it says nothing. What is not a plain decimal number stays as it
    came, and gets a currency unless it names one. Numbers are rounded to the currency's decimals (ISO 4217), as shops
    do. A price that this would change by over a percent keeps three significant digits.
    """
    text = line(_without_tags(price)) if price else None
    if text is None or _says_nothing(text):
        return None
    return _formatted(text, _sign(line(currency)), nearest(mail, region))


def _without_tags(price: str) -> str:
    if "</" not in price:
        return price
    new = _NEW_PRICE.search(price)
    return _TAG.sub("", new[1] if new else _OLD_PRICE.sub("", price))


def _says_nothing(text: str) -> bool:
    digits = [character for character in text if character.isdecimal()]
    return not any(map(int, digits)) or _NEGATIVE.match(text) is not None


def _sign(currency: str | None) -> str | None:
    """Returns the currency's code, or what the shop calls it."""
    if currency is None or not any(character.isalpha() or category(character) == "Sc" for character in currency):
        return None
    code = currency.upper()
    if code in _NO_CURRENCY:
        return None
    is_code = _CODE.fullmatch(code) and (code == currency or is_currency(code))
    return code if is_code else currency


def _formatted(text: str, sign: str | None, locale: Conventions) -> str:
    number = _number(text)
    if number is None:
        return text if sign is None or _names_currency(text, sign, locale) else _after(text, sign, locale)
    if sign is None:
        return _decimal(number, 2 if "." in text or number % 1 else 0, locale)
    if _CODE.fullmatch(sign) or _is_short_sign(sign):
        return _with_currency(number, sign, locale)
    return _after(_decimal(number, 2, locale), sign, locale)


def _number(text: str) -> Decimal | None:
    plain = text.translate(_MARKS)
    if not _PLAIN.fullmatch(plain):
        return None
    number = Decimal(plain)
    return number if _LEAST <= number < _TOO_LARGE else None


def _names_currency(text: str, sign: str, locale: Conventions) -> bool:
    return (
        any(category(character) == "Sc" for character in text)
        or sign.casefold() in text.casefold()
        or locale.symbol(sign) in text
        or any(map(is_currency, _CODE_WORD.findall(text)))
        or _ENDS_IN_SIGN.fullmatch(text) is not None
    )


def _is_short_sign(sign: str) -> bool:
    """Whether this is `€` or `R$`, which has its place where the locale puts a currency."""
    return len(sign) <= 4 and any(category(character) == "Sc" for character in sign)


def _after(text: str, sign: str, locale: Conventions) -> str:
    return f"{text}\N{NO-BREAK SPACE}{locale.symbol(sign)}"


def _with_currency(number: Decimal, sign: str, locale: Conventions) -> str:
    usual = _DECIMALS.get(sign, 0 if sign in _WHOLE_SIGNS and number % 1 == 0 else 2)
    number, decimals = _rounded(number, usual)
    # Babel would put the sign in, but looks for the currency's full name first, which takes longer than all else.
    shown = _written(number, _pattern(locale, decimals, is_price=True), locale)
    return _TOUCHING.sub("\N{NO-BREAK SPACE}", shown.replace("¤", locale.symbol(sign)))


def _decimal(number: Decimal, usual: int, locale: Conventions) -> str:
    number, decimals = _rounded(number, usual)
    return _written(number, _pattern(locale, decimals, is_price=False), locale)


def _rounded(number: Decimal, usual: int) -> tuple[Decimal, int]:
    """Returns the number as it is shown, and how many decimals: the usual ones if they are exact to a percent."""
    rounded = _quantized(number, usual)
    if abs(rounded - number) * 100 <= number:
        return rounded, usual
    decimals = max(usual, 2 - number.adjusted())
    exact = _quantized(number, decimals).normalize()
    return exact, max(usual, -int(exact.as_tuple().exponent))


def _quantized(number: Decimal, decimals: int) -> Decimal:
    return number.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)


@lru_cache(maxsize=_KEPT)
def _pattern(locale: Conventions, decimals: int, *, is_price: bool) -> NumberPattern:
    pattern: NumberPattern = copy(locale.price if is_price else locale.number)
    pattern.frac_prec = (decimals, decimals)
    return pattern


def _written(number: Decimal, pattern: NumberPattern, locale: Conventions) -> str:
    shown = pattern.apply(number, english())
    return _AMOUNT.sub(lambda amount: amount[0].translate(locale.marks), shown, count=1)
