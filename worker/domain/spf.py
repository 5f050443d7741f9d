"""SPF records: what they let others send, and what they need to be looked up (RFC 7208).

Pure.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LOOKUP_LIMIT: Final = 10
"""Lookups that a check may need; with more it ends in an error (section 4.6.4)."""

_VERSION: Final = "v=spf1"
_TERM: Final = re.compile(
    r"(?P<sign>[+?~-]?)(?:(?P<all>all)|(?P<looked>include:\S+|exists:\S+|(?:a|mx|ptr)(?:[:/]\S*)?)|ip[46]:\S+)"
    r"|(?P<name>[a-z][a-z0-9_.-]*)=(?P<value>\S*)",
    re.IGNORECASE,
)


def is_spf(text: str) -> bool:
    """Whether a TXT record is an SPF record."""
    return text.lower().partition(" ")[0] == _VERSION


@dataclass(frozen=True, slots=True)
class SpfRecord:
    """What one record says."""

    everybody: str | None
    """the sign before `all`: + lets anybody send, ? says nothing, ~ and - forbid all others. None: there is no `all`"""
    follows: Sequence[str]
    """the domains whose records are looked up: of `include` and `redirect`"""
    lookups: int
    """terms that need a lookup, without those of the records that follow"""
    redirects: bool


def parse_spf(text: str) -> SpfRecord:
    """Parses a record. Raises ValueError, with the first term that is none."""
    everybody: str | None = None
    follows: list[str] = []
    lookups = 0
    redirect = ""
    for term in text.split()[1:]:
        match = _TERM.fullmatch(term)
        if match is None:
            raise ValueError(f"has the unknown term {term[:60]}")
        if match["all"]:
            everybody = match["sign"] or "+"
            break  # what follows is never looked at
        if match["looked"]:
            lookups += 1
            follows += _included(match["looked"])
        elif (match["name"] or "").lower() == "redirect":
            redirect = match["value"]
    if everybody is None and redirect:  # only looked at where there is no `all` (section 6.1)
        lookups += 1
        follows += [redirect]
    return SpfRecord(everybody, follows, lookups, bool(everybody is None and redirect))


def _included(term: str) -> list[str]:
    name, _, domain = term.partition(":")
    return [domain] if name.lower() == "include" else []
