"""The words of which stories are made: times, spans, items, commands, and sentences for each kind of thing. Pure."""

import shlex
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from worker.domain.catalog import Item, Options, options_from_text, reference_arguments
from worker.domain.replies import Reply, Stage, parse_reply
from worker.domain.reply_rules import Blame, ReplyRules
from worker.domain.returned import Kind
from worker.store.stories import Pause

_LATE: Final = 9
_CUT: Final = 160
"""Characters of others' words in the sentence. What happened has them whole."""


def at_words(at: datetime) -> str:
    """A time for people: `3 May 2026 09:12:04 UTC`."""
    exact = at.astimezone(UTC)
    return f"{exact.day} {exact:%B %Y %H:%M:%S} UTC"


def later_words(at: datetime, before: datetime | None) -> str:
    """A time that is told after another one: only that of the day, if both are on the same day."""
    is_same_day = before is not None and at.astimezone(UTC).date() == before.astimezone(UTC).date()
    return f"{at.astimezone(UTC):%H:%M:%S}" if is_same_day else f"{at_words(at)}"


def quoted(words: str | None) -> str:
    """Words of others within a sentence, cut if they are long."""
    text = words or ""
    return f"“{text if len(text) <= _CUT else f'{text[:_CUT].rstrip()}…'}”"


def span_words(seconds: float) -> str:
    """A duration for people: `0.4 s`, `45 s`, `3 min`, `2 h 5 min`, `4 d`."""
    if seconds < _LATE:
        return f"{max(0.0, seconds):.1f}".removesuffix(".0") + " s"
    for size, unit, smaller, name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            more = int(rest // smaller)
            return f"{whole:.0f} {unit}" + (f" {more} {name}" if more and whole < _LATE else "")
    return f"{seconds:.0f} s"


def options_words(options: Options) -> str:
    """Options for people: `Size: L, Color: Blue`."""
    return ", ".join(f"{name}: {value}" for name, value in options)


def item_words(row: Any) -> str:
    """An item for people: `Blue mug (Size: L)`."""
    options = options_words(options_from_text(row.options))
    return f"{row.name or row.catalog_item_id}{f' ({options})' if options else ''}"


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `212th`, `1,204th`."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def count_words(number: int, one: str, many: str | None = None) -> str:
    """`1 mail`, `1,204 mails`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


CAUSES: Final[Mapping[str, str]] = {
    "unsubscribed": "left by their own wish",
    "complained": "called a mail spam",
    "bounced": "has an address that is dead",
    "manual": "was suppressed by hand",
}
TRIES: Final[Mapping[str, tuple[str, str]]] = {
    "deferred": ("The relay put the mail off. It is tried again later.", "warn"),
    "rejected": ("The relay refused the mail.", "bad"),
    "unknown": ("The mail was handed over, but the relay's answer was lost: it may have arrived.", "warn"),
    "rescued": ("The worker that had it was gone. It was put back in line.", "warn"),
    "put off": ("The relay refused the mail with words that may be about us. No try was spent.", "warn"),
    "not made": ("No mail could be made for it.", "bad"),
}
REPORTS: Final[Mapping[str, tuple[str, str]]] = {
    Kind.DEAD: ("A report came back: the mail did not arrive, and the address is dead.", "bad"),
    Kind.FAILED: ("A report came back: the mail did not arrive.", "bad"),
    Kind.DELAYED: ("A report came back: the next relay still tries to deliver the mail.", "warn"),
    Kind.DELIVERED: ("A report came back: the mail arrived, or was passed on.", "good"),
    Kind.COMPLAINT: ("The customer called the mail spam.", "bad"),
    Kind.UNSUBSCRIBE: ("The customer asked for no more mail.", "warn"),
    Kind.FEEDBACK: ("A report about the mail came back that is no complaint.", ""),
    Kind.AUTO_REPLY: ("An automatic answer came back.", ""),
    Kind.OTHER: ("Somebody answered the mail.", ""),
}
VERBS: Final[Mapping[str, str]] = {
    "retry": "put it back in line",
    "report": "ordered to tell it now, whatever the stock",
    "mark-sent": "marked it as told by other means",
    "create": "made the request",
    "suppress": "suppressed the customer: no mail is sent to them",
    "unsuppress": "ended the suppression: the customer gets mail again",
    "lift": "ended the suppression: the customer gets mail again",
    "erase": "erased the customer",
    "export": "exported what is held about the customer",
}
_BLAMES: Final[Mapping[Blame, str]] = {
    Blame.ACCOUNT: "our account, login, sender or host, and not the customer",
    Blame.QUOTA: "how much our account may send, and not the customer",
    Blame.RELAY: "trouble of the relay itself, and not the customer",
    Blame.CONNECTION: "one connection that is over, and not the customer",
    Blame.CONNECTIONS: "how many connections we have, and not the customer",
    Blame.PACE: "how fast we send, and not the customer",
    Blame.MESSAGE: "this message",
    Blame.RECIPIENT: "this address, for good",
    Blame.MAILBOX: "this mailbox, for now: it may be full, or over a limit",
    Blame.UNCLEAR: "perhaps this customer or mail, perhaps us",
}


def reply_meaning(rules: ReplyRules, words: str | None) -> str | None:
    """Says whom a relay's words are about, if the table of replies knows them. The stage is not known any more."""
    try:
        reply = parse_reply(words or "")
    except ValueError:
        return None
    rule = next(filter(None, map(_matcher(rules, reply), (Stage.RCPT, Stage.DOT, Stage.MAIL))), None)
    return rule and f"These words are about {_BLAMES[rule.blames]} (row {rule.name} of the table of replies)."


def _matcher(rules: ReplyRules, reply: Reply) -> Callable[[Stage], Any]:
    return lambda stage: rules.match(stage, reply)


def pauses_words(pauses: Iterable[Pause]) -> str:
    """Pauses for people: what, since when, by whom."""
    of = {"everything": "for everything", "item": "for the item", "options": "for this variant"}
    by = [f"{of[each.what]} since {at_words(each.since)}{(each.who and f', by {each.who}') or ''}" for each in pauses]
    return "; ".join(by) or "now"


def resume_command(pause: Pause, row: Any) -> str:
    """The command that ends a pause."""
    if pause.what == "everything":
        return "stockbell resume"
    return f"stockbell resume --item {item_arguments(row, with_options=pause.what == 'options')}"


def item_arguments(row: Any, *, with_options: bool = True) -> str:
    """An item as arguments of a command, quoted for a shell."""
    options = options_from_text(row.options) if with_options else ()
    return shlex.join(reference_arguments(Item(row.app_id, row.catalog_item_id), options))
