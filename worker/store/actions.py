"""What admins did: the audit trail. Each verb writes its row in the transaction in which it acts."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from worker.models import ids_of, uuid7
from worker.store.sql import Sql

_NOTE = Sql(
    """INSERT INTO action (id, at, who, verb, state, about, options, command, result, changed, refused, contact_id,
        confirmed_at, ended_at)
    VALUES (:id, stockbell_now(0), :who, :verb, 'done', :about, :options, :command, :result,
        :changed, :refused, :contact_id, stockbell_now(0), stockbell_now(0))"""
)

_CONCLUDE = Sql(
    """UPDATE action SET result = :result, changed = :changed, refused = :refused, ended_at = stockbell_now(0)
    WHERE id = :id"""
)
# The ids sort by time, so that not all rows are read.
_COUNT = Sql("SELECT count(*) AS n FROM action WHERE id > :first AND verb = :verb AND at > stockbell_now(-:since)")

_OF_CONTACT = Sql(
    """SELECT id, at, who, verb, state, changed, refused FROM action WHERE contact_id = :contact
    ORDER BY id DESC LIMIT :most""",
    id="uuid",
    at="time",
)


def note(
    c: Connection,
    who: str,
    verb: str,
    about: Mapping[str, Any],
    *,
    options: Mapping[str, Any] | None = None,
    command: str | None = None,
    result: Mapping[str, Any] | None = None,
    changed: int = 0,
    refused: int = 0,
    contact_id: UUID | None = None,
) -> UUID:
    """Records something that was done at once, and returns the id of its row.

    `about` says what it was done to, as JSON: an item, ids, a filter. Nothing may hold an address: whom it is about
    is `contact_id`.
    """
    id_ = uuid7()
    _NOTE(
        c,
        id=id_,
        who=who,
        verb=verb,
        about=json.dumps(about),
        options=json.dumps(options or {}),
        command=command,
        result=None if result is None else json.dumps(result),
        changed=changed,
        refused=refused,
        contact_id=contact_id,
    )
    return id_


def conclude(c: Connection, action_id: UUID, result: Mapping[str, Any], *, changed: int = 0, refused: int = 0) -> None:
    """Records what came of something that was noted before it was done, since it takes a while."""
    _CONCLUDE(c, id=action_id, result=json.dumps(result), changed=changed, refused=refused)


def count_since(c: Connection, verb: str, seconds: float) -> int:
    """Returns how often something was noted in the last seconds."""
    found: int = _COUNT(
        c, verb=verb, since=seconds, first=ids_of(datetime.now(UTC) - timedelta(seconds=2 * seconds))[0]
    )[0].n
    return found


def of_contact(c: Connection, contact_id: UUID, most: int) -> Sequence[Any]:
    """Returns what was done about one customer, newest first."""
    return _OF_CONTACT(c, contact=contact_id, most=most)
