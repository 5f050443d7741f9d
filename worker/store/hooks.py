"""Hooks: addresses at which shop systems and providers call us. The secret is kept as it is, since it verifies."""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from worker.domain.hook_kinds import SHOPS
from worker.store.sql import Sql

_ID = re.compile(r"[0-9a-f]{32}")
_ADD = Sql(
    """INSERT INTO hook (id, kind, name, secret, options, created_date)
    VALUES (:id, :kind, :name, :secret, :options, stockbell_now(0))"""
)
_COLUMNS = "id, kind, name, secret, options, created_date, used_at, revoked_at"
_TIMES = {"created_date": "time", "used_at": "time", "revoked_at": "time"}
_ALL = Sql(f"SELECT {_COLUMNS} FROM hook ORDER BY created_date, id", **_TIMES)
_ONE = Sql(f"SELECT {_COLUMNS} FROM hook WHERE id = :id AND revoked_at IS NULL", **_TIMES)
_REVOKE = Sql("UPDATE hook SET revoked_at = stockbell_now(0) WHERE id = :id AND revoked_at IS NULL")
_USED = Sql(
    """UPDATE hook SET used_at = stockbell_now(0)
    WHERE id = :id AND (used_at IS NULL OR used_at < stockbell_now(-3600))"""
)


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook that is open. Its id is the last part of its URL."""

    id: str = field(repr=False)
    kind: str
    secret: str | None = field(repr=False)
    options: Mapping[str, Any]


def create(
    c: Connection, kind: str, name: str, secret: str | None = None, options: Mapping[str, object] | None = None
) -> str:
    """Adds a hook and returns its id: 32 hexadecimal digits, so that no command takes one for an option."""
    id_ = secrets.token_hex(16)
    _ADD(c, id=id_, kind=kind, name=name, secret=secret, options=json.dumps(dict(options or {})))
    return id_


def each(c: Connection) -> Sequence[Any]:
    """Returns all hooks, oldest first, also the revoked ones."""
    return _ALL(c)


def find(c: Connection, hook_id: str) -> Hook | None:
    """Returns an open hook, or None. Whatever stands in a URL may be given."""
    row = next(iter(_ONE(c, id=hook_id)), None) if _ID.fullmatch(hook_id) else None
    return Hook(row.id, row.kind, row.secret, json.loads(row.options)) if row else None


def revoke(c: Connection, hook_id: str) -> bool:
    """Closes a hook. Returns False if there is none, or if it was closed before."""
    return _REVOKE.count(c, id=hook_id) > 0


def note_use(c: Connection, hook_id: str) -> None:
    """Records that a hook was called, to an hour."""
    _USED(c, id=hook_id)


def path(kind: str, hook_id: str) -> str:
    """Returns the path of a hook's URL: shop systems connect, providers report."""
    return f"/{'connect' if kind in SHOPS else 'hooks'}/{kind}/{hook_id}"
