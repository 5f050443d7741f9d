"""Which requests an admin means: some by their ids, or all that match a filter. The same in a URL, a row and a command.

It is read from a page's form or query (`Selection.read`), kept in the audit trail without an address (`as_json`), and
shown as the command line that means the same (`command`).
"""

import json
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from worker.domain.catalog import CatalogReference, catalog_reference, has_control, item_of
from worker.domain.errors import BadAddress, BadReference
from worker.domain.outcomes import INTERVAL, TEMPLATE_ERROR, UNCONFIRMED, FailureCode
from worker.domain.replies import mask_addresses
from worker.models import Status
from worker.services.addresses import checked_address
from worker.store import contacts, quiet_hours, requests
from worker.store.database import Connection
from worker.store.requests import Filter

WAITING: Final = (
    *(
        "noStock",
        "soldOut",
        "unconfirmed",
        "paused",
        "backoff",
        "interval",
        "quietHours",
        "settling",
        "wave",
        "relayDown",
        "queued",
    ),
)
"""Why a request may wait, see `store.requests.waiting`."""
CODES: Final = (*(code.value for code in FailureCode), TEMPLATE_ERROR, UNCONFIRMED, INTERVAL)
MOST_IDS: Final = 500
MOST_CHARACTERS: Final = 500

Errors = Mapping[str, str]
"""What is wrong with the fields that can't be read."""


class _Bad(ValueError):
    """A field has a value that means nothing. Its text says what it may be."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Requests by their ids, or all that match every given condition. Without any it is all requests."""

    ids: tuple[UUID, ...] = ()
    status: Status | None = None
    item: str | None = None
    app: str | None = None
    options: tuple[str, ...] = ()
    """each `name=value`"""
    email: str | None = field(default=None, repr=False)
    contact: UUID | None = None
    """the customer, instead of an address"""
    code: str | None = None
    waiting: str | None = None
    domain: str | None = None
    """of the recipient's address"""
    words: str | None = None
    """a part of the failure's reason, whatever its case; in double quotes: the whole; an ellipsis is any text"""
    since: datetime | None = None
    """when they failed, if the status is FAILED, else when they were created"""
    until: datetime | None = None
    """before this time"""
    locale: str | None = None
    """the language of the mail, with or without its regions"""

    @classmethod
    def read(cls, pairs: Iterable[tuple[str, object]]) -> "tuple[Selection, Errors]":
        """Returns what the fields of a form or a query select, and what is wrong with them, by field.

        Empty fields count as not given, other names are left out. What can't be read is not selected by: do not act on
        a selection that has errors.
        """
        given: dict[str, list[str]] = {}
        for name, value in pairs:
            if name in _FIELDS and isinstance(value, str) and value.strip():
                given.setdefault(name, []).append(value.strip())
        values: dict[str, Any] = {}
        errors: dict[str, str] = {}
        for name, texts in given.items():
            key, read = _FIELDS[name]
            try:
                values[key] = read(texts)
            except (_Bad, BadReference, BadAddress) as bad:
                errors[name] = str(bad)
        selection = cls(**values)
        return selection, {**errors, **selection._contradictions(errors)}

    def _contradictions(self, errors: Errors) -> Errors:
        if (self.app or self.options) and not self.item and "item" not in errors:
            return {"item": "an app or an option needs an item"}
        if self.since and self.until and self.since >= self.until:
            return {"until": "it must be later than the beginning"}
        if self.waiting and self.status not in (None, Status.RECEIVED):
            return {"waiting": "only waiting requests have a reason to wait"}
        if self.item and not errors:
            try:
                self.reference()
            except BadReference as bad:
                return {"option" if self.options else "item": str(bad)}
        return {}

    @property
    def is_everything(self) -> bool:
        """Whether nothing narrows it but a status."""
        return replace(self, status=None) == Selection()

    def reference(self) -> CatalogReference | None:
        """Returns the item and options that it names. Raises BadReference."""
        if self.item is None:
            return None
        pairs = [option.partition("=") for option in self.options]
        return catalog_reference(item_of(self.item, self.app), {name: value for name, _, value in pairs} or None)

    def as_pairs(self) -> list[tuple[str, str]]:
        """Returns the fields of a form or a query that mean this, for `read` and for `urllib.parse.urlencode`."""
        found = [("id", str(id_)) for id_ in self.ids]
        found += [(name, text) for name, key in _NAMES.items() if (text := _text(getattr(self, key)))]
        return found + [("option", option) for option in self.options]

    def as_query(self) -> dict[str, str | list[str]]:
        """Returns the same as a mapping, in which `id` and `option` are lists, for a page's links."""
        lists = {"id": [str(id_) for id_ in self.ids], "option": list(self.options)}
        return dict(self.as_pairs()) | {name: many for name, many in lists.items() if many}

    def without_address(self, c: Connection) -> "Selection":
        """Returns it with the customer's id in place of the address. An unknown address becomes nobody's id."""
        if self.email is None:
            return self
        found = contacts.find(c, [self.email.lower()]).get(self.email.lower())
        return replace(self, email=None, contact=found.id if found else UUID(int=0))

    def as_json(self) -> dict[str, Any]:
        """Returns what is kept of it in the audit trail. Call `without_address` first; raises ValueError else."""
        if self.email is not None:
            raise ValueError("an address must not get into the audit trail")
        return dict(self.as_query())

    @classmethod
    def read_strictly(cls, pairs: Iterable[tuple[str, object]], others: Collection[str]) -> "tuple[Selection, Errors]":
        """Does what `read` does, for what acts. A field that is empty, or misspelled, must not select more.

        `others` are the names of the form's other fields.
        """
        given = list(pairs)
        selection, errors = cls.read(given)
        odd = {name: "there is no such field" for name, _ in given if name not in _FIELDS and name not in others}
        empty = {
            name: "it is empty"
            for name, value in given
            if name in _FIELDS and not (isinstance(value, str) and value.strip())
        }
        return selection, {**errors, **odd, **empty}

    @classmethod
    def from_json(cls, kept: str | Mapping[str, Any]) -> "Selection":
        """Returns what `as_json` was kept of. Raises ValueError: what can't be read must not select more."""
        values = json.loads(kept) if isinstance(kept, str) else kept
        given = [(name, value) for name, value in values.items() if name in _FIELDS]
        pairs = [(name, each) for name, value in given for each in ([value] if isinstance(value, str) else value)]
        selection, errors = cls.read(pairs)
        if errors:
            raise ValueError(f"can't be read: {', '.join(errors)}")
        return selection

    def filter(self, c: Connection, *, before: datetime | None = None) -> Filter:
        """Returns the condition in SQL: with `before` only what failed (or else was created) before that time.

        Raises BadReference for an item that `read` would refuse.
        """
        reference = self.reference()
        until = min([at for at in (self.until, before) if at], default=None)
        is_failed = self.status is Status.FAILED
        return Filter(
            status=Status.RECEIVED if self.waiting else self.status,
            ids=list(self.ids) if self.ids else None,
            lists=requests.lists_of(c, reference.item, reference.options) if reference else None,
            email=self.email,
            contact=self.contact,
            failure_code=self.code,
            waiting=self.waiting,
            is_quiet=bool(self.waiting and quiet_hours.quiet_until(c)),
            domain=self.domain,
            words=self.words,
            locale=self.locale,
            failed_since=self.since if is_failed else None,
            failed_before=until if is_failed else None,
            created_since=None if is_failed else self.since,
            created_before=None if is_failed else until,
        )

    def command(self, verb: str, *, force: bool = False, ordered: bool = False) -> str:
        """Returns the command line that does this: `verb` is retry, report, mark-sent, delete or list."""
        words = ["stockbell", *(["requests", verb] if verb in ("list", "delete") else [verb])]
        words += [str(id_) for id_ in self.ids] or self._options_of(verb)
        words += ["--yes"] if verb == "delete" and not self.ids else []
        words += ["--force"] if force else []
        if verb == "retry" and ordered != bool(self.ids):  # else it is what the command does by itself
            words.append("--even-if-sold-out" if ordered else "--when-in-stock")
        return shlex.join(words)

    def _options_of(self, verb: str) -> list[str]:
        shown = {key: _text(getattr(self, key)) for key in _FLAGS}
        if verb in _OWN_STATUS:
            del shown["status"]
        found = [word for key, text in shown.items() if text for word in _flag(_FLAGS[key], text)]
        found += [word for option in self.options for word in _flag("--option", option)]
        return found or (["--all"] if verb in _OWN_STATUS else [])


def _flag(name: str, text: str) -> list[str]:
    return [f"{name}={text}"] if text.startswith("-") else [name, text]


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return "" if value is None else str(value)


# --- reading the fields ---


def _line(text: str) -> str:
    if has_control(text):
        raise _Bad("it has a control character")
    if len(text) > MOST_CHARACTERS:
        raise _Bad(f"it is longer than {MOST_CHARACTERS} characters")
    return text


def _one(read: Callable[[str], Any]) -> Callable[[Sequence[str]], Any]:
    def of_one(texts: Sequence[str]) -> Any:
        if len(set(texts)) > 1:
            raise _Bad("it is given twice")
        return read(_line(texts[0]))

    return of_one


def _one_of(names: Sequence[str]) -> Callable[[str], str]:
    by_lower = {name.lower(): name for name in names}

    def read(text: str) -> str:
        if text.lower() not in by_lower:
            raise _Bad(f"it must be one of {', '.join(names)}")
        return by_lower[text.lower()]

    return read


def read_time(text: str) -> datetime:
    """Reads a time or a date as in ISO 8601; without a UTC offset it is UTC. Raises ValueError, which says how."""
    try:
        at = datetime.fromisoformat(text.strip().upper())
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _Bad("a time must look like 2026-11-23 or 2026-11-23T09:00:00Z") from None


def _uuid(text: str) -> UUID:
    try:
        return UUID(_line(text))
    except ValueError:
        raise _Bad("it is no id") from None


def _uuids(texts: Sequence[str]) -> tuple[UUID, ...]:
    if len(texts) > MOST_IDS:
        raise _Bad(f"at most {MOST_IDS} can be picked one by one")
    return tuple(dict.fromkeys(_uuid(text) for text in texts))


def _options(texts: Sequence[str]) -> tuple[str, ...]:
    pairs = [_line(text).partition("=") for text in texts]
    if not all(name and equals for name, equals, _ in pairs):
        raise _Bad("it must be name=value, like size=L")
    if len({name for name, _, _ in pairs}) < len(set(texts)):
        raise _Bad("it names the same option twice")
    return tuple(dict.fromkeys(texts))


def _domain(text: str) -> str:
    name = text.rpartition("@")[2].rstrip(".").lower()
    if not name or " " in name:
        raise _Bad("it must be a domain, like example.com")
    return name


def _words(text: str) -> str:
    """Masks addresses, as in all that relays have said: so none gets into the audit trail or a shown command."""
    words = _line(text).split(" ")
    return " ".join(mask_addresses(word) if "@" in word and "***@***" not in word else word for word in words)


def _item(text: str) -> str:
    item_of(text)
    return text


def _app(text: str) -> str:
    item_of("x", text)
    return text


def _locale(text: str) -> str:
    tag = text.replace("_", "-")
    if not tag.replace("-", "").isalnum() or not tag.isascii() or len(tag) > 35:
        raise _Bad("it must be a language tag like de or de-AT")
    return tag


_FIELDS: Final[Mapping[str, tuple[str, Callable[[Sequence[str]], Any]]]] = {
    "id": ("ids", _uuids),
    "status": ("status", _one(lambda text: Status(_one_of(list(Status))(text)))),
    "item": ("item", _one(_item)),
    "app": ("app", _one(_app)),
    "option": ("options", _options),
    "email": ("email", _one(checked_address)),
    "contact": ("contact", _one(_uuid)),
    "code": ("code", _one(_one_of(CODES))),
    "waiting": ("waiting", _one(_one_of(WAITING))),
    "domain": ("domain", _one(_domain)),
    "words": ("words", _one(_words)),
    "since": ("since", _one(read_time)),
    "until": ("until", _one(read_time)),
    "locale": ("locale", _one(_locale)),
}
"""What a field is called in a URL, in `Selection`, and how it is read."""
_NAMES: Final = {name: key for name, (key, _) in _FIELDS.items() if name not in ("id", "option")}
_FLAGS: Final[Mapping[str, str]] = {
    "status": "--status",
    "item": "--item",
    "app": "--app-id",
    "email": "--email",
    "contact": "--contact",
    "code": "--reason",
    "waiting": "--waiting",
    "domain": "--domain",
    "words": "--words",
    "since": "--since",
    "until": "--until",
    "locale": "--locale",
}
_OWN_STATUS: Final = ("retry", "report")
"""Verbs that can change requests of one status only."""
