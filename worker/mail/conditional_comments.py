"""Conditional comments (`<!--[if mso]>...<![endif]-->`), of which Outlook for Windows shows what is for it.

There are those that all others read, too, those that it reads alone, and those that are no comments to it. Pure.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

_CONDITIONAL: Final = re.compile(
    r"<!--\[if (?P<for_all>[^\]<>]*+)\]>\s*+<!(?:--\s*)?-->(?P<shown>.*?)<!--\s*<!\[endif\]-->"
    r"|<!--\[if (?P<alone>[^\]<>]*+)\]>(?P<hidden>.*?)<!\[endif\]-->"
    r"|<!\[if (?P<bare>[^\]<>]*+)\]>(?P<plain>.*?)<!\[endif\]>",
    re.DOTALL | re.IGNORECASE,
)
_CONDITION: Final = re.compile(r"[!&|()]|(?:(?P<than>[lg]te?)\s+)?(?P<what>[a-z]+)\s*(?P<version>\d*)", re.IGNORECASE)
_VERSIONS: Final[Mapping[str, int]] = {"mso": 16, "vml": 1, "true": 1}
_THAN: Final[Mapping[str, Callable[[int, int], bool]]] = {
    "lt": int.__lt__,
    "lte": int.__le__,
    "gt": int.__gt__,
    "gte": int.__ge__,
    "": int.__eq__,
}


def as_outlook_reads(html: str) -> str:
    """Returns a page with what such comments say to Outlook for Windows in their places."""
    return _CONDITIONAL.sub(_in_office, html)


def _in_office(found: re.Match[str]) -> str:
    """Returns what Outlook for Windows makes of a conditional comment."""
    condition = found["for_all"] or found["alone"] or found["bare"] or ""
    inside = found["shown"] or found["hidden"] or found["plain"] or ""
    return inside if _Condition(condition).holds() else ""


class _Condition:
    """The condition of such a comment: `(gte mso 9)|(IE)`. What can't be read does not hold."""

    def __init__(self, text: str) -> None:
        self._parts = list(_CONDITION.finditer(text))

    def holds(self) -> bool:
        return self._any() and not self._parts

    def _any(self) -> bool:
        found = self._all()
        while self._takes("|"):
            found = self._all() or found
        return found

    def _all(self) -> bool:
        found = self._one()
        while self._takes("&"):
            found = self._one() and found
        return found

    def _one(self) -> bool:
        if self._takes("!"):
            return not self._one()
        if self._takes("("):
            found = self._any()
            return self._takes(")") and found
        is_term = bool(self._parts) and self._parts[0]["what"] is not None
        return is_term and _is_met(self._parts.pop(0))

    def _takes(self, sign: str) -> bool:
        is_next = bool(self._parts) and self._parts[0][0] == sign
        if is_next:
            self._parts.pop(0)
        return is_next


def _is_met(term: re.Match[str]) -> bool:
    version = _VERSIONS.get(term["what"].lower())
    if version is None or not term["version"]:
        return version is not None
    return _THAN[(term["than"] or "").lower()](version, int(term["version"]))
