"""Keys for the HTTP API: one row each. Only a hash of the key is stored."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from worker.domain.api_keys import Key, NewKey, Scope, digest, is_key, new_key
from worker.store.sql import Sql

_ADD = Sql(
    """INSERT INTO api_key (id, name, scope, digest, origins, url_hosts, created_date)
    VALUES (:id, :name, :scope, :digest, :origins, :url_hosts, stockbell_now(0))"""
)
_COLUMNS = "id, name, scope, digest, origins, url_hosts, created_date, used_at, revoked_at"
_TIMES = {"created_date": "time", "used_at": "time", "revoked_at": "time"}
_ALL = Sql(f"SELECT {_COLUMNS} FROM api_key ORDER BY created_date, id", **_TIMES)
_ONE = Sql(f"SELECT {_COLUMNS} FROM api_key WHERE id = :id AND revoked_at IS NULL", **_TIMES)
_REVOKE = Sql("UPDATE api_key SET revoked_at = stockbell_now(0) WHERE id = :id AND revoked_at IS NULL")
_USED = Sql(
    """UPDATE api_key SET used_at = stockbell_now(0)
    WHERE id = :id AND (used_at IS NULL OR used_at < stockbell_now(-3600))"""
)


def create(c: Connection, name: str, scope: Scope, origins: Sequence[str] = (), hosts: Sequence[str] = ()) -> NewKey:
    """Adds a key and returns it. Its text can't be read again."""
    made = new_key(scope)
    stored = {"origins": json.dumps(list(origins)), "url_hosts": json.dumps(list(hosts)), "digest": digest(made.text)}
    _ADD(c, id=made.id, name=name, scope=scope.value, **stored)
    return made


def each(c: Connection) -> Sequence[Any]:
    """Returns all keys, oldest first, also the revoked ones."""
    return _ALL(c)


def recognise(c: Connection, key_id: str, text: str) -> Key | None:
    """Returns the key with this id and text. None: there is none, or it was revoked."""
    row = next(iter(_ONE(c, id=key_id)), None)
    if row is None or not is_key(text, row.digest):
        return None
    return Key(row.id, Scope(row.scope), json.loads(row.origins), json.loads(row.url_hosts))


def revoke(c: Connection, key_id: str) -> bool:
    """Ends a key. Returns False if there is no such key, or if it was revoked before."""
    return _REVOKE.count(c, id=key_id) > 0


def note_use(c: Connection, key_id: str) -> None:
    """Records that a key was used, to an hour."""
    _USED(c, id=key_id)
