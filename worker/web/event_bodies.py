"""Reads the body of a call with events: one event, a list, `{"events": [...]}`, or a line for each (NDJSON).

Pure. Each event comes out as the bytes of its own JSON, so that it is read here as a listener will read it. It may
stand in `{"event": ...}`, as it does in an entry of the stream.
"""

import json
from typing import Any, Final, TypeVar

from worker.domain.errors import BadEvent
from worker.domain.event_fields import MAX_DIGITS

Event = TypeVar("Event")

MAX_EVENTS: Final = 1000
"""Events of one call."""
LINES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "application/json-lines"})
_JSON_TYPES: Final = frozenset({"", "application/json", "text/json"})


class _AsWritten(dict[str, object]):
    """An object that has a key twice. It is written as it came, since only the event's reader knows what it means."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def items(self) -> Any:
        """Returns all pairs. The encoder asks for nothing else."""
        return self._pairs


def is_known(media_type: str) -> bool:
    """Whether a body of this media type may be JSON."""
    return media_type in _JSON_TYPES or media_type in LINES or media_type.endswith("+json")


def events_of(body: bytes, media_type: str) -> list[bytes]:
    """Returns the events of a body, each as JSON. Raises BadEvent if there is none, or if there are too many."""
    if media_type in LINES:
        lines = body.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        return [_line(line) for line in _counted([line for line in lines if line.strip()])]
    value = _json(body)
    if isinstance(value, dict) and "events" in value and not _is_event(value):
        value = value["events"]
        if not isinstance(value, list):
            raise BadEvent('has "events" that are not a list')
    if isinstance(value, list):
        return [_bytes(each) for each in _counted(value)]
    if isinstance(value, dict):
        return [body if _unwrapped(value) is value else _bytes(value)]
    raise BadEvent("is neither an event nor a list of events")


def _line(line: bytes) -> bytes:
    """Returns the event of a line. One that is no JSON stays as it is: the reader of events says why."""
    if b'"event"' not in line:
        return line
    try:
        value = _json(line)
    except BadEvent:
        return line
    return line if _unwrapped(value) is value else _bytes(value)


def _counted(events: list[Event]) -> list[Event]:
    if not events:
        raise BadEvent("has no event")
    if len(events) > MAX_EVENTS:
        raise BadEvent(f"has over {MAX_EVENTS:,} events")
    return events


def _unwrapped(value: object) -> object:
    return value["event"] if isinstance(value, dict) and "event" in value and not _is_event(value) else value


def _is_event(value: dict[str, object]) -> bool:
    return "catalogItemId" in value or "catalogReference" in value


def _json(body: bytes) -> object:
    try:
        # As the reader of an event does: other bytes than UTF-8 spoil only the text that they are in.
        text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
        return _DECODER.decode(text)
    except RecursionError:
        raise BadEvent("is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise BadEvent(f"is not JSON: {error.msg} at character {error.pos}") from None


def _bytes(value: object) -> bytes:
    event = _unwrapped(value)
    try:
        return json.dumps(event, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # a lone surrogate, which its escape says as well
        return json.dumps(event).encode()


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _AsWritten(pairs)


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_whole, strict=False)
