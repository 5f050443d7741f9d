"""The dead letters: a stream beside the event stream, which keeps the events that can't be decoded."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import redis
from redis.exceptions import OutOfMemoryError

from worker.stream.dead_letter import Fields, dead_letter
from worker.stream.entries import GROUP, Entry, entries, translated_events

KEPT = 10_000
_AT_ONCE = 100

T = TypeVar("T")


class DeadLetters:
    """The dead letters of one event stream. Every method raises RedisAway, or BadSetting, as those of `Stream` do."""

    def __init__(self, client: redis.Redis, events: str) -> None:
        """`events` is the name of the event stream."""
        self.name = f"{events}:dead"
        self._events = events
        self._client = client

    def bury(self, letters: Sequence[tuple[Entry, str]]) -> int:
        """Moves undecodable entries to the dead letters, each with its reason. Returns how many letters were not kept.

        A letter is added and its entry acknowledged in one transaction. If Redis is out of memory, the oldest letters
        are deleted, at most half of all. If there is still no room, the new letters are not kept: otherwise their
        entries would stay in the stream and block the entries after them.
        """
        with translated_events(self._client):
            return sum(self._bury_or_drop(page) for page in _pages(letters))

    def _bury_or_drop(self, letters: Sequence[tuple[Entry, str]]) -> int:
        if self._try_to_bury(letters):
            return 0
        self._drop_oldest()
        if self._try_to_bury(letters):
            return 0
        self._client.xack(self._events, GROUP, *(entry.id for entry, _ in letters))
        return len(letters)

    def _try_to_bury(self, letters: Sequence[tuple[Entry, str]]) -> bool:
        """Moves the entries. Returns False if Redis is out of memory."""
        with suppress(OutOfMemoryError), self._client.pipeline(transaction=True) as pipe:
            for entry, reason in letters:
                letter: Any = dead_letter(entry.id, entry.fields, reason, datetime.now(UTC))
                pipe.xadd(self.name, letter, maxlen=KEPT, approximate=True)
            pipe.xack(self._events, GROUP, *(entry.id for entry, _ in letters))
            pipe.execute()
            return True
        return False

    def _drop_oldest(self) -> None:
        kept = KEPT  # a listener has no permission to ask for the real number
        has_dropped = 0
        while kept and not has_dropped:
            kept //= 2
            has_dropped = self._client.xtrim(self.name, maxlen=kept, approximate=False)

    def newest(self, limit: int) -> list[Entry]:
        """Returns the newest `limit` letters (0 means all), oldest first."""
        with translated_events(self._client):
            newest: Any = self._client.xrevrange(self.name, count=limit or None)
            return entries(reversed(newest))

    def in_order(self) -> Iterator[Entry]:
        """Yields all letters that exist now, oldest first. They may be replayed or dropped during the iteration."""
        newest = self.newest(1)
        after = b"-"
        while newest:
            with translated_events(self._client):
                page: Any = self._client.xrange(self.name, after, newest[0].id, count=_AT_ONCE)
            if not page:
                return
            yield from entries(page)
            after = b"(" + page[-1][0]

    def count(self) -> int:
        """Returns how many letters there are."""
        with translated_events(self._client):
            return int(self._client.xlen(self.name))

    def newest_first(self, before: str | None = None) -> Iterator[Entry]:
        """Yields letters, newest first: those that are older than this id, or all."""
        last = f"({before}" if before else "+"
        while True:
            with translated_events(self._client):
                page: Any = self._client.xrevrange(self.name, last, count=_AT_ONCE)
            if not page:
                return
            yield from entries(page)
            last = f"({str(page[-1][0], 'ascii')}"

    def get(self, letter_id: str) -> Entry | None:
        """Returns the letter with this id (`milliseconds-sequence`), or None."""
        with translated_events(self._client):
            found: Any = self._client.xrange(self.name, letter_id, letter_id)
            return next(iter(entries(found)), None)

    def replay(self, letter_id: str, fields: Fields) -> None:
        """Moves a letter back to the event stream with these fields, in one transaction."""
        with translated_events(self._client), self._client.pipeline(transaction=True) as pipe:
            entry: Any = fields
            pipe.xadd(self._events, entry)
            pipe.xdel(self.name, letter_id)
            pipe.execute()

    def drop(self, letter_ids: Sequence[str]) -> int:
        """Deletes letters for good. Returns how many of these there were."""
        with translated_events(self._client):
            return sum(int(self._client.xdel(self.name, *page)) for page in _pages(letter_ids))


def _pages(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]
