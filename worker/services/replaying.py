"""Puts dead letters back into the stream if this version can decode them, or drops them for good. Shows them."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from worker.domain.errors import BadEvent
from worker.domain.events import ORIGINAL_ID, Event, decode, entry_order, is_entry_id
from worker.store import actions
from worker.store.database import Connection
from worker.stream.dead_letter import OURS, Fields
from worker.stream.entries import Entry
from worker.stream.event_stream import Stream

NO_SUCH_LETTER: Final = "no such dead letter"
MOST_SURVEYED: Final = 10_000
MOST_BYTES: Final = 32 * 1024 * 1024
"""A survey reads no more of them than this."""
MOST_SHOWN: Final = 50
"""letters on one page"""
MOST_NOTED: Final = 20
"""ids, or reasons, in a row of the audit trail"""


@dataclass(slots=True)
class Done:
    """How many dead letters were replayed or dropped, and the reason for each one that was refused."""

    changed: int = 0
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter for people, and what today's decoder makes of it: an event, or why it is still none."""

    id: str
    reason: str
    received_at: str | None
    original_id: str | None
    is_truncated: bool
    fields: Mapping[str, str]
    """the event's own"""
    event: Event | None
    refusal: str | None

    @property
    def text(self) -> str:
        """The fields as JSON in several lines, with that of the field `event` as what it means."""
        shown: dict[str, object] = {**self.fields}
        if "event" in shown:
            with suppress(ValueError, RecursionError):
                shown["event"] = json.loads(self.fields["event"])
        # JSON can name half of a pair of surrogates, which no page can hold.
        return json.dumps(shown, ensure_ascii=False, indent=2).encode(errors="backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters with the same reason."""

    reason: str
    letters: int
    newest: str
    """the id"""


@dataclass(frozen=True, slots=True)
class Survey:
    """How many dead letters there are for each reason, most first."""

    letters: int
    surveyed: int
    """fewer, if there are too many to read them all: then these are the newest"""
    newest: str | None
    groups: Sequence[Group]


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a replay would do."""

    letters: int
    taken: int
    refused: Mapping[str, int]
    """how many for each reason"""


def survey(stream: Stream) -> Survey:
    """Counts the dead letters by reason. Raises RedisAway."""
    counts, newest = Counter[str](), dict[str, str]()
    size = surveyed = 0
    for letter in stream.dead_letters.newest_first():
        reason = _text(letter.fields.get(b"reason", b""))
        counts[reason] += 1
        newest.setdefault(reason, letter.id)
        surveyed += 1
        size += sum(map(len, letter.fields.values()))
        if surveyed >= MOST_SURVEYED or size >= MOST_BYTES:
            break
    groups = [Group(reason, n, newest[reason]) for reason, n in counts.most_common()]
    letters = max(stream.dead_letters.count(), surveyed)
    return Survey(letters, surveyed, max(newest.values(), key=entry_order, default=None), groups)


@dataclass(slots=True)
class Surveys:
    """Keeps the last survey while there are the same letters: to read thousands of them takes a while."""

    _mark: tuple[int, str | None] = (-1, None)
    _last: Survey | None = None

    def of(self, stream: Stream) -> Survey:
        """Counts the dead letters by reason, unless nothing has changed. Raises RedisAway."""
        first = next(stream.dead_letters.newest_first(), None)
        mark = stream.dead_letters.count(), first.id if first else None
        if self._last is None or mark != self._mark:
            self._last, self._mark = survey(stream), mark
        return self._last


def newest(
    stream: Stream, reason: str | None = None, before: str | None = None, most: int = MOST_SHOWN
) -> list[Letter]:
    """Returns the newest letters, those with this reason and before this id if they are given. Raises RedisAway."""
    found = (each for each in stream.dead_letters.newest_first(before) if _has(each, reason))
    return [letter_of(each) for each in islice(found, most)]


def find(stream: Stream, letter_id: str) -> Entry | None:
    """Returns a letter, or None; any text may be given. Raises RedisAway."""
    return stream.dead_letters.get(letter_id) if is_letter_id(letter_id) else None


def letter_of(entry: Entry) -> Letter:
    """Returns a letter for people."""
    own = {_text(name): _text(value) for name, value in entry.fields.items()}
    ours = {name: own.pop(name, None) for name in ("originalId", "reason", "receivedAt", "truncated")}
    event, refusal = None, None
    try:
        event = decode(entry.id, event_of(entry.fields))
    except BadEvent as bad:
        refusal = str(bad)
    return Letter(
        entry.id,
        ours["reason"] or "",
        ours["receivedAt"],
        ours["originalId"],
        ours["truncated"] is not None,
        own,
        event,
        refusal,
    )


def foresee(stream: Stream, reason: str | None = None, upto: str | None = None) -> Foreseen:
    """Returns what a replay of these would do. Raises RedisAway."""
    taken, refused = 0, Counter[str]()
    for letter in _chosen(stream, reason, upto):
        try:
            event_of(letter.fields)
            taken += 1
        except BadEvent as bad:
            refused[str(bad)] += 1
    return Foreseen(taken + refused.total(), taken, dict(refused.most_common()))


def replay(
    stream: Stream, letter_ids: Iterable[str] | None, *, reason: str | None = None, upto: str | None = None
) -> Done:
    """Replays these dead letters, or else those with this reason and up to this id (default: all), oldest first.

    An event keeps the place of its original entry in the order of events about its item. Raises RedisAway.
    """
    done = Done()
    if letter_ids is None:
        for letter in _chosen(stream, reason, upto):
            _replay(stream, letter, done)
        return done
    for letter_id in dict.fromkeys(letter_ids):
        found = find(stream, letter_id)
        if found is None:
            done.refused[letter_id] = NO_SUCH_LETTER
        else:
            _replay(stream, found, done)
    return done


def _chosen(stream: Stream, reason: str | None, upto: str | None) -> Iterator[Entry]:
    for letter in stream.dead_letters.in_order():
        if upto and entry_order(letter.id) > entry_order(upto):
            return
        if _has(letter, reason):
            yield letter


def _has(letter: Entry, reason: str | None) -> bool:
    return reason is None or _text(letter.fields.get(b"reason", b"")) == reason


def note(c: Connection, who: str, verb: str, letter_ids: Sequence[str] | None, reason: str | None, done: Done) -> None:
    """Notes in the audit trail what was done to dead letters. The reasons of refusals have no values of the events."""
    known = [letter_id for letter_id in letter_ids or () if is_letter_id(letter_id)]
    about = {"letters": known[:MOST_NOTED]} if letter_ids else {"reason": reason} if reason else {"all": True}
    reasons = dict(Counter(done.refused.values()).most_common(MOST_NOTED))
    result = {"refused": reasons} if reasons else None
    actions.note(c, who, verb, about, result=result, changed=done.changed, refused=len(done.refused))


def _replay(stream: Stream, letter: Entry, done: Done) -> None:
    try:
        stream.dead_letters.replay(letter.id, event_of(letter.fields))
        done.changed += 1
    except BadEvent as bad:
        done.refused[letter.id] = str(bad)


def drop(stream: Stream, letter_ids: Iterable[str] | None) -> Done:
    """Deletes these dead letters (None: all there are now), whatever is in them. Raises RedisAway."""
    if letter_ids is None:
        return Done(stream.dead_letters.drop([letter.id for letter in stream.dead_letters.in_order()]))
    done = Done()
    for letter_id in dict.fromkeys(letter_ids):
        if is_letter_id(letter_id) and stream.dead_letters.drop([letter_id]):
            done.changed += 1
        else:
            done.refused[letter_id] = NO_SUCH_LETTER
    return done


def is_letter_id(letter_id: str) -> bool:
    """Whether a text can be the id of a letter."""
    return is_entry_id(letter_id.encode(errors="replace"))


def event_of(letter: Fields) -> Fields:
    """Returns the event of a dead letter with the id of its original entry. Raises BadEvent if it can't be decoded.

    The fields are not rewritten: a longer or different text might become a dead letter again.
    """
    original_id = letter.get(ORIGINAL_ID, b"")
    if not is_entry_id(original_id):
        raise BadEvent("the letter does not name the entry it came with")
    if b"truncated" in letter:
        raise BadEvent("only its beginning was kept")
    own = {name: value for name, value in letter.items() if name not in OURS}
    decode(original_id.decode(), own)
    return {**own, ORIGINAL_ID: original_id}


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")
