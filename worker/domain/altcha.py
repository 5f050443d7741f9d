"""A proof of work instead of a picture to read: ALTCHA's challenge of version 1, with SHA-256. Pure.

Who wants something finds the number that was hashed. It takes a browser a moment, and who wants it a thousand times a
thousand moments. Nobody is tracked, and no other server is asked.
"""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from worker.domain.tokens import CAPTCHA, Tokens

GOOD_SECONDS: Final = 600
"""A challenge has to be answered in this time."""
MOST: Final = 50_000
"""The number is below. Browsers hash some ten thousand times a second."""

_ALGORITHM: Final = "SHA-256"
_LONGEST: Final = 1000
# The `&` ends the time. Else digits could be moved from the number, which is hashed behind it, into the time.
_SALT: Final = re.compile(r"[0-9a-f]{24}\?expires=([0-9]{1,12})&")


@dataclass(frozen=True, slots=True)
class Answered:
    """A right answer. It counts once: `name` is used up for so many seconds from now on."""

    name: str
    seconds: float


def challenge(tokens: Tokens, now: float) -> dict[str, object]:
    """Returns a new challenge, as ALTCHA's widget reads it. `now` is in seconds since 1970."""
    salt = f"{secrets.token_hex(12)}?expires={int(now) + GOOD_SECONDS}&"
    hashed = _hash(salt, secrets.randbelow(MOST))
    return {
        "algorithm": _ALGORITHM,
        "challenge": hashed,
        "maxnumber": MOST,
        "salt": salt,
        "signature": tokens.mark(CAPTCHA, hashed),
    }


def answered(payload: str, tokens: Tokens, now: float) -> Answered | None:
    """Returns what was answered, or None if it is no answer of a challenge of ours, is wrong, or comes too late.

    `payload` is what ALTCHA's widget puts into its form field: JSON in base64.
    """
    found = _opened(payload)
    salt, number = found.get("salt"), found.get("number")
    expires = _SALT.fullmatch(salt) if isinstance(salt, str) else None
    if expires is None or type(number) is not int or not 0 <= number < MOST:
        return None
    hashed = _hash(expires[0], number)
    signature = found.get("signature")
    if not isinstance(signature, str) or not tokens.is_mark(CAPTCHA, hashed, signature):
        return None
    left = int(expires[1]) - now
    return Answered(hashed, left) if left > 0 else None


def _hash(salt: str, number: int) -> str:
    return hashlib.sha256(f"{salt}{number}".encode()).hexdigest()


def _opened(payload: str) -> Mapping[str, object]:
    if len(payload) > _LONGEST:
        return {}
    try:
        found = json.loads(base64.b64decode(payload, validate=True))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("algorithm") == _ALGORITHM else {}
