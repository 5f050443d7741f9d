"""For which catalogs new requests are taken (Wix: Back In Stock Settings). They are, unless somebody said otherwise."""

from sqlalchemy import Connection

from worker.store.sql import Sql

_OFF = Sql("SELECT app_id FROM collection WHERE NOT collecting")
_SET = Sql(
    """INSERT INTO collection (app_id, collecting, changed_at) VALUES (:app, :collecting, stockbell_now(0))
    ON CONFLICT (app_id) DO UPDATE SET collecting = excluded.collecting, changed_at = excluded.changed_at
    WHERE collection.collecting <> excluded.collecting"""
)


def stopped(c: Connection) -> frozenset[str]:
    """Returns the catalogs, by their appId, for which no new requests are taken."""
    return frozenset(row.app_id for row in _OFF(c))


def set_collecting(c: Connection, app_id: str, collecting: bool) -> None:
    """Takes new requests for a catalog from now on, or no more."""
    _SET(c, app=app_id, collecting=collecting)
