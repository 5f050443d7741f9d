"""Amounts as people write them: `20ms`, `1.5 h`, `1_000_000`, `250k`, `100/s`, `50,000 a day`, `20 KB`.

Each function raises ValueError with a text that says how the amount must look, and never repeats it.
"""

import re
from collections.abc import Mapping
from math import prod
from typing import Final

MOST: Final = 10_000_000_000

# A number with separators of thousands does not begin with 0: "0,020" is less than one.
_NUMBER: Final = r"([1-9]\d{0,2}(?:[,_'\u2019\u00a0\u202f ]\d{3})+|\d{1,15})(?:[.,](\d{1,9}))?"
_PART: Final = re.compile(rf"{_NUMBER}\s*([a-zµμ]*)\s*", re.IGNORECASE)

_SECONDS: Final[Mapping[str, float]] = {
    **dict.fromkeys(("us", "µs", "μs", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
}
_COUNT: Final[Mapping[str, float]] = {"": 1, "k": 1e3, "m": 1e6, "million": 1e6, "mio": 1e6}
_BYTES: Final[Mapping[str, float]] = {
    **dict.fromkeys(("", "b", "byte", "bytes"), 1),
    **dict.fromkeys(("k", "kb"), 1e3),
    "kib": 1024,
    **dict.fromkeys(("m", "mb"), 1e6),
    "mib": 1024**2,
}
_PER: Final = re.compile(r"^(.*?)\s*(?:/|\bper\b|\ba\b|\ban\b)\s*([a-z]+)$", re.IGNORECASE)


def seconds(text: str, *, bare: str = "") -> float:
    """Returns a time in seconds: parts with their units, the longest first. `bare` is the unit of a lone number."""
    if re.fullmatch(_NUMBER, text.strip()) and bare:
        text += bare
    parts = _parts(text)
    units = [_SECONDS.get(unit.lower(), 0.0) for _, unit in parts]
    if not parts or not all(units) or units != sorted(set(units), reverse=True):
        raise ValueError("must be a time with its unit, like 20ms, 0.5s, 10min or 1h 30min")
    return sum(map(prod, zip((number for number, _ in parts), units, strict=True)))


def count(text: str) -> int:
    """Returns a whole number, from one to MOST."""
    found = _one(text, _COUNT)
    lone = re.fullmatch(_NUMBER, text.strip())
    if lone and lone[2]:
        found = None  # "1.000" is a thousand for some and one for others
    if found is None or not 1 <= found <= MOST or found != int(found):
        raise ValueError("must be a whole number from 1 to 10 000 million, like 1000000, 1_000_000 or 1M")
    return int(found)


def rate(text: str) -> float:
    """Returns things a second. Without a unit of time they are a second's."""
    match = _PER.match(text.strip())
    number, unit = match.groups() if match else (text, "s")
    found, time = _one(number, _COUNT), _SECONDS.get(unit.lower())
    if not found or not time:
        raise ValueError("must be mails in a time, like 100/s, 6000/min or 50000/day")
    return found / time


def size(text: str) -> float:
    """Returns bytes."""
    found = _one(text, _BYTES)
    if not found:
        raise ValueError("must be a size, like 8000, 20KB or 20KiB")
    return found


def _one(text: str, units: Mapping[str, float]) -> float | None:
    parts = _parts(text)
    if len(parts) != 1 or parts[0][1].lower() not in units:
        return None
    return parts[0][0] * units[parts[0][1].lower()]


def _parts(text: str) -> list[tuple[float, str]]:
    """Returns each number with the letters behind it, or nothing if anything else is there."""
    text, found, place = text.strip(), [], 0
    while place < len(text):
        match = _PART.match(text, place)
        if match is None:
            return []
        whole, fraction, unit = match.groups()
        found.append((float(f"{re.sub(r'[^0-9]', '', whole)}.{fraction or 0}"), unit))
        place = match.end()
    return found
