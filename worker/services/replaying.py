"""Puts dead letters back into the stream if this version can decode them, or drops them for good."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from worker.domain.errors import BadEvent
from worker.domain.events import ORIGINAL_ID, decode, is_entry_id
from worker.stream.dead_letter import OURS, Fields
from worker.stream.entries import Entry
from worker.stream.event_stream import Stream

NO_SUCH_LETTER: Final = "no such dead letter"


@dataclass(slots=True)
class Done:
    """How many dead letters were replayed or dropped, and the reason for each one that was refused."""

    changed: int = 0
    refused: dict[str, str] = field(default_factory=dict)


def replay(stream: Stream, letter_ids: Iterable[str] | None) -> Done:
    """Replays these dead letters (None: all, oldest first). Raises RedisAway.

    An event keeps the place of its original entry in the order of events about its item.
    """
    done = Done()
    if letter_ids is None:
        for letter in stream.dead_letters.in_order():
            _replay(stream, letter, done)
        return done
    for letter_id in dict.fromkeys(letter_ids):
        found = stream.dead_letters.get(letter_id) if _is_id(letter_id) else None
        if found is None:
            done.refused[letter_id] = NO_SUCH_LETTER
        else:
            _replay(stream, found, done)
    return done


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
        if _is_id(letter_id) and stream.dead_letters.drop([letter_id]):
            done.changed += 1
        else:
            done.refused[letter_id] = NO_SUCH_LETTER
    return done


def _is_id(letter_id: str) -> bool:
    return is_entry_id(letter_id.encode())


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
