"""Reads everything that is known of one request, and the requests of one customer, for those who ask why.

Each statement goes by an index: a story takes milliseconds however many requests there are.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.catalog import Item, Options
from worker.domain.stock import Level
from worker.models import ENDED, UNRESOLVED, ids_of
from worker.store import history, lists
from worker.store.requests import waiting_words
from worker.store.sql import Sql
from worker.store.tally import COUNTED

MOST_ROWS: Final = 100
"""So many attempts, reports and actions of one request are read, the newest ones."""
MOST_REQUESTS: Final = 50
"""So many requests of one customer are read, the newest ones."""
MOST_COUNTED: Final = 10_000
"""Counts of those in line stop here."""
_NEAR: Final = timedelta(seconds=2)
"""What an admin did and its row in the audit trail are of one transaction. Their times, of two clocks, are as near."""
_AT_ONCE: Final = timedelta(seconds=10)
"""All that one mail told of is recorded by one statement. On SQLite each row has a time of its own."""

_COLUMNS = """r.id, r.waiting_list_id, r.contact_id, r.email, r.item_url, r.locale, r.given, r.status, r.auto_notified,
    r.priority, r.created_date, r.notified_date, r.ordered_at, r.not_before, r.claim_no, r.claimed_at, r.attempts,
    r.unknowns,
    r.rescues, r.failure_code, r.failure_reason, r.failed_at, r.receipt, r.signup, r.seat_wave, r.mail_id, w.item_id,
    w.options, w.options_key, w.in_stock, w.last_in_stock_at, w.woken_at, i.app_id, i.catalog_item_id, i.name"""
_TABLES = """request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id JOIN item AS i ON i.id = w.item_id"""
_TYPES = {
    **dict.fromkeys(("id", "waiting_list_id", "contact_id", "item_id", "mail_id"), "uuid"),
    **dict.fromkeys(("auto_notified", "in_stock"), "bool"),
    **dict.fromkeys(
        (
            *("created_date", "notified_date", "ordered_at", "not_before", "claimed_at", "failed_at"),
            *("last_in_stock_at", "woken_at", "quiet_until", "settles_at", "opens_at"),
        ),
        "time",
    ),
}


# `waiting` is what `requests.waiting_words` returns.
@lru_cache(maxsize=4)
def _request(waiting: str) -> Sql:
    return Sql(
        f"""SELECT {_COLUMNS}, {waiting}, s.confirmed_at, s.suppressed_at, s.suppressed_why, s.suppressed_by, s.address,
        stockbell_now(0) AS now
    FROM {_TABLES} JOIN contact AS s ON s.id = r.contact_id WHERE r.id = :id""",
        **_TYPES,
        confirmed_at="time",
        suppressed_at="time",
        now="time",
    )


@lru_cache(maxsize=8)
def _of_contact(waiting: str, condition: str) -> Sql:
    # Each arm uses a partial index by contact. The newest have the greatest ids.
    arms = " UNION ALL ".join(
        f"""SELECT id FROM (SELECT r.id FROM request AS r WHERE r.contact_id = :contact_id AND r.{where} {condition}
            ORDER BY r.id DESC LIMIT :most) AS {name}"""
        for name, where in (("unresolved", UNRESOLVED), ("ended", ENDED))
    )
    columns = f"{_COLUMNS}, {waiting}"
    return Sql(f"SELECT {columns} FROM {_TABLES} WHERE r.id IN ({arms}) ORDER BY r.id DESC LIMIT :most", **_TYPES)


_FOR_ITEM = """AND r.waiting_list_id IN (SELECT l.id FROM waiting_list AS l JOIN item AS j ON j.id = l.item_id
    WHERE j.app_id = :app AND j.catalog_item_id = :item)"""
_ATTEMPTS = Sql(
    """SELECT at, event, smtp_code, enhanced_code, reply FROM attempt WHERE request_id = :id
    ORDER BY at DESC, id DESC LIMIT :most""",
    at="time",
)
_REPORTS = Sql(
    """SELECT at, kind, code, status, words, source, request_id FROM report
    WHERE request_id = :id OR contact_id = :contact_id ORDER BY at DESC, key LIMIT :most""",
    at="time",
    request_id="uuid",
)
_TOGETHER = Sql(
    """SELECT id, notified_date FROM request WHERE mail_id = :mail_id AND mail_id IS NOT NULL
    UNION ALL SELECT id, notified_date FROM request WHERE id = :mail_id""",
    id="uuid",
    notified_date="time",
)
_ACTION = "a.id, coalesce(a.confirmed_at, a.at) AS at, a.who, a.verb, a.options, a.state"
_ACTIONS = Sql(
    f"""SELECT {_ACTION}, q.refusal, q.undone_at FROM action_request AS q JOIN action AS a ON a.id = q.action_id
    WHERE q.request_id = :id ORDER BY a.id DESC LIMIT :most""",
    id="uuid",
    at="time",
    undone_at="time",
)
_ACTIONS_ON_CONTACT = Sql(
    f"""SELECT {_ACTION}, NULL AS refusal, a.undo_until AS undone_at FROM action AS a
    WHERE a.contact_id = :contact_id ORDER BY a.id DESC LIMIT :most""",
    id="uuid",
    at="time",
    undone_at="time",
)
_PAUSES = Sql(
    """SELECT p.key, p.item_id, p.options, p.since FROM pause AS p
    WHERE p.item_id IS NULL OR (p.item_id = :item_id AND p.options IN ('{}', :options, :key)) ORDER BY p.since""",
    item_id="uuid",
    since="time",
)
_WHO_PAUSED = Sql(
    "SELECT who FROM action WHERE id BETWEEN :low AND :high AND verb = 'pause' ORDER BY id DESC LIMIT 1",
)
_POLICIES_SET = Sql(
    """SELECT who, about, command, result FROM action
    WHERE id BETWEEN :low AND :high AND verb = 'items set' ORDER BY id DESC"""
)
_CONFIRMATION = Sql(
    "SELECT asked_at, due_at, sent_at, expires_at, tries, why FROM confirmation WHERE contact_id = :contact_id",
    asked_at="time",
    due_at="time",
    sent_at="time",
    expires_at="time",
)
_RELAY = Sql(
    "SELECT state, since, reason, probe_at FROM relay WHERE id = 1",
    since="time",
    probe_at="time",
)
# Of the last hour: its minutes are few rows, whatever else was counted.
_RATE = Sql(
    f"""WITH minutes AS (
        SELECT sum(n) AS n FROM {COUNTED} WHERE minute > stockbell_now(-3600) AND kind = 'told' GROUP BY minute)
    SELECT max(n) / 60.0 AS rate FROM minutes"""
)
_WORKERS = Sql("SELECT count(*) AS n FROM owner WHERE seen_at > stockbell_now(-:lease)")


def _counted(*conditions: str) -> str:
    return f"""SELECT count(*) AS n FROM (SELECT 1 FROM request AS r
        WHERE r.waiting_list_id = :list_id AND {" AND ".join(conditions)} LIMIT :most) AS counted"""


_NOT_ORDERED = "r.ordered_at IS NULL"
_ALL_IN_LINE = tuple(Sql(_counted(lists.IN_LINE, each)) for each in (lists.IS_ORDERED, _NOT_ORDERED))


def _before(which: str, same: str) -> Sql:
    higher = _counted(lists.IN_LINE, which, "r.priority > 0", "r.priority > :priority")
    older = _counted(lists.IN_LINE, which, same, "r.created_date < :created")
    return Sql(f"SELECT higher.n + older.n AS n FROM ({higher}) AS higher CROSS JOIN ({older}) AS older")


# Those with priority are found by their index only where its condition is said in its own words.
_BEFORE_IN_LINE = tuple(
    tuple(_before(each, same) for same in ("r.priority = 0", "r.priority > 0 AND r.priority = :priority"))
    for each in (lists.IS_ORDERED, _NOT_ORDERED)
)
_CONTACTS = Sql(
    """SELECT id, address, created_date, confirmed_at, suppressed_at, suppressed_why, suppressed_by FROM contact
    WHERE address IN ROWS(address text) ORDER BY id""",
    id="uuid",
    created_date="time",
    confirmed_at="time",
    suppressed_at="time",
)


@dataclass(frozen=True, slots=True)
class Line:
    """How many are told before a request, and how many are in line in all. Counts stop at `MOST_COUNTED`."""

    before: int
    total: int


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause that holds a request: since when, of what (`everything`, `item` or `options`), and who did it."""

    since: datetime
    what: str
    who: str | None


@dataclass(frozen=True, slots=True)
class Together:
    """A mail that told of several requests."""

    mail_id: UUID
    """the request whose mail it was"""
    others: int
    """how many it told of beside the one that is asked about, as far as they are there and told by it"""
    is_there: bool
    """whether the request whose mail it was is there"""


@dataclass(frozen=True, slots=True)
class Known:
    """Everything that is known of a request. Rows are newest first."""

    request: Any
    events: Sequence[Any]
    """of its item, as far as they are kept"""
    attempts: Sequence[Any]
    reports: Sequence[Any]
    actions: Sequence[Any]
    confirmation: Any | None
    pauses: Sequence[Pause]
    relay: Any
    workers: int
    """how many worker processes are alive"""
    line: Line | None
    """None: it is not in line"""
    levels: dict[Options, Level]
    """the stock of its item, if it waits"""
    rate: float | None = None
    """how many mails a second were sent in the busiest minute of the last hour, if it waits; None: none"""
    together: Together | None = None
    """the mail that told of it, if that told of others as well"""
    policies_set: Any | None = None
    """the change of its item's own minimum by which its list came in stock last, if that was not by an event"""


def read(c: Connection, request_id: UUID, lease: float) -> Known | None:
    """Returns what is known of a request, or None if there is no such one. `lease` (seconds): see `store.owners`."""
    found = _request(waiting_words(c))(c, id=request_id)
    if not found:
        return None
    request = found[0]
    is_waiting = request.status == "RECEIVED"
    confirmation = _CONFIRMATION(c, contact_id=request.contact_id)
    return Known(
        request,
        history.of_item(c, request.item_id),
        _ATTEMPTS(c, id=request_id, most=MOST_ROWS),
        _REPORTS(c, id=request_id, contact_id=request.contact_id, most=MOST_ROWS),
        _actions(c, request),
        confirmation[0] if confirmation else None,
        _pauses(c, request) if is_waiting else (),
        _RELAY(c)[0],
        _WORKERS(c, lease=lease)[0].n if is_waiting else 0,
        _line(c, request) if is_waiting and request.not_before is None else None,
        lists.levels(c, [request.item_id]).get(request.item_id, {}) if is_waiting else {},
        _rate(c) if is_waiting else None,
        _together(c, request) if request.notified_date and request.auto_notified else None,
        _policies_set(c, request),
    )


def of_contact(c: Connection, contact_id: UUID, item: Item | None = None, most: int = MOST_REQUESTS) -> Sequence[Any]:
    """Returns the newest requests of a customer, newest first; with an item only those for it."""
    if item is None:
        return _of_contact(waiting_words(c), "")(c, contact_id=contact_id, most=most)
    statement = _of_contact(waiting_words(c), _FOR_ITEM)
    return statement(c, contact_id=contact_id, app=item.app_id, item=item.catalog_item_id, most=most)


def contacts(c: Connection, addresses: Iterable[str]) -> dict[str, Any]:
    """Returns those contacts that there are, by their normalised address."""
    return {row.address: row for row in _CONTACTS(c, rows=[{"address": each} for each in addresses])}


def _together(c: Connection, request: Any) -> Together | None:
    mail_id = request.mail_id or request.id
    rows = {row.id: row for row in _TOGETHER(c, mail_id=mail_id)}
    others = [each for each in rows.values() if each.id not in (request.id, mail_id) and _are_at_once(each, request)]
    if request.mail_id is None and not others:
        return None
    return Together(mail_id, len(others) + (request.mail_id is not None), mail_id in rows)


def _are_at_once(one: Any, other: Any) -> bool:
    """Whether one mail told of both. The first request may have had others, too."""
    return one.notified_date is not None and abs(one.notified_date - other.notified_date) < _AT_ONCE


def _rate(c: Connection) -> float | None:
    rate = _RATE(c)[0].rate
    return float(rate) if rate else None


def _actions(c: Connection, request: Any) -> Sequence[Any]:
    of_request = _ACTIONS(c, id=request.id, most=MOST_ROWS)
    known = {row.id for row in of_request}
    of_contact = _ACTIONS_ON_CONTACT(c, contact_id=request.contact_id, most=MOST_ROWS)
    return [*of_request, *(row for row in of_contact if row.id not in known)]


def _pauses(c: Connection, request: Any) -> Sequence[Pause]:
    key = request.options_key or request.options
    rows = _PAUSES(c, item_id=request.item_id, options=request.options, key=key)
    return [Pause(row.since, _what(row), _who(c, row.since)) for row in rows]


def _what(row: Any) -> str:
    if row.item_id is None:
        return "everything"
    return "item" if row.options == "{}" else "options"


def _who(c: Connection, at: datetime) -> str | None:
    found = _WHO_PAUSED(c, **_about(at))
    return str(found[0].who) if found else None


def _about(at: datetime) -> dict[str, UUID]:
    """Between which ids the row of the audit trail is that was written with something else at that time."""
    return {"low": ids_of(at - _NEAR)[0], "high": ids_of(at + _NEAR)[1]}


def _policies_set(c: Connection, request: Any) -> Any | None:
    at = request.last_in_stock_at
    if at is None:
        return None
    about = {"item": request.catalog_item_id, "app": request.app_id}
    found = _POLICIES_SET(c, **_about(at))
    return next((row for row in found if json.loads(row.about) == about and _has_set_minimum(row)), None)


def _has_set_minimum(action: Any) -> bool:
    """Only a minimum puts stock in or out."""
    before, after = (json.loads(action.result)[which].get("minQuantity") for which in ("before", "after"))
    return bool(before != after)


def _line(c: Connection, request: Any) -> Line:
    """By the order of the claim: what was ordered first, then by priority, then by the date of the sign-up."""
    of_list = {"list_id": request.waiting_list_id, "most": MOST_COUNTED}
    ordered, others = (each(c, **of_list)[0].n for each in _ALL_IN_LINE)
    is_other = request.ordered_at is None
    before = _BEFORE_IN_LINE[is_other][request.priority > 0](
        c, **of_list, priority=request.priority, created=request.created_date
    )[0].n
    return Line(min(before + (ordered if is_other else 0), MOST_COUNTED), min(ordered + others, MOST_COUNTED))
