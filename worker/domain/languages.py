"""Languages: which of those that we offer suits a reader best, and which way it is written.

Pure. Follows RFC 4647 section 3.4 (lookup) for the ranges of the header Accept-Language (RFC 9110, section 12.5.4).
"""

from collections.abc import Collection
from typing import Final

FALLBACK: Final = "en"
_RIGHT_TO_LEFT: Final = frozenset({"ar", "fa", "he", "ur"})
_LONGEST: Final = 500
"""Characters that are looked at. Browsers send far fewer."""


def pick(wanted: str | None, offered: Collection[str], fallback: str = FALLBACK) -> str:
    """Returns the language that suits `wanted` best: a locale, or ranges with weights.

    A range that is longer than what is offered is cut from its end: `de-AT` gets `de`. A shorter one gets the first
    that begins with it: `pt` gets `pt-BR`.
    """
    by_name = {name.lower(): name for name in offered}
    ranges = _ranges(wanted or "")
    for name in ranges:
        parts = name.split("-")
        for length in range(len(parts), 0, -1):
            if found := by_name.get("-".join(parts[:length])):
                return found
    for name in ranges:
        if longer := next((each for each in by_name if each.startswith(f"{name.partition('-')[0]}-")), None):
            return by_name[longer]
    return fallback


def direction(language: str) -> str:
    """Returns the value of HTML's `dir`: ltr or rtl."""
    return "rtl" if language.partition("-")[0].lower() in _RIGHT_TO_LEFT else "ltr"


def _ranges(header: str) -> list[str]:
    """Returns the ranges in lower case, the most wanted first. What can't be read, or has weight 0, is left out."""
    weighted = []
    for place, part in enumerate(header[:_LONGEST].replace("_", "-").split(",")):
        name, _, weight = part.partition(";")
        name = name.strip().lower()
        try:
            quality = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        if name and name != "*" and quality > 0:
            weighted.append((-quality, place, name))
    return [name for _, _, name in sorted(weighted)]
