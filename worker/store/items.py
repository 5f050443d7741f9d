"""One item for its page: its facts, the stock that events reported, who waits in which list, and past restocks."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.catalog import Item, Options, compared_options
from worker.domain.outcomes import INTERVAL
from worker.domain.stock import with_stock
from worker.store import clock, lists
from worker.store.claim_sql import in_line, turn
from worker.store.demand import MOST_TOLD
from worker.store.policies import COLUMNS as POLICIES
from worker.store.sql import Sql
from worker.store.unconfirmed import NEVER

MOST_LISTS: Final = 200
"""An item may have thousands of variants. Those with most people are shown."""
RESTOCKS: Final = 10
MOST_EVENTS: Final = 500
"""So many of an item's newest events are looked through for restocks."""
NAMED: Final = 20
"""So many are named of those who would be told."""

_COLUMNS = "i.id, i.app_id, i.catalog_item_id, i.name, i.price, i.currency, i.image_url, i.url, i.out_at"
_ITEM = Sql(
    f"SELECT {_COLUMNS}, {POLICIES} FROM item AS i WHERE i.app_id = :app AND i.catalog_item_id = :item",
    id="uuid",
    out_at="time",
)
_STOCK = Sql(
    """SELECT options, in_stock, quantity, occurred_at, last_in_stock_at, settles_at FROM stock WHERE item_id = :item_id
    ORDER BY CASE WHEN options = '{}' THEN 0 ELSE 1 END, occurred_at DESC, options LIMIT :most""",
    in_stock="bool",
    occurred_at="time",
    last_in_stock_at="time",
    settles_at="time",
)
_PAUSES = Sql(
    "SELECT item_id, options, since FROM pause WHERE item_id IS NULL OR item_id = :item_id",
    item_id="uuid",
    since="time",
)


def _count(condition: str) -> str:
    return f"(SELECT count(*) FROM request AS r WHERE r.waiting_list_id = w.id AND {condition})"


def _oldest(condition: str) -> str:
    return f"(SELECT min(r.created_date) FROM request AS r WHERE r.waiting_list_id = w.id AND {condition})"


_PLAIN, _ORDERED = f"{lists.IN_LINE} AND r.ordered_at IS NULL", f"{lists.IN_LINE} AND r.ordered_at IS NOT NULL"
# Each of these is a look at one partial index; of those put off, which that index has by time, all are read once.
_LISTS = Sql(
    f"""WITH later AS MATERIALIZED (
        SELECT r.waiting_list_id, sum(CASE WHEN r.not_before > {NEVER} THEN 1 ELSE 0 END) AS unconfirmed,
            sum(CASE WHEN r.not_before > {NEVER} THEN 0 ELSE 1 END) AS put_off,
            sum(CASE WHEN r.failure_code = '{INTERVAL}' THEN 1 ELSE 0 END) AS resting,
            min(CASE WHEN r.not_before > {NEVER} THEN NULL ELSE r.created_date END) AS oldest
        FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
        WHERE w.item_id = :item_id AND r.status = 'RECEIVED' AND r.not_before IS NOT NULL GROUP BY r.waiting_list_id),
    sending AS MATERIALIZED (
        SELECT r.waiting_list_id, count(*) AS n FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
        WHERE w.item_id = :item_id AND r.status = 'PROCESSING' GROUP BY r.waiting_list_id)
    SELECT w.id, w.options, w.in_stock, w.last_in_stock_at, w.opens_at, w.settles_at, {lists.PAUSED} AS is_paused,
        {_count(_PLAIN)} AS plain,
        {_count(f"{_PLAIN} AND r.created_date < w.last_in_stock_at")} AS before_event, {_count(_ORDERED)} AS ordered,
        {_oldest(_PLAIN)} AS oldest, {_oldest(_ORDERED)} AS oldest_ordered,
        coalesce(later.put_off, 0) AS put_off, coalesce(later.resting, 0) AS resting,
        coalesce(later.unconfirmed, 0) AS unconfirmed, later.oldest AS oldest_later, coalesce(sending.n, 0) AS sending,
        {_count("r.status = 'FAILED'")} AS failed,
        (SELECT count(*) FROM (SELECT 1 FROM request AS r WHERE r.waiting_list_id = w.id
            AND r.status = 'NOTIFICATION_SENT' LIMIT {MOST_TOLD + 1}) AS capped) AS told
    FROM waiting_list AS w LEFT JOIN later ON later.waiting_list_id = w.id
        LEFT JOIN sending ON sending.waiting_list_id = w.id
    WHERE w.item_id = :item_id ORDER BY plain DESC, w.options LIMIT :most""",
    id="uuid",
    in_stock="bool",
    is_paused="bool",
    last_in_stock_at="time",
    opens_at="time",
    settles_at="time",
    oldest="time",
    oldest_ordered="time",
    oldest_later="time",
)
_RELAY_DOWN = Sql("SELECT 1 FROM relay WHERE state = 'open'")
_EVENTS = Sql(
    """SELECT options, at, in_stock, quantity, woke FROM stock_event WHERE item_id = :item_id
    ORDER BY at DESC, id DESC LIMIT :most""",
    at="time",
    in_stock="bool",
)
_WAITING_LISTS = Sql("SELECT id, options FROM waiting_list WHERE item_id = :item_id", id="uuid")
_TOLD_BETWEEN = Sql(
    """WITH told AS MATERIALIZED (
        SELECT r.notified_date FROM request AS r WHERE r.waiting_list_id IN ROWS(list_id uuid)
          AND r.status = 'NOTIFICATION_SENT' AND r.notified_date >= :since AND r.notified_date < :until LIMIT :most)
    SELECT count(*) AS n, min(notified_date) AS first, max(notified_date) AS last,
        (SELECT notified_date FROM told ORDER BY notified_date LIMIT 1 OFFSET (SELECT (count(*) - 1) / 2 FROM told))
            AS median
    FROM told""",
    first="time",
    last="time",
    median="time",
)
_WAITER = "r.id, r.email, r.priority, r.created_date, r.ordered_at, w.options"
_NEXT = Sql(
    f"""SELECT {_WAITER} FROM request AS r JOIN waiting_list AS w ON w.id = r.waiting_list_id
    WHERE r.waiting_list_id IN ROWS(list_id uuid) AND {lists.IN_LINE}
    ORDER BY CASE WHEN r.ordered_at IS NULL THEN 1 ELSE 0 END, r.priority DESC, r.created_date, r.id LIMIT :each""",
    id="uuid",
    created_date="time",
    ordered_at="time",
)
# Of one list the indexes have them in this order.
_NEXT_OF_LIST = tuple(
    Sql(
        in_line(condition, _WAITER),
        id="uuid",
        created_date="time",
        ordered_at="time",
    )
    for condition in (_ORDERED, _PLAIN)
)
FEW: Final = 20
"""So many lists are looked at one by one."""
QUIET: Final = "quietHours"


@dataclass(frozen=True, slots=True)
class Restock:
    """An item, or a variant, came back in stock, and whom that has told until it came back again."""

    options: Options
    at: datetime
    quantity: int | None
    told: int
    """at most `MOST_TOLD` are counted"""
    is_more: bool
    first_seconds: float | None
    median_seconds: float | None
    last_seconds: float | None


def find(c: Connection, candidates: Sequence[Item]) -> Any | None:
    """Returns the first of these items that a request or an event has named."""
    for item in candidates:
        if found := _ITEM(c, app=item.app_id, item=item.catalog_item_id):
            return found[0]
    return None


def candidates(path: str) -> Iterator[Item]:
    """Yields the items that a path `app/item` may mean: either id may have slashes."""
    for place, sign in enumerate(path):
        if sign == "/" and path[:place] and path[place + 1 :]:
            yield Item(path[:place], path[place + 1 :])


def stock(c: Connection, item_id: UUID) -> Sequence[Any]:
    """Returns what events said of the whole item, and of its variants, the newest first."""
    return _STOCK(c, item_id=item_id, most=MOST_LISTS)


def waiting(c: Connection, item_id: UUID) -> Sequence[Any]:
    """Returns the waiting lists of an item with their counts, at most `MOST_LISTS`, those with most people first."""
    return _LISTS(c, item_id=item_id, most=MOST_LISTS)


def pauses(c: Connection, item_id: UUID) -> Sequence[Any]:
    """Returns the pauses that stop an item or some of its variants."""
    return _PAUSES(c, item_id=item_id)


def is_relay_down(c: Connection) -> bool:
    """Whether nothing is sent now, because the relay can't be used."""
    return bool(_RELAY_DOWN(c))


def restocks(c: Connection, item_id: UUID) -> list[Restock]:
    """Returns the last times when the item or a variant came in stock after it was out, the newest first."""
    came_back = _came_back(_EVENTS(c, item_id=item_id, most=MOST_EVENTS))
    if not came_back:
        return []
    levels = lists.levels(c, [item_id]).get(item_id, {})
    waiting_lists = [(row.id, compared_options(row.options)) for row in _WAITING_LISTS(c, item_id=item_id)]
    reached: dict[Options, list[UUID]] = {}
    found, until = [], dict[Options, datetime]()
    for options, event in came_back[:RESTOCKS]:
        if options not in reached:
            after = with_stock(levels, options)
            reached[options] = [list_id for list_id, wanted in waiting_lists if after.woken(wanted)]
        end = until.get(options) or clock.now(c)
        found.append(_restock(c, options, event, end, reached[options]))
        until[options] = event.at
    return found


def _came_back(newest_first: Sequence[Any]) -> list[tuple[Options, Any]]:
    """Those events that said "in stock" where the one before about the same options did not."""
    was: dict[Options, bool] = {}
    found = []
    for event in reversed(newest_first):
        options = compared_options(event.options)
        if event.in_stock and not was.get(options, False):
            found.append((options, event))
        was[options] = event.in_stock
        if not options and not event.in_stock:
            was = {}
    return found[::-1]


def _restock(c: Connection, options: Options, event: Any, until: datetime, list_ids: Sequence[UUID]) -> Restock:
    rows = lists.rows_of(list_ids)
    told = _TOLD_BETWEEN(c, rows=rows, since=event.at, until=until, most=MOST_TOLD + 1)[0]

    def after(at: datetime | None) -> float | None:
        return None if at is None else (at - event.at).total_seconds()

    is_more = told.n > MOST_TOLD
    times = after(told.first), after(told.median), after(told.last)
    return Restock(options, event.at, event.quantity, min(told.n, MOST_TOLD), is_more, *times)


def next_told(c: Connection, list_ids: Sequence[UUID], most: int = NAMED) -> Sequence[Any]:
    """Returns who of these lists is told first, in the order in which they are claimed."""
    if len(list_ids) > FEW:
        return _NEXT(c, rows=lists.rows_of(list_ids), each=most)
    found = [row for list_id in list_ids for arm in _NEXT_OF_LIST for row in arm(c, list_id=list_id, each=most)]
    return sorted(found, key=lambda row: (row.ordered_at is None, turn(row)))[:most]


def lists_of(c: Connection, item_id: UUID) -> Sequence[Any]:
    """Returns the ids and options of all waiting lists of an item."""
    return _WAITING_LISTS(c, item_id=item_id)


def reasons(row: Any, due: str, at: datetime) -> Mapping[str, int]:
    """Returns why those of a list (a row of `waiting`) wait at a time, as `requests.waiting` says it of each.

    `due` is the reason of those who could be told.
    """
    woken = row.before_event if row.in_stock else 0
    held = "settling" if _is_ahead(row.settles_at, at) else "wave" if _is_ahead(row.opens_at, at) else due
    parts = Counter({"noStock": row.plain - row.before_event, "soldOut": row.before_event - woken})
    parts[due if due == QUIET else held] += woken  # quiet hours come first
    parts[due] += row.ordered
    parts["backoff"] += row.put_off - row.resting
    parts["interval"] += row.resting
    if row.is_paused:
        parts = Counter(paused=parts.total())
    found = {**parts, "unconfirmed": row.unconfirmed}
    return {reason: n for reason, n in found.items() if n}


def _is_ahead(until: datetime | None, at: datetime) -> bool:
    return until is not None and until > at
