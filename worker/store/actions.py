"""What admins did: the audit trail. Each verb writes its row in the transaction in which it acts."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from worker.models import uuid7
from worker.store.sql import Sql

_NOTE = Sql(
    """INSERT INTO action (id, at, who, verb, state, about, options, command, result, changed, refused, contact_id,
        confirmed_at, ended_at)
    VALUES (:id, stockbell_now(0), :who, :verb, 'done', :about, :options, :command, :result,
        :changed, :refused, :contact_id, stockbell_now(0), stockbell_now(0))"""
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
