"""What a dry run has found: who would be told in which wave, who would wait on and why, and the first mail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any, Final

from worker.services.wire import timestamp

NAMED: Final = 20
"""So many are named of each wave, and of those who are held for one reason."""


@dataclass(frozen=True, slots=True)
class Told:
    """Somebody who is told."""

    place: int
    """in the line of their item, counted from 1"""
    row: Any
    """of `store.requests.find`"""


@dataclass(frozen=True, slots=True)
class Wave:
    """Those who are told at one time."""

    number: int
    at: datetime
    is_exact: bool
    """The other waves are so only if nothing is sold and nothing is added until then."""
    all: int
    """how many they are, whoever was asked for"""
    requests: int
    """how many of those who were asked for"""
    first: Sequence[Told]


@dataclass(frozen=True, slots=True)
class Later:
    """The waves after those that were rehearsed: about."""

    at: datetime
    """when the next one begins"""
    requests: int
    each: int
    seconds: float
    """from one to the next, but for quiet hours"""
    until: datetime | None
    """when the last one begins; None: so late that it was not reckoned"""

    @property
    def waves(self) -> int:
        """How many there are."""
        return ceil(self.requests / self.each)


@dataclass(frozen=True, slots=True)
class FirstMail:
    """The mail of the first who is told, or why it can't be made."""

    subject: str = ""
    text: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would happen."""

    at: datetime
    waves: Sequence[Wave]
    waiting: Mapping[str, int]
    """how many would wait on, by the reason that `requests show` would tell"""
    held: Mapping[str, Sequence[Any]]
    """the first of them by reason, where somebody was asked for"""
    next_at: datetime | None
    """when time opens the next list, after all that was rehearsed"""
    later: Later | None
    is_bounded: bool
    """More could be told than are claimed in a dry run: they are among those who wait, as `queued`."""
    mail: FirstMail | None = None
    """None: nobody is told"""
    left_out: int = 0
    """how many who were asked for were not looked at: the first `MOST` are"""

    @property
    def told(self) -> int:
        """How many of those who were asked for are in the waves."""
        return sum(wave.requests for wave in self.waves)

    def as_json(self) -> dict[str, Any]:
        """Returns it as JSON. It has no addresses."""
        later, mail = self.later, self.mail
        return {
            "at": timestamp(self.at),
            "waves": [
                {
                    "wave": wave.number,
                    "requests": wave.requests,
                    "all": wave.all,
                    "at": timestamp(wave.at),
                    "exact": wave.is_exact,
                    "places": {str(told.row.id): told.place for told in wave.first},
                }
                for wave in self.waves
            ],
            "later": later
            and {
                "requests": later.requests,
                "waves": later.waves,
                "each": later.each,
                "seconds": later.seconds,
                "at": timestamp(later.at),
                "until": later.until and timestamp(later.until),
            },
            "first": [str(told.row.id) for wave in self.waves for told in wave.first][:NAMED],
            "waiting": dict(self.waiting),
            "bounded": self.is_bounded,
            "leftOut": self.left_out,
            "mail": mail
            and ({"problem": mail.problem} if mail.problem else {"subject": mail.subject, "text": mail.text}),
        }
