"""The database's clock: the only one by which times of several machines are compared."""

from datetime import datetime

from sqlalchemy import Connection

from worker.store.sql import Sql

_NOW = Sql("SELECT stockbell_now(0) AS now", now="time")


def now(c: Connection) -> datetime:
    """Returns the time."""
    at: datetime = _NOW(c)[0].now
    return at
