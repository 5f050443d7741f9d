"""Events over HTTP: what a listener can read is in the stream, in order, and nothing else is."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.contract.shop import Shop
from tests.contract.web.site import Site, site_over
from worker.domain.api_keys import Scope
from worker.domain.errors import RedisAway
from worker.domain.events import Event, decode
from worker.stream.event_stream import Stream

ROUTE = "/v1/events"
MUG = {"catalogItemId": "mug-1", "quantity": 5}


def post(site: Site, body: object, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body)
    given = {"Content-Type": "application/json", **({} if "Authorization" in headers else site.headers()), **headers}
    return site.client.post(ROUTE, content=content, headers=given)


def heard(site: Site) -> list[Event]:
    """Returns what a listener decodes of the stream."""
    settings = site.context.parts.settings
    listener = Stream(settings.events_url, settings.event_stream, consumer="test")
    entries = [*listener.read(2000, 1), *listener.read(2000, 1)]  # the first ever only creates the group
    found = [decode(entry.id, entry.fields) for entry in entries]
    listener.close()
    return found


def violations(reply: Any) -> Mapping[str, str]:
    found = reply.json()["details"]["validationError"]["fieldViolations"]
    return {each["field"]: each["description"] for each in found}


def test_an_event_is_in_the_stream_once_it_is_answered(site: Site) -> None:
    reply = post(site, MUG | {"options": {"Größe": "L"}, "item": {"name": "Becher", "price": "12.50"}})
    assert reply.status_code == 202
    (event,) = heard(site)
    assert reply.json() == {"accepted": 1, "refused": [], "warnings": [], "ids": [event.entry_id]}
    assert event.reference.spelled == (("Größe", "L"),)
    assert (event.quantity, event.details) == (5, {"name": "Becher", "price": "12.50"})


SEVERAL = [
    (json.dumps([MUG, MUG | {"quantity": 0}]), "application/json; charset=utf-8"),
    (json.dumps({"events": [MUG, MUG | {"quantity": 0}]}), "application/json"),
    ("\ufeff" + json.dumps(MUG) + "\r\n\n" + json.dumps(MUG | {"quantity": 0}) + "\n", "application/x-ndjson"),
    (json.dumps([json.dumps(MUG), MUG | {"quantity": "0"}]), "application/vnd.shop+json"),
    (json.dumps([{"event": MUG}, {"event": json.dumps(MUG | {"quantity": 0})}]), "application/json"),
    (json.dumps({"event": MUG}) + "\n" + json.dumps(MUG | {"quantity": 0}), "application/jsonl"),
]


def test_several_events_keep_their_order(site: Site) -> None:
    headers = site.headers()
    for body, media_type in SEVERAL:
        reply = post(site, body.encode(), **{**headers, "Content-Type": media_type})
        assert reply.json()["accepted"] == 2
        found = heard(site)
        assert [event.quantity for event in found] == [5, 0]
        assert [event.entry_id for event in found] == reply.json()["ids"]


def test_a_thousand_are_taken_and_one_more_is_not(site: Site) -> None:
    reply = post(site, [MUG | {"quantity": number} for number in range(1000)])
    assert reply.json()["accepted"] == 1000
    assert [event.quantity for event in heard(site)] == list(range(1000))
    refused = post(site, [MUG] * 1001)
    assert (refused.status_code, violations(refused)) == (400, {"events": "has over 1,000 events"})
    assert heard(site) == []


def test_what_would_be_a_dead_letter_is_refused_with_its_place_and_reason(site: Site) -> None:
    bad = {"catalogItemId": "mug-2"}
    reply = post(site, [bad, MUG, 7, MUG | {"item": {"price": ["12"]}, "occurredAt": "yesterday"}])
    assert reply.status_code == 202
    said = reply.json()
    assert said["accepted"] == len(said["ids"]) == 2
    assert said["refused"] == [
        {"index": 0, "reason": "neither quantity nor inStock is given"},
        {"index": 2, "reason": "event must be a JSON object, not this number"},
    ]
    assert [each["index"] for each in said["warnings"]] == [3, 3]
    assert [event.quantity for event in heard(site)] == [5, 5]


def test_a_key_that_is_there_twice_is_read_as_the_listener_reads_it(site: Site) -> None:
    twice = '[{"catalogItemId": "mug-1", "quantity": 5, "quantity": 0}, {"catalogItemId": "mug-1", "quantity": 5}]'
    reply = post(site, twice.encode())
    assert [each["index"] for each in reply.json()["refused"]] == [0]
    assert len(heard(site)) == 1


UNREADABLE = [
    (b"", "events", "is not JSON: Expecting value at character 0"),
    (b'{"catalogItemId": "mug-1", "quan', "events", "is not JSON: "),
    (b"[]", "events", "has no event"),
    (b'{"events": {}}', "events", 'has "events" that are not a list'),
    (b'"mug-1"', "events", "is neither an event nor a list of events"),
    (b"[" * 100_000, "events", "is nested too deeply"),
    (b"{}", "events[0]", "catalogItemId is missing"),
    (b'{"catalogItemId": "' + b"x" * 70_000 + b'", "quantity": 1}', "events[0]", "event is over 65536 bytes"),
    (b'{"catalogItemId": "mug-1", "quantity": ' + b"9" * 5000 + b"}", "events[0]", "quantity must be a number"),
]


def test_nothing_is_published_of_a_body_that_has_no_readable_event(site: Site) -> None:
    headers = site.headers()
    for body, where, why in UNREADABLE:
        reply = post(site, body, **headers)
        assert reply.status_code == 400
        assert violations(reply)[where].startswith(why)
    assert heard(site) == []


def test_what_is_no_json_or_from_nobody_is_refused(site: Site) -> None:
    assert post(site, MUG, **{"Content-Type": "application/x-www-form-urlencoded"}).status_code == 415
    assert post(site, MUG, **{"Content-Encoding": "gzip"}).status_code == 415
    assert post(site, MUG, Authorization="").status_code == 401
    assert post(site, MUG, Authorization="sb_admin_nothing").status_code == 401
    assert heard(site) == []


def test_only_an_admin_key_may_publish(site: Site) -> None:
    for scope in (Scope.READ, Scope.CREATE):
        assert post(site, MUG, **site.headers(scope)).status_code == 403
    assert heard(site) == []


def test_a_body_of_four_mebibytes_is_taken_and_a_longer_one_is_not(site: Site) -> None:
    blank = b" " * (4 * 1024 * 1024 - len(json.dumps(MUG)))
    assert post(site, b"[" + json.dumps(MUG).encode() + b"]" + blank[:-2]).status_code == 202
    assert post(site, json.dumps(MUG).encode() + blank + b" ").status_code == 413


def test_without_redis_the_caller_is_told_to_come_again(shop: Shop) -> None:
    with site_over(shop) as site:
        reply = post(site, MUG)
    assert reply.status_code == 503
    assert reply.json()["details"]["applicationError"]["code"] == "REDIS_AWAY"
    assert int(reply.headers["retry-after"]) > 0


def test_events_that_redis_does_not_take_whole_are_not_taken_at_all(site: Site) -> None:
    parts = site.context.parts
    with pytest.raises(RedisAway):
        parts.stream.publish_many([{"event": b"{}"}, {}])  # XADD without fields is an error
    assert heard(site) == []
