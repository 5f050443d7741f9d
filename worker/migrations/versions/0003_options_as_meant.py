"""Options are compared as people mean them: waiting lists that differ only in their spelling become one."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any
from unicodedata import is_normalized, normalize
from uuid import UUID

import sqlalchemy as sa
from alembic import op
from sqlalchemy.engine import Row

from worker.domain.catalog import Options, compared_options, options_from_text, options_text, reference_json
from worker.domain.events import entry_order
from worker.domain.stock import Level, Levels
from worker.models import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PAGE = 2000
"""Rows that are held in memory at once."""

_item = sa.table("item", sa.column("id", sa.Uuid), sa.column("app_id"), sa.column("catalog_item_id"))
_list = sa.table(
    "waiting_list",
    sa.column("id", sa.Uuid),
    sa.column("item_id", sa.Uuid),
    sa.column("options"),
    sa.column("options_key"),
    sa.column("in_stock", sa.Boolean),
    sa.column("last_in_stock_at", UtcDateTime),
    sa.column("woken_at", UtcDateTime),
    sa.column("bell_at", UtcDateTime),
)
_stock = sa.table(
    "stock",
    sa.column("item_id", sa.Uuid),
    sa.column("options"),
    sa.column("in_stock", sa.Boolean),
    sa.column("occurred_at", UtcDateTime),
    sa.column("entry_id"),
    sa.column("last_in_stock_at", UtcDateTime),
    sa.column("follows_item", sa.Boolean),
)
_pause = sa.table("pause", sa.column("key"), sa.column("item_id", sa.Uuid), sa.column("options"))
# The lists of which several become one, the one that stays, and the reference as each list has it.
_merged = sa.table("merged_list", sa.column("list_id", sa.Uuid), sa.column("kept_id", sa.Uuid), sa.column("given"))


def upgrade() -> None:
    """Adds columns, gives each waiting list its key, and merges the lists that have the same one.

    Older programs go on: the options of lists and stock rows stay as they are spelled, and a list that they add without
    a key is found by its options. Requests are changed in three statements, however many lists become one.
    """
    op.add_column("waiting_list", sa.Column("options_key", sa.Text(), nullable=True))
    op.add_column("request", sa.Column("given", sa.Text(), nullable=True))
    op.add_column("stock", sa.Column("follows_item", sa.Boolean(), nullable=True))
    op.execute(_FOLLOW)
    op.create_table(
        "merged_list",
        sa.Column("list_id", sa.Uuid(), primary_key=True),
        sa.Column("kept_id", sa.Uuid()),
        sa.Column("given", sa.Text()),
    )
    _normalise_items(op.get_bind())
    if _give_keys(op.get_bind()):
        # Without it the database looks at all requests for each list that is deleted.
        op.create_index("merging", "request", ["waiting_list_id"])
        op.execute(_KEEP_THE_OLDEST_DATE)
        op.execute(_END_THE_OTHERS)
        op.execute(_MOVE)
        op.execute("DELETE FROM waiting_list WHERE id IN (SELECT list_id FROM merged_list WHERE list_id <> kept_id)")
        op.drop_index("merging", "request")
    op.drop_table("merged_list")
    op.create_index("waiting_list_key", "waiting_list", ["item_id", "options_key"], unique=True)


# A variant that had pieces and was put out by its item is back when the item is. Where no event counted pieces, the one
# about the variant said "in stock" if it happened before such an event was last applied.
_FOLLOW = """UPDATE stock SET follows_item = true WHERE NOT in_stock AND options <> '{}'
    AND last_in_stock_at IS NOT NULL AND (quantity > 0 OR quantity IS NULL AND occurred_at <= last_in_stock_at)
    AND EXISTS (
        SELECT 1 FROM item WHERE item.id = stock.item_id AND item.out_at > stock.occurred_at)"""
# Of one person's unresolved requests that become one, that which is being sent stays, or else the oldest.
_SAME = """WITH same AS (
    SELECT r.id AS request_id, count(*) OVER person AS requests, min(r.created_date) OVER person AS oldest,
        min(r.ordered_at) OVER person AS ordered, row_number() OVER (
            PARTITION BY m.kept_id, r.contact_id
            ORDER BY CASE r.status WHEN 'PROCESSING' THEN 0 ELSE 1 END, r.created_date, r.id) AS place
    FROM merged_list AS m JOIN request AS r ON r.waiting_list_id = m.list_id
    WHERE r.status IN ('RECEIVED', 'PROCESSING') WINDOW person AS (PARTITION BY m.kept_id, r.contact_id))"""
_KEEP_THE_OLDEST_DATE = f"""{_SAME} UPDATE request SET created_date = same.oldest, ordered_at = same.ordered FROM same
    WHERE request.id = same.request_id AND same.place = 1 AND same.requests > 1 AND request.status = 'RECEIVED'"""  # noqa: S608  # our own words
# The others end as "told by other means": by the one that stays. FAILED ones could be retried later, by mistake.
_END_THE_OTHERS = f"""{_SAME} UPDATE request SET status = 'NOTIFICATION_SENT', auto_notified = false,
        notified_date = stockbell_now(0), not_before = NULL, owner = NULL, claimed_at = NULL, handed_at = NULL,
        failure_reason = 'an equal request of the same person tells them'
    FROM same WHERE request.id = same.request_id AND same.place > 1"""  # noqa: S608  # our own words
_MOVE = """UPDATE request SET waiting_list_id = merged_list.kept_id, given = merged_list.given FROM merged_list
    WHERE waiting_list_id = merged_list.list_id AND merged_list.list_id <> merged_list.kept_id"""


def _normalise_items(c: sa.Connection) -> None:
    """Writes the ids of items in Unicode's form NFC. Two items whose ids become equal become one."""
    ids = [row for row in c.execute(sa.select(_item)) if not is_normalized("NFC", row.catalog_item_id)]
    for row in ids:
        name = normalize("NFC", row.catalog_item_id)
        same = sa.select(_item.c.id).where(_item.c.app_id == row.app_id, _item.c.catalog_item_id == name)
        kept = c.execute(same).scalar()
        if kept is None:
            c.execute(_item.update().where(_item.c.id == row.id).values(catalog_item_id=name))
        else:
            _move_item(c, row.id, kept)


def _move_item(c: sa.Connection, item: UUID, kept: UUID) -> None:
    # The blank keeps equal options apart until `_give_keys` finds them. In JSON it means nothing.
    for table in (_list, _stock):
        c.execute(table.update().where(table.c.item_id == item).values(item_id=kept, options=table.c.options + " "))
    c.execute(_pause.update().where(_pause.c.item_id == item).values(item_id=kept))
    c.execute(_item.delete().where(_item.c.id == item))


def _give_keys(c: sa.Connection) -> bool:
    """Gives each list that stays its key, and notes which lists become one. Returns whether there are any."""
    c.execute(_list.update().where(_list.c.options == "{}").values(options_key="{}"))
    is_any_merged = False
    for item, rows in groupby(_lists(c), key=attrgetter("item_id")):
        same: dict[Options, list[Row[Any]]] = {}
        for row in rows:
            same.setdefault(compared_options(row.options), []).append(row)
        kept = {options: min(group, key=_spelled_first) for options, group in same.items()}
        _save_keys(c, {row.id: (options, row.options) for options, row in kept.items() if row.options != "{}"})
        if merged := {options: group for options, group in same.items() if len(group) > 1}:
            _merge(c, item, [(options, kept[options].id, group) for options, group in merged.items()])
            is_any_merged = True
    return is_any_merged


def _lists(c: sa.Connection) -> Iterator[Row[Any]]:
    """Yields all waiting lists, by item, a page at a time."""
    place = sa.tuple_(_list.c.item_id, _list.c.options)
    query = sa.select(_list).order_by(_list.c.item_id, _list.c.options).limit(PAGE)
    page = c.execute(query).all()
    while page:
        yield from page
        page = c.execute(query.where(place > (page[-1].item_id, page[-1].options))).all()


def _spelled_first(row: Row[Any]) -> tuple[bool, UUID]:
    return row.options.endswith(" "), row.id


def _save_keys(c: sa.Connection, keys: Mapping[UUID, tuple[Options, str]]) -> None:
    if keys:
        statement = _list.update().where(_list.c.id == sa.bindparam("list_id"))
        c.execute(
            statement.values(options_key=sa.bindparam("key"), options=sa.bindparam("spelling")),
            [
                {"list_id": list_id, "key": options_text(options), "spelling": spelling.rstrip()}
                for list_id, (options, spelling) in keys.items()
            ],
        )


def _merge(c: sa.Connection, item: UUID, groups: Sequence[tuple[Options, UUID, Sequence[Row[Any]]]]) -> None:
    """Notes which lists of an item become one, and gives those that stay what they all have."""
    levels, pauses = _levels(c, item), c.execute(sa.select(_pause).where(_pause.c.item_id == item)).all()
    (reference,) = c.execute(sa.select(_item).where(_item.c.id == item)).all()
    pairs, kept_lists = [], []
    for options, kept, group in groups:
        pairs += [{"list_id": row.id, "kept_id": kept, "given": _given(reference, row.options)} for row in group]
        seen = max((row.last_in_stock_at for row in group if row.last_in_stock_at), default=None)
        in_stock = levels.available(options)
        kept_lists.append({"kept": kept, "is_in": in_stock, "seen": seen, "woken": seen if in_stock else None})
        spellings = {row.options for row in group}
        _merge_pauses(c, options, [row.key for row in pauses if row.options in spellings])
    c.execute(_merged.insert(), pairs)
    c.execute(_KEEP, kept_lists)


def _given(item: Row[Any], options: str) -> str:
    return reference_json(item.catalog_item_id, item.app_id, dict(options_from_text(options)) or None)


_KEEP = (
    _list.update()
    .where(_list.c.id == sa.bindparam("kept"))
    .values(
        in_stock=sa.bindparam("is_in"),
        last_in_stock_at=sa.bindparam("seen"),
        woken_at=sa.bindparam("woken"),
        bell_at=None,
    )
)


def _merge_pauses(c: sa.Connection, options: Options, keys: Sequence[str]) -> None:
    """A pause of one of the lists is one of the list that stays."""
    if keys:
        c.execute(_pause.delete().where(_pause.c.key.in_(keys[1:])))
        c.execute(_pause.update().where(_pause.c.key == keys[0]).values(options=options_text(options)))


def _levels(c: sa.Connection, item: UUID) -> Levels:
    """Returns the stock of an item. Of rows whose options become equal the newest counts."""
    found: dict[Options, Level] = {}
    for row in c.execute(sa.select(_stock).where(_stock.c.item_id == item)):
        order = row.occurred_at, entry_order(row.entry_id)
        options = compared_options(row.options)
        if options not in found or found[options].order < order:
            found[options] = Level(row.in_stock, order, None, row.last_in_stock_at, frozenset(), bool(row.follows_item))
    return Levels(found)
