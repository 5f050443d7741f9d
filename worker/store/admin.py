"""The changes that admins make to requests: retry, report, mark as sent. Each gives a reason for every refusal."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row

from worker.domain.catalog import Item
from worker.domain.outcomes import UNCONFIRMED, FailureCode
from worker.models import Status
from worker.store import requests, tally
from worker.store.contacts import ERASED
from worker.store.outbox import NEWS
from worker.store.resting import NOT_HELD
from worker.store.sql import Sql
from worker.store.suppression import LEFT_ITEM, NEVER

# Requests are locked in the order of their keys, as everybody does who waits for several.
_LOAD = Sql(
    f"""SELECT r.id, r.contact_id, r.waiting_list_id, r.status, r.failure_code, r.failure_reason,
        r.created_date, r.failed_at, r.not_before, r.in_line_at, r.ordered_at, r.notified_date, r.judged_from,
        r.handed_at, r.auto_notified, r.attempts, r.unknowns, r.policy_refusals, r.rescues, r.claim_no, r.receipt,
        r.extras, r.mail_id, s.suppressed_why,
        CASE WHEN r.not_before > {NEVER} THEN 1 ELSE 0 END AS is_unconfirmed,
        CASE WHEN s.address LIKE '{ERASED}%' THEN 1 ELSE 0 END AS is_erased
    FROM request AS r JOIN contact AS s ON s.id = r.contact_id
    WHERE r.id IN ROWS(request_id uuid) ORDER BY r.id FOR UPDATE OF r""",
    id="uuid",
    contact_id="uuid",
    waiting_list_id="uuid",
    mail_id="uuid",
    created_date="time",
    failed_at="time",
    not_before="time",
    in_line_at="time",
    ordered_at="time",
    notified_date="time",
    judged_from="time",
    handed_at="time",
    auto_notified="bool",
)
# By the contacts alone: joined with the pairs, PostgreSQL compares them all with all that wait, as soon as these are
# more than its statistics say. A retry of many makes them so.
_UNRESOLVED = Sql(
    """SELECT r.id, r.contact_id, r.waiting_list_id FROM request AS r
    WHERE r.contact_id IN ROWS(contact_id uuid) AND r.status IN ('RECEIVED', 'PROCESSING')""",
    id="uuid",
    contact_id="uuid",
    waiting_list_id="uuid",
)
# `|| ''`: see `claims.BY_KEY`.
_RETRY = Sql(
    f"""UPDATE request SET status = 'RECEIVED', auto_notified = NULL, attempts = 0, unknowns = 0, policy_refusals = 0,
        judged_from = NULL, rescues = 0, handed_at = NULL, in_line_at = stockbell_now(0),
        not_before = CASE WHEN not_before > {NEVER} THEN not_before
            WHEN :hold > 0 THEN stockbell_now(:hold) END,
        failure_code = CASE WHEN not_before > {NEVER} THEN '{UNCONFIRMED}' END,
        failure_reason = NULL, failed_at = NULL, notified_date = NULL, extras = NULL,
        ordered_at = CASE WHEN :ordered THEN stockbell_now(0) END, {NEWS}
    FROM ROWS(request_id uuid) WHERE id = rows.request_id AND status || '' = 'FAILED'"""
)
_REPORT = Sql(
    f"""UPDATE request SET ordered_at = coalesce(ordered_at, stockbell_now(0)), {NOT_HELD},
        not_before = CASE WHEN :hold > 0 THEN stockbell_now(:hold) END, extras = CAST(:extras AS text)
    FROM ROWS(request_id uuid) WHERE id = rows.request_id AND status || '' = 'RECEIVED'"""
)
_MARK = Sql(
    f"""UPDATE request SET status = 'NOTIFICATION_SENT', auto_notified = false, notified_date = stockbell_now(0),
        not_before = NULL, failure_code = NULL, failure_reason = NULL, failed_at = NULL, receipt = NULL,
        extras = NULL, mail_id = NULL, {NEWS}
    FROM ROWS(request_id uuid) WHERE id = rows.request_id AND status || '' IN ('RECEIVED', 'FAILED')"""
)

_ITEM = Sql(
    """SELECT catalog_item_id, name, price, currency, image_url, url FROM item
    WHERE app_id = :app AND catalog_item_id = :item"""
)

BEING_SENT = "being sent"
NOT_CONFIRMED = "the customer has not confirmed yet"
LEFT = "the customer left this item, and only they can take that back"
ERASED_CUSTOMER = "the customer was erased"
SUPERSEDED = "superseded by"
"""The id of another request follows."""
FAILED_SINCE = "it has failed again since the preview"
NEED_FORCE = {
    FailureCode.OUTCOME_UNKNOWN.value: "the customer may have got the mail already",
    FailureCode.SUPPRESSED.value: "the customer wanted no mail",
}

Refusal = Callable[[Row[Any]], str | None]
Key = tuple[UUID, UUID]
"""(contact, waiting list). At most one request per key may be unresolved."""


@dataclass(slots=True)
class Changed:
    """The result of a verb: the ids of the changed requests, their waiting lists, and a reason for each refused id."""

    ids: list[UUID] = field(default_factory=list)
    lists: set[UUID] = field(default_factory=set)
    refused: dict[UUID, str] = field(default_factory=dict)
    before: dict[UUID, Row[Any]] = field(default_factory=dict)
    """what the changed requests were like"""


def retry(
    c: Connection,
    ids: Sequence[UUID],
    *,
    ordered: bool,
    force: bool,
    dry_run: bool = False,
    taken: dict[Key, UUID] | None = None,
    by_customer: bool = False,
    hold: float = 0.0,
    as_of: datetime | None = None,
) -> Changed:
    """Moves FAILED requests to RECEIVED. With `ordered` they are sent whatever the stock is.

    OUTCOME_UNKNOWN (the mail may have arrived) and SUPPRESSED (the contact wanted no mail) need `force`. It does not
    help while the contact is suppressed. Only the oldest request per key is retried, and none if the key has an
    unresolved request. A dry run passes `taken` from one chunk to the next: it maps each key to the request that is
    retried for it. What customers left themselves, only they take up again (`by_customer`); what
    they had not confirmed waits for that then, as before. They are due in `hold` seconds: until then it can be undone.
    What has failed since `as_of` is refused.
    """
    rows = _load(c, ids)
    unresolved = _unresolved(c, rows.values())
    taken = {} if taken is None else taken

    def refusal(row: Row[Any]) -> str | None:
        key = row.contact_id, row.waiting_list_id
        if row.status != Status.FAILED:
            return _why_not(row, f"is {row.status}, not FAILED")
        if row.suppressed_why:
            return _why_suppressed(row)
        if row.is_unconfirmed and not by_customer:
            return NOT_CONFIRMED
        if row.failure_reason == LEFT_ITEM and not by_customer:
            return LEFT
        if row.failure_code in NEED_FORCE and not force:
            return needs_force(row.failure_code)
        winner = unresolved.get(key) or taken.setdefault(key, row.id)
        return None if winner == row.id else f"{SUPERSEDED} {winner}"

    statement = None if dry_run else _RETRY
    changed = _change(c, ids, rows, _or_failed_since(as_of, refusal), statement, ordered=ordered, hold=hold)
    tally.add(c, {"retried": 0 if dry_run else len(changed.ids)})
    return changed


def report(
    c: Connection, ids: Sequence[UUID], extras: str | None = None, *, hold: float = 0.0, dry_run: bool = False
) -> Changed:
    """Marks RECEIVED requests to be sent now, whatever the stock is (Wix: Report Items Back In Stock).

    Not those whose customers have not confirmed. `extras` is what the order gives for its mails beside the item, as
    JSON. They are due in `hold` seconds. A dry run changes nothing.
    """
    may_report = _unless(Status.RECEIVED)

    def refusal(row: Row[Any]) -> str | None:
        return NOT_CONFIRMED if row.failure_code == UNCONFIRMED else may_report(row)

    return _change(c, ids, _load(c, ids), refusal, None if dry_run else _REPORT, extras=extras, hold=hold)


def mark_sent(c: Connection, ids: Sequence[UUID], *, as_of: datetime | None = None) -> Changed:
    """Moves RECEIVED and FAILED requests to NOTIFICATION_SENT, autoNotified false (Wix: Mark As Notification Sent).

    What has failed since `as_of` is refused.
    """
    rows = _load(c, ids)
    changed = _change(c, ids, rows, _or_failed_since(as_of, _unless(Status.RECEIVED, Status.FAILED)), _MARK)
    tally.add(c, Counter(f"marked:{rows[id_].status}" for id_ in changed.ids))
    return changed


def delete(c: Connection, ids: Sequence[UUID], *, as_of: datetime | None = None) -> Changed:
    """Deletes requests and their attempts, but those that are being sent, and what has failed since `as_of`."""

    def refusal(row: Row[Any]) -> str | None:
        return BEING_SENT if row.status == Status.PROCESSING else None

    changed = _change(c, ids, _load(c, ids), _or_failed_since(as_of, refusal), None)
    requests.remove_each(c, changed.ids)
    return changed


def item(c: Connection, which: Item) -> Row[Any] | None:
    """Returns the details of an item, or None if no request and no event has named it."""
    return next(iter(_ITEM(c, app=which.app_id, item=which.catalog_item_id)), None)


def _why_suppressed(row: Row[Any]) -> str:
    if row.is_erased:
        return ERASED_CUSTOMER
    return gets_no_mail(row.suppressed_why)


def needs_force(code: str) -> str:
    """Returns why a request that failed with this code is retried only by force."""
    return f"{NEED_FORCE[code]}: {code} needs --force"


def gets_no_mail(why: str) -> str:
    """Returns why a request of a customer who is suppressed for this cause is not retried."""
    return f"the customer gets no mail ({why}); `stockbell contacts unsuppress` lifts that"


def _unless(*allowed: Status) -> Refusal:
    def refusal(row: Row[Any]) -> str | None:
        return None if row.status in allowed else _why_not(row, f"is {row.status}")

    return refusal


def _or_failed_since(as_of: datetime | None, refusal: Refusal) -> Refusal:
    if as_of is None:
        return refusal
    return lambda row: FAILED_SINCE if row.failed_at and row.failed_at >= as_of else refusal(row)


def _why_not(row: Row[Any], otherwise: str) -> str:
    if row.failure_code == UNCONFIRMED:
        return NOT_CONFIRMED
    return BEING_SENT if row.status == Status.PROCESSING else otherwise


def _change(
    c: Connection,
    ids: Sequence[UUID],
    rows: Mapping[UUID, Row[Any]],
    refusal: Refusal,
    statement: Sql | None,
    **params: object,
) -> Changed:
    changed = Changed(refused={id_: "no such request" for id_ in ids if id_ not in rows})
    for id_, row in rows.items():
        reason = refusal(row)
        if reason:
            changed.refused[id_] = reason
        else:
            changed.ids.append(id_)
            changed.before[id_] = row
            changed.lists.add(row.waiting_list_id)
    if statement and changed.ids:
        statement(c, rows=[{"request_id": id_} for id_ in changed.ids], **params)
    return changed


def _load(c: Connection, ids: Sequence[UUID]) -> dict[UUID, Row[Any]]:
    """Locks these requests. Returns them with the oldest first."""
    rows = _LOAD(c, rows=[{"request_id": id_} for id_ in ids])
    return {row.id: row for row in sorted(rows, key=lambda row: (row.created_date, row.id))}


def _unresolved(c: Connection, rows: Iterable[Row[Any]]) -> dict[Key, UUID]:
    wanted = [{"contact_id": contact} for contact in {row.contact_id for row in rows}]
    return {(row.contact_id, row.waiting_list_id): row.id for row in _UNRESOLVED(c, rows=wanted)}
