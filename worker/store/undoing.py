"""Takes back what an admin's action did to requests, as far as nothing has happened to them since."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Row
from sqlalchemy.exc import IntegrityError

from worker.models import Status
from worker.store import tally
from worker.store.outbox import NEWS
from worker.store.sql import Sql

_TIMES: Final = ("failed_at", "not_before", "in_line_at", "ordered_at", "notified_date", "judged_from", "handed_at")
_KEPT: Final = (
    *("status", "failure_code", "failure_reason", *_TIMES, "auto_notified", "attempts", "unknowns"),
    *("policy_refusals", "rescues", "claim_no", "receipt", "extras", "mail_id"),
)
_WAS: Final = """ROWS(request_id uuid, status text, failure_code text, failure_reason text, failed_at timestamptz,
    not_before timestamptz, in_line_at timestamptz, ordered_at timestamptz, notified_date timestamptz,
    judged_from timestamptz, handed_at timestamptz, auto_notified bool, attempts int, unknowns int,
    policy_refusals int, rescues int, claim_no int, receipt text, extras text, mail_id uuid)"""
# `|| ''`: see `claims.BY_KEY`. Every claim raises its number, so a request that was claimed meanwhile has another one.
_UNDO_RETRY: Final = Sql(
    f"""UPDATE request SET status = 'FAILED', failure_code = rows.failure_code, failure_reason = rows.failure_reason,
        failed_at = rows.failed_at, not_before = rows.not_before, in_line_at = rows.in_line_at,
        ordered_at = rows.ordered_at,
        notified_date = rows.notified_date, judged_from = rows.judged_from, handed_at = rows.handed_at,
        auto_notified = rows.auto_notified, attempts = rows.attempts, unknowns = rows.unknowns,
        policy_refusals = rows.policy_refusals, rescues = rows.rescues, extras = rows.extras, {NEWS}
    FROM {_WAS} WHERE request.id = rows.request_id AND request.status || '' = 'RECEIVED'
      AND request.claim_no = rows.claim_no
    RETURNING request.id AS id, request.waiting_list_id AS list_id""",
    id="uuid",
    list_id="uuid",
)
_UNDO_REPORT: Final = Sql(
    f"""UPDATE request SET ordered_at = rows.ordered_at, not_before = rows.not_before, extras = rows.extras,
        failure_code = rows.failure_code, failure_reason = rows.failure_reason
    FROM {_WAS} WHERE request.id = rows.request_id AND request.status || '' = 'RECEIVED'
      AND request.claim_no = rows.claim_no
    RETURNING request.id AS id, request.waiting_list_id AS list_id""",
    id="uuid",
    list_id="uuid",
)
# Who waits must be nobody who gets no mail, and must wait only once.
_UNDO_MARK: Final = Sql(
    f"""UPDATE request SET status = rows.status, failure_code = rows.failure_code,
        failure_reason = rows.failure_reason, failed_at = rows.failed_at, not_before = rows.not_before,
        notified_date = rows.notified_date, auto_notified = rows.auto_notified, receipt = rows.receipt,
        extras = rows.extras, mail_id = rows.mail_id, {NEWS}
    FROM {_WAS} WHERE request.id = rows.request_id AND request.status || '' = 'NOTIFICATION_SENT'
      AND request.claim_no = rows.claim_no AND request.auto_notified = false
      AND (rows.status = 'FAILED' OR (
        NOT EXISTS (SELECT 1 FROM request AS other WHERE other.contact_id = request.contact_id
            AND other.waiting_list_id = request.waiting_list_id AND other.status IN ('RECEIVED', 'PROCESSING'))
        AND NOT EXISTS (SELECT 1 FROM contact WHERE contact.id = request.contact_id AND suppressed_at IS NOT NULL)))
    RETURNING request.id AS id, request.waiting_list_id AS list_id""",
    id="uuid",
    list_id="uuid",
)
_STATEMENTS: Final = {"retry": _UNDO_RETRY, "report": _UNDO_REPORT, "mark-sent": _UNDO_MARK}


def can_undo(verb: str) -> bool:
    """Whether what this verb did can be taken back at all."""
    return verb in _STATEMENTS


def kept(row: Row[Any]) -> str:
    """Returns what has to be kept of a request (a row of `store.admin`) so that the change can be undone, as JSON."""
    values = {name: getattr(row, name) for name in _KEPT}
    return json.dumps({name: _text(value) for name, value in values.items() if value not in (None, 0)})


def undo(c: Connection, verb: str, before: Mapping[UUID, str | None]) -> dict[UUID, UUID]:
    """Gives requests back what was kept of them, unless they were claimed, changed or erased meanwhile.

    Returns the ids of those that are as they were, each with its waiting list.
    """
    rows = [{"request_id": id_, **_values(text)} for id_, text in before.items() if text is not None]
    if not rows:
        return {}
    try:
        return _undo(c, verb, rows)
    except IntegrityError:  # somebody has just signed up again: one by one, to find out who
        undone: dict[UUID, UUID] = {}
        for row in rows:
            with suppress(IntegrityError):
                undone |= _undo(c, verb, [row])
        return undone


def _undo(c: Connection, verb: str, rows: Sequence[Mapping[str, object]]) -> dict[UUID, UUID]:
    with c.begin_nested():
        undone = {row.id: row.list_id for row in _STATEMENTS[verb](c, rows=rows)}
    was = {row["request_id"]: row["status"] for row in rows}
    if verb == "retry":
        tally.add(c, {"undone:retried": len(undone)})
    elif verb == "mark-sent":
        tally.add(c, Counter(f"undone:marked:{was[id_]}" for id_ in undone))
    return undone


def _text(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    return value.value if isinstance(value, Status) else value


def _values(text: str) -> dict[str, object]:
    found = json.loads(text)
    values: dict[str, object] = {name: found.get(name) for name in _KEPT}
    for name in _TIMES:
        values[name] = datetime.fromisoformat(found[name]) if name in found else None
    for name in ("attempts", "unknowns", "policy_refusals", "rescues", "claim_no"):
        values[name] = found.get(name, 0)
    values["mail_id"] = UUID(found["mail_id"]) if "mail_id" in found else None
    return values
