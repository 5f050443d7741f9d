"""A log-in to the pages for admins, in two transactions: before the password's hash is verified, and after.

The hash takes time and memory, so it is not made in a transaction. Before, a guess is recorded, by name and by address;
after, it is taken back if the password was right.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from worker.domain.admins import FIRST, Role, Visitor
from worker.domain.tokens import CLIENT, Tokens
from worker.store import actions, admins, guesses
from worker.store.admins import User
from worker.store.database import Connection
from worker.store.guesses import Guess


@dataclass(frozen=True, slots=True)
class Attempt:
    """A log-in that has begun."""

    guess: Guess
    user: User | None = field(default=None, repr=False)
    """None: there is no such user. The password is verified all the same, against nobody's hash."""

    @property
    def stored(self) -> str | None:
        """The hash to verify the password against."""
        return self.user.password if self.user else None


def subject_of(tokens: Tokens | None, kind: Literal["name", "address"], text: str) -> str:
    """Returns what guesses are counted by. With a secret key nobody can try out whose it is."""
    named = f"admin {kind} {text}"
    return tokens.mark(CLIENT, named) if tokens else hashlib.sha256(named.encode()).hexdigest()


def begin(c: Connection, name: str, subjects: Sequence[str]) -> Attempt:
    """Records the guess and returns what to verify. An attempt whose guess has to wait is refused."""
    guess = guesses.guess(c, subjects)
    return Attempt(guess, None if guess.wait else admins.user_of(c, name))


def enter(c: Connection, attempt: Attempt, browser: str | None, renewed: str | None, *, old: str | None) -> str | None:
    """Begins the session of an attempt whose password was right, and returns its secret.

    The browser's session before, `old`, ends. Returns None if the user was changed meanwhile.
    """
    secret = admins.enter(c, attempt.user, browser, renewed) if attempt.user else None
    visitor = admins.session_of(c, secret) if secret else None
    if secret is None or visitor is None:
        return None
    _begun(c, attempt.guess, old)
    actions.note(c, visitor.name, "login", {"browser": browser})
    return secret


def enter_first(c: Connection, browser: str | None) -> str | None:
    """Begins the session of who came by the one-time link. Returns None if there is a user by now."""
    if admins.is_any(c):
        return None
    secret = admins.open_session(c, FIRST, Role.ADMIN, browser=browser)
    actions.note(c, FIRST, "login", {"browser": browser, "by": "one-time link"})
    return secret


def change_password(c: Connection, visitor: Visitor, attempt: Attempt, new: str, browser: str | None) -> str | None:
    """Sets a hash as one's own password. All sessions end, and this browser's is another one.

    Returns its secret, or None if the user was changed meanwhile.
    """
    if attempt.user is None or admins.enter(c, attempt.user) is None:
        return None
    admins.set_password(c, visitor.name, new)
    changed = User(attempt.user.id, attempt.user.role, new)
    secret = admins.enter(c, changed, browser)
    _begun(c, attempt.guess, None)
    actions.note(c, visitor.name, "admin password", {"user": visitor.name})
    return secret


def _begun(c: Connection, guess: Guess, old: str | None) -> None:
    guesses.take_back(c, guess.ids)
    if old:
        admins.close_session(c, old)
