"""Who waits for what: how many wait for each item or variant, since when, and how much money that is.

Those who wait are counted in the partial indexes of `request`, for all items at once, since the order needs all of
them. What has ended is counted for the rows of one page only, and those that were told up to `MOST_TOLD` for each list.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.store import lists
from worker.store.sql import Sql
from worker.store.unconfirmed import NEVER

MOST_TOLD: Final = 10_000
"""No more are counted of each list: counting all of an old shop's takes seconds."""
_ESCAPED: Final = str.maketrans({"/": "//", "%": "/%", "_": "/_"})


class By(StrEnum):
    """What a row is about."""

    ITEM = "item"
    VARIANT = "variant"


class Sort(StrEnum):
    """What comes first."""

    WAITING = "waiting"
    MONEY = "money"
    OLDEST = "oldest"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Place:
    """A row of a page, from which the page after or before it goes on: what it is sorted by, and its id."""

    value: str
    currency: str
    id: UUID
    is_backward: bool = False


@dataclass(frozen=True, slots=True)
class Which:
    """Which rows, and in what order."""

    by: By = By.ITEM
    sort: Sort = Sort.WAITING
    search: str = ""
    """the beginning of an item's id or name; "" means all that somebody waits for"""
    app_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """How many were told, at most `MOST_TOLD` of each list, and how many failed."""

    told: int = 0
    is_more: bool = False
    """more were told than `told`"""
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What events said of the stock."""

    in_stock: bool
    quantity: int | None = None
    at: datetime | None = None
    """when the newest event happened"""
    since: datetime | None = None
    """when it last came in stock, or was said to be in stock again"""
    variants: int = 0
    """how many variants have a row of their own, and how many of them are in stock"""
    variants_in: int = 0


# Each arm counts the entries of one partial index. Sums of `int` are faster than those of `bigint`.
_COUNTED = f"""counted AS (
        SELECT r.waiting_list_id, CAST(count(*) AS int) AS waiting, 0 AS sending, 0 AS unconfirmed,
            min(r.created_date) AS oldest
        FROM request AS r WHERE {lists.IN_LINE} AND r.ordered_at IS NULL GROUP BY r.waiting_list_id
        UNION ALL SELECT r.waiting_list_id, CAST(count(*) AS int), 0, 0, min(r.created_date)
        FROM request AS r WHERE {lists.IN_LINE} AND r.ordered_at IS NOT NULL GROUP BY r.waiting_list_id
        UNION ALL SELECT r.waiting_list_id, CASE WHEN r.not_before > {NEVER} THEN 0 ELSE 1 END, 0,
            CASE WHEN r.not_before > {NEVER} THEN 1 ELSE 0 END,
            CASE WHEN r.not_before > {NEVER} THEN NULL ELSE r.created_date END
        FROM request AS r WHERE r.status = 'RECEIVED' AND r.not_before IS NOT NULL
        UNION ALL SELECT r.waiting_list_id, 0, 1, 0, NULL FROM request AS r WHERE r.status = 'PROCESSING')"""
_SUMS = """sum(c.waiting) AS waiting, sum(c.sending) AS sending, sum(c.unconfirmed) AS unconfirmed,
        min(c.oldest) AS oldest"""
_DEMAND: Final[Mapping[By, str]] = {
    By.ITEM: f"""demand AS (SELECT w.item_id AS id, {_SUMS} FROM counted AS c
        JOIN waiting_list AS w ON w.id = c.waiting_list_id GROUP BY w.item_id)""",
    By.VARIANT: f"demand AS (SELECT c.waiting_list_id AS id, {_SUMS} FROM counted AS c GROUP BY c.waiting_list_id)",
}
_FROM: Final[Mapping[By, str]] = {
    By.ITEM: "FROM item AS i {join} demand AS d ON d.id = i.id",
    By.VARIANT: "FROM waiting_list AS w JOIN item AS i ON i.id = w.item_id {join} demand AS d ON d.id = w.id",
}
_ID: Final[Mapping[By, str]] = {By.ITEM: "i.id", By.VARIANT: "w.id"}
# A price that is a plain number, as `services.demand.plain_price` reads it. Any other one counts no money.
_NUMBER_OF_PRICE: Final[Mapping[str, str]] = {
    # A pattern would take five times as long.
    "postgresql": """CASE WHEN translate(i.price, '0123456789', '') IN ('', '.')
        AND left(i.price, 1) BETWEEN '0' AND '9'
        AND length(i.price) <= 20 THEN CAST(i.price AS numeric) END""",
    "sqlite": """CASE WHEN i.price GLOB '[0-9]*' AND i.price NOT GLOB '*[^0-9.]*' AND i.price NOT GLOB '*.*.*'
        AND length(i.price) <= 20 THEN CAST(i.price AS REAL) END""",
}
_LATEST: Final = "'9999-12-31'"
_TIME: Final[Mapping[str, str]] = {"postgresql": "timestamptz", "sqlite": "text"}
_NUMBER: Final[Mapping[str, str]] = {"postgresql": "numeric", "sqlite": "REAL"}


def _sorted_by(sort: Sort, dialect: str) -> tuple[str, str, bool]:
    """What is compared, the type of its bound, and whether the largest comes first."""
    match sort:
        case Sort.WAITING:
            return "coalesce(d.waiting, 0)", "bigint", True
        case Sort.MONEY:
            return f"coalesce({_NUMBER_OF_PRICE[dialect]} * coalesce(d.waiting, 0), -1)", _NUMBER[dialect], True
        case Sort.OLDEST:
            return f"coalesce(d.oldest, CAST({_LATEST} AS {_TIME[dialect]}))", _TIME[dialect], False
        case Sort.NAME:
            return "lower(coalesce(i.name, i.catalog_item_id))", "text", False


_BEGINS: Final = (
    "(lower(i.catalog_item_id) LIKE lower(:prefix) ESCAPE '/' OR lower(i.name) LIKE lower(:prefix) ESCAPE '/')"
)


def _filter(which: Which) -> str:
    conditions = [_BEGINS] if which.search else []
    if which.app_id is not None:
        conditions.append("i.app_id = :app")
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


# The rows of all items have only what sorts and sums need: with names they would not fit into the memory of a sort.
_RANKED: Final = """SELECT {id} AS id, i.price, coalesce(i.currency, '') AS currency, coalesce(d.waiting, 0) AS waiting,
                coalesce(d.sending, 0) AS sending, coalesce(d.unconfirmed, 0) AS unconfirmed, d.oldest,
                {value} AS value"""
# Of each currency, in the columns of a row. Many items have the same price, so each price is read once.
_SUMMED: Final = """SELECT 0 AS rank, NULL AS id, currency, CAST(sum(waiting) AS bigint) AS waiting,
            CAST(sum(sending) AS bigint) AS sending, CAST(sum(unconfirmed) AS bigint) AS unconfirmed, NULL AS oldest,
            CAST(sum(rows) AS text) AS value, CAST(sum({price} * waiting) AS text) AS amount
        FROM (SELECT currency, price, count(*) AS rows, CAST(sum(waiting) AS bigint) AS waiting,
                sum(sending) AS sending, sum(unconfirmed) AS unconfirmed
            FROM ranked GROUP BY currency, price) AS i GROUP BY currency"""


@lru_cache(maxsize=64)
def _ranking(dialect: str, shape: Which, direction: str) -> Sql:
    """The statement for rows of this shape (a `Which` whose texts are only there or not). `direction` "": all."""
    value, kind, is_descending = _sorted_by(shape.sort, dialect)
    is_backward = direction == "before"
    down = "DESC" if is_descending != is_backward else "ASC"
    up = "DESC" if is_backward else "ASC"
    # Money of several currencies is never compared.
    by_currency = shape.sort is Sort.MONEY
    is_page = direction not in ("", "first")
    beyond = _beyond(kind, is_descending != is_backward, is_backward, by_currency) if is_page else ""
    order = f"{f'currency {up}, ' if by_currency else ''}ranked.value {down}, id {up}"
    source = _FROM[shape.by].format(join="LEFT JOIN" if shape.search else "JOIN")
    ranked = f"""WITH {_COUNTED}, {_DEMAND[shape.by]}, ranked AS MATERIALIZED (
            {_RANKED.format(id=_ID[shape.by], value=value)} {source} {_filter(shape)})"""
    rows = f"SELECT * FROM ranked {beyond} ORDER BY {order}"
    both = f"""{ranked} SELECT row_number() OVER () AS rank, id, currency, waiting, sending, unconfirmed, oldest,
            CAST(page.value AS text) AS value, NULL AS amount FROM ({rows} LIMIT :limit) AS page
        UNION ALL {_SUMMED.format(price=_NUMBER_OF_PRICE[dialect])}"""
    return Sql(both if direction else f"{ranked} {rows}", id="uuid", oldest="time")


def _beyond(kind: str, is_less: bool, is_backward: bool, by_currency: bool) -> str:
    id_sign, bound = "<" if is_backward else ">", f"CAST(:value AS {kind})"
    beyond = f"(value {'<' if is_less else '>'} {bound} OR value = {bound} AND id {id_sign} :id)"
    if by_currency:
        beyond = f"(currency {id_sign} :currency OR currency = :currency AND {beyond})"
    return f"WHERE {beyond}"


def _shape(which: Which) -> Which:
    return Which(which.by, which.sort, "x" if which.search else "", None if which.app_id is None else "x")


def _bound(which: Which) -> dict[str, object]:
    given: dict[str, object] = {"prefix": which.search.translate(_ESCAPED) + "%"} if which.search else {}
    return given if which.app_id is None else given | {"app": which.app_id}


@dataclass(frozen=True, slots=True)
class Total:
    """What all rows that match have in common: those in one currency."""

    currency: str | None
    rows: int
    waiting: int
    sending: int
    unconfirmed: int
    amount: Decimal | None
    """how much money waits, of those rows whose price is a number"""


def page(c: Connection, which: Which, place: Place | None, limit: int) -> tuple[Sequence[Any], Sequence[Total]]:
    """Returns the rows after (or before) a place in their order, and what all rows amount to.

    Without a search these are the rows for which somebody waits or is being told.
    """
    direction = "first" if place is None else "before" if place.is_backward else "after"
    bound = _bound(which) | {"limit": limit}
    if place:
        bound |= {"value": place.value, "id": place.id}
        if which.sort is Sort.MONEY:
            bound["currency"] = place.currency
    found = _ranking(c.dialect.name, _shape(which), direction)(c, **bound)
    rows = sorted((row for row in found if row.rank), key=lambda row: row.rank, reverse=direction == "before")
    return rows, sorted(map(_total, (row for row in found if not row.rank)), key=lambda total: -total.waiting)


def every(c: Connection, which: Which) -> Sequence[Any]:
    """Returns all rows in their order, as `page` does."""
    return _ranking(c.dialect.name, _shape(which), "")(c, **_bound(which))


def place_of(row: Any, *, is_backward: bool = False) -> Place:
    """Returns the place of a row in the order in which it was found."""
    return Place(row.value, row.currency, row.id, is_backward)


def _total(row: Any) -> Total:
    amount = None if row.amount is None else Decimal(row.amount)
    return Total(row.currency or None, int(row.value), row.waiting, row.sending, row.unconfirmed, amount)


# --- what is shown beside ---


def _named(by: By) -> Sql:
    options = {By.ITEM: "NULL", By.VARIANT: "w.options"}[by]
    source = {By.ITEM: "item AS i", By.VARIANT: "waiting_list AS w JOIN item AS i ON i.id = w.item_id"}[by]
    return Sql(
        f"""SELECT {_ID[by]} AS id, i.id AS item_id, i.app_id, i.catalog_item_id, i.name, i.price, i.currency,
            {options} AS options
        FROM {source} WHERE {_ID[by]} IN ROWS(id uuid)""",
        id="uuid",
        item_id="uuid",
    )


_NAMED: Final = {by: _named(by) for by in By}
_TOLD = f"""(SELECT count(*) FROM (SELECT 1 FROM request AS r
        WHERE r.waiting_list_id = w.id AND r.status = 'NOTIFICATION_SENT' LIMIT {MOST_TOLD + 1}) AS capped)"""
_FAILED = "(SELECT count(*) FROM request AS r WHERE r.waiting_list_id = w.id AND r.status = 'FAILED')"


def _ended(by: By) -> Sql:
    column = {By.ITEM: "w.item_id", By.VARIANT: "w.id"}[by]
    return Sql(
        f"""SELECT {column} AS id, {_TOLD} AS told, {_FAILED} AS failed
        FROM waiting_list AS w WHERE {column} IN ROWS(id uuid)""",
        id="uuid",
    )


_ENDED: Final = {by: _ended(by) for by in By}
_STOCK_OF_ITEMS = Sql(
    """SELECT item_id AS id, max(occurred_at) AS at, max(last_in_stock_at) AS since,
        sum(CASE WHEN options = '{}' THEN 0 ELSE 1 END) AS variants,
        sum(CASE WHEN options <> '{}' AND in_stock THEN 1 ELSE 0 END) AS variants_in,
        sum(CASE WHEN in_stock THEN 1 ELSE 0 END) AS rows_in,
        CAST(sum(CASE WHEN options <> '{}' AND in_stock THEN quantity END) AS bigint) AS of_variants,
        max(CASE WHEN options = '{}' THEN quantity END) AS of_item
    FROM stock WHERE item_id IN ROWS(id uuid) GROUP BY item_id""",
    id="uuid",
    at="time",
    since="time",
)
_STOCK_OF_LISTS = Sql(
    """SELECT w.id, w.in_stock, w.last_in_stock_at AS since, max(s.occurred_at) AS at,
        max(CASE WHEN s.options IN (w.options, w.options_key) THEN s.quantity END) AS quantity
    FROM waiting_list AS w JOIN stock AS s ON s.item_id = w.item_id
    WHERE w.id IN ROWS(id uuid) AND (s.options = '{}' OR s.options IN (w.options, w.options_key) OR w.in_stock)
    GROUP BY w.id, w.in_stock, w.last_in_stock_at""",
    id="uuid",
    in_stock="bool",
    since="time",
    at="time",
)


def named(c: Connection, by: By, ids: Sequence[UUID]) -> dict[UUID, Any]:
    """Returns what the catalog says of these items (or lists)."""
    return {row.id: row for row in _NAMED[by](c, rows=[{"id": id_} for id_ in ids])}


def ended(c: Connection, by: By, ids: Sequence[UUID]) -> dict[UUID, Ended]:
    """Returns how many of these items (or lists) were told and have failed."""
    found: dict[UUID, Ended] = {}
    for row in _ENDED[by](c, rows=[{"id": id_} for id_ in ids]):
        known = found.get(row.id, Ended())
        is_more = known.is_more or row.told > MOST_TOLD
        found[row.id] = Ended(known.told + min(row.told, MOST_TOLD), is_more, known.failed + row.failed)
    return found


def stock(c: Connection, by: By, ids: Sequence[UUID]) -> dict[UUID, Known]:
    """Returns what events said of the stock of these items (or lists). What no event was about is left out."""
    rows = [{"id": id_} for id_ in ids]
    if by is By.VARIANT:
        return {row.id: Known(row.in_stock, row.quantity, row.at, row.since) for row in _STOCK_OF_LISTS(c, rows=rows)}
    return {row.id: _of_item(row) for row in _STOCK_OF_ITEMS(c, rows=rows)}


def _of_item(row: Any) -> Known:
    quantity = row.of_item if row.of_variants is None else row.of_variants
    return Known(row.rows_in > 0, quantity, row.at, row.since, row.variants, row.variants_in)
