"""Reads requests in JSON: one on each line, or an array of them, or our own export."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from worker.domain.errors import BadEvent
from worker.domain.event_fields import object_of
from worker.services.import_columns import (
    LEFT_OUT,
    OPTION,
    REFERENCE,
    REFERENCE_FIELDS,
    REQUIRED,
    Naming,
    may_be_option,
    shown,
)
from worker.services.import_rows import BLANKS, Row
from worker.services.import_text import MAX_LINE_BYTES, BadLine, Line, Text

_SUFFIXES: Final = (".jsonl", ".ndjson", ".json")
_OUTSIDE: Final = re.compile(rb'["{}\[\],\n]')
_INSIDE: Final = re.compile(rb'["\\\n]')
_MANY_NAMES: Final = 20


def is_json(text: Text, name: str) -> bool:
    """Whether a file holds JSON, by its name or its first bytes."""
    return name.lower().endswith(_SUFFIXES) or text.start.lstrip().startswith((b"{", b"["))


def read_objects(text: Text, ours_of: Naming, left_out: dict[str, None]) -> Iterator[Row]:
    """Yields the fields of each request, and adds the names of fields that are left out to `left_out`."""
    is_spread = text.start.lstrip().startswith(b"[") or text.start.strip() == b"{"
    for number, line in _objects(text.pieces) if is_spread else text.lines():
        if found := line.strip():
            yield number, _fields(found, ours_of, left_out)


def _fields(line: bytes, ours_of: Naming, left_out: dict[str, None]) -> Mapping[str, object] | BadLine:
    try:
        if len(line) > MAX_LINE_BYTES:
            raise BadLine(f"is over {MAX_LINE_BYTES} bytes")
        return _named(object_of("request", line) or {}, ours_of, left_out)
    except (BadLine, BadEvent) as bad:
        return BadLine(str(bad))


def _named(raw: Mapping[str, object], ours_of: Naming, left_out: dict[str, None]) -> dict[str, object]:
    """Returns the fields by our names, with those of a catalogReference among them. Raises BadLine."""
    found: dict[str, object] = {}
    single: list[tuple[str, str]] = []
    unknown = []
    for theirs, raw_value in raw.items():
        ours = ours_of(theirs)
        value = raw_value.strip(BLANKS) if isinstance(raw_value, str) else raw_value
        if ours is None:
            unknown.append(theirs)
        elif ours.startswith(OPTION):
            single.append((ours.removeprefix(OPTION), _option_text(value)))
        elif ours == REFERENCE and isinstance(value, dict):
            for name in REFERENCE_FIELDS & value.keys():
                _add(found, name, value[name])
        elif ours == theirs or (ours != LEFT_OUT and ours not in raw):  # of two names of one field ours counts
            _add(found, ours, value)
    if single:
        found[OPTION] = tuple(single)
    if unknown:
        _leave_out({name: raw[name] for name in unknown}, found, left_out)
    return found


def _add(found: dict[str, object], name: str, value: object) -> None:
    if name in found and found[name] != value:
        raise BadLine(f"names {name} twice, with different values")
    found[name] = value


def _option_text(value: object) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case int() | float():
            return json.dumps(value)
    raise BadLine("has an option that is not text, a number or a boolean")


def _leave_out(unknown: Mapping[str, object], found: Mapping[str, object], left_out: dict[str, None]) -> None:
    arrays = [name for name, value in unknown.items() if isinstance(value, list)]
    if arrays and not found:  # an answer of an API, or a table of phpMyAdmin
        raise BadLine(f"has an array in a field{shown(arrays[0])}: save that array alone, and import it")
    for name in unknown:
        if not found.keys() >= set(REQUIRED):
            raise BadLine(f"has an unknown field{shown(name)}; --map tells what it is")
        if not ({"options", OPTION} & found.keys()) and may_be_option(name):
            raise BadLine(f"has an unknown field{shown(name)} that may be an option; --map tells what it is")
        if len(left_out) < _MANY_NAMES and shown(name):
            left_out[name] = None


def _objects(pieces: Iterator[bytes]) -> Iterator[Line]:
    """Yields the objects of a JSON array, or those that follow each other, with the number of the line they begin on.

    What else stands between them is yielded, too, and is no object. An object with a quote that is left open ends with
    its line, since JSON has no line breaks in texts: so it hides no other.
    """
    line = began = 1
    depth = base = at = 0  # brackets that are open, those around all objects, and where to read on
    is_inside = False
    kept = b""
    for piece in pieces:
        start = 0
        while found := (_INSIDE if is_inside else _OUTSIDE).search(piece, at):
            mark, at = found[0], found.end()
            end = None
            if mark == b"\n":
                if is_inside:
                    is_inside, depth, end = False, base, at
                line += 1
            elif mark == b"\\":
                at += 1
            elif mark == b'"':
                is_inside = not is_inside
            elif mark == b"[" and depth == 0 and not (kept + piece[start : at - 1]).strip():
                depth = base = 1
                start, kept = at, b""
            elif mark in b"{[":
                began = began if depth > base else line
                depth += 1
            elif mark == b",":
                end = at - 1 if depth == base else None
            elif depth > base:
                depth -= 1
                end = at if depth == base else None
            else:  # of the array
                depth = base = 0
                end = at - 1
            if end is not None:
                yield began, kept + piece[start:end]
                start, kept, began = at, b"", line
        at = max(0, at - len(piece))
        kept = (kept + piece[start:])[: MAX_LINE_BYTES + 1]
    yield began, kept
