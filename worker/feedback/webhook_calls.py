"""A provider's call, and reading its JSON without trust: nothing here raises anything but Forged and BadWebhook.

Pure: what needs the network is passed in as a function, and so is the time.
"""

import hmac
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from worker.domain.errors import BadWebhook, Forged
from worker.domain.returned import Report

MAX_BODY: Final = 16 * 2**20
"""Octets of a body, at most: 10,000 events of SendGrid, with all that it can write into one."""
MAX_OBJECT: Final = 2 * 2**20
"""Octets of a body that has one event, and is parsed before it is known who sent it. SNS takes 256 KiB of text."""
MAX_EVENTS: Final = 10_000
"""Events of one call, at most."""
MAX_AHEAD: Final = 300.0
"""Seconds that the provider's clock may be ahead of ours."""
_MAX_TEXT: Final = 2_000
"""Characters of a field that are looked at."""


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request of a provider, as it came in. The body must be the octets that were sent, for its signature."""

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url_secret: str = field(default="", repr=False)
    """the part of our URL that only the provider knows, if our URL has one"""

    def header(self, name: str) -> str:
        """Returns a header's value, whatever the case of its name; empty if there is none."""
        return next((value for each, value in self.headers.items() if each.lower() == name.lower()), "")


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a call said."""

    reports: Sequence[Report] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    """How many events say nothing of interest, by their type: deliveries, clicks, and types that we don't know"""
    confirm_url: str | None = None
    """SNS only: the URL to fetch, once, so that it goes on. It is checked to be one of SNS"""


class Webhook(Protocol):
    """One provider's webhook, with the secrets that it was set up with."""

    def verify(self, call: Call, now: datetime) -> None:
        """Raises Forged if the call is not from the provider, or too old; BadWebhook if that can't be told."""

    def decode(self, call: Call) -> Decoded:
        """Reads a call that was verified. Raises BadWebhook."""


class Reader(Protocol):
    """Reads one event of a provider. None: it says nothing of interest."""

    def __call__(self, event: Mapping[str, object]) -> Report | None:
        """Never raises, whatever the types of the values."""


def decoded(events: Sequence[object], read: Reader, type_field: str) -> Decoded:
    """Reads each event. What is no event, or of no interest, is counted by its type. Raises BadWebhook."""
    if len(events) > MAX_EVENTS:
        raise BadWebhook(f"has over {MAX_EVENTS:,} events")
    reports: list[Report] = []
    ignored = Counter[str]()
    for event in events:
        report = read(event) if isinstance(event, dict) else None
        if report is None:
            ignored[_type_name(event, type_field)] += 1
        else:
            reports.append(report)
    return Decoded(reports, dict(ignored))


_MAX_NAME: Final = 40
_UNNAMED: Final = "unknown"


def _type_name(event: object, type_field: str) -> str:
    """Returns a name that is safe to log: an attacker could write anything there."""
    name = text(event, type_field)
    is_name = len(name) <= _MAX_NAME and name.replace("_", "").replace(" ", "").isalnum() and name.isascii()
    return name if is_name else _UNNAMED


def parsed(call: Call) -> object:
    """Returns the JSON of the body. Raises BadWebhook."""
    if len(call.body) > MAX_BODY:
        raise BadWebhook(f"is longer than {MAX_BODY // 2**20} MiB")
    return json_of(call.body)


def json_of(value: str | bytes) -> object:
    """Parses JSON. Raises BadWebhook, also if it is nested too deeply for the parser."""
    try:
        found: object = json.loads(value)
    except RecursionError:
        raise BadWebhook("is nested too deeply") from None
    except ValueError:  # also UnicodeDecodeError, and a number of too many digits
        raise BadWebhook("is not JSON in UTF-8") from None
    return found


def parsed_object(call: Call) -> Mapping[str, object]:
    """Returns the JSON object of the body. Raises BadWebhook."""
    if len(call.body) > MAX_OBJECT:
        raise BadWebhook(f"is longer than {MAX_OBJECT // 2**20} MiB")
    found = parsed(call)
    if not isinstance(found, dict):
        raise BadWebhook("is not a JSON object")
    return found


def parsed_events(call: Call) -> Sequence[object]:
    """Returns the events of a body that has one, or a list of them. Raises BadWebhook."""
    found = parsed(call)
    if isinstance(found, dict):
        return [found]
    if isinstance(found, list):
        return found
    raise BadWebhook("is neither a JSON object nor a list")


def at(value: object, *names: str) -> object:
    """Returns what stands under these names, one inside the other, or None."""
    for name in names:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def text(value: object, *names: str) -> str:
    """Returns a text or a number as text, without lone surrogates (they can't be encoded). Anything else is empty."""
    found = at(value, *names)
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        return ""
    return str(found)[:_MAX_TEXT].encode("utf-8", "replace").decode()


def rows(value: object, *names: str) -> Iterator[Mapping[str, object]]:
    """Yields the objects of a list, at most MAX_EVENTS. Other things in it are skipped."""
    found = at(value, *names)
    for row in found[:MAX_EVENTS] if isinstance(found, list) else ():
        if isinstance(row, dict):
            yield row


def check_secret(given: str, ours: str) -> None:
    """Compares in constant time. Raises Forged. Nothing matches an empty secret."""
    if not ours or not hmac.compare_digest(given.encode("utf-8", "replace"), ours.encode()):
        raise Forged("the secret is not ours")


def check_age(stamp: str, now: datetime, max_age: float) -> None:
    """Checks a time in Unix seconds. Raises Forged.

    `max_age` is for how long the provider repeats a call: a repeated one may have the time of the first. A replay
    within it is harmless, because `Report.arrival` is the same.
    """
    try:
        seconds = float(stamp)
    except ValueError:
        seconds = math.nan
    check_seconds(seconds, now, max_age)


def check_seconds(at_second: float, now: datetime, max_age: float) -> None:
    """Checks that a time is neither too old nor in the future; NaN is neither. Raises Forged."""
    if not -MAX_AHEAD <= now.timestamp() - at_second <= max_age:
        raise Forged("its time is missing, too old, or in the future")
