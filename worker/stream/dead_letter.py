"""Dead letters: what is kept of events that can't be decoded. Pure."""

from collections.abc import Mapping
from datetime import datetime

from worker.domain.event_fields import is_too_large
from worker.domain.events import ORIGINAL_ID, original

TRUNCATED_BYTES = 2048

Fields = Mapping[bytes, bytes]

OURS = frozenset({ORIGINAL_ID, b"reason", b"receivedAt", b"truncated"})
"""The fields of a dead letter that this program adds."""


def dead_letter(entry_id: str, fields: Fields, reason: str, now: datetime) -> dict[bytes, bytes]:
    """Returns the fields of a dead letter: the event's own fields, the reason, the time, and the original entry id.

    Only the first 2 KiB of an event over 64 KiB are kept. Fields of the event can't override the added fields. A
    replayed event keeps the id of its first entry.
    """
    original_id, own = original(entry_id, fields)
    received = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    ours = {
        ORIGINAL_ID: (original_id or entry_id).encode(),
        b"reason": reason.encode(),
        b"receivedAt": received.encode(),
    }
    if is_too_large(own):
        return {**_beginning(own, TRUNCATED_BYTES), **ours, b"truncated": b"1"}
    return {**own, **ours}


def _beginning(fields: Fields, size: int) -> Fields:
    """Returns the first `size` bytes of names and values."""
    kept: dict[bytes, bytes] = {}
    for name, value in fields.items():
        if size <= 0:
            break
        short = name[:size]
        kept.setdefault(short, value[: size - len(short)])
        size -= len(short) + len(kept[short])
    return kept
