"""Lets days pass in a shop: whatever has happened becomes so much older, as if the clock had gone on."""

from datetime import timedelta
from uuid import UUID

from tests.contract.shop import Shop

_SHIFTED = 80
"""A UUIDv7 begins with the milliseconds, above so many bits."""


def pass_days(shop: Shop, days: float) -> None:
    """Makes all requests, events and failures older. Requests get the ids that they would have had."""
    ago = timedelta(days=days)
    rows = [
        {
            "old": row.id,
            "new": UUID(int=row.id.int - (round(ago.total_seconds() * 1000) << _SHIFTED)),
            "created": row.created_date - ago,
            "notified": row.notified_date and row.notified_date - ago,
            "failed": row.failed_at and row.failed_at - ago,
        }
        for row in shop.rows()
    ]
    shop.change(
        """UPDATE request SET id = rows.new, created_date = rows.created, notified_date = rows.notified,
            failed_at = rows.failed
        FROM ROWS(old uuid, new uuid, created timestamptz, notified timestamptz, failed timestamptz)
        WHERE id = rows.old""",
        rows=rows,
    )
    lists = shop.ask("SELECT id, last_in_stock_at FROM waiting_list", id="uuid", last_in_stock_at="time")
    shop.change(
        """UPDATE waiting_list SET last_in_stock_at = rows.at FROM ROWS(id uuid, at timestamptz)
        WHERE waiting_list.id = rows.id""",
        rows=[{"id": row.id, "at": row.last_in_stock_at and row.last_in_stock_at - ago} for row in lists],
    )
