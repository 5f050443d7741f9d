"""Users of the pages for admins, and their sessions. Only hashes of passwords and of sessions' secrets are stored."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection

from worker.domain.admins import FIRST, IDLE_SECONDS, SESSION_SECONDS, Role, Visitor, digest, new_secret
from worker.models import uuid7
from worker.store.sql import Sql

FORGOTTEN_AT_ONCE: Final = 1000
"""Sessions that one sweep deletes at most."""
SHOWN_DIGITS: Final = 16
"""So many digits of its digest name a session."""
_USED_SECONDS: Final = 60.0
"""The use of a session is recorded to this."""

_TIMES: Final = {"created_date": "time", "changed_at": "time", "used_at": "time", "removed_at": "time"}
_SESSION_TIMES: Final = {"created_date": "time", "seen_at": "time", "ends_at": "time"}
_SOMEBODY: Final = "SELECT 1 FROM admin_user WHERE removed_at IS NULL"

_ANY = Sql(f"{_SOMEBODY} LIMIT 1")
_ADD = Sql(
    """INSERT INTO admin_user (id, name, role, password, created_date, changed_at)
    VALUES (:id, :name, :role, :password, stockbell_now(0), stockbell_now(0))
    ON CONFLICT (name) DO UPDATE SET role = excluded.role, password = excluded.password,
        created_date = excluded.created_date, changed_at = excluded.changed_at, used_at = NULL, removed_at = NULL
    WHERE admin_user.removed_at IS NOT NULL RETURNING id""",
    id="uuid",
)
_EACH = Sql(
    """SELECT u.id, u.name, u.role, u.created_date, u.changed_at, u.used_at, u.removed_at,
        (SELECT count(*) FROM admin_session AS s WHERE s.user_id = u.id AND s.ends_at > stockbell_now(0)
            AND s.seen_at > stockbell_now(-:idle)) AS sessions
    FROM admin_user AS u ORDER BY u.name""",
    id="uuid",
    **_TIMES,
)
_USER = Sql("SELECT id, role, password FROM admin_user WHERE name = :name AND removed_at IS NULL", id="uuid")
_PASSWORD = Sql(
    """UPDATE admin_user SET password = :password, changed_at = stockbell_now(0)
    WHERE name = :name AND removed_at IS NULL"""
)
_ROLE = Sql(
    """UPDATE admin_user SET role = :role, changed_at = stockbell_now(0)
    WHERE name = :name AND removed_at IS NULL AND role <> :role"""
)
_REMOVE = Sql("UPDATE admin_user SET removed_at = stockbell_now(0) WHERE name = :name AND removed_at IS NULL")
# The lock on the row keeps a change of the password or the role from missing the session that is made meanwhile.
_ENTER = Sql(
    """UPDATE admin_user SET used_at = stockbell_now(0), password = :renewed
    WHERE id = :id AND password = :verified AND removed_at IS NULL RETURNING name, role"""
)
_OPEN = Sql(
    """INSERT INTO admin_session (digest, name, role, user_id, browser, created_date, seen_at, ends_at)
    VALUES (:digest, :name, :role, :user_id, :browser, stockbell_now(0), stockbell_now(0), stockbell_now(:seconds))"""
)
# Who came by the one-time link is in until there is a user.
_VALID: Final = f"""s.ends_at > stockbell_now(0) AND s.seen_at > stockbell_now(-:idle) AND CASE
    WHEN s.user_id IS NULL THEN NOT EXISTS ({_SOMEBODY}) ELSE u.removed_at IS NULL END"""
_SESSION = Sql(
    f"""SELECT s.name, coalesce(u.role, s.role) AS role, s.seen_at < stockbell_now(-:used) AS is_stale
    FROM admin_session AS s LEFT JOIN admin_user AS u ON u.id = s.user_id WHERE s.digest = :digest AND {_VALID}""",
    is_stale="bool",
)
_SESSIONS = Sql(
    f"""SELECT s.digest, s.browser, s.created_date, s.seen_at, s.ends_at
    FROM admin_session AS s LEFT JOIN admin_user AS u ON u.id = s.user_id WHERE s.name = :name AND {_VALID}
    ORDER BY s.seen_at DESC, s.digest LIMIT 200""",
    **_SESSION_TIMES,
)
_STILL_OPEN = Sql(
    f"""SELECT s.digest FROM admin_session AS s LEFT JOIN admin_user AS u ON u.id = s.user_id
    WHERE s.digest IN ROWS(digest text) AND {_VALID}"""
)
_SEEN = Sql(
    "UPDATE admin_session SET seen_at = stockbell_now(0) WHERE digest = :digest AND seen_at < stockbell_now(-:used)"
)
_CLOSE = Sql("DELETE FROM admin_session WHERE digest = :digest")
_CLOSE_ONE = Sql("DELETE FROM admin_session WHERE name = :name AND substr(digest, 1, :digits) = :id")
_CLOSE_ALL = Sql("DELETE FROM admin_session WHERE name = :name AND digest <> :but")
_FORGET = Sql(
    """DELETE FROM admin_session WHERE digest IN (SELECT digest FROM admin_session
        WHERE ends_at <= stockbell_now(0) OR seen_at <= stockbell_now(-:idle) LIMIT :most)"""
)


@dataclass(frozen=True, slots=True)
class User:
    """A user who may log in, with the hash of the password."""

    id: UUID
    role: Role
    password: str = field(repr=False)


# --- users ---


def is_any(c: Connection) -> bool:
    """Whether there is a user at all: without one nobody can log in."""
    return bool(_ANY(c))


def add(c: Connection, name: str, role: Role, password_hash: str) -> UUID | None:
    """Adds a user, or one again who was removed. Returns None if there is one with this name.

    Whoever is in by the one-time link is out.
    """
    added = _ADD(c, id=uuid7(), name=name, role=role.value, password=password_hash)
    if added:
        _CLOSE_ALL(c, name=FIRST, but="")
    return added[0].id if added else None


def each(c: Connection) -> Sequence[Any]:
    """Returns all users by name, also those who were removed, with the number of their sessions."""
    return _EACH(c, idle=IDLE_SECONDS)


def user_of(c: Connection, name: str) -> User | None:
    """Returns the user with this name, if there is one who was not removed."""
    found = _USER(c, name=name)
    return User(found[0].id, Role(found[0].role), found[0].password) if found else None


def set_password(c: Connection, name: str, password_hash: str) -> bool:
    """Sets the password and ends all sessions. Returns False if there is no such user."""
    return _ended(c, name, _PASSWORD.count(c, name=name, password=password_hash))


def set_role(c: Connection, name: str, role: Role) -> bool:
    """Sets the role and ends all sessions. Returns False if there is no such user, or if the role is the same."""
    return _ended(c, name, _ROLE.count(c, name=name, role=role.value))


def remove(c: Connection, name: str) -> bool:
    """Removes a user and ends all sessions. Returns False if there is no such user."""
    return _ended(c, name, _REMOVE.count(c, name=name))


def _ended(c: Connection, name: str, changed: int) -> bool:
    if changed:
        _CLOSE_ALL(c, name=name, but="")
    return changed > 0


# --- sessions ---


def enter(c: Connection, user: User, browser: str | None = None, renewed: str | None = None) -> str | None:
    """Begins a session of a user whose password was verified, and returns its secret.

    `renewed` is a newer hash of the same password. Returns None if the user was changed or removed since.
    """
    found = _ENTER(c, id=user.id, verified=user.password, renewed=renewed or user.password)
    return open_session(c, found[0].name, Role(found[0].role), user.id, browser) if found else None


def open_session(c: Connection, name: str, role: Role, user_id: UUID | None = None, browser: str | None = None) -> str:
    """Begins a session and returns its secret, which can't be read again."""
    secret = new_secret()
    about = {"name": name, "role": role.value, "user_id": user_id, "browser": browser}
    _OPEN(c, digest=digest(secret), seconds=SESSION_SECONDS, **about)
    return secret


def session_of(c: Connection, secret: str) -> Visitor | None:
    """Returns whose session this is. None: there is none, or it has ended."""
    return session_by_digest(c, digest(secret))


def session_by_digest(c: Connection, session: str) -> Visitor | None:
    """Does the same for a session's digest, which nobody can log in with."""
    found = _SESSION(c, digest=session, idle=IDLE_SECONDS, used=_USED_SECONDS)
    return Visitor(found[0].name, Role(found[0].role), session, found[0].is_stale) if found else None


def sessions_of(c: Connection, name: str) -> Sequence[Any]:
    """Returns a user's sessions, last used first: digest, browser, created_date, seen_at, ends_at."""
    return _SESSIONS(c, name=name, idle=IDLE_SECONDS)


def still_open(c: Connection, digests: Iterable[str]) -> set[str]:
    """Returns which of these sessions (their digests) have not ended."""
    rows = [{"digest": each} for each in digests]
    return {row.digest for row in _STILL_OPEN(c, rows=rows, idle=IDLE_SECONDS)} if rows else set()


def note_seen(c: Connection, session: str) -> None:
    """Records that a session (its digest) was used, to a minute."""
    _SEEN(c, digest=session, used=_USED_SECONDS)


def close_session(c: Connection, session: str) -> None:
    """Ends a session, by its digest."""
    _CLOSE(c, digest=session)


def close_one(c: Connection, name: str, id_: str) -> int:
    """Ends a user's session by the first `SHOWN_DIGITS` of its digest. Returns how many ended."""
    return _CLOSE_ONE.count(c, name=name, id=id_, digits=SHOWN_DIGITS)


def close_all(c: Connection, name: str, but: str = "") -> int:
    """Ends a user's sessions, but for the one with this digest. Returns how many ended."""
    return _CLOSE_ALL.count(c, name=name, but=but)


def forget(c: Connection) -> int:
    """Deletes some sessions that have ended. Returns how many."""
    return _FORGET.count(c, idle=IDLE_SECONDS, most=FORGOTTEN_AT_ONCE)
