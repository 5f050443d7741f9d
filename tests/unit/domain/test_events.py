"""Whatever a publisher writes becomes an event or a reason for refusal, and the schema says which."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.bounded import bounded
from worker.domain.catalog import WIX_STORES, CatalogReference, item_of
from worker.domain.errors import BadEvent
from worker.domain.events import Event, decode, entry_time, is_entry_id

ENTERED = datetime(2026, 11, 23, 9, 0, 0, 123_000, UTC)
ENTRY = f"{int(ENTERED.timestamp() * 1000)}-7"
SCHEMA = json.loads(resources.files("worker.domain").joinpath("event.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

FULL: dict[str, Any] = {
    "id": "evt-1",
    "occurredAt": "2026-11-23T08:59:00Z",
    "catalogReference": {
        "catalogItemId": "mug-1",
        "appId": WIX_STORES,
        "options": {"variantId": "v1"},
    },
    "quantity": 12,
    "inStock": True,
    "itemUrl": "https://shop.example/p/mug-1",
    "item": {
        "name": "Blue mug",
        "price": "12.50",
        "currency": "EUR",
        "image": {"url": "https://shop.example/mug.png"},
    },
}
MUG: dict[str, object] = {"catalogItemId": "mug-1"}
SOLD_OUT = MUG | {"quantity": 0}


def short(value: object) -> str:
    return ascii(value)[:120]


def from_json(event: object) -> Event:
    return decode(ENTRY, {b"event": json.dumps(event).encode()})


def from_text(text: str | bytes) -> Event:
    return decode(ENTRY, {b"event": text if isinstance(text, bytes) else text.encode()})


def flat(**fields: str | bytes) -> Event:
    return decode(
        ENTRY,
        {name.encode(): value if isinstance(value, bytes) else value.encode() for name, value in fields.items()},
    )


def reason(event: object) -> str:
    with pytest.raises(BadEvent) as refused:
        from_json(event)
    return str(refused.value)


# --- both forms ---


def test_a_full_event_is_read() -> None:
    assert from_json(FULL) == Event(
        entry_id=ENTRY,
        event_id="evt-1",
        reference=CatalogReference(item_of("mug-1"), (("variantid", "v1"),)),
        occurred_at=datetime(2026, 11, 23, 8, 59, tzinfo=UTC),
        clamped=False,
        in_stock=True,
        quantity=12,
        details={
            "name": "Blue mug",
            "price": "12.50",
            "currency": "EUR",
            "image_url": "https://shop.example/mug.png",
            "url": "https://shop.example/p/mug-1",
        },
        flaws=(),
        said_at=datetime(2026, 11, 23, 8, 59, tzinfo=UTC),
    )


def test_the_same_names_as_flat_fields_say_the_same() -> None:
    parts = FULL | FULL["catalogReference"]
    del parts["catalogReference"]
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in parts.items()}
    assert flat(**texts) == from_json(FULL)


def test_a_catalog_reference_may_be_a_flat_field_too() -> None:
    texts = {"catalogReference": json.dumps(FULL["catalogReference"]), "quantity": "5"}
    assert flat(**texts).reference == from_json(FULL).reference


def test_the_shortest_event_is_about_the_whole_item_and_occurred_when_it_was_added() -> None:
    event = flat(catalogItemId="mug-1", quantity="5")
    assert event.reference == CatalogReference(item_of("mug-1"))
    assert (event.occurred_at, event.clamped) == (ENTERED, False)
    assert (event.quantity, event.in_stock, event.event_id) == (5, None, None)
    assert (event.details, event.flaws) == ({}, ())


def test_json_wins_over_flat_fields() -> None:
    fields = {
        b"event": json.dumps(MUG | {"quantity": 1}).encode(),
        b"quantity": b"9",
        b"x": b"\xff",
    }
    assert decode(ENTRY, fields).quantity == 1


def test_unknown_fields_are_ignored() -> None:
    assert from_json(FULL | {"warehouse": {"floor": [1, None]}}) == from_json(FULL)
    assert flat(catalogItemId="mug-1", quantity="5", warehouse=b"\xff").quantity == 5


def test_null_and_empty_flat_fields_are_as_good_as_absent() -> None:
    nothing = dict.fromkeys(("id", "occurredAt", "appId", "options", "inStock", "catalogReference"))
    assert from_json(MUG | {"quantity": 5} | nothing) == from_json(MUG | {"quantity": 5})
    empty: dict[str, str] = dict.fromkeys(nothing, "")
    assert flat(catalogItemId="mug-1", quantity="5", **empty).reference.options == ()


@pytest.mark.parametrize("name", ["catalogItemId", "appId", "options"])
def test_both_places_of_the_reference_must_agree(name: str) -> None:
    value: object = {"Size": "L"} if name == "options" else "mug-1"
    other: object = {"Size": "M"} if name == "options" else "mug-2"
    event: dict[str, Any] = MUG | {"quantity": 1, name: value}
    assert from_json(event | {"catalogReference": {name: value}}) == from_json(event)
    assert "twice" in reason(event | {"catalogReference": {name: other}})


def test_a_flat_id_and_one_in_json_must_agree() -> None:
    text = json.dumps({"catalogItemId": "mug-1"})
    assert flat(catalogReference=text, catalogItemId="mug-1", quantity="1").quantity == 1
    with pytest.raises(BadEvent, match="twice"):
        flat(catalogReference=text, catalogItemId="mug-2", quantity="1")


# --- stock ---


@pytest.mark.parametrize(("yes", "no"), [(True, False), (1, 0), ("1", "0"), ("true", "false")], ids=repr)
def test_in_stock_may_be_written_in_several_ways(yes: object, no: object) -> None:
    assert from_json(MUG | {"inStock": yes}).in_stock is True
    assert from_json(MUG | {"inStock": no}).in_stock is False


@pytest.mark.parametrize("text", ["1", "true"])
def test_in_stock_may_be_a_flat_field(text: str) -> None:
    assert flat(catalogItemId="mug-1", inStock=text).in_stock is True


@pytest.mark.parametrize(
    ("written", "quantity"),
    [
        (12, 12),
        ("12", 12),
        ("007", 7),
        (0, 0),
        (-3, 0),
        ("-3", 0),
        (2**63 - 1, 2**63 - 1),
        (-(2**62), 0),
        (str(2**63 - 1), 2**63 - 1),
    ],
    ids=short,
)
def test_a_quantity_is_an_integer_and_not_below_zero(written: object, quantity: int) -> None:
    assert from_json(MUG | {"quantity": written}).quantity == quantity


def test_an_event_without_stock_is_refused() -> None:
    assert reason(MUG) == "neither quantity nor inStock is given"
    assert reason(MUG | {"quantity": None, "inStock": None}) == reason(MUG)


def test_in_stock_beats_quantity() -> None:
    assert from_json(MUG | {"inStock": True, "quantity": 0}).is_in_stock(1)
    assert not from_json(MUG | {"inStock": False, "quantity": 9}).is_in_stock(1)


def test_a_quantity_is_in_stock_from_the_minimum_on() -> None:
    event = from_json(MUG | {"quantity": 5})
    assert event.is_in_stock(5)
    assert not event.is_in_stock(6)


# --- time ---


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T08:59:00Z",
        "2026-11-23t08:59:00z",
        "2026-11-23 08:59:00Z",
        "2026-11-23T08:59Z",
        "2026-11-23T08:59:00.000Z",
        "2026-11-23T08:59:00.0000000009Z",
        "2026-11-23T09:59:00+01:00",
        "2026-11-22T23:59:00-09:00",
        "20261123T085900Z",
    ],
)
def test_a_time_is_read_with_its_offset(text: str) -> None:
    event = from_json(SOLD_OUT | {"occurredAt": text})
    assert event.occurred_at == datetime(2026, 11, 23, 8, 59, tzinfo=UTC)
    assert event.occurred_at.tzinfo is UTC


UNPLACED = [
    "2026-11-23T08:59:00",
    "2026-11-23 08:59:00",
    "2026-11-23",
    "yesterday",
    "Z",
    "/Date(1795424340000)/",
    "1795424340",
    "2026-13-01T00:00:00Z",
    "2026-11-23T25:00:00Z",
    "2026-11-23T08:59:00+99:00",
    "0000-00-00 00:00:00",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "1969-12-31T23:59:59Z",
    "1970-01-01T00:00:00Z",
    "2026-11-23T08:59:00Z" + "0" * 50_000,
    "\ud800",
    1_795_424_400,
    1_795_424_400_000,
    1.5,
    True,
    {},
    [],
]


@pytest.mark.parametrize("bad", UNPLACED, ids=short)
def test_a_time_that_cannot_be_placed_counts_as_not_given(bad: object) -> None:
    event = from_json(SOLD_OUT | {"occurredAt": bad})
    assert (event.occurred_at, event.clamped) == (ENTERED, False)
    [flaw] = event.flaws
    assert flaw.startswith("occurredAt ")


@pytest.mark.parametrize(
    ("ahead", "clamped"),
    [
        (timedelta(0), False),
        (timedelta(milliseconds=1), True),
        (timedelta(days=9000), True),
        (timedelta(days=-9000), False),
    ],
)
def test_an_event_did_not_happen_after_it_came_in(ahead: timedelta, clamped: bool) -> None:
    event = from_json(SOLD_OUT | {"occurredAt": (ENTERED + ahead).isoformat()})
    assert event.clamped is clamped
    assert event.occurred_at == (ENTERED if clamped else ENTERED + ahead)
    assert event.said_at == ENTERED + ahead
    assert event.is_as_entered is (ahead >= timedelta(0))


def test_without_a_time_an_event_happened_when_it_came_in() -> None:
    event = from_json(SOLD_OUT)
    assert (event.occurred_at, event.said_at, event.is_as_entered, event.clamped) == (ENTERED, None, True, False)


def test_an_entry_id_holds_a_time() -> None:
    assert entry_time(ENTRY) == ENTERED
    assert entry_time("0-1") == datetime(1970, 1, 1, tzinfo=UTC)
    assert entry_time(f"{2**64 - 1}-0") == datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0-1", True),
        (f"{2**64 - 1}-{2**64 - 1}", True),  # the largest id that Redis gives
        ("1795424400000000-12", True),  # in microseconds
        (f"{2**64}-0", False),
        (f"0-{2**64}", False),
        *((bad, False) for bad in ("", "1", "1-", "-1", "1-0\n", "a-0", "1-0-0", "9" * 5000 + "-0")),
    ],
    ids=short,
)
def test_an_entry_id_is_two_numbers_of_64_bits(text: str, expected: bool) -> None:
    assert is_entry_id(text.encode()) is expected


def test_events_are_ordered_by_time_then_entry_id_as_numbers() -> None:
    fields = {b"catalogItemId": b"mug-1", b"quantity": b"1"}
    late = {**fields, b"occurredAt": b"2026-11-23T08:00:00Z"}
    milliseconds = ENTRY.split("-")[0]
    events = [
        decode(f"{milliseconds}-10", fields),
        decode(f"{milliseconds}-9", fields),
        decode(f"{milliseconds}-11", late),
    ]
    assert sorted(events, key=lambda event: event.order) == events[::-1]


EARLIER = f"{int(ENTRY.split('-')[0]) - 60_000}-3"


def test_a_replayed_event_has_the_time_and_the_place_of_its_first_entry() -> None:
    event = flat(catalogItemId="mug-1", quantity="1", originalId=EARLIER)
    assert (event.entry_id, event.original_id) == (ENTRY, EARLIER)
    assert event.occurred_at == ENTERED - timedelta(minutes=1)
    assert event.order == decode(EARLIER, {b"catalogItemId": b"mug-1", b"quantity": b"1"}).order


def test_a_replayed_event_is_as_far_ahead_as_it_was() -> None:
    ahead = (ENTERED + timedelta(minutes=4, seconds=30)).isoformat()
    event = flat(catalogItemId="mug-1", quantity="1", originalId=EARLIER, occurredAt=ahead)
    assert (event.clamped, event.occurred_at) == (True, ENTERED - timedelta(minutes=1))


@pytest.mark.parametrize(
    "value",
    [
        *("", "-", "x", "1", "1-", "-1-0", "1-0\n", " 1-0", "1-0-0", "1.5-0", "١-0", "9" * 5000 + "-0"),
        *(ENTRY, f"{ENTRY}0", f"{int(ENTRY.split('-')[0]) + 1}-0", f"{2**64 - 1}-0"),
        b"\xff-0",
    ],
    ids=short,
)
def test_an_original_id_that_names_no_older_entry_is_ignored(value: str | bytes) -> None:
    assert flat(catalogItemId="mug-1", quantity="1", originalId=value) == flat(catalogItemId="mug-1", quantity="1")


def test_only_a_true_original_id_is_left_out_of_the_size_limit() -> None:
    event = json.dumps(MUG | {"quantity": 1}).ljust(64 * 1024)
    assert flat(event=event, originalId=EARLIER).quantity == 1
    with pytest.raises(BadEvent, match="event is over 65536 bytes"):
        flat(event=event, originalId="x")


def test_an_original_id_in_the_json_is_an_unknown_field() -> None:
    assert from_json(SOLD_OUT | {"originalId": EARLIER}) == from_json(SOLD_OUT)


# --- what is shown ---


def test_only_what_is_given_is_changed_and_null_clears() -> None:
    event = from_json(SOLD_OUT | {"item": {"name": None, "image": None}, "itemUrl": None})
    assert event.details == {"name": None, "image_url": None, "url": None}
    assert from_json(SOLD_OUT | {"item": {"price": "1", "image": {}}}).details == {"price": "1"}
    assert from_json(SOLD_OUT | {"item": {"image": {"url": None}}}).details == {"image_url": None}
    assert from_json(SOLD_OUT | {"item": None}).details == {}


@pytest.mark.parametrize("blank", ["", "  ", "\t\n", "\u00a0", "null", "None", "undefined", "[object Object]"])
def test_blank_text_and_words_for_nothing_are_as_good_as_absent(blank: str) -> None:
    names = ("id", "occurredAt", "appId", "options", "catalogReference", "inStock", "itemUrl", "item")
    event = MUG | {"quantity": 5} | dict.fromkeys(names, blank)
    assert from_json(event) == from_json(MUG | {"quantity": 5})
    parts = dict.fromkeys(("name", "price", "currency", "image"), blank)
    assert from_json(MUG | {"quantity": 5, "item": parts}) == from_json(MUG | {"quantity": 5})
    assert from_json(MUG | {"quantity": 5, "item": {"image": {"url": blank}}}) == from_json(MUG | {"quantity": 5})
    assert flat(catalogItemId="mug-1", quantity="5", **dict.fromkeys(names, blank)) == from_json(MUG | {"quantity": 5})
    assert reason({"quantity": 5, "catalogItemId": blank}) == "catalogItemId is missing"


def test_a_name_becomes_one_line() -> None:
    event = from_json(SOLD_OUT | {"item": {"name": " Blue\r\nmug\0\ud800 "}})
    assert event.details == {"name": "Blue  mug"}


BAD_ITEMS = ["mug", ["mug"], 7, True]
BAD_PARTS = [
    {"name": True},
    {"name": ["Mug"]},
    {"name": "x" * 2049},
    {"price": {"amount": "12.50"}},
    {"price": 1e300},
    {"price": 10**400},
    {"price": False},
    {"currency": 978},
    {"currency": ["EUR"]},
    {"image": 7},
    {"image": ["https://shop.example/a.jpg"]},
    {"image": "/a.jpg"},
    {"image": "a.jpg"},
    {"image": {"url": "../a.jpg"}},
    {"image": {"url": 7}},
    {"image": {"url": "javascript:alert(1)"}},
    {"image": "wix:image://v1/"},
]
BAD_URLS = [
    "javascript:alert(1)",
    "https://shop.example/\r\nBcc: x",
    "https://jo:secret@shop.example/",
    "https://a b.example/",
    "shop.example/p/1",
    "www.shop.example",
    "//",
    "/p/1",
    7,
    ["https://x"],
]


@pytest.mark.parametrize("quantity", [0, 5])
@pytest.mark.parametrize("bad", BAD_ITEMS, ids=short)
def test_a_bad_item_is_left_out(bad: object, quantity: int) -> None:
    event = from_json(MUG | {"quantity": quantity, "item": bad, "itemUrl": "https://shop.example/"})
    [flaw] = event.flaws
    assert flaw.startswith("item ")
    assert (event.quantity, event.details) == (quantity, {"url": "https://shop.example/"})


@pytest.mark.parametrize("bad", BAD_PARTS, ids=short)
def test_a_bad_part_of_an_item_is_left_out_alone(bad: dict[str, object]) -> None:
    event = from_json(MUG | {"quantity": 5, "item": FULL["item"] | bad})
    [name] = bad
    [flaw] = event.flaws
    assert flaw.startswith(f"item.{name}")
    assert set(event.details) == {"name", "price", "currency", "image_url"} - {name, f"{name}_url"}


@pytest.mark.parametrize("quantity", [0, 5])
@pytest.mark.parametrize("bad", BAD_URLS, ids=short)
def test_a_bad_url_is_left_out(bad: object, quantity: int) -> None:
    event = from_json(MUG | {"quantity": quantity, "itemUrl": bad, "item": {"name": "Mug"}})
    [flaw] = event.flaws
    assert flaw.startswith("itemUrl ")
    assert (event.quantity, event.details) == (quantity, {"name": "Mug"})


@pytest.mark.parametrize("item", [b"{", b"\xff", b"[" * 20_000, b"Mug"], ids=short)
def test_a_flat_item_that_is_no_json_is_left_out(item: bytes) -> None:
    [flaw] = flat(catalogItemId="mug-1", quantity="1", item=item).flaws
    assert flaw.startswith("item is n")


# --- hostile bytes ---

HEAD = '{"catalogItemId":"mug-1","quantity":1,"x":'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "event is not JSON"),
        ("{", "event is not JSON"),
        ("{} {}", "event is not JSON"),
        ("{'a':1}", "event is not JSON"),
        ("[1]", "event must be a JSON object"),
        ("7", "event must be a JSON object"),
        ('"x"', "event is not JSON"),
        ("null", "catalogItemId is missing"),
        (b"\xff", "event is not JSON"),
        (HEAD + "[" * 10_000 + "]" * 10_000 + "}", "nested over 16 levels"),
        (HEAD + "[" * 10_000, "event is n"),  # it is too deep and cut off: which of these is found first varies
        (HEAD + '{"a":' * 10_000, "event is n"),
        (HEAD + "[" * 16 + "]" * 16 + "}", "nested over 16 levels"),
    ],
)
def test_json_that_cannot_be_trusted_is_refused(text: str | bytes, why: str) -> None:
    with pytest.raises(BadEvent, match=why):
        from_text(text)


def test_nesting_up_to_16_levels_and_many_brackets_pass() -> None:
    assert from_text(HEAD + "[" * 15 + "]" * 15 + "}").quantity == 1
    assert from_text(HEAD + "[" + ",".join(["[]"] * 1000) + "]}").quantity == 1
    assert from_text(HEAD + '"' + "[" * 1000 + '"}').quantity == 1


def test_64_kib_pass_and_one_byte_more_does_not() -> None:
    text = (HEAD + '"').ljust(64 * 1024 - 2, "x") + '"}'
    assert len(text) == 64 * 1024
    assert from_text(text).quantity == 1
    with pytest.raises(BadEvent, match="over 65536 bytes"):
        from_text(text + " ")
    half = b"x" * (32 * 1024)
    with pytest.raises(BadEvent, match="over 65536 bytes"):
        flat(catalogItemId="mug-1", quantity="1", a=half, b=half)
    with pytest.raises(BadEvent, match="over 65536 bytes"):
        flat(catalogItemId="mug-1", quantity="1", **{"x" * 64 * 1024: ""})


@pytest.mark.parametrize("control", ["\0", "\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\u2028", "\ud800"], ids=short)
@pytest.mark.parametrize("name", ["catalogItemId", "appId"])
def test_an_id_with_a_control_character_is_refused(name: str, control: str) -> None:
    assert reason(MUG | {"quantity": 0, name: f"a{control}b"}) == f"{name} has a control character"


@pytest.mark.parametrize("name", ["catalogItemId", "appId", "options", "quantity"])
def test_a_flat_field_that_is_no_utf_8_is_refused(name: str) -> None:
    with pytest.raises(BadEvent, match=f"{name} is not UTF-8"):
        flat(**({"catalogItemId": "mug-1", "quantity": "1"} | {name: b"M\xfcg"}))


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("catalogItemId", True),
        ("catalogItemId", 4711.5),
        ("catalogItemId", ["mug-1"]),
        ("catalogItemId", "x" * 37),
        ("catalogItemId", "gid://shopify/InventoryItem/8072439906440"),
        ("appId", True),
        ("options", "Size=L"),
        ("options", {"Size": ["L"]}),
        ("catalogReference", "mug-1"),
    ],
)
def test_a_wrong_type_or_size_is_refused_and_the_field_is_named(name: str, bad: object) -> None:
    assert reason(MUG | {"quantity": 1, name: bad}).startswith(name)


def test_an_event_without_an_item_is_refused() -> None:
    assert reason({"quantity": 1}) == "catalogItemId is missing"
    assert reason({"quantity": 1, "catalogReference": {}}) == "catalogItemId is missing"
    with pytest.raises(BadEvent, match="catalogItemId is missing"):
        decode(ENTRY, {})


def test_no_reason_and_no_flaw_repeats_a_value() -> None:
    address = "jo@shop.example"
    for name in ("options", "catalogReference"):
        assert address not in reason(MUG | {"quantity": 1, name: address})
    assert address not in reason(MUG | {"quantity": address, "inStock": address})
    names = ("occurredAt", "quantity", "itemUrl", "item")
    flaws = from_json(MUG | {"inStock": 1} | dict.fromkeys(names, address)).flaws
    assert len(flaws) == len(names)
    assert address not in str(flaws)


NAMES = st.sampled_from([name.encode() for name in SCHEMA["properties"]])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=20,
)
NEARLY_EVENTS = st.fixed_dictionaries(
    {}, optional={name: JSON_VALUES | st.just(value) for name, value in (FULL | MUG).items()}
)
FLAT_VALUES = st.binary(max_size=60) | st.text().map(lambda text: text.encode(errors="surrogatepass"))
FLAT_JSON = JSON_VALUES.map(lambda value: json.dumps(value).encode())


def outcome(fields: Mapping[bytes, bytes]) -> Event | str:
    """Returns the event or the reason. It must come soon, and a reason must be printable."""
    with bounded():
        try:
            result: Event | str = decode(ENTRY, fields)
        except BadEvent as error:
            result = str(error)
    assert isinstance(result, Event) or (result.isprintable() and 0 < len(result) <= 200)
    return result


@given(st.dictionaries(NAMES | st.binary(max_size=9), FLAT_VALUES | FLAT_JSON, max_size=12))
@example({b"catalogItemId": b"a", b"quantity": b"1", b"options": b"[" * 60_000})
def test_any_bytes_in_flat_fields_give_an_event_or_a_reason(fields: dict[bytes, bytes]) -> None:
    outcome(fields)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_in_the_event_field_give_an_event_or_a_reason(event: bytes) -> None:
    outcome({b"event": event})


@given(NEARLY_EVENTS)
def test_what_the_schema_accepts_is_an_event(sample: object) -> None:
    result = outcome({b"event": json.dumps(sample).encode()})
    if VALIDATOR.is_valid(sample):
        assert isinstance(result, Event) or "twice" in result


@pytest.mark.parametrize("byte", [b"[", b'{"a":', b'"', b"\\", b'"\\', b"9", b" ", b"-", b"\xc3\xa9"])
@pytest.mark.parametrize("start", [b"", HEAD.encode(), HEAD.encode() + b'"'])
def test_64_kib_of_anything_are_judged_in_no_time(start: bytes, byte: bytes) -> None:
    text = (start + byte * 65536)[: 64 * 1024]
    assert isinstance(outcome({b"event": text}), str)
    outcome({b"catalogItemId": b"mug-1", b"quantity": b"0", b"item": text[:60_000]})
    outcome({b"catalogItemId": b"mug-1", b"quantity": text[:60_000], b"occurredAt": text[:5000]})


# --- the schema ---

GOOD_SAMPLES: list[object] = [
    FULL,
    SOLD_OUT,
    MUG | {"inStock": 1},
    MUG | {"inStock": "false", "quantity": None},
    MUG | {"quantity": "-3"},
    MUG | {"quantity": 5.0},
    MUG | {"quantity": "0.0000"},
    MUG | {"quantity": 10**30},
    MUG | {"inStock": "True"},
    {"catalogItemId": 4711, "inStock": "Y", "appId": 7, "id": 8072439906440},
    MUG | {"quantity": 5, "item": {"name": 4711, "price": 12.5, "image": "//cdn.shop.example/a.jpg"}},
    MUG | {"quantity": 5, "item": {"image": {"url": "wix:image://v1/1106_ab~mv2.jpg/mug.jpg#originWidth=9"}}},
    {"catalogReference": MUG, "quantity": 5},
    {"catalogReference": MUG | {"options": None, "appId": None}, "inStock": True, "item": None},
    MUG | {"quantity": 5, "id": None, "occurredAt": None, "options": {}, "unknown": [1]},
    MUG | {"quantity": 5, "occurredAt": "2026-11-23T10:00:00.5+01:00"},
    MUG | {"quantity": 5, "itemUrl": None, "item": {"name": None, "image": {"url": None}}},
    MUG | {"quantity": 5, "itemUrl": "http://localhost:3000/ä?q=1#x", "item": {"image": None}},
    MUG | {"quantity": 5, "options": {"variantId": "v", "options": {"Size": 38.5, "New": True}}},
    MUG | {"quantity": 5, "options": {"customTextFields": [{"title": "x"}], "Size": None}},
]


def with_each(name: str, values: Iterable[object]) -> list[object]:
    return [MUG | {"quantity": 5, name: value} for value in values]


BAD_SAMPLES: list[object] = [
    [],
    "mug-1",
    MUG,
    {"quantity": 5},
    {"quantity": 5, "catalogReference": {}},
    MUG | {"quantity": None},
    MUG | {"quantity": True},
    MUG | {"quantity": "5 pcs"},
    MUG | {"inStock": "maybe"},
    MUG | {"inStock": 2},
    *with_each("catalogItemId", ["", " ", "x" * 37, "a\0b", 4711.5, True, []]),
    *with_each("appId", ["x" * 37, "a\u2028b", False]),
    *with_each("id", [True, {}, "a\x85b", "x" * 2049]),
    *with_each("options", ["L", {"a": []}, {"": "L"}, {"a": "\0"}]),
    *with_each("item", BAD_ITEMS + BAD_PARTS),
    *with_each("itemUrl", BAD_URLS),
    *with_each("occurredAt", ["2026-11-23T08:59:00", "yesterday", 1_795_424_400]),
    MUG | {"quantity": 5, "options": {"options": {"Size": {}}}},
    MUG | {"quantity": 5, "itemUrl": "https:///p"},
    MUG | {"quantity": 5, "catalogReference": "mug-1"},
]


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("sample", GOOD_SAMPLES, ids=short)
def test_the_schema_accepts_what_decode_accepts(sample: object) -> None:
    assert from_json(sample).flaws == ()
    VALIDATOR.validate(sample)


@pytest.mark.parametrize("sample", BAD_SAMPLES, ids=short)
def test_the_schema_refuses_what_decode_refuses_or_leaves_out(sample: object) -> None:
    result = outcome({b"event": json.dumps(sample).encode()})
    assert isinstance(result, str) or result.flaws
    assert not VALIDATOR.is_valid(sample)
