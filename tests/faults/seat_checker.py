"""Judges the ledger of a run: who took which seats, who gave them back, and whom the relay's own log names. Pure.

The book is written by triggers of the database, not by the program. Its lines are numbered. Whoever changes seats holds
the lock on the item, so the numbers of one item have the order of its ledger.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tests.faults.checker import Mail

End = Literal["told", "unknown", "deleted", "rescued", "given back", "bounced"]
KEPT: Collection[End] = {"told", "unknown", "deleted"}
"""After these ends a customer may have been told, and the seat is not given back."""


class Wave(NamedTuple):
    """One wave of one stock row."""

    item: str
    about: str
    """its options"""
    number: int

    def __str__(self) -> str:
        """Returns the words for it in a breach."""
        return f"wave {self.number} of {self.item} {self.about}".removesuffix(" {}")

    @property
    def next(self) -> "Wave":
        return self._replace(number=self.number + 1)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim. Times are seconds of the database's clock."""

    wave: Wave | None
    """whose seat it took. None: an admin has ordered it, so it took none"""
    address: str
    place: int
    """the line of the book"""
    at: float
    ended: int | None = None
    """the line in which it ended"""
    end: End | None = None


@dataclass(frozen=True, slots=True)
class State:
    """A stock row as a transaction left it."""

    wave: Wave
    place: int
    at: float
    seats: int
    granted: int
    taken_at: float | None = None


@dataclass(frozen=True, slots=True)
class Book:
    """All that happened to seats, in order."""

    claims: Sequence[Claim]
    states: Sequence[State]
    seatless: Collection[str] = ()
    """Who was claimed without a seat."""
    keepers: Mapping[Wave, int] = field(default_factory=dict)
    """How many rows that say NOTIFICATION_SENT hold a seat of each wave."""

    def waves(self) -> dict[Wave, list[State]]:
        """Returns the states of each wave that had seats."""
        found: dict[Wave, list[State]] = {}
        for state in sorted(self.states, key=lambda state: state.place):
            if state.granted:
                found.setdefault(state.wave, []).append(state)
        return found

    def told(self, mails: Sequence[Mail]) -> list[Claim]:
        """Returns the claims with which mails went out: of each person the last one before the relay took the mail."""
        claims: dict[str, list[Claim]] = defaultdict(list)
        for claim in sorted(self.claims, key=lambda claim: claim.place, reverse=True):
            claims[claim.address].append(claim)
        found = (next((c for c in claims[mail.recipient] if c.at <= mail.at), None) for mail in mails)
        return [claim for claim in found if claim is not None]


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for a run."""

    per_wave: int | None = None
    """How many may be told in each wave: P for each piece. None: events come and go, and change it amid a wave."""
    wave_seconds: Mapping[str, float] = field(default_factory=dict)
    """W of each item, if stock comes once, and stays."""
    may_exceed: int = 0
    """How many more persons may be told than the waves allow, because processes died."""


def check_seats(book: Book, mails: Sequence[Mail], rules: Rules) -> list[str]:
    """Returns what breaks a promise about waves, in words."""
    breaches = [f"claimed without a seat: {address}" for address in book.seatless]
    breaches += _persons(book, mails, rules)
    if rules.per_wave is not None:
        breaches += [*_given(book, rules.per_wave), *_sums(book), *_pauses(book, rules), *_rows(book)]
    return breaches


def _given(book: Book, per_wave: int) -> Iterator[str]:
    for wave, states in book.waves().items():
        if states[-1].granted != per_wave:
            yield f"{states[-1].granted} seats in {wave}, and not {per_wave}"


def _persons(book: Book, mails: Sequence[Mail], rules: Rules) -> Iterator[str]:
    """Yields waves in which more persons were told, or may have been, than there were seats.

    There may be one more for each mail of a claim whose process died before its outcome was committed. Whose mail
    bounced was not told.
    """
    persons: dict[Wave, set[str]] = defaultdict(set)
    excused: dict[Wave, set[str]] = defaultdict(set)
    for claim in book.told(mails):
        if claim.wave is None or claim.end == "bounced":
            continue
        persons[claim.wave].add(claim.address)
        if claim.end == "rescued":
            excused[claim.wave].add(claim.address)
        elif claim.end not in KEPT:
            yield f"told in {claim.wave}, but the claim has ended as {claim.end}: {claim.address}"
    for claim in book.claims:
        if claim.end == "unknown" and claim.wave:
            persons[claim.wave].add(claim.address)
    exceeded, waves = 0, book.waves()
    for wave, those in persons.items():
        granted = waves[wave][-1].granted
        over = max(0, len(those) - granted)
        exceeded += over
        if over > len(excused[wave]):
            yield f"{len(those)} persons in {wave}, which has {granted} seats: {len(excused[wave])} explained"
    if exceeded > rules.may_exceed:
        yield f"{exceeded} more persons than seats in all waves, and at most {rules.may_exceed} may be"


def _sums(book: Book) -> Iterator[str]:
    """Yields waves whose seats don't add up: those that are gone must be held by somebody who may have been told.

    What is given back when the next wave has begun counts for nothing.
    """
    waves = book.waves()
    for wave, states in waves.items():
        turned = waves[wave.next][0].place if wave.next in waves else None
        ours = [claim for claim in book.claims if claim.wave == wave]
        kept = sum(claim.end in KEPT for claim in ours)
        late = sum(claim.end not in KEPT and (claim.ended is None or _is_after(claim.ended, turned)) for claim in ours)
        gone = states[-1].granted - states[-1].seats
        if gone != kept + late:
            yield f"{gone} seats of {wave} are gone, but {kept} are kept, and {late} came back too late"


def _is_after(place: int, turned: int | None) -> bool:
    return turned is not None and place > turned


def _pauses(book: Book, rules: Rules) -> Iterator[str]:
    """Yields waves that began too early, or while there were seats."""
    waves = book.waves()
    for wave, states in waves.items():
        if wave.next not in waves:
            continue
        before, after = states[-1], waves[wave.next][0]
        if before.seats:
            yield f"{wave.next} began though {before.seats} seats of the last one were free"
        if before.taken_at is None or after.at < before.taken_at + rules.wave_seconds[wave.item]:
            yield f"{wave.next} began too early: at {after.at}, and the last seat was taken at {before.taken_at}"


def _rows(book: Book) -> Iterator[str]:
    """Yields waves for which the rows say something else than what happened."""
    told: dict[Wave, int] = defaultdict(int)
    for claim in book.claims:
        if claim.wave:
            told[claim.wave] += claim.end == "told"
    for wave in told.keys() | book.keepers.keys():
        if told[wave] != book.keepers.get(wave, 0):
            yield f"{told[wave]} were told in {wave}, but {book.keepers.get(wave, 0)} rows have its seats"
