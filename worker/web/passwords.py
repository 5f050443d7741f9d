"""Passwords of admins: argon2id by argon2-cffi at its defaults (RFC 9106). The door to that library.

A hash takes about 50 ms and 64 MiB, so callers in the web process bound how many are made at a time.
"""

import base64
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from worker.domain.admins import plain_password

_HASHER = PasswordHasher()


def hash_of(password: str) -> str:
    """Returns what is stored of a password, with the parameters."""
    return _HASHER.hash(plain_password(password))


def is_right(stored: str | None, password: str) -> bool:
    """Whether this is the password. Without a stored hash a dummy is verified: both take the same time."""
    try:
        _HASHER.verify(stored or _dummy(), plain_password(password))
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def is_old(stored: str) -> bool:
    """Whether the parameters have changed since the hash was made."""
    return _HASHER.check_needs_rehash(stored)


@cache
def _dummy() -> str:
    """A hash with our parameters that nobody knows a password for. To write one takes no time."""
    salt, digest = (
        base64.b64encode(bytes(size)).rstrip(b"=").decode() for size in (_HASHER.salt_len, _HASHER.hash_len)
    )
    costs = f"m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    return f"$argon2id$v=19${costs}${salt}${digest}"
