"""Catalog references and URLs: they arrive in many forms and leave in one."""

import json
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.bounded import bounded
from worker.domain.catalog import (
    WIX_STORES,
    CatalogReference,
    Item,
    canonical_options,
    catalog_reference,
    checked_url,
    compared_options,
    given_reference,
    has_control,
    is_plain,
    is_too_long,
    item_of,
    options_from_text,
    options_text,
    read_options,
)
from worker.domain.errors import BadReference, BadUrl

OTHER_WIX_ID = "1380b703-ce81-ff05-f115-39571d94dfcd"
MUG = item_of("mug-1")
NO_VARIANT = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize("app_id", [None, WIX_STORES, OTHER_WIX_ID, WIX_STORES.upper(), OTHER_WIX_ID.upper()])
def test_both_wix_stores_ids_and_no_id_are_one_catalog(app_id: str | None) -> None:
    assert item_of("mug-1", app_id) == Item(WIX_STORES, "mug-1")


def test_another_app_id_is_a_catalog_of_its_own() -> None:
    assert item_of("mug-1", "Other") == Item("Other", "mug-1")
    assert item_of("mug-1", "Other") != item_of("mug-1", "other")


@pytest.mark.parametrize(("number", "text"), [(4711, "4711"), (4711.0, "4711"), (10**20, f"{10**20}"), (0, "0")])
def test_an_id_may_be_a_whole_number(number: float, text: str) -> None:
    assert item_of(number, number) == Item(text, text)


def test_ids_are_compared_in_the_form_nfc() -> None:
    assert item_of("mu\u0308tze", "mu\u0308tze") == item_of("m\u00fctze", "m\u00fctze")
    assert item_of("e\u0301" * 36).catalog_item_id == "\u00e9" * 36


def test_item_ids_are_case_sensitive_and_count_characters_not_bytes() -> None:
    assert item_of("Mug") != item_of("mug")
    assert item_of("é" * 36).catalog_item_id == "é" * 36


BAD_IDS = ["", "a" * 37, "a\n", "a\0b", "a\x7f", "a\x9f", "a\u2028", "\ud800", 1.5, True, [], {}]


@pytest.mark.parametrize("bad", [*BAD_IDS, b"mug"])
def test_a_bad_item_id_is_refused(bad: object) -> None:
    with pytest.raises(BadReference, match=r"^catalogItemId "):
        item_of(bad)


def test_a_missing_item_id_is_refused() -> None:
    with pytest.raises(BadReference, match="catalogItemId must be text or a whole number"):
        item_of(None)


@pytest.mark.parametrize("bad", BAD_IDS)
def test_a_bad_app_id_is_refused(bad: object) -> None:
    with pytest.raises(BadReference, match=r"^appId "):
        item_of("mug-1", bad)


def test_references_sort_by_item_then_options() -> None:
    mug, tea = item_of("mug"), item_of("tea")
    red = (("Color", "red"),)
    mixed = [CatalogReference(tea), CatalogReference(mug, red), CatalogReference(mug)]
    assert sorted(mixed) == mixed[::-1]


@pytest.mark.parametrize(
    "nothing",
    [
        None,
        {},
        [],
        {"options": {}},
        {"options": []},
        *({"Size": empty} for empty in ("", None, " ", "\u00a0\t", "\u200b")),
    ],
)
def test_nothing_is_no_options(nothing: object) -> None:
    assert canonical_options(nothing) == ()


def test_what_says_nothing_about_stock_is_dropped() -> None:
    raw = {"variantId": NO_VARIANT, "customTextFields": [{"title": "Name"}], "options": {"a": ""}}
    raw["subscriptionOptionId"] = "monthly"
    assert canonical_options(raw) == ()


def test_only_a_variant_id_of_zeros_is_dropped() -> None:
    assert canonical_options({"Size": NO_VARIANT}) == (("size", NO_VARIANT),)


def test_wix_options_are_flattened_one_level() -> None:
    raw = {"variantId": "v1", "options": {"Size": "L", "Color": "red"}}
    assert canonical_options(raw) == (("color", "red"), ("size", "l"), ("variantid", "v1"))


def test_an_option_may_be_called_options() -> None:
    assert canonical_options({"options": "extra"}) == (("options", "extra"),)
    assert canonical_options({"options": {"options": "extra"}}) == (("options", "extra"),)


def test_values_are_compared_as_text() -> None:
    raw = {"n": 7, "f": 38.5, "yes": True, "no": False}
    assert dict(canonical_options(raw)) == {"n": "7", "f": "38.5", "yes": "true", "no": "false"}


ALIKE = [
    *(({"Size": "L"}, other) for other in ({"size": "l"}, {" SIZE ": "L\n"}, {"\u00a0Size": "\u2003L"})),
    *(({"Size": 38}, {"Size": same}) for same in (38.0, "38", "38.0", " 38.00 ")),
    *(({"Size": 38.5}, {"Size": same}) for same in ("38.5", "38.50")),
    *(({"n": 0}, {"n": same}) for same in ("0", "-0", "-0.0", 0.0)),
    *(({"yes": True}, {"yes": same}) for same in ("true", "True", "TRUE")),
    ({"Gr\u00f6\u00dfe": "Gr\u00fcn"}, {"GRO\u0308SSE": "gru\u0308n"}),
    ({"Color": "Dark Blue"}, {"color": "dark\u00a0  blue"}),
    ({"Color": "Blue"}, {"\ufeffColor": "Bl\u00adue\u200b"}),
    ({"variantId": "AB-1"}, {"VariantID": "ab-1", "options": []}),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_options_match_as_people_mean_them(one: dict[str, object], other: dict[str, object]) -> None:
    assert canonical_options(one) == canonical_options(other)


@pytest.mark.parametrize(
    "texts",
    [
        ("38", "038", "+38", "3.8e1", "38,0", "38."),
        ("10000000000000001", "10000000000000000", "10000000000000001.5"),
        ("1", "true", "yes"),
        ("S", "\u1e9e", "ss S"),
        ("red", "re d", "r\u00e9d"),
    ],
)
def test_what_people_tell_apart_stays_apart(texts: tuple[str, ...]) -> None:
    assert len({canonical_options({"Size": text}) for text in texts}) == len(texts)


def test_the_first_spelling_is_kept_for_people() -> None:
    options, spelling = read_options({" Size": "L ", "size": "l", "Colour": "Dark\u00a0 Blue", "Nr": "38.0", "n": 38.0})
    assert options == (("colour", "dark blue"), ("n", "38"), ("nr", "38"), ("size", "l"))
    assert spelling == (("Colour", "Dark Blue"), ("Nr", "38.0"), ("Size", "L"), ("n", "38"))
    assert catalog_reference(MUG, {"Size": "L"}).spelled == (("Size", "L"),)
    assert CatalogReference(MUG, (("size", "l"),)).spelled == (("size", "l"),)


def test_the_spelling_of_a_reference_is_not_compared() -> None:
    assert catalog_reference(MUG, {"Size": "L"}) == catalog_reference(MUG, {"SIZE": "l"})
    assert len({catalog_reference(MUG, {"Size": "L"}), catalog_reference(MUG, {"SIZE": "l"})}) == 1


def given_json(item_id: object, app_id: object, options: object) -> str | None:
    return given_reference(catalog_reference(item_of(item_id, app_id), options), item_id, app_id, options)


@pytest.mark.parametrize(
    ("item_id", "app_id", "options"),
    [
        (4711, WIX_STORES, {"Size": "L"}),
        ("mug-1", OTHER_WIX_ID, None),
        ("mug-1", WIX_STORES, {}),
        ("mug-1", WIX_STORES, {"Size": 38}),
        ("mug-1", WIX_STORES, {"Size": "L "}),
        ("mug-1", WIX_STORES, {"Size": "L", "options": {"Color": ""}}),
        ("mug-1", WIX_STORES, {"variantId": "v1", "customTextFields": {"engraving": "\u00fc\0\ud800"}}),
    ],
)
def test_a_reference_that_is_written_otherwise_is_kept_as_it_was_given(
    item_id: object, app_id: object, options: object
) -> None:
    kept = given_json(item_id, app_id, options)
    assert kept is not None
    assert kept.isascii()
    expected = {"catalogItemId": item_id, "appId": app_id} | ({} if options is None else {"options": options})
    assert json.loads(kept) == expected
    assert kept == json.dumps(expected, separators=(",", ":"))


@pytest.mark.parametrize("options", [None, {"Size": "L"}, {"Size": "L", "Color": "red"}])
@pytest.mark.parametrize("app_id", [None, WIX_STORES])
def test_a_reference_that_is_told_by_its_spelling_is_not_kept_twice(options: object, app_id: object) -> None:
    assert given_json("mug-1", app_id, options) is None


def test_options_that_an_older_version_told_apart_are_compared_as_they_are() -> None:
    assert compared_options('{"Size":"L"}') == (("size", "l"),)
    assert compared_options('{"Size":"L","size":"M"}') == (("Size", "L"), ("size", "M"))
    assert compared_options("{}") == compared_options("{} ") == ()


def test_an_option_named_on_both_levels_must_agree() -> None:
    assert canonical_options({"Size": "L", "options": {"size": "l"}}) == (("size", "l"),)
    with pytest.raises(BadReference, match="twice"):
        canonical_options({"Size": "L", "options": {"Size": "M"}})


@pytest.mark.parametrize(
    "bad",
    [
        "Size=L",
        ["Size"],
        7,
        True,
        {"": "L"},
        {" ": "L"},
        {"Size": "L", "SIZE": "M"},
        {7: "L"},
        {"Size": ["L"]},
        {"Size": {"L": 1}},
        {"options": {"options": {"Size": "L"}}},
        {"Size": float("nan")},
        {"Size": float("inf")},
        {"Size": 10**30},
        {"Size": "a\nb"},
        {"Si\0ze": "L"},
        {"Size": "\udfff"},
        {"Size": "x" * 2049},
        {"Size": "é" * 1025},
        {"x" * 2049: "L"},
        {f"o{n}": "x" for n in range(65)},
    ],
)
def test_bad_options_are_refused(bad: object) -> None:
    with pytest.raises(BadReference, match=r"^options "):
        canonical_options(bad)


def test_options_at_the_limits_pass() -> None:
    assert len(canonical_options({f"o{n}": "x" for n in range(64)})) == 64
    assert canonical_options({"Size": "é" * 990})


def test_options_too_long_for_an_index_entry_are_refused() -> None:
    with pytest.raises(BadReference, match="bytes in all"):
        canonical_options({f"o{number}": "x" * 100 for number in range(20)})


def is_readable(raw: object) -> bool:
    try:
        canonical_options(raw)
    except BadReference:  # a name of blanks, or two names that are compared as one
        return False
    return True


TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=40)
SCALARS = TEXT | st.none() | st.booleans() | st.integers(-(2**63), 2**63)
RAW = st.dictionaries(TEXT, SCALARS, max_size=8).filter(is_readable)


@given(RAW)
def test_canonical_options_are_sorted_and_stay_as_they_are(raw: dict[str, object]) -> None:
    options = canonical_options(raw)
    assert list(options) == sorted(options)
    assert canonical_options(dict(options)) == options
    assert canonical_options({"options": dict(options)}) == options
    assert canonical_options({name.upper(): value for name, value in options if name.isascii()}) == tuple(
        (name, value) for name, value in options if name.isascii()
    )
    assert canonical_options(dict(reversed(list(raw.items())))) == options


@given(RAW)
def test_options_come_back_from_the_database_as_they_went(raw: dict[str, object]) -> None:
    options = canonical_options(raw)
    assert options_from_text(options_text(options)) == options
    assert compared_options(options_text(catalog_reference(MUG, raw).spelled)) == options
    assert json.loads(options_text(options)) == dict(options)


def test_options_are_stored_compactly_and_in_order() -> None:
    assert options_text(()) == "{}"
    assert options_text(canonical_options({"b": "ü", "a": 1})) == '{"a":"1","b":"ü"}'


@given(st.text() | st.text(st.sampled_from("a\n\x85\u2028\ud800\u00a0é"), max_size=600))
def test_a_plain_text_needs_no_closer_look(text: str) -> None:
    if is_plain(text):
        assert not has_control(text)
        assert not is_too_long(text)


GOOD_URLS = {
    "https://shop.example": "https://shop.example",
    "http://localhost:3000/p/1": "http://localhost:3000/p/1",
    "HTTPS://Shop.Example/P/Mug?a=B#C": "https://shop.example/P/Mug?a=B#C",
    "https://my_shop.example./": "https://my_shop.example./",
    "https://shop.example:0443/": "https://shop.example:443/",
    "https://[::1]:8080/x": "https://[::1]:8080/x",
    "https://192.0.2.1/": "https://192.0.2.1/",
    "https://Bücher.example/ö?q=ä": "https://xn--bcher-kva.example/%C3%B6?q=%C3%A4",
    "https://xn--bcher-kva.example/": "https://xn--bcher-kva.example/",
    "https://xn--p1ai/": "https://xn--p1ai/",
    "https://日本語abc.example/": "https://xn--abc-s08fl0dtz6h.example/",
    'https://shop.example/"<>`{}|^': "https://shop.example/%22%3C%3E%60%7B%7D%7C%5E",
    "https://shop.example/a@b:c/d%20e;f=1,2!$&'()*+": "https://shop.example/a@b:c/d%20e;f=1,2!$&'()*+",
    "https://shop.example?q=https://other.example/": "https://shop.example?q=https://other.example/",
}


@pytest.mark.parametrize(("raw", "rebuilt"), GOOD_URLS.items())
def test_a_good_url_is_rebuilt(raw: str, rebuilt: str) -> None:
    assert checked_url(raw) == rebuilt


@pytest.mark.parametrize(
    "attack",
    [
        "javascript:alert(1)",
        "JaVaScRiPt://shop.example/%0aalert(1)",
        "java\nscript:alert(1)",
        "data:text/html,<script>",
        "file:///etc/passwd",
        "ftp://shop.example/",
        "//shop.example/",
        "/p/mug-1",
        "shop.example/p/mug-1",
        "https:shop.example",
        "https:/shop.example",
        "https://",
        "https:///p",
        "https://?q",
        "https://#f",
        " https://shop.example/",
        "https://shop.example/ ",
        "https://shop.example/a b",
        "https://shop.example/\u00a0",
        "https://shop.example/\u3000",
        "https://shop.example\r\nX: y",
        "https://shop.example/\r\nBcc: x",
        "https://shop.example/\t",
        "https://shop.example/\0",
        "https://shop.example/\x85",
        "https://shop.example/\u2028",
        "https://shop.example/\ud800",
        "https://shop.example\\@evil.example/",
        "https:\\\\shop.example/",
        "https://shop.example@evil.example/",
        "https://user:pass@shop.example/",
        "https://@shop.example/",
        "https://shop.example%2f@evil.example/",
        "https://shop.example%00.evil.example/",
        "https://shop..example/",
        "https://.example/",
        "https://-shop.example/",
        "https://shop-.example/",
        "https://" + "a" * 64 + ".example/",
        "https://" + "a." * 130 + "example/",
        "https://shop.example:/",
        "https://shop.example:0/",
        "https://shop.example:65536/",
        "https://shop.example:80:80/",
        "https://shop.example:x/",
        "https://shop.example:٣/",
        "https://[::1/",
        "https://[zz]/",
        "https://[::1]x/",
        "https://shop‥example/",
        "https://shop／evil.example/",  # a slash after normalization
        "https://xn--/",
        "https://xn--a/",
        "https://xn--shop-\n/",
        "https://pаypal.example/",  # a Cyrillic letter
        "https://xn--pypal-4ve.example/",  # the same host in Punycode
        "https://gοοgle.example/",  # Greek letters
        "https://рус中.example/",
        "https://\u200dshop.example/",
        "https://" + "é" * 1000 + "/",
        "https://shop.example/" + "a" * 2048,
        "https://shop.example/" + "é" * 400,
        "",
        None,
        7,
        b"https://shop.example/",
    ],
)
def test_a_url_that_may_not_go_into_a_mail_is_refused(attack: object) -> None:
    with pytest.raises(BadUrl) as refused:
        checked_url(attack)
    assert "example" not in str(refused.value)


SCHEMES_AND_HOSTS = ["https://", "HTTP://", "javascript:", "shop", "xn--", "é", "ж", ":80", "::1"]
URL_PARTS = st.sampled_from([*SCHEMES_AND_HOSTS, "%20"]) | st.sampled_from(".-_/?#@[]\\'\" \n\0")


@given(st.text() | st.lists(URL_PARTS, max_size=12).map("".join))
@example("https://shop.example/")
def test_a_url_that_passes_is_plain_ascii_and_passes_again(raw: str) -> None:
    try:
        url = checked_url(raw)
    except BadUrl:
        return
    assert url.isascii()
    assert url.isprintable()
    assert not set(url) & set(' "<>\\')
    assert url.startswith(("https://", "http://"))
    assert "@" not in url.split("/")[2].split("?")[0].split("#")[0]
    assert checked_url(url) == url


@pytest.mark.parametrize("filler", ["a", "a.", "a-", "-", ".", "xn--", "%", "/", "@", "[", ":", "é"])
def test_a_long_url_is_judged_in_no_time(filler: str) -> None:
    with bounded():
        for length in (250, 2040, 200_000):
            text = (filler * length)[:length]
            for url in (text, f"https://{text}", f"https://{text}.example/"):
                with suppress(BadUrl):
                    checked_url(url)
