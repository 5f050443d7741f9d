"""Shop systems' own webhooks: from the signed call to the entry that a listener decodes."""

from collections.abc import Mapping
from threading import Event
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.contract.shop import Shop
from tests.contract.web.site import Site, site_over
from tests.contract.web.test_events_intake import heard
from tests.unit.shops.signing import SECRET, body, public_key, rsa_signature, secret, signature
from worker.domain.errors import DatabaseAway
from worker.store import hooks
from worker.stream.event_stream import Stream
from worker.web import connectors
from worker.web.context import OTHER_THREADS, STREAM_THREADS

MUG = {"id": 794, "type": "simple", "status": "publish", "manage_stock": True, "stock_status": "instock"}
CALLS: Mapping[str, tuple[Mapping[str, str], Any]] = {
    "woocommerce": ({"X-WC-Webhook-Topic": "product.updated"}, MUG | {"stock_quantity": 3}),
    "shopify": (
        {"X-Shopify-Topic": "products/update"},
        {"id": 794, "status": "active", "variants": [{"id": 1, "inventory_quantity": 3}]},
    ),
    "magento": ({}, {"stock_item": {"product_id": 794, "qty": "3.0000", "is_in_stock": 1}}),
    "wix": (
        {},
        {
            "eventType": "com.wix.ecommerce.inventory.api.v1.InventoryVariantsChanged",
            "data": {"productId": "794", "variants": [{"id": "v1", "newValue": {"inStock": True, "quantity": 3}}]},
        },
    ),
}


def hook(site: Site, kind: str, **options: str) -> str:
    """Makes a hook and returns the path of its URL."""
    return hooks.path(kind, site.shop.write(hooks.create, kind, "test", secret(kind), options))


def post(site: Site, kind: str, path: str, content: Any = None, **headers: str) -> Any:
    given, usual = CALLS[kind]
    sent = body(kind, usual if content is None else content)
    return site.client.post(path, content=sent, headers={**given, **signature(kind, sent), **headers})


def test_a_listener_decodes_what_the_shop_meant(site: Site) -> None:
    for kind in CALLS:
        path = hook(site, kind, **{"app-id": "my-shop"})
        with capture_logs() as logs:
            reply = post(site, kind, path)
        assert (reply.status_code, reply.json()["accepted"], reply.json()["refused"]) == (200, 1, []), kind
        (event,) = heard(site)
        assert (event.reference.item.catalog_item_id, event.reference.item.app_id) == ("794", "my-shop")
        assert [event.is_in_stock(minimum) for minimum in (3, 4)] == [True, False]
        assert event.flaws == ()
        assert path.rpartition("/")[2] not in str(logs), "the hook's id is a secret"
        assert SECRET not in str(logs)


def test_a_call_is_noted_with_its_hook(site: Site) -> None:
    path = hook(site, "woocommerce")
    assert [forged(site, path), is_used(site, path)] == [401, False]
    assert post(site, "woocommerce", f"{path}/").status_code == 200  # as some people paste it
    assert is_used(site, path)


def forged(site: Site, path: str) -> int:
    status: int = post(site, "woocommerce", path, **{"X-WC-Webhook-Signature": "forged"}).status_code
    return status


def is_used(site: Site, path: str) -> bool:
    hook_id = path.rpartition("/")[2]
    return any(row.used_at for row in site.shop.write(hooks.each) if row.id == hook_id)


def test_what_is_not_for_us_is_answered_as_its_kind(site: Site) -> None:
    woo, shopify = hook(site, "woocommerce"), hook(site, "shopify")
    other = woo.replace("woocommerce", "shopify")
    revoked = hook(site, "woocommerce")
    site.shop.write(hooks.revoke, revoked.rpartition("/")[2])
    answers = [
        (post(site, "woocommerce", woo, **{"X-WC-Webhook-Topic": "order.created"}), 204),
        (post(site, "shopify", shopify, **{"X-Shopify-Topic": "inventory_levels/update"}), 204),
        (post(site, "woocommerce", woo, "webhook_id=7", **{"X-WC-Webhook-Signature": ""}), 200),
        (post(site, "woocommerce", woo, **{"X-WC-Webhook-Signature": "AAAA"}), 401),
        (post(site, "woocommerce", woo, '{"id": 79'), 400),
        (post(site, "woocommerce", woo, "x" * (1024 * 1024 + 1)), 413),
        (post(site, "shopify", other), 404),
        (post(site, "woocommerce", revoked), 404),
        (post(site, "woocommerce", "/connect/woocommerce/" + "a" * 32), 404),
        (post(site, "woocommerce", "/connect/woocommerce/%00"), 404),
        (post(site, "woocommerce", "/connect/postmark/" + woo.rpartition("/")[2]), 404),
        (site.client.get(woo), 405),
    ]
    assert [reply.status_code for reply, _ in answers] == [status for _, status in answers]
    documented = site.client.get("/openapi.json").json()["paths"]["/connect/{kind}/{key}"]["post"]["responses"]
    assert {str(status) for _, status in answers} - {"405"} <= set(documented)
    assert all("details" in reply.json() for reply, status in answers if status >= 400)
    assert heard(site) == []


def test_what_can_not_be_read_is_told_and_logged_and_the_rest_is_taken(site: Site) -> None:
    path = hook(site, "shopify")
    variants = [{"id": 1, "inventory_quantity": 3}, {"id": 2}]
    with capture_logs() as logs:
        reply = post(site, "shopify", path, {"id": 794, "status": "active", "variants": variants})
    assert (reply.status_code, reply.json()["accepted"], len(reply.json()["refused"])) == (200, 1, 1)
    assert [each["event"] for each in logs if each["log_level"] == "warning"] == ["connect.refused"]


def test_a_call_that_is_repeated_is_the_same_event(site: Site) -> None:
    path = hook(site, "woocommerce")
    content = MUG | {"stock_quantity": 3, "date_modified_gmt": "2026-11-01T10:00:00"}
    for _ in range(2):
        post(site, "woocommerce", path, content)
    first, second = heard(site)
    assert first.occurred_at == second.occurred_at
    assert first.occurred_at.isoformat() == "2026-11-01T10:00:00+00:00"


def test_events_do_not_wait_for_the_note_of_their_hook(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """WooCommerce never sends a call again: a database that can only be read must not cost its event."""
    path = hook(site, "woocommerce")

    def away(*_: object) -> None:
        raise DatabaseAway("it can't be written")

    going_on = Event()
    with monkeypatch.context() as patched:
        patched.setattr(site.context.database, "write", away)
        assert post(site, "woocommerce", path).status_code == 200
        patched.setattr(site.context.database, "write", lambda *_: going_on.wait(60))
        patched.setattr(connectors, "NOTE_SECONDS", 0.05)
        assert post(site, "woocommerce", path).status_code == 200
        going_on.set()
    assert [len(heard(site)), is_used(site, path)] == [2, False]
    post(site, "woocommerce", path)
    assert is_used(site, path)


def test_while_redis_hangs_the_shop_is_answered_and_nobody_else_waits(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_on = Event()
    monkeypatch.setattr(connectors, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(Stream, "publish_many", lambda *_: going_on.wait(60))
    path = hook(site, "shopify")
    try:
        replies = [post(site, "shopify", path) for _ in range(STREAM_THREADS + OTHER_THREADS + 1)]
        assert {reply.status_code for reply in replies} == {503}
        assert post(site, "shopify", path, **{"X-Shopify-Hmac-Sha256": "forged"}).status_code == 401
    finally:
        going_on.set()


def test_adobe_commerce_is_always_answered_as_it_wants(site: Site) -> None:
    path = hooks.path("magento", site.shop.write(hooks.create, "magento", "test", public_key()))
    sent = body("magento", {"product": {"sku": "24-MB01", "name": "Bag"}})
    reply = site.client.post(path, content=sent, headers={"x-adobe-commerce-webhook-signature": rsa_signature(sent)})
    assert (reply.status_code, reply.json()["op"]) == (200, "success")


def test_without_redis_the_shop_is_told_to_come_again(shop: Shop) -> None:
    with site_over(shop) as site:
        reply = post(site, "woocommerce", hook(site, "woocommerce"))
        assert forged(site, hook(site, "woocommerce")) == 401
    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) > 0
