"""Our outgoing events, read as their receivers do: by Wix's SDK and by the npm library of Standard Webhooks."""

import base64
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final
from uuid import UUID, uuid4

from tests.web.nodes import run
from worker.domain.webhooks import Kind, News, standard_body, wix_claim
from worker.web.signing import JwtKey, headers, new_private_pem

REQUEST: Final = UUID("01a22508-eab5-733a-9b8d-ce0612edb6e6")
INSTANCE: Final = uuid4()
REFERENCE: Final = {"catalogItemId": "mug-1", "appId": "ours", "options": {"Text": "Zoë 🐈"}}
FACTS: Final = {
    "catalogReference": REFERENCE,
    "contactId": str(uuid4()),
    "status": "NOTIFICATION_SENT",
    "autoNotified": True,
    "createdDate": "2026-11-23T09:00:00.000Z",
}
OLD: Final = timedelta(minutes=6)


def secret(character: bytes) -> str:
    return f"whsec_{base64.b64encode(character * 32).decode()}"


@cache
def read_by_receivers() -> Any:
    """What both libraries make of our events."""
    now = datetime.now(UTC)
    key = JwtKey.of("k1", new_private_pem())
    news = [News(REQUEST, number, kind, now, FACTS | {"status": status}) for number, kind, status in CHANGES]
    secrets = [secret(b"n"), secret(b"o")]
    body = standard_body(news[1])
    old = now - OLD
    return run(
        "events.mjs",
        publicKey=key.public_pem,
        tokens=[key.sign(wix_claim(each, INSTANCE), now) for each in news],
        expired=key.sign(wix_claim(news[0], INSTANCE), old),
        byAnother=JwtKey.of("k1", new_private_pem()).sign(wix_claim(news[0], INSTANCE), now),
        standard={"body": body, "headers": headers(news[1].id, body, secrets, now)},
        old={"body": body, "headers": headers(news[1].id, body, secrets, old)},
        secrets=secrets,
        otherSecret=secret(b"x"),
    )


CHANGES: Final = (
    (1, Kind.CREATED, "RECEIVED"),
    (2, Kind.UPDATED, "NOTIFICATION_SENT"),
    (3, Kind.DELETED, "NOTIFICATION_SENT"),
)


def test_the_sdk_gives_each_event_to_its_handler_with_the_request() -> None:
    handled = read_by_receivers()["handled"]
    assert [each["kind"] for each in handled] == ["Created", "Updated", "Deleted"]
    for each, (number, kind, status) in zip(handled, CHANGES, strict=True):
        assert each["entity"]["_id"] == str(REQUEST)
        assert (each["entity"]["status"], each["entity"]["catalogReference"]) == (status, REFERENCE)
        assert each["isDate"] is (kind is not Kind.DELETED)  # there, the SDK passes the object on as it is
        metadata = each["metadata"]
        assert (metadata["entityId"], metadata["entityEventSequence"]) == (str(REQUEST), str(number))
        assert (metadata["slug"], metadata["instanceId"]) == (kind.value, str(INSTANCE))
        assert metadata["identity"]["identityType"] == "APP"


def test_the_sdk_refuses_what_was_changed_is_old_or_is_signed_by_another() -> None:
    assert read_by_receivers()["refused"] == {
        "changed": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
        "expired": "ERR_JWT_EXPIRED",
        "byAnother": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED",
    }


def test_standard_webhooks_takes_either_of_two_secrets_while_one_replaces_the_other() -> None:
    for found in read_by_receivers()["standard"]:
        assert found["type"] == "back_in_stock_notification_request.updated"
        assert (found["data"]["id"], found["data"]["status"]) == (str(REQUEST), "NOTIFICATION_SENT")
        assert found["data"]["catalogReference"] == REFERENCE


def test_standard_webhooks_refuses_what_was_changed_is_old_or_is_signed_by_another() -> None:
    assert read_by_receivers()["standardRefused"] == {
        "changed": "No matching signature found",
        "secret": "No matching signature found",
        "old": "Message timestamp too old",
    }
