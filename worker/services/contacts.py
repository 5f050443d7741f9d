"""What admins do with customers: suppress them and lift that, show, export and erase what is held about them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, BinaryIO, Final

from worker.domain.errors import BadAddress, Refused
from worker.domain.returned import Cause
from worker.domain.tokens import Tokens
from worker.services import contact_verbs
from worker.services.addresses import checked_address
from worker.services.import_text import MAX_LINE_BYTES, BadLine, Line, Text, read_text
from worker.services.wire import attempts_json, contact_json, report_json, request_json, signup_json, timestamp
from worker.store import contacts, requests, suppression
from worker.store.database import Connection, Database
from worker.store.requests import Filter

CHUNK: Final = 1000
"""addresses per transaction"""
BY: Final = "command line"

Given = tuple[str, str | BadLine]
"""where an address stands, for people, and the address as it was given; or why it can't be read"""
Refuse = Callable[[str, str], None]
"""takes where the address stands, and the reason"""

_QUOTES: Final = "\"'<> \t\r\n"


@dataclass(slots=True)
class Suppressing:
    """The result of suppressing many."""

    changed: int = 0
    already: int = 0
    requests: int = 0
    """how many have ended because of it"""
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one customer. The rows are those of `store.requests.find` and `models.Report`."""

    contact: Any
    requests: Sequence[Any]
    attempts: Sequence[Sequence[Any]]
    """the attempt log of each request"""
    reports: Sequence[Any]

    def as_json(self) -> dict[str, object]:
        """Returns all of it as one document, for the customer (GDPR articles 15 and 20)."""
        return {
            "exportedAt": timestamp(datetime.now(UTC)),
            "contact": contact_json(self.contact),
            "requests": [
                {
                    **request_json(row),
                    "receipt": row.receipt,
                    "signUp": signup_json(row),
                    "attemptLog": attempts_json(log),
                }
                for row, log in zip(self.requests, self.attempts, strict=True)
            ],
            "reports": [report_json(row) for row in self.reports],
        }


@dataclass(frozen=True, slots=True)
class Contacts:
    """The customers in a database. Addresses are compared in lower case. All methods raise DatabaseAway."""

    database: Database
    tokens: Tokens | None
    who: str = "cli"
    """who acts, for the audit trail"""

    def suppress(self, given: Iterable[Given], cause: Cause, refuse: Refuse) -> Suppressing:
        """Sends these addresses no more mail, whether or not somebody with them waits. Any number, in batches."""
        done, left = Suppressing(), iter(given)

        def count_refused(place: str, reason: str) -> None:
            done.refused += 1
            refuse(place, reason)

        while batch := list(islice(left, CHUNK)):
            addresses = set(_checked(batch, count_refused))
            suppressed = self.database.write(_suppress, addresses, cause, self.who)
            done.changed += len(suppressed.contacts)
            done.already += len(addresses) - len(suppressed.contacts)
            done.requests += len(suppressed.requests)
        return done

    def unsuppress(self, given: Sequence[Given], refuse: Refuse) -> int:
        """Lets these addresses get mail again. What has ended stays so. Raises BadSetting without a key."""
        addresses = dict.fromkeys(_checked(given, refuse))
        lifted = self.database.write(contact_verbs.lift, self.who, list(addresses), self.tokens)
        for address in addresses:
            if address not in lifted:
                refuse(address, "is not suppressed")
        return len(lifted)

    def known(self, address: str) -> Known:
        """Returns what is known of a customer, by the normalised address. Raises Refused if that is nothing."""
        found = self.database.read(_known, address)
        if found is None:
            raise Refused("no such contact: nobody with this address has waited, and it was not suppressed")
        return found

    def export(self, address: str) -> dict[str, object]:
        """Returns all that is known of a customer as one document. Raises Refused if that is nothing."""
        known = self.known(address)
        self.database.write(contact_verbs.note_export, self.who, known.contact.id)
        return known.as_json()

    def erase(self, given: Sequence[Given], refuse: Refuse) -> int:
        """Erases these customers, each in a transaction of its own. Raises BadSetting without a key."""
        erased = 0
        for address in dict.fromkeys(_checked(given, refuse)):
            if self.database.write(_erase, address, self.tokens, self.who):
                erased += 1
            else:
                refuse(address, "no such contact")
        return erased

    def each_suppressed(
        self, cause: Cause | None, since: datetime | None, limit: int, show: Callable[[Any], None]
    ) -> int:
        """Calls `show` with each suppressed contact, newest first. Returns how many there were. `limit` 0 means all."""
        return self.database.read(_each_suppressed, cause, since, limit, show)


def lines_of(file: BinaryIO) -> Iterator[Given]:
    """Yields the addresses of a file, one a line, in constant memory. Blank lines are skipped.

    Raises BadFile if the file is no text.
    """
    text = read_text(file)
    return ((f"line {line[0]}", read) for line in text.lines() if (read := _read(text, line)))


def _read(text: Text, line: Line) -> str | BadLine:
    if len(line[1]) > MAX_LINE_BYTES:
        return BadLine("is too long")
    try:
        return text.decoder.text(line).strip(_QUOTES)
    except BadLine as bad:
        return bad


def _checked(given: Iterable[Given], refuse: Refuse) -> Iterator[str]:
    """Yields the normalised addresses, and calls `refuse` with the others."""
    for place, text in given:
        try:
            if isinstance(text, BadLine):
                raise text
            yield checked_address(text).lower()
        except (BadAddress, BadLine) as bad:
            refuse(place, str(bad))


def _suppress(c: Connection, addresses: set[str], cause: Cause, who: str) -> suppression.Suppressed:
    found = contacts.add(c, addresses).contacts.values()
    return contact_verbs.suppress(c, who, [contact.id for contact in found], cause, BY)


def _known(c: Connection, address: str) -> Known | None:
    contact = contacts.one(c, address)
    return None if contact is None else known_of(c, contact)


def known_of(c: Connection, contact: Any) -> Known:
    """Returns what is known of a contact (a row of `store.contacts`)."""
    rows = list(requests.find(c, Filter(ids=requests.of_contact(c, contact.id))))
    ids = [row.id for row in rows]
    return Known(contact, rows, [requests.attempts(c, id_) for id_ in ids], contacts.reports(c, contact.id, ids))


def _erase(c: Connection, address: str, tokens: Tokens | None, who: str) -> bool:
    contact = contacts.one(c, address)
    return contact is not None and contact_verbs.erase(c, who, contact.id, tokens) is not None


def _each_suppressed(
    c: Connection, cause: Cause | None, since: datetime | None, limit: int, show: Callable[[Any], None]
) -> int:
    shown = 0
    for shown, row in enumerate(contacts.suppressed(c, cause, since, limit), start=1):  # noqa: B007
        show(row)
    return shown
