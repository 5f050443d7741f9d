"""Requests as JSON with the names of Wix: camelCase, and times in ISO 8601 UTC with milliseconds."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from worker.domain.catalog import options_from_text
from worker.domain.outcomes import UNCONFIRMED
from worker.models import Status


def timestamp(at: datetime) -> str:
    """Formats a time as Wix does: `2026-11-23T09:00:00.000Z`."""
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def request_json(row: Any) -> dict[str, object]:
    """Returns a request (a row of `store.requests.find`) as JSON. Leaves out unset fields, as Wix does."""
    found: dict[str, object] = {
        "id": str(row.id),
        "catalogReference": _reference_json(row),
        "email": row.email,
        "contactId": str(row.contact_id),
        "status": Status(row.status).value,
        "autoNotified": row.auto_notified,
        "createdDate": timestamp(row.created_date),
        "itemUrl": row.item_url,
        "locale": row.locale,
        "priority": row.priority or None,
        "notifiedDate": row.notified_date and timestamp(row.notified_date),
    }
    given = {name: value for name, value in found.items() if value is not None}
    tries = {
        "attempts": row.attempts,
        "failureCode": row.failure_code,
        "failureReason": row.failure_reason,
    }
    return given | tries | (_waiting_json(row) if Status(row.status) is Status.RECEIVED else {})


def _waiting_json(row: Any) -> dict[str, object]:
    is_backoff = row.not_before and row.failure_code != UNCONFIRMED
    not_before = {"notBefore": timestamp(row.not_before)} if is_backoff else {}
    until = waiting_until(row)
    return {"waiting": row.waiting, **({"waitingUntil": timestamp(until)} if until else {}), **not_before}


def waiting_until(row: Any) -> datetime | None:
    """Returns until when a request waits for the reason that it has. None: that is not known."""
    until: Mapping[str | None, datetime | None] = {
        "backoff": row.not_before,
        "interval": row.not_before,
        "quietHours": row.quiet_until,
        "settling": row.settles_at,
        "wave": row.opens_at,
    }
    return until.get(row.waiting)


def signup_json(row: Any) -> dict[str, object] | None:
    """Returns how a customer signed up over HTTP, the proof of consent, or None."""
    found: dict[str, object] | None = json.loads(row.signup) if row.signup else None
    return found


def attempts_json(rows: Sequence[Any]) -> list[dict[str, object]]:
    """Returns the attempt log (rows of `store.requests.attempts`) as JSON."""
    return [
        {
            "at": timestamp(row.at),
            "event": row.event,
            "smtpCode": row.smtp_code,
            "enhancedCode": row.enhanced_code,
            "reply": row.reply,
            "owner": row.owner and str(row.owner),
        }
        for row in rows
    ]


def report_json(row: Any) -> dict[str, object]:
    """Returns what came back for a mail (a row of `models.Report`) as JSON."""
    return {
        "at": timestamp(row.at),
        "kind": row.kind,
        "code": row.code,
        "status": row.status,
        "words": row.words,
        "source": row.source,
        "requestId": row.request_id and str(row.request_id),
    }


def contact_json(row: Any) -> dict[str, object]:
    """Returns a customer (a row of `models.Contact`) as JSON. If mail is sent to them, since, cause and by are null."""
    return {
        "id": str(row.id),
        "address": row.address,
        "createdDate": timestamp(row.created_date),
        "suppressed": row.suppressed_at is not None,
        "since": row.suppressed_at and timestamp(row.suppressed_at),
        "cause": row.suppressed_why,
        "by": row.suppressed_by,
        "confirmedDate": row.confirmed_at and timestamp(row.confirmed_at),
    }


def _reference_json(row: Any) -> dict[str, object]:
    if row.given is not None:
        given: dict[str, object] = json.loads(row.given)
        return given
    reference: dict[str, object] = {"catalogItemId": row.catalog_item_id, "appId": row.app_id}
    options = dict(options_from_text(row.options))
    return reference | ({"options": options} if options else {})
