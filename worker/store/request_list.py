"""Requests as a page lists them: newest first (by id, which sorts by time), some at a time, whatever the filter is.

No filter may read the whole table. First the newest requests are looked through. If that is not enough, and the filter
has a condition that an index knows, its rows are found by the partial indexes: there are few of them then. Else more of
the newest are looked through, and the page says how far it has come: from there it can go on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Boolean, Connection, Select, Uuid, and_, bindparam, func, literal_column, or_, select, union_all
from sqlalchemy.sql.elements import ColumnElement, Label
from sqlmodel import col

from worker.domain.outcomes import INTERVAL, UNCONFIRMED, FailureCode
from worker.models import ENDED, UNRESOLVED, Status
from worker.store import lists
from worker.store.requests import Filter, I, R, W, conditions, waiting_columns
from worker.store.sql import Sql, is_one_of
from worker.store.unconfirmed import NEVER

MOST_COUNTED: Final = 10_000
FIRST_LOOK: Final = 20_000
MOST_LOOKED: Final = 200_000
"""So many requests are looked through for one page."""

# The conditions of the partial indexes. They are used only if a query has them as they are.
_PLAIN = f"{lists.IN_LINE} AND r.ordered_at IS NULL"
_ORDERED = f"{lists.IN_LINE} AND r.ordered_at IS NOT NULL"
_LATER = "r.status = 'RECEIVED' AND r.not_before IS NOT NULL"
_OF_STATUS: Final = {
    Status.RECEIVED: (_PLAIN, _ORDERED, _LATER),
    Status.PROCESSING: ("r.status = 'PROCESSING'",),
    Status.FAILED: ("r.status = 'FAILED'",),
    Status.NOTIFICATION_SENT: ("r.status = 'NOTIFICATION_SENT'",),
}
_OF_CODE: Final = {
    **{code.value: _OF_STATUS[Status.FAILED] for code in FailureCode},
    UNCONFIRMED: (_LATER,),
    INTERVAL: (_LATER,),
}
_ITS_LIST = "EXISTS (SELECT 1 FROM waiting_list AS w WHERE w.id = r.waiting_list_id AND {})"
_NOT_PAUSED = f"NOT {lists.PAUSED}"
_WOKEN = f"{_PLAIN} AND {_ITS_LIST.format(f'{lists.IS_WOKEN} AND {_NOT_PAUSED}')}"
_OPEN = f"{_PLAIN} AND {_ITS_LIST.format(f'{lists.IS_WOKEN} AND {lists.IS_OPEN} AND {_NOT_PAUSED}')}"
_SENT_WHATEVER = f"{_ORDERED} AND {_ITS_LIST.format(_NOT_PAUSED)}"
_PUT_OFF = f"{_LATER} AND r.not_before < {NEVER} AND {_ITS_LIST.format(_NOT_PAUSED)}"
_NOBODY = ("false",)
# Each is what `requests.waiting` says of one request, as conditions that indexes know.
_OF_REASON: Final = {
    "unconfirmed": (f"{_LATER} AND r.not_before > {NEVER}",),
    "paused": (
        f"{_PLAIN} AND {_ITS_LIST.format(lists.PAUSED)}",
        f"{_ORDERED} AND {_ITS_LIST.format(lists.PAUSED)}",
        f"{_LATER} AND r.not_before < {NEVER} AND {_ITS_LIST.format(lists.PAUSED)}",
    ),
    "backoff": (f"{_PUT_OFF} AND coalesce(r.failure_code, '') <> '{INTERVAL}'",),
    "interval": (f"{_PUT_OFF} AND r.failure_code = '{INTERVAL}'",),
    "noStock": (
        f"""{_PLAIN} AND {
            _ITS_LIST.format(f"coalesce(w.last_in_stock_at <= r.created_date, true) AND {_NOT_PAUSED}")
        }""",
    ),
    "soldOut": (
        f"{_PLAIN} AND {_ITS_LIST.format(f'NOT w.in_stock AND r.created_date < w.last_in_stock_at AND {_NOT_PAUSED}')}",
    ),
    "quietHours": (_WOKEN, _SENT_WHATEVER),
    "settling": (
        f"{_PLAIN} AND {_ITS_LIST.format(f'{lists.IS_WOKEN} AND NOT {lists.HAS_SETTLED} AND {_NOT_PAUSED}')}",
    ),
    "wave": (
        f"""{_PLAIN} AND {
            _ITS_LIST.format(f"{lists.IS_WOKEN} AND {lists.HAS_SETTLED} AND NOT {lists.HAS_SEAT} AND {_NOT_PAUSED}")
        }""",
    ),
    "queued": (f"{lists.RELAY_UP} AND {_OPEN}", f"{lists.RELAY_UP} AND {_SENT_WHATEVER}"),
    "relayDown": (f"NOT {lists.RELAY_UP} AND {_OPEN}", f"NOT {lists.RELAY_UP} AND {_SENT_WHATEVER}"),
}
_AFTER_QUIET_HOURS: Final = ("settling", "wave", "relayDown", "queued")


def _lists_where(condition: str) -> Sql:
    # The planner would fetch all who wait, of all lists: so those lists are found first, by one look at the index each.
    seen = f"(SELECT {{}}(r.created_date) FROM request AS r WHERE r.waiting_list_id = w.id AND {_PLAIN})"
    condition = condition.format(first=seen.format("min"), last=seen.format("max"))
    return Sql(f"SELECT w.id FROM waiting_list AS w WHERE {condition} AND {_NOT_PAUSED}", id="uuid")


_HAS_WOKEN = "w.in_stock AND {first} < w.last_in_stock_at"
_IS_DUE = _lists_where(f"{_HAS_WOKEN} AND {lists.IS_OPEN}")
_LISTS_OF_REASON: Final = {
    "noStock": _lists_where("{last} >= coalesce(w.last_in_stock_at, {first})"),
    "soldOut": _lists_where("NOT w.in_stock AND {first} < w.last_in_stock_at"),
    "quietHours": _lists_where(_HAS_WOKEN),
    "settling": _lists_where(f"{_HAS_WOKEN} AND NOT {lists.HAS_SETTLED}"),
    "wave": _lists_where(f"{_HAS_WOKEN} AND {lists.HAS_SETTLED} AND NOT {lists.HAS_SEAT}"),
    "queued": _IS_DUE,
    "relayDown": _IS_DUE,
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: after the request with this id, or before it."""

    id: UUID
    is_backward: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Some requests, newest first."""

    rows: Sequence[Any]
    before: Place | None = None
    """where the page with newer ones is; None: there is none"""
    after: Place | None = None
    is_cut: bool = False
    """Not all were looked through that could match; `after` (or `before`) goes on there."""


def page(c: Connection, which: Filter, place: Place | None, limit: int) -> Page:
    """Returns a page of the requests that match."""
    is_backward = place is not None and place.is_backward
    ids, looked = _ids(c, which, place, limit + 1)
    has_more, ids = len(ids) > limit, ids[:limit]
    is_cut = looked is not None and not has_more
    ahead = _ahead(ids, looked, has_more=has_more, is_backward=is_backward)
    behind = Place(ids[0] if ids else place.id, not is_backward) if place else None
    rows = _rows(c, ids)
    return Page(rows, ahead, behind, is_cut) if is_backward else Page(rows, behind, ahead, is_cut)


def _ahead(ids: Sequence[UUID], looked: UUID | None, *, has_more: bool, is_backward: bool) -> Place | None:
    if has_more:
        return Place(ids[-1], is_backward)
    return Place(looked, is_backward) if looked else None


def count(c: Connection, which: Filter) -> int | None:
    """Returns how many match, at most one more than `MOST_COUNTED`. None: to know it would take too long."""
    arms = _arms(which)
    if arms is None and (which.domain or which.words or which.locale or which.created_since or which.failure_code):
        return None
    if arms is None:
        found: Select[Any] = select(literal_column("1")).select_from(R).where(*conditions(which, c.dialect.name))
        return _scalar(c, found.limit(MOST_COUNTED + 1))
    # In most lists somebody waits for stock, and one index has all that is asked: the first ones are soon counted.
    found_in = _conditions(arms) if which.waiting == "noStock" else _with_lists(c, which, arms)
    one: Label[Any] = literal_column("1").label("one")
    each = union_all(
        *(_arm(c, which, arm, None).with_only_columns(one, maintain_column_froms=True) for arm in found_in)
    ).subquery("each")
    return _scalar(c, select(each.c.one).limit(MOST_COUNTED + 1))


def _scalar(c: Connection, found: Select[Any]) -> int:
    return c.execute(select(func.count()).select_from(found.subquery())).scalar_one()


def every(c: Connection, which: Filter, place: Place | None, limit: int) -> tuple[Sequence[Any], Place | None]:
    """Returns the next rows of an export, and where it goes on (None: that was all). They may be none."""
    found = page(c, which, place, limit)
    return found.rows, found.after


def _ids(c: Connection, which: Filter, place: Place | None, limit: int) -> tuple[list[UUID], UUID | None]:
    """Returns the ids that match, and how far was looked if that was not to the end."""
    arms = _arms(which)
    if which.ids is None and not (which.email or which.contact):
        ids, end = _looked_through(c, which, place, FIRST_LOOK, limit)
        if len(ids) == limit or end is None:
            return ids, None
        if arms is None:
            ids, end = _looked_through(c, which, place, MOST_LOOKED, limit)
            return ids, end if len(ids) < limit else None
    return _found(c, which, arms or (), place, limit), None


def _looked_through(
    c: Connection, which: Filter, place: Place | None, most: int, limit: int
) -> tuple[list[UUID], UUID | None]:
    is_backward = place is not None and place.is_backward
    order = col(R.id).asc() if is_backward else col(R.id).desc()
    walk = select(col(R.id)).where(*_beyond(place)).order_by(order).offset(most).limit(1)
    end: UUID | None = c.execute(walk).scalar()
    bounds = list(_beyond(place))
    if end is not None:
        bounds.append(col(R.id) <= end if is_backward else col(R.id) >= end)
    query = select(col(R.id)).where(*_matching(c, which), *bounds).order_by(order).limit(limit)
    return list(c.execute(query).scalars()), end


def _matching(c: Connection, which: Filter) -> Iterator[ColumnElement[bool]]:
    arms = _of_reason(which) if _is_by_reason(which) else None
    if arms:
        which = replace(which, waiting=None)
        yield or_(*(literal_column(arm, Boolean()) for arm in arms))
    yield from conditions(which, c.dialect.name)


def _found(c: Connection, which: Filter, arms: Sequence[str], place: Place | None, limit: int) -> list[UUID]:
    is_backward = place is not None and place.is_backward
    # Materialized, or else the planner walks through the whole table by id, and hopes to find them soon.
    each = union_all(*(_arm(c, which, arm, place) for arm in _with_lists(c, which, arms))).cte("each")
    each = each.prefix_with("MATERIALIZED", dialect="postgresql")
    order = each.c.id.asc() if is_backward else each.c.id.desc()
    return list(c.execute(select(each.c.id).order_by(order).limit(limit)).scalars())


def _with_lists(c: Connection, which: Filter, arms: Sequence[str]) -> list[ColumnElement[bool]]:
    """The arms as conditions. Those about woken lists are narrowed to lists in which somebody waits for this reason."""
    found = _LISTS_OF_REASON.get(which.waiting or "") if _is_by_reason(which) else None
    if found is None:
        return _conditions(arms)
    its_lists = is_one_of("r.waiting_list_id", [row.id for row in found(c)], c.dialect.name)
    return [
        and_(literal_column(arm, Boolean()), its_lists) if _PLAIN in arm else literal_column(arm, Boolean())
        for arm in arms
    ]


def _conditions(arms: Sequence[str]) -> list[ColumnElement[bool]]:
    return [literal_column(arm, Boolean()) for arm in arms]


def _arm(c: Connection, which: Filter, arm: ColumnElement[bool], place: Place | None) -> Select[Any]:
    if _is_by_reason(which):
        which = replace(which, waiting=None)  # the arm says it
    return select(col(R.id)).where(arm, *conditions(which, c.dialect.name), *_beyond(place))


def _beyond(place: Place | None) -> Iterator[ColumnElement[bool]]:
    if place:
        yield col(R.id) > place.id if place.is_backward else col(R.id) < place.id


def _arms(which: Filter) -> Sequence[str] | None:
    """The conditions by which indexes find all that match. None: there is no such index."""
    if which.ids is not None:
        return ("true",)
    if which.email or which.contact:
        return (f"r.{UNRESOLVED}", f"r.{ENDED}")
    if _is_by_reason(which):
        return _of_reason(which)
    if which.failure_code in _OF_CODE and not which.status:
        return _OF_CODE[which.failure_code]
    if which.lists is not None:
        of_status = _OF_STATUS.values() if not which.status else (_OF_STATUS[which.status],)
        return [arm for arms in of_status for arm in arms]
    if which.status in (Status.FAILED, Status.PROCESSING):
        return _OF_STATUS[which.status]
    if which.created_before:
        return ("true",)  # no index has the dates: reading all is still faster than looking through newer ones
    return None


def _of_reason(which: Filter) -> Sequence[str]:
    """The conditions for a reason to wait. In quiet hours nobody waits for what comes after them."""
    reason = which.waiting or ""
    if (which.is_quiet and reason in _AFTER_QUIET_HOURS) or (reason == "quietHours" and not which.is_quiet):
        return _NOBODY
    return _OF_REASON[reason]


def _is_by_reason(which: Filter) -> bool:
    is_few = which.ids is not None or which.lists is not None or which.email or which.contact
    return which.waiting in _OF_REASON and not is_few


def _rows(c: Connection, ids: Sequence[UUID]) -> list[Any]:
    if not ids:
        return []
    r = select(R).where(col(R.id).in_(bindparam("ids", ids, Uuid(), expanding=True))).subquery("r")
    query = (
        select(
            r,
            col(W.options),
            col(I.app_id),
            col(I.catalog_item_id),
            col(I.name).label("item_name"),
            *waiting_columns(c),
        )
        .join(W, col(W.id) == r.c.waiting_list_id)
        .join(I, col(I.id) == col(W.item_id))
        .order_by(r.c.id.desc())
    )
    return list(c.execute(query).all())
