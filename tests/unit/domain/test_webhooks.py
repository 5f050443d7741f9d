"""What others are told, and when a delivery is tried again."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from worker.domain.webhooks import DELAYS, Kind, News, delay_after, slow_seconds, standard_body, wix_claim

REQUEST = UUID("01a22509-8f3f-7d82-b4f5-4524125cbf48")
AT = datetime(2026, 11, 23, 9, 0, 0, 123456, UTC)
FACTS = {
    "catalogReference": {"catalogItemId": "mug-1", "appId": "app"},
    "contactId": "c",
    "status": "FAILED",
    "autoNotified": True,
    "createdDate": "2026-11-20T09:00:00.000Z",
}


def news(kind: Kind, *, by_erasure: bool = False) -> News:
    return News(REQUEST, 3, kind, AT, FACTS, by_erasure, {"email": "jane@example.com"})


def test_the_standard_body_has_type_time_and_data() -> None:
    assert json.loads(standard_body(news(Kind.UPDATED))) == {
        "type": "back_in_stock_notification_request.updated",
        "timestamp": "2026-11-23T09:00:00.123Z",
        "data": {
            "id": str(REQUEST),
            "catalogReference": {"catalogItemId": "mug-1", "appId": "app"},
            "contactId": "c",
            "status": "FAILED",
            "autoNotified": True,
            "email": "jane@example.com",
            "sequence": 3,
        },
    }


@pytest.mark.parametrize(
    ("kind", "event", "place"),
    [
        (Kind.CREATED, "createdEvent", "entity"),
        (Kind.UPDATED, "updatedEvent", "currentEntity"),
        (Kind.DELETED, "deletedEvent", "deletedEntity"),
    ],
)
def test_wix_reads_strings_within_strings(kind: Kind, event: str, place: str) -> None:
    claim = json.loads(wix_claim(news(kind, by_erasure=True), REQUEST))
    assert claim["eventType"] == f"wix.ecom.v1.back_in_stock_notification_request_{kind}"
    assert claim["instanceId"] == str(REQUEST)
    assert json.loads(claim["identity"])["identityType"] == "APP"
    data = json.loads(claim["data"])
    assert data[event][place] == {"id": str(REQUEST), **FACTS, "email": "jane@example.com"}
    del data[event]
    assert data == {
        "id": f"{REQUEST}.3",
        "entityFqdn": "wix.ecom.v1.back_in_stock_notification_request",
        "slug": kind.value,
        "entityId": str(REQUEST),
        "eventTime": "2026-11-23T09:00:00.123Z",
        "triggeredByAnonymizeRequest": True,
        "originatedFrom": "",
        "entityEventSequence": "3",
    }


def test_tries_come_later_and_later_and_end_after_three_days() -> None:
    assert [delay_after(tries, 0) for tries in range(1, 11)] == [*DELAYS[1:], None]
    assert delay_after(1, 1) == pytest.approx(6)
    assert 72 < sum(DELAYS) / 3600 < 80


@pytest.mark.parametrize(("asked", "seconds"), [(None, 10), (0, 10), (0.2, 1), (60, 60), (1e9, 3600)])
def test_a_pause_that_is_asked_for_is_neither_too_short_nor_too_long(asked: float | None, seconds: float) -> None:
    assert slow_seconds(asked) == seconds
