"""The send window: at which times of the week mails go out, by the shop's clock on the wall. Pure.

A window is a set of minutes of the week. A moment is in it if the clock on the wall then shows one of these minutes. So
an hour that the clock skips is in no window, and one that it shows twice is in it, or outside of it, both times. Zones
and their changes are those of the IANA time zone database.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

EXAMPLE: Final = "mon-fri 08:00-20:00, sat 09:00-18:00 Europe/Vienna"

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FULL: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NUMBERS: Final = {name: number for names in (_DAYS, _FULL) for number, name in enumerate(names)}
_ALL: Final = tuple(range(7))
_DAY: Final = 24 * 60
_WEEK: Final = 7 * _DAY
_STEP: Final = timedelta(days=1)
"""Since 1920, no zone has changed its offset twice within this time."""
_LONGEST: Final = timedelta(days=16)
"""No window is open for longer without a break, even if a change of the clock skips its end of one week."""
_SECOND: Final = timedelta(seconds=1)

_DASHES: Final = re.compile(r"\s*[-\u2010-\u2015\u2212]\s*")
_WORD: Final = re.compile(r"[^\s,;]+")
_TOUCHING: Final = re.compile(r"(?<=[a-z])(?=[0-9])")
"""between a day and its times"""
_TIMES: Final = re.compile(r"([0-9]{1,2})(?::([0-9]{2}))?-([0-9]{1,2})(?::([0-9]{2}))?")

_Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class SendWindow:
    """When mails go out. `str` gives the canonical text, which `parse_send_window` reads."""

    spans: tuple[tuple[int, int], ...]
    """Minutes of the week, from one up to before another. They are in order, and none touches the next."""
    zone: str
    """the name of a zone of the IANA database"""

    def is_open(self, now: datetime) -> bool:
        """Whether mails go out now."""
        return self._has(_since_monday(now.astimezone(ZoneInfo(self.zone))))

    def next_opening(self, now: datetime) -> datetime:
        """Returns the first moment from now on when mails go out, in UTC. That is now if the window is open."""
        return self._first(now, is_open=True)

    def closes_at(self, now: datetime) -> datetime | None:
        """Returns the first moment from now on when no mails go out, in UTC. None if there is none."""
        return None if self.spans == ((0, _WEEK),) else self._first(now, is_open=False)

    def opened_at(self, now: datetime) -> datetime | None:
        """Returns since when mails go out without a break, in UTC. None if they never stop, or don't go out now."""
        at = now - _LONGEST
        while (opening := self.next_opening(at)) <= now:
            closing = self.closes_at(opening)
            if closing is None:
                return None
            if closing > now:
                return opening
            at = closing
        return None

    def _first(self, now: datetime, *, is_open: bool) -> datetime:
        """Returns the first moment from now on when the window is open, or closed. There has to be one."""
        zone, at = ZoneInfo(self.zone), now.astimezone(UTC)
        while self._has(wall := _since_monday(at.astimezone(zone))) is not is_open:
            at = _unless_changed(zone, at, at + min(self._until_edge(wall), _STEP))
        return at

    def _has(self, wall: timedelta) -> bool:
        minute = wall // timedelta(minutes=1)
        return any(begin <= minute < end for begin, end in self.spans)

    def _until_edge(self, wall: timedelta) -> timedelta:
        """Returns how long it takes from a time on the wall to the next begin or end of a span."""
        edges = (timedelta(minutes=edge) for span in self.spans for edge in span)
        return min((edge - wall) % timedelta(minutes=_WEEK) or timedelta(minutes=_WEEK) for edge in edges)

    def __str__(self) -> str:
        days_at: dict[str, list[int]] = {}
        for day, times in sorted(_pieces(self.spans)):
            days_at.setdefault(times, []).append(day)
        return f"{', '.join(f'{_days_text(days)} {times}' for times, days in days_at.items())} {self.zone}"


def parse_send_window(text: str) -> SendWindow:
    """Reads `mon-fri 08:00-20:00, sat 09:00-18:00 Europe/Vienna`. Raises ValueError, which does not show the text.

    Times without a day are for the days before them, or for every day if there are none. Days without times are for the
    next times. Times may run over midnight. What overlaps is merged. Case, blanks and the kind of dash do not matter.
    """
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    words = _WORD.findall(_DASHES.sub("-", text))
    if len(words) < 2 or not words[-1][0].isalpha() or _is_days(words[-1].lower()):
        raise ValueError(f"must be days, times and the shop's zone at the end: {EXAMPLE}")
    zone = _zone(words[-1])
    return SendWindow(_merged(_spans(piece for word in words[:-1] for piece in _TOUCHING.split(word.lower()))), zone)


def _zone(name: str) -> str:
    """Returns the name as the database spells it."""
    zones = {zone.lower(): zone for zone in available_timezones()}
    if not zones:
        raise ValueError("needs the time zones, which this machine doesn't have: install tzdata")
    if name.lower() not in zones:
        raise ValueError(
            "must end with the shop's zone, like Europe/Vienna or UTC: the last word is none that is known"
        )
    return zones[name.lower()]


def _spans(words: Iterable[str]) -> Iterator[_Span]:
    days: Sequence[int] = ()
    are_used = True
    for word in words:
        if _is_days(word):
            days, are_used = (*(() if are_used else days), *_days(word)), False
        elif word[0].isdigit():
            begin, length = _times(word)
            for day in days or _ALL:
                yield from _of_week(day * _DAY + begin, length)
            are_used = True
        else:
            raise ValueError("must name days as mon, tue, wed, thu, fri, sat, sun, ranges of them (mon-fri), or daily")
    if not are_used:
        raise ValueError("must have times after each day; a whole day is 00:00-24:00")


def _is_days(word: str) -> bool:
    return word == "daily" or all(name in _NUMBERS for name in word.split("-", 1))


def _days(word: str) -> Sequence[int]:
    if word == "daily":
        return _ALL
    first, _, last = word.partition("-")
    number = _NUMBERS[first]
    return [day % 7 for day in range(number, number + (_NUMBERS[last or first] - number) % 7 + 1)]


def _times(word: str) -> tuple[int, int]:
    """Returns the minute of the day when it begins, and how many minutes it lasts."""
    found = _TIMES.fullmatch(word)
    if not found:
        raise ValueError("must have times like 08:00-20:00, on a clock of 24 hours")
    begin, end = _minute(found[1], found[2]), _minute(found[3], found[4])
    if begin == _DAY:
        raise ValueError("must have times that begin from 00:00 to 23:59")
    if begin == end:
        raise ValueError("must have times that don't end where they begin; a whole day is 00:00-24:00")
    return begin, (end - begin) % _DAY or _DAY


def _minute(hours: str, minutes: str | None) -> int:
    minute = int(hours) * 60 + int(minutes or 0)
    if minute > _DAY or int(minutes or 0) > 59:
        raise ValueError("must have times from 00:00 to 24:00")
    return minute


def _of_week(begin: int, length: int) -> Iterator[_Span]:
    yield begin, min(begin + length, _WEEK)
    if begin + length > _WEEK:
        yield 0, begin + length - _WEEK


def _merged(spans: Iterable[_Span]) -> tuple[_Span, ...]:
    merged: list[_Span] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return tuple(merged)


def _pieces(spans: Sequence[_Span]) -> Iterator[tuple[int, str]]:
    """Yields days, and the times that begin there and last less than a day, or from midnight to midnight."""
    *others, (last, end) = spans
    if others and end == _WEEK and others[0][0] == 0:  # it runs on from Sunday to Monday
        others, end = others[1:], end + others[0][1]
    for begin, stop in (*others, (last, end)):
        for first, until in _by_day(begin, stop):
            yield first // _DAY % 7, _times_text(first, until)


def _by_day(begin: int, end: int) -> Iterator[_Span]:
    while end - begin >= _DAY:
        midnight = (begin // _DAY + 1) * _DAY
        yield begin, midnight
        begin = midnight
    if begin < end:
        yield begin, end


def _times_text(begin: int, end: int) -> str:
    return "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (begin % _DAY, end % _DAY or _DAY))


def _days_text(days: Sequence[int]) -> str:
    if len(days) == 7:
        return "daily"
    first = [day for day in days if day - 1 not in days]
    last = [day for day in days if day + 1 not in days]
    return ", ".join(
        _DAYS[begin] if begin == end else f"{_DAYS[begin]}-{_DAYS[end]}" for begin, end in zip(first, last, strict=True)
    )


def _since_monday(wall: datetime) -> timedelta:
    """Returns what a clock on the wall shows, with its weekday."""
    return timedelta(wall.weekday(), wall.second, wall.microsecond, 0, wall.minute, wall.hour)


def _unless_changed(zone: ZoneInfo, begin: datetime, end: datetime) -> datetime:
    """Returns the end, or when the zone's offset changes if it does so before. Changes are at whole seconds of UTC."""
    offset = begin.astimezone(zone).utcoffset()
    if end.astimezone(zone).utcoffset() == offset:
        return end
    before, after = 0, math.ceil((end - begin) / _SECOND)
    whole = begin.replace(microsecond=0)
    while after - before > 1:
        middle = (before + after) // 2
        if (whole + middle * _SECOND).astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return whole + after * _SECOND
