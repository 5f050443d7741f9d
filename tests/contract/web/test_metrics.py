"""`/metrics` and `stockbell metrics`: both tell what the rows say, whoever asks, and whatever is away."""

import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tests.contract.shop import CUP, MUG, Shop
from tests.contract.web.site import Site, context_of, site_over
from tests.redis_server import RedisServer
from worker.domain.api_keys import Scope
from worker.domain.errors import DatabaseAway
from worker.domain.returned import Cause
from worker.domain.verdicts import Tries
from worker.domain.webhooks import Format
from worker.models import SCHEMA
from worker.services import metrics as service
from worker.store import endpoints, keys, pauses, recording, suppression, sweep
from worker.store.database import Database
from worker.store.recording import Ended, Ends
from worker.web import metrics
from worker.web.app import Part, create_app

NOWHERE: Final = "postgresql://127.0.0.1:1/none"
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


@contextmanager
def serving(shop: Shop, serve: Collection[Part], redis_url: str = "redis://127.0.0.1:1/0") -> Iterator[TestClient]:
    with (
        context_of(shop, redis_url=redis_url) as context,
        TestClient(create_app(context, serve), base_url="https://notify.shop.example") as client,
    ):
        yield client


def scraped(client: TestClient, **headers: str) -> Samples:
    reply = client.get("/metrics", headers=headers)
    assert reply.status_code == 200, reply.text
    return samples(reply.text)


def test_what_is_in_the_rows_is_told(shop: Shop, redis_server: RedisServer) -> None:
    shop.write(sweep.stamp, 60.0, 60.0)
    shop.write(pauses.pause, CUP)
    endpoint = shop.write(endpoints.add, "https://a.example/", Format.STANDARD, is_full=False, allows_private=False)
    _, held = shop.claimed(5)
    shop.sign_up(CUP)
    ends = Ends(told=held[:2], seconds=[0.2, 40.0], firsts={held[0].id})
    ends.failed.append(Ended(held[2], Tries(1), "RECIPIENT_REJECTED", "550 no"))
    ends.released.append(held[3])
    shop.write(recording.record, ends)
    shop.write(suppression.suppress, [held[3].contact_id], Cause.UNSUBSCRIBED, "a test")
    with serving(shop, {Part.METRICS}, redis_server.url) as client:
        found = scraped(client)
    assert {part: value(found, "stockbell_up", part=part) for part in ("database", "redis")} == {
        "database": 1,
        "redis": 1,
    }
    states = ("RECEIVED", "PROCESSING", "NOTIFICATION_SENT", "FAILED")
    assert [value(found, "stockbell_requests", status=status) for status in states] == [1, 1, 2, 2]
    assert value(found, "stockbell_mails_total", outcome="told", code="") == 2
    assert value(found, "stockbell_mails_total", outcome="failed", code="RECIPIENT_REJECTED") == 1
    assert value(found, "stockbell_mails_total", outcome="failed", code="SUPPRESSED") == 1
    assert value(found, "stockbell_mails_total", outcome="failed", code="EXPIRED") == 0
    assert value(found, "stockbell_mails_total", outcome="released", code="") == 1
    assert value(found, "stockbell_signups_total", result="created") == 6
    assert value(found, "stockbell_signups_total", result="limited") == 0
    assert value(found, "stockbell_unsubscribes_total", how="unsubscribed") == 1
    assert value(found, "stockbell_restock_to_mail_seconds_count") == 2
    assert value(found, "stockbell_restock_to_mail_seconds_sum") == pytest.approx(40.2)
    assert value(found, "stockbell_restock_to_mail_seconds_bucket", le="0.1") == 0
    assert value(found, "stockbell_restock_to_mail_seconds_bucket", le="0.25") == 1
    assert value(found, "stockbell_restock_to_mail_seconds_bucket", le="60") == 2
    assert value(found, "stockbell_restock_to_first_mail_seconds_count") == 1
    assert value(found, "stockbell_workers") == 1
    assert value(found, "stockbell_last_sweep_seconds") < 60
    assert value(found, "stockbell_breaker_open") == 0
    assert (value(found, "stockbell_paused"), value(found, "stockbell_paused_items")) == (0, 1)
    assert value(found, "stockbell_webhook_backlog", endpoint=str(endpoint.id)) >= 6
    assert value(found, "stockbell_events_lag") == value(found, "stockbell_bells") == 0
    build = next(dict(labels) for name, labels in found if name == "stockbell_build_info")
    assert build["schema"] == SCHEMA


def test_no_address_and_no_item_is_told(site: Site) -> None:
    site.shop.sign_up(MUG, "jane@example.com")
    site.client.get("/u/jane@example.com")
    site.client.get("/mug-1")
    text = site.client.get("/metrics", headers=site.headers(Scope.READ)).text
    assert "jane" not in text
    assert "mug-1" not in text


def test_the_command_tells_the_same(shop: Shop, redis_server: RedisServer) -> None:
    _, held = shop.claimed(3)
    shop.write(recording.record, Ends(told=held, seconds=[0.2, 0.3, 0.4]))
    with serving(shop, {Part.METRICS}, redis_server.url) as client, context_of(shop, redis_url=redis_server.url) as own:
        web = scraped(client)
        parts = own.parts
        found = service.read_all(own.database, parts.stream, parts.bell, parts.settings.lease_seconds)
        content, _ = service.text(service.families(*found[:2]))
    assert {key: n for key, n in web.items() if not key[0].startswith("stockbell_http")} == samples(content.decode())


# Keys


@pytest.mark.parametrize("serve", [{Part.METRICS}, {Part.METRICS, Part.ADMIN}])
def test_a_private_process_needs_no_key(shop: Shop, serve: set[Part]) -> None:
    with serving(shop, serve) as client:
        assert value(scraped(client), "stockbell_up", part="database") == 1


@pytest.mark.parametrize("serve", [{Part.METRICS, Part.API}, {Part.METRICS, Part.HOOKS}])
def test_a_process_for_the_world_needs_a_key_to_read(shop: Shop, serve: set[Part]) -> None:
    with serving(shop, serve) as client:
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer sb_read_none"}).status_code == 401
        statuses = {}
        for scope in Scope:
            key = shop.write(
                keys.create, "test", scope, ("https://shop.example",) if scope is Scope.CREATE else ()
            ).text
            statuses[scope] = client.get("/metrics", headers={"Authorization": f"Bearer {key}"}).status_code
    assert statuses == {Scope.CREATE: 403, Scope.READ: 200, Scope.ADMIN: 200}


def test_a_process_that_does_not_serve_metrics_has_none(shop: Shop) -> None:
    with serving(shop, {Part.API}) as client:
        assert client.get("/metrics").status_code == 404


def test_a_key_that_was_good_lately_is_good_while_the_database_is_away(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.web.access.KNOWN_SECONDS", -1.0)
    headers, revoked, others = site.headers(Scope.READ), site.headers(Scope.READ), site.headers(Scope.READ)
    for each in (headers, revoked):
        assert site.client.get("/metrics", headers=each).status_code == 200
    site.shop.change(
        "UPDATE api_key SET revoked_at = stockbell_now(0) WHERE id = :id", id=revoked["Authorization"][8:16]
    )
    assert site.client.get("/metrics", headers=revoked).status_code == 401

    def away(*_args: object) -> None:
        raise DatabaseAway("the database is away")

    monkeypatch.setattr("worker.store.keys.recognise", away)
    assert [site.client.get("/metrics", headers=each).status_code for each in (headers, revoked, others)] == [
        200,
        503,
        503,
    ]


# Formats


def test_openmetrics_is_given_to_who_asks_for_it(shop: Shop) -> None:
    with serving(shop, {Part.METRICS}) as client:
        plain = client.get("/metrics")
        reply = client.get(
            "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
        )
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert reply.text.endswith("# EOF\n")
    names = {family.name for family in openmetrics_families(reply.text)}  # type: ignore[no-untyped-call]  # theirs
    assert {"stockbell_mails", "stockbell_build", "stockbell_restock_to_mail_seconds"} <= names


# What is away


def test_without_redis_its_figures_are_left_out(shop: Shop) -> None:
    with serving(shop, {Part.METRICS}) as client:
        found = scraped(client)
    assert value(found, "stockbell_up", part="redis") == 0
    assert value(found, "stockbell_up", part="database") == 1
    names = {name for name, _ in found}
    assert names.isdisjoint({"stockbell_events_lag", "stockbell_bells", "stockbell_dead_letters"})
    assert "stockbell_workers" in names


def test_without_the_database_redis_is_told(shop: Shop, redis_server: RedisServer) -> None:
    with serving(Shop(NOWHERE, shop.database), {Part.METRICS}, redis_server.url) as client:
        found = scraped(client)
    assert value(found, "stockbell_up", part="redis") == 1
    assert value(found, "stockbell_up", part="database") == 0
    assert value(found, "stockbell_bells") == 0
    assert not [name for name, _ in found if name in {"stockbell_requests", "stockbell_mails_total"}]


def test_a_place_that_hangs_counts_as_away_and_is_asked_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, asked = threading.Event(), []

    def hang(*_args: object) -> None:
        asked.append(1)
        hangs.wait()
        raise DatabaseAway("too late")

    monkeypatch.setattr(metrics, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(service, "read_database", hang)
    with serving(shop, {Part.METRICS}) as client:
        for _ in range(3):
            assert value(scraped(client), "stockbell_up", part="database") == 0
        hangs.set()
    assert len(asked) == 1


def test_nothing_is_read_more_often_than_every_few_seconds(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, read = [], service.read_database

    def noted(database: Database, lease: float) -> service.Stored:
        asked.append(1)
        return read(database, lease)

    monkeypatch.setattr(service, "read_database", noted)
    with serving(shop, {Part.METRICS}) as client:
        for _ in range(3):
            scraped(client)
        assert len(asked) == 1
        monkeypatch.setattr(metrics, "EVERY_SECONDS", 0.0)
        scraped(client)
    assert len(asked) == 2


# HTTP


def test_answers_are_counted_by_route_and_status(shop: Shop) -> None:
    with serving(shop, set(Part)) as client:
        headers = {"Authorization": shop.write(keys.create, "test", Scope.ADMIN).text}
        client.get("/healthz")
        client.get("/healthz")
        client.get("/v1/back-in-stock-notification-requests/5a4e1d0c-0000-4000-8000-000000000000", headers=headers)
        client.get("/back-in-stock-service/v1/back-in-stock-notification-requests/x", headers=headers)
        client.get("/made/up/by/anybody")
        client.get("/admin/login")
        client.get("/static/nothing.css")
        found = scraped(client, **headers)
    counted = {
        (dict(labels)["route"], dict(labels)["status"]): n
        for (name, labels), n in found.items()
        if name == "stockbell_http_requests_total"
    }
    assert counted["/healthz", "200"] == 2
    assert counted["(none)", "404"] == 1
    assert counted["/static", "404"] == 1
    routes = {route for route, _ in counted}
    assert any(route.endswith("/{id}") for route in routes)
    assert not any("anybody" in route or "5a4e1d0c" in route or "nothing" in route for route in routes)
    assert "/admin/login" in routes
    assert value(found, "stockbell_http_requests_seconds_count", route="/healthz") == 2


def test_a_fault_of_ours_is_counted(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(_database: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("worker.web.health.check_schema", break_down)
    with site_over(shop) as site:
        assert site.client.get("/readyz").status_code == 500
        found = scraped(site.client, **site.headers(Scope.READ))
    assert value(found, "stockbell_http_requests_total", route="/readyz", status="500") == 1
