"""How it goes, as one sentence: from facts, for the pages, `status` and `status --watch` alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

SWEEP_SECONDS: Final = 60.0
"""A sweep that is older than this is told: deferred requests and those of dead workers wait for one."""


class Tone(StrEnum):
    """How a sentence is meant. The values are classes of the pages' style sheet."""

    GOOD = "good"
    INFO = "info"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that needs attention."""

    words: str
    see: str = "/system"
    """the page for admins that helps"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the sentence is made of."""

    waiting: int
    """RECEIVED"""
    due: int
    """those of them who could be told now"""
    sending: int
    """PROCESSING"""
    rate: float | None = None
    """mails told a second, lately; None: not known"""
    workers: int = 0
    down: bool = False
    down_since: datetime | None = None
    down_why: str = ""
    quiet_until: datetime | None = None
    """when mails go out again; None: they do now"""
    paused: bool = False
    """everything is"""
    paused_items: int = 0
    sweep_seconds: float | None = None
    """the age of the last sweep; None: there was none"""
    troubles: Sequence[Trouble] = ()
    late: bool = False
    """the oldest one is due for longer than is usual, which is well while mails go out"""
    warnings: Sequence[Trouble] = ()
    is_empty: bool = False
    """nobody has ever signed up"""


@dataclass(frozen=True, slots=True)
class Sentence:
    """How it goes."""

    words: str
    tone: Tone
    see: str = ""
    """the page that helps; "" if none is needed"""
    link: str = ""
    """what that page's link says"""


def sentence_of(facts: Facts) -> Sentence:
    """Returns the sentence: what stops everything comes first, then what needs attention, then what is done."""
    return _stopped(facts) or _troubled(facts) or _quiet(facts) or _busy(facts) or _well(facts)


def seconds_left(left: int, rate: float | None) -> float | None:
    """Returns how long so many mails take. None: that can't be told."""
    return left / rate if rate and left else None


def duration(seconds: float) -> str:
    """A duration in words, rounded: `13 s`, `4 min`, `2 h 5 min`, `3 d`."""
    if seconds < 90:
        return f"{max(1.0, seconds):.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"
    return f"{hours / 24:.0f} d"


def rate_words(rate: float) -> str:
    """A rate in words: `312 a second`, `0.4 a second`."""
    return f"{rate:,.0f} a second" if rate >= 9.5 else f"{rate:.1f} a second"


def _stopped(facts: Facts) -> Sentence | None:
    left = facts.due + facts.sending
    who = f" {_people(left, 'is', 'are')} due." if left else " Nobody is due."
    if facts.down:
        since = f" since {facts.down_since:%H:%M} UTC" if facts.down_since else ""
        why = f": {facts.down_why.rstrip('.')}." if facts.down_why else "."
        return Sentence(f"Nothing is sent: the relay is down{since}{why}{who}", Tone.BAD, "/system", "System")
    if facts.paused:
        return Sentence(f"Nothing is sent: everything is paused.{who}", Tone.WARN, "/#sending", "Resume")
    if facts.due and not facts.workers:
        words = f"Nothing is sent: {_people(facts.due, 'is', 'are')} due, and no worker runs. Start `stockbell work`."
        return Sentence(words, Tone.BAD, "/system", "System")
    return None


def _troubled(facts: Facts) -> Sentence | None:
    troubles = list(facts.troubles)
    if facts.late and not facts.rate:
        troubles.append(Trouble(f"{_people(facts.due, 'is', 'are')} due for over a minute, and nobody is told"))
    is_old = facts.sweep_seconds is None or facts.sweep_seconds > SWEEP_SECONDS
    if is_old and facts.waiting + facts.sending:
        age = "never ran" if facts.sweep_seconds is None else f"ran {duration(facts.sweep_seconds)} ago"
        troubles.append(Trouble(f"the last sweep {age}: start `stockbell schedule`"))
    if not troubles:
        return None
    first, *others = troubles
    more = f", and {len(others)} more" if others else ""
    return Sentence(f"This needs attention: {first.words.rstrip('.')}{more}.", Tone.BAD, first.see, "What helps")


def _quiet(facts: Facts) -> Sentence | None:
    left = facts.due + facts.sending
    if facts.quiet_until is None or not left:
        return None
    until = f"{facts.quiet_until:%Y-%m-%d %H:%M} UTC"
    return Sentence(f"Quiet hours until {until}: {_people(left, 'is', 'are')} due, and told then.", Tone.INFO)


def _busy(facts: Facts) -> Sentence | None:
    left = facts.due + facts.sending
    if not left:
        return None
    rate = f"{rate_words(facts.rate)}, " if facts.rate else ""
    seconds = seconds_left(left, facts.rate)
    time = f", about {duration(seconds)}" if seconds is not None else ""
    return Sentence(f"Mails are being sent: {rate}{left:,} left{time}.", Tone.INFO)


def _well(facts: Facts) -> Sentence:
    if facts.is_empty:
        return Sentence("All is well, and nobody has signed up yet.", Tone.GOOD)
    paused = f" {facts.paused_items:,} item{'s are' if facts.paused_items > 1 else ' is'} paused."
    words = f"{_waits(facts.waiting)}, nobody is due.{paused if facts.paused_items else ''}"
    if facts.warnings:
        first = facts.warnings[0]
        return Sentence(f"{words} Look at this: {first.words.rstrip('.')}.", Tone.WARN, first.see, "Look")
    return Sentence(f"All is well: {words}", Tone.GOOD)


def _waits(n: int) -> str:
    return "nobody waits" if not n else "1 waits" if n == 1 else f"{n:,} wait"


def _people(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"
