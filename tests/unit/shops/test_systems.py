"""Calls of shop systems become the events that they mean, if they are signed; see tests/field/connect."""

import base64
import hmac
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.unit.shops.signing import (
    HEADERS,
    SECRET,
    body,
    private_key,
    public_key,
    raw_rsa_signature,
    rsa_signature,
    secret,
    signature,
)
from worker.domain.errors import BadWebhook, Forged
from worker.domain.events import decode
from worker.shops import systems
from worker.shops.calls import Call, Said, Setup, utc

FIELD = Path(__file__).parents[2] / "field" / "connect"
CASES = [
    pytest.param(path.stem, case, id=f"{path.stem}: {case['name']}")
    for path in sorted(FIELD.glob("*.json"))
    for case in json.loads(path.read_text())
]
KINDS = ("magento", "shopify", "wix", "woocommerce")
INVENTORY = {"eventType": "InventoryVariantsChanged", "data": {"productId": "1", "variants": []}}


def read(kind: str, content: Any, headers: Any = None, options: Any = None) -> Said:
    sent = body(kind, content)
    return systems.read(
        Call({**(headers or {}), **signature(kind, sent)}, sent), Setup(kind, secret(kind), options or {})
    )


@pytest.mark.parametrize(("kind", "case"), CASES)
def test_a_call_becomes_the_events_that_it_means(kind: str, case: Any) -> None:
    said = read(kind, case["body"], case["headers"], case["options"])
    assert list(said.events) == case.get("events", [])
    assert len(said.refused) == case.get("refused", 0)
    assert (said.ignored is not None) == case.get("ignored", False)
    for event in said.events:
        assert decode("1795860000000-0", {b"event": json.dumps(event).encode()}).flaws == ()


def test_each_system_has_cases() -> None:
    assert {each.values[0] for each in CASES} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_that_is_not_signed_with_the_secret_is_refused(kind: str) -> None:
    sent = body(kind, INVENTORY)
    given = signature(kind, sent)
    setup = Setup(kind, secret(kind), {})
    systems.read(Call(given, sent), setup)
    forged = [
        Call({}, sent[:-1] if kind == "wix" else sent),
        Call(signature(kind, sent, "another-secret-of-somebody"), sent.replace(b".", b".x") if kind == "wix" else sent),
        Call({name: value[:-1] for name, value in given.items()}, sent[1:]),
        Call({name: "é" + value for name, value in given.items()}, sent + b"x"),
    ]
    for call in forged:
        with pytest.raises(Forged):
            systems.read(call, setup)


@pytest.mark.parametrize("kind", sorted(HEADERS))
def test_a_changed_body_is_refused(kind: str) -> None:
    sent = body(kind, {"id": 1})
    with pytest.raises(Forged):
        systems.read(Call(signature(kind, sent), sent + b" "), Setup(kind, SECRET, {}))


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_can_sign_with_nothing(kind: str) -> None:
    sent = body(kind, INVENTORY)
    with pytest.raises(Forged):
        systems.read(Call(signature(kind, sent, ""), sent), Setup(kind, "", {}))


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"wix"}))
@pytest.mark.parametrize("content", ["", "{", "[1, 2", '{"id": 1', "\x00", "[" * 100_000])
def test_a_signed_body_that_is_no_json_is_told_apart(kind: str, content: str) -> None:
    topic = {"X-Shopify-Topic": "products/update", "X-WC-Webhook-Topic": "product.updated"}
    with pytest.raises(BadWebhook):
        read(kind, content, topic)


@pytest.mark.parametrize("content", [7, None, "x", [], {}, {"variants": 7}, {"variants": [7, {"id": [1]}]},
    {"id": {}, "stock_status": [], "type": 5, "attributes": {}, "images": [3], "parent_id": "x", "status": {}},
    {"id": 1, "stock_status": "instock", "manage_stock": [], "stock_quantity": 1e400, "name": {}, "permalink": 4},
    {"data": {"data": {"data": [[[[[[[{"qty": 1}]]]]]]]}}}, {"stock_item": 5, "qty": None, "status": "nan"},
    {"sku": "\ud800", "qty": "1", "is_in_stock": {}}, {"source_code": 1, "sku": {}, "quantity": "x", "status": "?"},
])  # fmt: skip
def test_whatever_is_signed_is_read_or_refused(content: Any) -> None:
    topic = {"X-Shopify-Topic": "products/update", "X-WC-Webhook-Topic": "product.updated"}
    for kind in KINDS:
        for packed in [{"eventType": each, "data": content} for each in ("product_updated", "inventory")]:
            for options in ({}, {"currency": "EUR"}):
                sent = packed if kind == "wix" else json.dumps(content)
                try:
                    said = read(kind, sent, topic, options)
                except BadWebhook:
                    continue
                json.dumps(said.events)


LEAVES: tuple[Any, ...] = (None, True, -1, 1e400, "", "\ud800", [], {}, [{}])


def spoilt(value: Any) -> Iterator[Any]:
    """Yields a body with each of its values in turn replaced by each of LEAVES."""
    yield from LEAVES
    if isinstance(value, dict):
        for name, each in value.items():
            yield from ({**value, name: other} for other in spoilt(each))
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from ([*value[:place], other, *value[place + 1 :]] for other in spoilt(each))


@pytest.mark.parametrize(("kind", "case"), [each for each in CASES if each.values[0] != "wix"])  # RSA takes its time
def test_no_value_of_another_kind_is_a_fault(kind: str, case: Any) -> None:
    for content in spoilt(case["body"]):
        with suppress(BadWebhook):
            json.dumps(read(kind, json.dumps(content), case["headers"], case["options"]).events)


def test_a_token_must_be_signed_with_rs256() -> None:
    import jwt

    claims = {"data": json.dumps({"eventType": "inventory", "data": "{}"})}
    none = jwt.encode(claims, "", algorithm="none").encode()
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
    payload = none.split(b".")[1]
    confused = hmac.digest(public_key().encode(), head + b"." + payload, "sha256")
    by_public_key = head + b"." + payload + b"." + base64.urlsafe_b64encode(confused).rstrip(b"=")
    other = jwt.encode(claims, private_key(), algorithm="RS512").encode()
    for token in (none, by_public_key, other, b"", b"a.b.c", b"\xff"):
        with pytest.raises(Forged):
            systems.read(Call({}, token), Setup("wix", public_key(), {}))


def test_magento_may_sign_in_a_header_of_any_name() -> None:
    sent = body("magento", {"stock_item": {"product_id": 7, "qty": 1}})
    digest = hmac.digest(SECRET.encode(), sent, "sha256")
    setup = Setup("magento", SECRET, {"header": "X-Signature"})
    signatures = (digest.hex(), digest.hex().upper(), f"sha256={digest.hex()}", base64.b64encode(digest).decode())
    for given in (*signatures, SECRET):
        assert len(systems.read(Call({"x-signature": given}, sent), setup).events) == 1
    for given in ("", SECRET.upper(), digest.hex()[:-1]):
        with pytest.raises(Forged):
            systems.read(Call({"X-Signature": given}, sent), setup)
    with pytest.raises(Forged):
        systems.read(Call({"Authorization": f"Bearer {SECRET}"}, sent), setup)


def test_adobe_commerce_signs_with_its_own_key() -> None:
    sent = body("magento", {"stock_item": {"product_id": 7, "qty": 1}})
    setup = Setup("magento", public_key(), {})
    header = "x-adobe-commerce-webhook-signature"
    for good in (rsa_signature(sent), raw_rsa_signature(sent)):
        assert len(systems.read(Call({header: good}, sent), setup).events) == 1
    for given in ("", "%", rsa_signature(sent + b" "), public_key()):
        with pytest.raises(Forged):
            systems.read(Call({header: given}, sent), setup)
    with pytest.raises(Forged):  # what everybody knows proves nothing
        systems.read(Call({"Authorization": f"Bearer {public_key()}"}, sent), setup)


def test_times_without_an_offset_are_utc() -> None:
    assert utc("2026-11-28 10:00:00") == "2026-11-28T10:00:00Z"
    assert utc("2026-11-28T10:00:00-05:00") == "2026-11-28T10:00:00-05:00"
    assert utc("2026-11-28") is utc("") is utc(None) is utc([]) is None
