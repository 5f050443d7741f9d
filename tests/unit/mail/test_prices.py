"""Prices: numbers as people of each country write them, and nothing made up from what is no plain number."""

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.mail.conventions import _conventions
from worker.mail.prices import _pattern, region_of, shown_price

NBSP = "\N{NO-BREAK SPACE}"
SALE = (
    '<del aria-hidden="true"><span class="amount"><bdi><span>&euro;</span>20.00</bdi></span></del> '
    '<span class="screen-reader-text">Original price was: &euro;20.00.</span>'
    '<ins aria-hidden="true"><span class="amount"><bdi><span>&euro;</span>15.00</bdi></span></ins>'
    '<span class="screen-reader-text">Current price is: &euro;15.00.</span>'
)


def shown(price: str, currency: str | None = "EUR", locale: str = "en", region: str | None = None) -> str | None:
    text = shown_price(price, currency, locale, region)
    return text.replace(NBSP, "_") if text else None


@pytest.mark.parametrize(
    ("price", "currency", "english", "german"),
    [
        ("12.500000", "EUR", "€12.50", "12,50_€"),  # PrestaShop
        ("12.5000", "usd", "$12.50", "12,50_$"),  # Magento
        ("1299", "GBP", "£1,299.00", "1.299,00_£"),
        ("1234567.50", "EUR", "€1,234,567.50", "1.234.567,50_€"),
        ("1200.00", "JPY", "¥1,200", "1.200_¥"),
        ("12.5", "KWD", "KWD_12.500", "12,500_KWD"),
        ("12.50", "RSD", "RSD_12.50", "12,50_RSD"),  # CLDR rounds to whole dinars
        ("12.50", "CHF", "CHF_12.50", "12,50_CHF"),
        ("12.50", " eur ", "€12.50", "12,50_€"),
        ("12.50", "XYZ", "XYZ_12.50", "12,50_XYZ"),
        ("19.9", "€", "€19.90", "19,90_€"),
        ("19.9", "&euro;", "€19.90", "19,90_€"),
        ("19.9", "R$", "R$19.90", "19,90_R$"),
        ("1200.00", "¥", "¥1,200", "1.200_¥"),
        ("1200.50", "¥", "¥1,200.50", "1.200,50_¥"),
        ("19.9", "kr", "19.90_kr", "19,90_kr"),
        ("19.9", "lei", "19.90_lei", "19,90_lei"),
        ("19.9", "Euro", "19.90_Euro", "19,90_Euro"),
        ("12.50", None, "12.50", "12,50"),
        ("12.5000", "XXX", "12.50", "12,50"),
        ("1200", "978", "1,200", "1.200"),
        ("1200", "¤", "1,200", "1.200"),
        ("12.5e1", "EUR", "€125.00", "125,00_€"),
        ("1E+3", "EUR", "€1,000.00", "1.000,00_€"),
        (".5", "EUR", "€0.50", "0,50_€"),
        ("+12.", "EUR", "€12.00", "12,00_€"),
        ("\u200f12.50\u200f", "EUR", "€12.50", "12,50_€"),
        ("19.989999999999998", "EUR", "€19.99", "19,99_€"),  # a float
        ("12.345", "EUR", "€12.35", "12,35_€"),
        ("1234.50", "JPY", "¥1,235", "1.235_¥"),
        ("0.045", "EUR", "€0.045", "0,045_€"),
        ("0.0456789", "EUR", "€0.0457", "0,0457_€"),
        ("1.5", "JPY", "¥1.5", "1,5_¥"),
        ("<span class=amount>12.50</span>", "EUR", "€12.50", "12,50_€"),
    ],
)
def test_a_number_is_written_as_its_readers_do(price: str, currency: str | None, english: str, german: str) -> None:
    assert shown(price, currency) == english
    assert shown(price, currency, "de") == german


@pytest.mark.parametrize(
    ("price", "currency", "line"),
    [
        ("12,50", "EUR", "12,50_€"),
        ("1,234.50", "EUR", "1,234.50_€"),
        ("1.234,50", "EUR", "1.234,50_€"),
        ("1\u202f234,50", "EUR", "1 234,50_€"),
        ("12,50", None, "12,50"),
        ("from 12", "EUR", "from 12_€"),
        ("10 - 20", "EUR", "10 - 20_€"),
        ("١٢٫٥٠", "EUR", "١٢٫٥٠_€"),
        ("1e99", "EUR", "1e99_€"),
        ("9" * 2000, None, "9" * 2000),
        ("12,50", "Euro", "12,50_Euro"),
    ],
)
def test_what_is_no_plain_number_stays_as_it_came(price: str, currency: str | None, line: str) -> None:
    assert shown(price, currency) == shown(price, currency, "de") == line


@pytest.mark.parametrize(
    "price",
    ["€ 12.50", "12.50 EUR", "12,50 eur", "12.50 CHF each", "$12.50", "USD 12", "12,50 kr", "199 Kč", "12,50 zł."],
)
@pytest.mark.parametrize("currency", ["EUR", "€", None])
def test_a_price_that_names_a_currency_gets_no_second_one(price: str, currency: str | None) -> None:
    assert shown(price, currency) == price


def test_the_price_of_a_sale_is_the_new_one() -> None:
    assert shown(SALE) == "€15.00"
    assert shown("<del>20.00</del> <span>15.00</span>") == "€15.00"


@pytest.mark.parametrize(
    "price",
    [
        "", " ", "0", "0.00", "0,00 €", "0.0000", "€0", "٠", "-5", "-5,00 €", "€-5", "EUR -5", "\N{MINUS SIGN}12.50",
        "- 5", "-€ 5",
        "NaN", "-Infinity", "free", "null", "undefined", "[object Object]", "N/A", "-", "<span></span>", "&nbsp;",
    ],
)  # fmt: skip
@pytest.mark.parametrize("currency", ["EUR", None])
def test_a_price_that_says_nothing_is_none(price: str, currency: str | None) -> None:
    assert shown(price, currency) is None


@pytest.mark.parametrize(
    ("locale", "region", "line"),
    [
        ("de", "AT", "€_1.234.567,50"),
        ("de", "CH", "EUR_1’234’567.50"),
        ("en", "IN", "€12,34,567.50"),
        ("ja", None, "€1,234,567.50"),
        ("de_AT", None, "€_1.234.567,50"),
        ("pt-BR", None, "€_1.234.567,50"),
        ("he", None, "\u200f1,234,567.50_\u200f€"),
        ("xx", None, "€1,234,567.50"),
        ("de-xx-1", None, "1.234.567,50_€"),
        ("", None, "€1,234,567.50"),
    ],
)
def test_each_locale_has_its_own_way(locale: str, region: str | None, line: str) -> None:
    assert shown("1234567.5", "EUR", locale, region) == line


@pytest.mark.parametrize(
    ("asked", "mail", "region"),
    [
        ("en-GB", "en", "GB"),
        ("de_at", "de", "AT"),
        ("de-Latn-CH-1996", "de", "CH"),
        ("es-419", "es", "419"),
        ("de-AT", "de_AT", "AT"),
        ("en-US", "en", None),
        ("de-DE", "de", None),
        ("en", "en", None),
        ("fr-CH", "en", None),
        ("en-XX", "en", None),
        ("en-GBX", "en", None),
        ("../../etc", "en", None),
        ("", "en", None),
    ],
)
def test_a_region_counts_if_its_language_is_the_mails(asked: str, mail: str, region: str | None) -> None:
    assert region_of(asked, mail) == region


anything = st.text(max_size=40) | st.from_regex(r"[-+]?[0-9]{0,18}\.?[0-9]{0,8}(e[+-]?[0-9]{1,3})?", fullmatch=True)


@given(anything, st.none() | anything | st.sampled_from(["EUR", "JPY", "KWD", "'", "¤¤¤"]), st.text(max_size=10))
def test_no_price_is_an_error(price: str, currency: str | None, locale: str) -> None:
    text = shown_price(price, currency, locale, None)
    assert text is None or any(character.isdecimal() for character in text)


def test_ten_locales_take_hardly_more_memory_than_two() -> None:
    """What CLDR knows of one takes 1 MB, and a worker stays below 120 MB."""

    def in_use(*languages: str) -> int:
        for language in languages:
            assert shown_price("1234.5", "EUR", language, None)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    for kept in (shown_price, _conventions, _pattern):
        kept.cache_clear()
    tracemalloc.start()
    try:
        two = in_use("en", "de")
        assert in_use("fr", "es", "it", "nl", "pl", "pt-BR", "ja", "ar") - two < 1_000_000
    finally:
        tracemalloc.stop()
