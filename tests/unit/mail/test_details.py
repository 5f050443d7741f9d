"""What people read: no entities, no keys of machines, no half emoji, and nothing that turns round other text."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.mail.details import cut, isolated, language_direction, line, shown_name, shown_options, spanned

FAMILY = "👨‍👩‍👧‍👦"
GUID = "123e4567-e89b-12d3-a456-426614174000"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Salt &amp; Pepper &#8211; Set", "Salt & Pepper – Set"),
        ("Caf&eacute;&nbsp;&#xE9;", "Café é"),
        ("&amp;amp;", "&amp;"),
        ("AT&T, B&notebook, A&copying; &unknown;", "AT&T, B&notebook, A&copying; &unknown;"),
        ("Mug <b>new</b>", "Mug <b>new</b>"),
        ("&lt;b&gt;", "<b>"),
        ("Blue\r\n\tmug", "Blue mug"),
        ("Blue&#10;Bcc: x", "Blue Bcc: x"),
        ("a\x00b\x85c\u2028d\ud800e", "a b c d e"),
        ("Mug \u202egpj.exe", "Mug gpj.exe"),
        ("Mug &#x202E;gpj.exe", "Mug gpj.exe"),
        ("\u202a\u202b\u202c\u202d\u2066\u2067\u2068\u2069\ufeffMug", "Mug"),
        (FAMILY, FAMILY),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("=?utf-8?b?SGVsbG8=?=", "=?utf-8?b?SGVsbG8=?="),
        ("100 %", "100 %"),
    ],
)
def test_a_text_is_one_line_as_people_read_it(text: str, read: str) -> None:
    assert line(text) == read


@pytest.mark.parametrize(
    "text", [None, "", "   ", "&nbsp;", "\u00a0\u3000", "\u200b\u00ad", "\x00", "\u3164", "\u202e", "&#8203;", "\u034f"]
)
def test_a_text_in_which_nothing_can_be_seen_is_none(text: str | None) -> None:
    assert line(text) is None
    assert shown_name(text, "ltr") is None


@given(st.text())
def test_no_text_keeps_what_breaks_lines_or_turns_text_round(text: str) -> None:
    read = line(text) or ""
    assert not set(read) & set("\r\n\t\x85\u2028\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert read == " ".join(read.split())
    read.encode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("variantId", "blue"), ("variant_id", "7"), ("VARIANT_ID", "7"), ("variantid", "7"), ("Product ID", "7"),
        ("subscriptionOptionId", "x"), ("priceVariantId", "x"), ("product-id", "7"), ("optionIds", "7"),
        ("id_product_attribute", "7"), ("93", "52"), ("super_attribute[93]", "52"), ("_sku", "MUG"), ("guid", "x"),
        ("id", "7"), ("uid", "x"), ("SKU", "MUG-1"), ("Colour", "NULL"), ("Colour", "undefined"), ("Colour", "\\N"),
        ("attribute_pa_variant_id", "7"), ("attribute_pa_93", "7"),
        ("Colour", GUID), ("Colour", f"{{{GUID.upper()}}}"), ("Colour", GUID.replace("-", "")),
        ("Variant", "gid://shopify/ProductVariant/1"), ("Variant", "Z2lkOi8vc2hvcGlmeS9Qcm9kdWN0VmFyaWFudC8x"),
        ("Variant", "39482384923849"), ("Variant", "507f1f77bcf86cd799439011"), ("Variant", "[object Object]"),
        ("Title", "Default Title"), ("title", "default title"),
        ("Colour", " "), ("Colour", "&nbsp;"), (" ", "Blue"), ("\u200b", "Blue"),
    ],
)  # fmt: skip
def test_an_option_for_machines_is_not_shown(name: str, value: str) -> None:
    assert shown_options({name: value, "Size": "L"}, "ltr") == {"Size": "L"}


@pytest.mark.parametrize(
    ("name", "value", "label", "shown"),
    [
        ("attribute_pa_color", "dark-blue", "color", "dark-blue"),
        ("attribute_shoe-size", "38", "shoe size", "38"),
        ("pa_frame_color", "Blue", "frame color", "Blue"),
        ("attribute_pa_%c3%a9tui", "bl%c3%a9", "étui", "blé"),
        ("Farbe &amp; Form", "Rot &ndash; rund", "Farbe & Form", "Rot – rund"),
        ("Title", "Book", "Title", "Book"),
        ("Lid", "Black", "Lid", "Black"),
        ("Grid", "3x3", "Grid", "3x3"),
        ("ID", "20 mm", "ID", "20 mm"),
        ("Idea", "One", "Idea", "One"),
        ("Alcohol", "40%", "Alcohol", "40%"),
        ("Alcohol", "%c3", "Alcohol", "%c3"),
        ("Word", "effaced-decade", "Word", "effaced-decade"),
        ("Length", "100000000", "Length", "100000000"),
        ("Farbe", "Him\u00admel", "Farbe", "Himmel"),
    ],
)
def test_an_option_for_people_is_readable(name: str, value: str, label: str, shown: str) -> None:
    assert shown_options({name: value}, "ltr") == {label: shown}


def test_of_two_options_with_one_label_the_first_is_shown() -> None:
    assert shown_options({"attribute_color": "Blue", "attribute_pa_color": "blue"}, "ltr") == {"color": "Blue"}


@pytest.mark.parametrize(
    ("text", "mail", "is_isolated"),
    [
        ("Blue mug", "ltr", False),
        ("Blaue Tasse ä 日本", "ltr", False),
        ("38", "rtl", False),
        ("חולצה", "ltr", True),
        ("قميص", "ltr", True),
        ("Mug חולצה", "ltr", True),
        ("חולצה", "rtl", False),
        ("Blue mug", "rtl", True),
        ("…", "rtl", False),
    ],
)
def test_a_text_of_another_direction_is_isolated(text: str, mail: Literal["ltr", "rtl"], is_isolated: bool) -> None:
    assert isolated(text, mail) == (f"\u2068{text}\u2069" if is_isolated else text)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Mug", "Mug"),
        ("\u2068חולצה (M)\u2069", '<span dir="rtl">חולצה (M)</span>'),
        ("\u2068(Mug) חולצה\u2069", '<span dir="ltr">(Mug) חולצה</span>'),
        ("\u2068<א&\u2069", '<span dir="rtl">&lt;א&amp;</span>'),
    ],
)
def test_html_says_the_direction_by_an_element(text: str, html: str) -> None:
    assert spanned(text) == html


@pytest.mark.parametrize(
    ("locale", "direction"),
    [("en", "ltr"), ("he", "rtl"), ("he-IL", "rtl"), ("ar_EG", "rtl"), ("FA", "rtl"), ("hex", "ltr"), ("", "ltr")],
)
def test_a_language_has_a_direction(locale: str, direction: str) -> None:
    assert language_direction(locale) == direction


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("x" * 75, "x" * 75),
        ("x" * 76, "x" * 69 + "…"),
        ("x" * 68 + FAMILY * 3, "x" * 68 + "…"),
        ("x" * 68 + "e\u0301" * 9, "x" * 68 + "…"),
        ("x" * 68 + "🇩🇪" * 9, "x" * 68 + "…"),
        ("e" + "\u0301" * 99, "e" + "\u0301" * 68 + "…"),
        ("\u2068" + "א" * 99 + "\u2069", "\u2068" + "א" * 69 + "…\u2069"),
    ],
)
def test_a_cut_is_between_graphemes(text: str, short: str) -> None:
    assert cut(text, 70, True, "…") == short


def test_a_cut_between_words_is_as_in_jinja() -> None:
    assert cut("Blue mug of glass", 12, False, "…", 0) == "Blue mug…"
    assert cut("Blue mug") == "Blue mug"
    assert cut("x" * 300, 0, True, "…") == "…"
