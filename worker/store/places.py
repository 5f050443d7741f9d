"""How far mailboxes were read, where their messages can't be marked. What a position means is known to its reader."""

from sqlalchemy import Connection

from worker.store.sql import Sql

_READ = Sql("SELECT position FROM place WHERE name = :name")
_KEEP = Sql(
    """INSERT INTO place (name, position) VALUES (:name, :position)
    ON CONFLICT (name) DO UPDATE SET position = excluded.position"""
)


def read(c: Connection, name: str) -> str | None:
    """Returns the position in this mailbox, or None if it was never read."""
    rows = _READ(c, name=name)
    return str(rows[0].position) if rows else None


def keep(c: Connection, name: str, position: str) -> None:
    """Keeps the position. Of two readers of one mailbox the last one's stays, so some is read again."""
    _KEEP(c, name=name, position=position)
