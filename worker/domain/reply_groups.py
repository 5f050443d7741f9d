"""Groups the reasons of failures by what they have in common: relays put ids, addresses and numbers into their words.

Pure. A group is written as its words with `ANYTHING` for what differs, and so it also selects its requests.
"""

import re
from functools import lru_cache
from typing import Final

ANYTHING: Final = "\u2026"
"""An ellipsis. Stored reasons have it where an address was."""
MOST_CHARACTERS: Final = 400

# The code and the enhanced code (RFC 3463) at the beginning say what has happened, and stay.
_CODES: Final = re.compile(r"(?:[245]\d\d(?:[ -]|$))?(?:[245]\.\d{1,3}\.\d{1,3}\b)?")
# A word with a digit or an at sign. Nothing in it is looked at twice.
_VARIES: Final = re.compile(r"""(?<![^\s<>()\[\]"',;:=])[^\s\d@<>()\[\]"',;:=]*+[\d@][^\s<>()\[\]"',;:=]*+""")
_AGAIN: Final = re.compile(rf"{ANYTHING}(?:[\s,;:.]*{ANYTHING})+")


@lru_cache(20_000)
def group_of(reason: str) -> str:
    """Returns the group of a failure's reason."""
    codes = _CODES.match(reason)
    end = codes.end() if codes else 0
    rest = _VARIES.sub(ANYTHING, reason[end:])
    return reason[:end] + (_AGAIN.sub(ANYTHING, rest) if rest.count(ANYTHING) > 1 else rest)[:MOST_CHARACTERS]
