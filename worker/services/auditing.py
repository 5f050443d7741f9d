"""Reads the audit trail: what was done by whom."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from worker.domain.catalog import has_control
from worker.services.acting import VERBS
from worker.services.selection import Errors, Selection, read_time
from worker.store import actions
from worker.store.actions import Action
from worker.store.database import Connection

STATES: Final = ("preview", "confirmed", "running", "done", "stopped", "undone", "failed")
FIELDS: Final = ("who", "verb", "state", "since", "until", "before")
MOST_CHARACTERS: Final = 100


@dataclass(frozen=True, slots=True)
class Asked:
    """Which rows are wanted. Every condition that is given must hold."""

    who: str | None = None
    verb: str | None = None
    state: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: UUID | None = None
    """older than this row"""

    @classmethod
    def read(cls, pairs: Iterable[tuple[str, str]]) -> "tuple[Asked, Errors]":
        """Returns what the fields of a query ask for, and what is wrong with them, by field."""
        given = {name: text.strip() for name, text in pairs if name in FIELDS and text.strip()}
        values: dict[str, Any] = {}
        errors: dict[str, str] = {}
        for name, text in given.items():
            try:
                values[name] = _READ[name](text)
            except ValueError as bad:
                errors[name] = str(bad)
        return cls(**values), errors

    def command(self) -> str:
        """Returns the command line that lists the same."""
        flags = {"--who": self.who, "--verb": self.verb, "--state": self.state}
        times = {"--since": self.since, "--until": self.until}
        flags |= {flag: at.isoformat().replace("+00:00", "Z") for flag, at in times.items() if at}
        words = [word for flag, text in flags.items() if text for word in (flag, text)]
        return shlex.join(["stockbell", "actions", "list", *words])


def find(c: Connection, asked: Asked, most: int) -> Sequence[Action]:
    """Returns the rows that are asked for, newest first."""
    return actions.find(
        c,
        who=asked.who,
        verb=asked.verb,
        state=asked.state,
        since=asked.since,
        until=asked.until,
        before=asked.before,
        most=most,
    )


def about(action: Action) -> str:
    """Returns what an action is about, as text."""
    if action.verb in VERBS and "id" in action.about and isinstance(action.about["id"], list):
        number = len(action.about["id"])
        return f"{number} request{'s' if number > 1 else ''}"
    return ", ".join(f"{name}: {_text(value)}" for name, value in action.about.items()) or "everything"


def selection_of(action: Action) -> Selection:
    """Returns which requests an action on many is about."""
    return Selection.from_json(action.about)


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value[:5])) + (f" and {len(value) - 5} more" if len(value) > 5 else "")
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_text(each)}" for name, each in value.items())
    return str(value)


def _line(text: str) -> str:
    if has_control(text) or len(text) > MOST_CHARACTERS:
        raise ValueError(f"it must be a name of at most {MOST_CHARACTERS} characters")
    return text


def _state(text: str) -> str:
    if text not in STATES:
        raise ValueError(f"it must be one of {', '.join(STATES)}")
    return text


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValueError("it is no id") from None


_READ: Final[Mapping[str, Any]] = {
    "who": _line,
    "verb": _line,
    "state": _state,
    "since": read_time,
    "until": read_time,
    "before": _id,
}
