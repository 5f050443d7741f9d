"""What a dry run says to people: a line for each wave, who is first in it, who waits on and why, and the first mail."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from worker.domain.catalog import options_from_text
from worker.domain.difference import options_words
from worker.services.rehearsal import MOST
from worker.services.rehearsed import FirstMail, Later, Rehearsal, Told, Wave
from worker.services.story_words import count_words, span_words

HELD: Final[Mapping[str, str]] = {
    "queued": "in line behind those above",
    "wave": "wait for a seat",
    "settling": "the item has to stay in stock for a while first",
    "relayDown": "told when the relay takes mail again",
    "paused": "paused; see `stockbell resume`",
    "backoff": "wait for another try",
    "interval": "the customer has had another mail by then",
    "soldOut": "sold out",
    "noStock": "no event has said that it is in stock since they signed up",
    "unconfirmed": "the customer has not confirmed yet",
}
"""What those who are not in the waves wait for, by the words of `requests show`."""


def lines(found: Rehearsal, *, names_items: bool) -> Iterator[str]:
    """Yields the lines. `names_items`: some were asked for, of whatever items, and not all who wait for one item."""
    for wave in found.waves:
        yield from _wave_lines(found, wave, names_items=names_items)
    if found.later:
        yield _entry("then", _later_words(found.later))
    if not found.waves:
        yield _entry("now", "nobody")
    for reason, number in found.waiting.items():
        if reason == "wave" and found.later:
            continue
        yield _entry("held", f"{count_words(number, 'request')}: {_why(found, reason)}")
        rows = found.held.get(reason, ())
        for row in rows:
            yield f"      {request_line(row, names_items=names_items)}"
        yield from _more(number - len(rows) if rows else 0)
    if found.is_bounded:
        yield _entry("bounded", f"a dry run goes through the first {MOST:,} in line")
    if found.left_out:
        yield _entry("left out", f"{found.left_out:,} younger ones: a dry run looks at the oldest {MOST:,}")
    if found.mail:
        yield from _mail_lines(found.mail)


def _wave_lines(found: Rehearsal, wave: Wave, *, names_items: bool) -> Iterator[str]:
    at = "now" if wave.at == found.at else _time(wave.at)
    about = "" if wave.is_exact else "about "
    others = "" if wave.requests == wave.all else f", of {wave.all:,} in all"
    # Of all who wait for an item only the first ones matter.
    named = wave.first if names_items or wave.number == 1 else ()
    are_mixed = len({told.row.catalog_item_id for told in named}) > 1  # by digests
    along = ", with what goes along in digests" if are_mixed and not names_items else ""
    yield f"{_entry(f'wave {wave.number}', f'{at:<23}')}  {about}{count_words(wave.requests, 'request')}{others}{along}"
    for told in named:
        yield _told(told, names_items=names_items or are_mixed)
    yield from _more(wave.requests - len(named) if named else 0)


def _told(told: Told, *, names_items: bool) -> str:
    return f"{told.place:>4}. {request_line(told.row, names_items=names_items)}"


def request_line(row: Any, *, names_items: bool) -> str:
    """Says who has asked when for what, and with which priority."""
    options = options_words(options_from_text(row.options))
    item = f"{row.catalog_item_id} " if names_items else ""
    priority = f"  priority {row.priority}" if row.priority else ""
    return f"{row.created_date:%Y-%m-%d %H:%M:%S}  {row.id}  {row.email}  {item}{options}{priority}"


def _more(number: int) -> Iterator[str]:
    if number > 0:
        yield f"      and {number:,} more"


def _later_words(later: Later) -> str:
    one = f"{count_words(later.requests, 'request')} at {_time(later.at)}"
    if later.waves == 1:
        return f"about {one}"
    every = f"every {span_words(later.seconds)}" if later.seconds else "at a time"
    until = f" until {_time(later.until)}" if later.until else ""
    return f"about {later.each:,} {every} from {_time(later.at)}{until} ({count_words(later.requests, 'request')})"


def _why(found: Rehearsal, reason: str) -> str:
    words = HELD.get(reason, reason)
    is_timed = reason in ("interval", "wave", "settling") and found.next_at
    return f"{words}, not before {_time(found.next_at)}" if is_timed and found.next_at else words


def _mail_lines(mail: FirstMail) -> Iterator[str]:
    if mail.problem:
        yield _entry("mail", f"can't be made: {mail.problem}")
        return
    yield _entry("mail", f"subject: {mail.subject}")
    for line in mail.text.rstrip().splitlines():
        yield f"      {line}".rstrip()


def _entry(name: str, words: str) -> str:
    return f"{name:<9} {words}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
