"""What stock systems write in their own ways: what it is read as, what is left out, and what ends as a dead letter."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker.domain.catalog import WIX_STORES
from worker.domain.errors import BadEvent
from worker.domain.events import Event, decode

ENTRY = "1795424400123-7"
FIELD_CASES = json.loads((Path(__file__).parents[2] / "field" / "events.json").read_text())
MUG: dict[str, Any] = {"catalogItemId": "mug-1", "quantity": 5}


def short(value: object) -> str:
    return ascii(value)[:80]


def from_text(text: str | bytes) -> Event:
    return decode(ENTRY, {b"event": text if isinstance(text, bytes) else text.encode()})


def from_json(event: object) -> Event:
    return from_text(json.dumps(event))


@pytest.mark.parametrize("case", FIELD_CASES, ids=[case["name"] for case in FIELD_CASES])
def test_events_of_the_field_are_read_without_a_flaw(case: dict[str, Any]) -> None:
    for fields in case.get("before", []) + case["entries"]:
        event = decode(ENTRY, {name.encode(): text.encode() for name, text in fields.items()})
        assert event.flaws == ()
        assert event.reference.item.catalog_item_id in ("?", "4711")


# --- stock ---

YES = [True, 1, 1.0, "1", "1.0", "true", "True", "TRUE", " true ", "yes", "Yes", "y", "Y", "t", "on", "ON", "In stock"]
NO = [False, 0, 0.0, "0", "0.0", "false", "False", "FALSE", "no", "No", "n", "N", "off", "Off", "f", "OutOfStock"]
NO_ANSWER = [2, -1, "-1", "- 1", 0.5, float("nan"), "maybe", "preorder", "2", "١٢", [], [1], {}, {"value": True}]


@pytest.mark.parametrize(("written", "read"), [(yes, True) for yes in YES] + [(no, False) for no in NO], ids=short)
def test_in_stock_is_read_as_it_is_written(written: object, read: bool) -> None:
    event = from_json({"catalogItemId": "mug-1", "inStock": written})
    assert (event.in_stock, event.flaws) == (read, ())
    if isinstance(written, str):
        assert decode(ENTRY, {b"catalogItemId": b"mug-1", b"inStock": written.encode()}).in_stock is read


@pytest.mark.parametrize("bad", NO_ANSWER, ids=short)
def test_an_in_stock_that_cannot_be_read_leaves_it_to_the_quantity(bad: object) -> None:
    for quantity in (0, 5):
        event = from_json({"catalogItemId": "mug-1", "inStock": bad, "quantity": quantity})
        assert event.is_in_stock(1) is bool(quantity)
        [flaw] = event.flaws
        assert flaw.startswith("inStock must be true, false, 1, 0, yes, no, on or off, not ")
    with pytest.raises(BadEvent, match=r"^inStock must be true"):
        from_json({"catalogItemId": "mug-1", "inStock": bad})


QUANTITIES = [
    *((5, 5), (5.0, 5), (5.9, 5), (-3, 0), (-0.5, 0), (0.99, 0), (1e3, 1000)),
    *((10**30, 2**63 - 1), (1e30, 2**63 - 1), (-(10**30), 0), ("1e30", 2**63 - 1), ("9" * 64, 2**63 - 1)),
    *(("5", 5), ("007", 7), ("5.0", 5), ("0.0000", 0), ("12.9999", 12), (".5", 0), ("5.", 5), ("1e3", 1000)),
    *(("-3", 0), ("-0.5", 0), ("\N{MINUS SIGN}3", 0), ("+5", 5), (" 5 ", 5), ("5\n", 5), ("５", 5), ("١٢", 12)),
    *(("5,0", 5), ("0,00", 0), ("1.000", 1), ("5,000", 5), ("1e-400", 0)),
    *(("1,234.50", 1234), ("1.234,5", 1234), ("1,234,567", 1234567), ("-1,234.50", 0), ("12,345.", 12345)),
    *(("1 234", 1234), ("1\u202f234,00", 1234), ("1'234", 1234), ("1\u2019234\u2019567.5", 1234567)),
]
NO_QUANTITIES = [
    *(True, False, [], [5], {}, {"value": 5}, float("nan"), float("inf"), -float("inf"), 10**4000),
    *(
        "5 pcs",
        "five",
        "0x5",
        "1_000",
        "1,23.50",
        "1,234,5",
        "1.234 567",
        "12 34",
        "--5",
        "+",
        ".",
        "Infinity",
        "9" * 5000,
        ">10",
    ),
]


@pytest.mark.parametrize(("written", "quantity"), QUANTITIES, ids=short)
def test_a_quantity_is_rounded_down_and_not_below_zero(written: object, quantity: int) -> None:
    event = from_json({"catalogItemId": "mug-1", "quantity": written})
    assert (event.quantity, event.flaws) == (quantity, ())
    if isinstance(written, str):
        assert decode(ENTRY, {b"catalogItemId": b"mug-1", b"quantity": written.encode()}).quantity == quantity


@pytest.mark.parametrize("bad", NO_QUANTITIES, ids=short)
def test_a_quantity_that_cannot_be_read_leaves_it_to_in_stock(bad: object) -> None:
    for in_stock in (True, False):
        event = from_json({"catalogItemId": "mug-1", "quantity": bad, "inStock": in_stock})
        assert (event.is_in_stock(1), event.quantity) == (in_stock, None)
        [flaw] = event.flaws
        assert flaw.startswith("quantity must be a number, or a number as text, not ")
    with pytest.raises(BadEvent, match=r"^quantity must be a number"):
        from_json({"catalogItemId": "mug-1", "quantity": bad})


def test_both_reasons_are_given_if_neither_can_be_read() -> None:
    with pytest.raises(BadEvent) as refused:
        from_json({"catalogItemId": "mug-1", "quantity": True, "inStock": "maybe"})
    assert str(refused.value) == (
        "inStock must be true, false, 1, 0, yes, no, on or off, not other text; "
        "quantity must be a number, or a number as text, not a boolean"
    )


def test_an_empty_flat_in_stock_is_phps_false_unless_there_is_a_quantity() -> None:
    php = {b"catalogItemId": b"mug-1", b"inStock": b""}
    event = decode(ENTRY, php)
    assert (event.in_stock, event.quantity, event.flaws) == (False, None, ())
    assert decode(ENTRY, php | {b"quantity": b"5"}).is_in_stock(1)
    with pytest.raises(BadEvent, match=r"^quantity must be"):
        decode(ENTRY, php | {b"quantity": b"many"})
    with pytest.raises(BadEvent, match=r"^neither"):
        from_json({"catalogItemId": "mug-1", "inStock": ""})


@pytest.mark.parametrize("fact", [{"quantity": 0}, {"quantity": "0.0000"}, {"inStock": "False"}, {"inStock": 0}])
def test_sold_out_is_heard_whatever_is_wrong_beside_it(fact: dict[str, object]) -> None:
    beside = {"id": {}, "occurredAt": "yesterday", "itemUrl": 7, "item": {"name": [], "price": {}, "image": 7}}
    event = from_json({"catalogItemId": "mug-1"} | beside | fact)
    assert not event.is_in_stock(1)
    assert event.details == {}
    assert [flaw.split()[0] for flaw in event.flaws] == [
        *("occurredAt", "id", "itemUrl", "item.name", "item.price", "item.image")
    ]


# --- the item ---


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (4711, "4711"),
        (4711.0, "4711"),
        (2**53, str(2**53)),
        ("4711", "4711"),
        ("007", "007"),
        (" mug-1\n", "mug-1"),
        (0, "0"),
    ],
    ids=short,
)
def test_ids_are_text_or_whole_numbers(written: object, read: str) -> None:
    for reference in ({"catalogItemId": written}, {"catalogReference": {"catalogItemId": written}}):
        event = from_json(reference | {"quantity": 5, "id": written, "appId": written})
        item = event.reference.item
        assert (item.catalog_item_id, item.app_id, event.event_id, event.flaws) == (read, read, read, ())


def test_a_flat_id_that_was_a_float_is_a_whole_number() -> None:
    for written, read in (
        (b"4711.0", "4711"),
        (b"1.10", "1.10"),
        (b"v1.0", "v1.0"),
        (b".0", ".0"),
    ):
        event = decode(ENTRY, {b"catalogItemId": written, b"quantity": b"5"})
        assert event.reference.item.catalog_item_id == read
    assert from_json(MUG | {"catalogItemId": "4711.0"}).reference.item.catalog_item_id == "4711.0"


def test_the_same_id_may_be_text_and_number() -> None:
    both = {"catalogItemId": "4711", "catalogReference": {"catalogItemId": 4711}, "quantity": 5}
    assert from_json(both).reference.item.catalog_item_id == "4711"


@pytest.mark.parametrize("bad", [True, {}, [], ["evt-1"], 1.5, "a\0b", "x" * 2049], ids=short)
def test_a_bad_event_id_is_left_out(bad: object) -> None:
    event = from_json(MUG | {"id": bad})
    assert event.event_id is None
    [flaw] = event.flaws
    assert flaw.startswith("id ")


@pytest.mark.parametrize("name", ["catalogReference", "options", "item"])
@pytest.mark.parametrize("empty", [[], {}, None, "[]", "{}", "null"], ids=short)
def test_an_empty_object_may_be_written_as_php_writes_it(name: str, empty: object) -> None:
    assert from_json(MUG | {name: empty}) == from_json(MUG)


def test_an_object_may_be_json_text() -> None:
    reference = {"catalogItemId": "mug-1", "options": json.dumps({"Size": "L"})}
    event = from_json({"catalogReference": json.dumps(reference), "quantity": 5, "item": json.dumps({"name": "Mug"})})
    assert event.reference.spelled == (("Size", "L"),)
    assert event.details == {"name": "Mug"}


@pytest.mark.parametrize("quantity", [0, 5])
@pytest.mark.parametrize(
    "bad",
    [
        {"options": "L"},
        {"options": ["L"]},
        {"options": 7},
        {"options": [{"name": "Size", "value": "L"}, "M"]},
        {"appId": True},
        {"appId": ["a"]},
        {"catalogReference": [1]},
    ],
    ids=short,
)
def test_an_event_about_an_unknown_variant_is_no_event_about_the_item(bad: dict[str, object], quantity: int) -> None:
    with pytest.raises(BadEvent, match=f"^{next(iter(bad))} (must be|is not JSON)"):
        from_json(MUG | {"quantity": quantity} | bad)


@pytest.mark.parametrize(
    "written",
    [
        [{"name": "Size", "value": "L"}, {"name": "Color", "value": "Blue"}],
        [{"option": "Size", "choice": "L"}, {"option": "Color", "choice": "Blue"}],
        [{"id": 1, "name": "Size", "option": "L"}, {"id": 2, "name": "Color", "option": "Blue"}],
        [
            {"label": "Size", "value": "L", "option_id": 7},
            {"label": "Color", "value": "Blue"},
            {"label": "x", "value": None},
        ],
        {"options": [{"option": "Size", "selection": "L"}, {"option": "Color", "selection": "Blue"}]},
        {"options": json.dumps({"Size": "L", "Color": "Blue"})},
        {"Size": "L", "Color": "Blue", "": ""},
    ],
    ids=short,
)
def test_options_may_be_a_list_of_names_and_values_or_text_once_more(written: object) -> None:
    plain = from_json(MUG | {"options": {"Size": "L", "Color": "Blue"}})
    for options in (written, json.dumps(written)):
        assert from_json(MUG | {"options": options}) == plain
        assert from_json({"quantity": 5, "catalogReference": {"catalogItemId": "mug-1", "options": options}}) == plain
    flat = {b"catalogItemId": b"mug-1", b"quantity": b"5", b"options": json.dumps(written).encode()}
    assert decode(ENTRY, flat) == plain


@pytest.mark.parametrize("bad", [{"name": "Size"}, {"value": "L"}, {"option": "L"}, {}], ids=short)
def test_a_list_of_options_without_a_name_or_a_value_is_refused(bad: object) -> None:
    with pytest.raises(BadEvent, match=r"^options has an entry without a name or a value$"):
        from_json(MUG | {"options": [bad]})


@pytest.mark.parametrize(
    "beside",
    [
        {"options": {"Wrap": {"id": 1}}},
        {"modifiers": [{"id": 1}]},
        {"choices": {"Wrap": ["yes"]}},
        {"options": [{"name": "Wrap", "value": ["yes"]}]},
    ],
    ids=short,
)
def test_what_cannot_be_read_beside_a_variant_id_only_describes(beside: dict[str, object]) -> None:
    for options in ({"variantId": "v1"} | beside, beside | {"variantId": "v1"}):
        assert from_json(MUG | {"options": options}).reference.options == (("variantid", "v1"),)
    with pytest.raises(BadEvent, match=r"^options has a value that is not text"):
        from_json(MUG | {"options": beside | {"variantId": "00000000-0000-0000-0000-000000000000"}})


@pytest.mark.parametrize(
    ("above", "below"),
    [
        ({"options": {"Size": 38.0}}, {"options": {"size": "38 "}}),
        ({"options": {}}, {"options": {"size": "38"}}),
        ({"options": {"Size": "38"}}, {"options": {}}),
        ({"appId": "1380b703-ce81-ff05-f115-39571d94dfcd"}, {"appId": WIX_STORES}),
    ],
    ids=short,
)
def test_what_is_given_twice_may_be_written_in_two_ways(above: dict[str, object], below: dict[str, object]) -> None:
    event = from_json(MUG | above | {"catalogReference": {"catalogItemId": "mug-1"} | below})
    assert event.reference == from_json(MUG | ({"options": {"size": "38"}} if "options" in above else {})).reference


# --- details ---


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        *((12.5, "12.5"), (12.0, "12"), (12, "12"), (0.1 + 0.2, "0.3"), (1e3, "1000"), (1234567.891, "1234567.891")),
        *(("12,50", "12,50"), (" 12.50 ", "12.50"), (0.0, "0"), (1e-9, "0"), (-5, "-5")),
    ],
    ids=short,
)
def test_a_price_may_be_a_number(written: object, shown: str) -> None:
    event = from_json(MUG | {"item": {"price": written}})
    assert (event.details, event.flaws) == ({"price": shown}, ())


def test_a_name_may_be_a_number() -> None:
    assert from_json(MUG | {"item": {"name": 4711}}).details == {"name": "4711"}


WIX = "https://static.wixstatic.com/media/"


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("https://shop.example/a.jpg", "https://shop.example/a.jpg"),
        (" https://shop.example/a.jpg\n", "https://shop.example/a.jpg"),
        ("//cdn.shop.example/a.jpg", "https://cdn.shop.example/a.jpg"),
        ("https://shop.example/blue mug.jpg", "https://shop.example/blue%20mug.jpg"),
        ("https://shop.example/größe.jpg", "https://shop.example/gr%C3%B6%C3%9Fe.jpg"),
        ("wix:image://v1/1106_ab~mv2.jpg/mug.jpg#originWidth=3000&originHeight=2000", f"{WIX}1106_ab~mv2.jpg"),
        ("wix:image://v1/1106_ab~mv2.jpg/blue mug.jpg#originWidth=3000", f"{WIX}1106_ab~mv2.jpg"),
        ("wix:image://v1/1106_ab~mv2.jpg", f"{WIX}1106_ab~mv2.jpg"),
    ],
)
def test_an_image_is_text_or_an_object(written: str, url: str) -> None:
    for image in (written, {"url": written}, {"src": written}):
        event = from_json(MUG | {"item": {"image": image}})
        assert (event.details, event.flaws) == ({"image_url": url}, ())


@pytest.mark.parametrize(
    ("written", "url"),
    [
        (" https://shop.example/p/1 ", "https://shop.example/p/1"),
        ("//shop.example/p/1", "https://shop.example/p/1"),
        ("https://shop.example/p/blue mug", "https://shop.example/p/blue%20mug"),
    ],
)
def test_a_link_is_mended_where_its_meaning_is_plain(written: str, url: str) -> None:
    for event in (
        from_json(MUG | {"itemUrl": written}),
        decode(ENTRY, {b"catalogItemId": b"mug-1", b"quantity": b"5", b"itemUrl": written.encode()}),
    ):
        assert (event.details, event.flaws) == ({"url": url}, ())


# --- JSON as the world writes it ---

HEAD = '{"catalogItemId":"mug-1","quantity":5,'


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + json.dumps(MUG),
        json.dumps(json.dumps(MUG)),
        json.dumps("\ufeff" + json.dumps(MUG)),
        HEAD + '"x":NaN}',
        HEAD + '"x":-Infinity}',
        HEAD + '"x":1e999}',
        HEAD + f'"x":{"9" * 5000}}}',
        HEAD + '"x":"a\tb\nc"}',
        HEAD + '"x":1,"x":2}',
        HEAD + '"quantity":5}',
        (HEAD + '"x":"').encode() + b'M\xfcg"}',
    ],
    ids=short,
)
def test_what_is_unusual_in_the_json_but_unneeded_or_plain_does_no_harm(text: str | bytes) -> None:
    assert from_text(text) == from_json(MUG)


@pytest.mark.parametrize(
    ("detail", "name"),
    [
        ('"item":{"price":NaN}', "item.price"),
        ('"item":{"price":1e999}', "item.price"),
        (f'"item":{{"price":{"9" * 5000}}}', "item.price"),
        ('"item":{"name":"Mug","name":"Cup"}', "item.name"),
        ('"item":{"image":{"url":"https://a.example","url":"https://b.example"}}', "item.image.url"),
        ('"item":{},"item":{"name":"Mug"}', "item"),
        ('"occurredAt":Infinity', "occurredAt"),
        ('"id":"a","id":"b"', "id"),
        ('"item":{"name":"M\xfcg"}', "item.name"),
        ('"itemUrl":"https://shop.example/M\xfcg"', "itemUrl"),
    ],
    ids=short,
)
def test_a_detail_that_is_no_value_is_left_out(detail: str, name: str) -> None:
    event = from_text((HEAD + detail + "}").encode("latin-1"))
    assert (event.quantity, event.details, event.event_id) == (5, {}, None)
    [flaw] = event.flaws
    assert flaw.startswith(f"{name} ")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"catalogItemId":"mug-1","quantity":5,"quantity":0}', "quantity .* two different values"),
        ('{"catalogItemId":"mug-1","inStock":true,"inStock":false}', "inStock .* two different values"),
        ('{"catalogItemId":"mug-1","catalogItemId":"mug-2","quantity":5}', "catalogItemId .* two different values"),
        (HEAD + '"options":{"Size":"L","Size":"M"}}', "options "),
        (json.dumps(json.dumps(json.dumps(MUG))), "event must be a JSON object, not other text"),
        ('{"catalogItemId":"mug-1","quantity":NaN}', "quantity "),
    ],
    ids=short,
)
def test_what_is_needed_and_said_in_two_ways_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadEvent, match=f"^{why}"):
        from_text(text)


def test_the_default_catalog_is_taken_where_the_app_id_is_a_word_for_nothing() -> None:
    assert from_json(MUG | {"appId": "None"}).reference.item.app_id == WIX_STORES
