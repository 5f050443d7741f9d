"""What a provider's event says of a recipient: its own type, and the words of the server that refused.

A provider's "hard" or "permanent" is not believed: it also stands for spam filters, policies and full mailboxes, and a
wrong suppression costs a customer for ever. The server's own words decide, by the table that judges all reports
(`domain.bounces`). The type has a say in three cases: if it names a cause that is not the address, the address is not
dead; if it says that the address is dead and no words contradict, it is; if it is soft, only a 5xx can mean so.
"""

import re
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from itertools import islice
from typing import Final

from worker.domain.bounces import Judged, Said, judge
from worker.domain.replies import one_line
from worker.domain.returned import Clues, Kind, Returned
from worker.feedback.addresses import plain
from worker.feedback.clues import ID_LIMIT, TOKEN_LIMIT, tokens_in
from worker.feedback.diagnoses import ENHANCED, diagnosis, is_generic

# A status that says "no such address" or nothing. Any other one names a cause of its own.
_OF_ADDRESS: Final = re.compile(r"5\.(?:0\.0|1\.[0-7]|1\.10)")

ARRIVAL_LIMIT: Final = 200
"""Characters of `Report.arrival`. Providers' ids have 100 at most."""

_MESSAGE_ID: Final = re.compile(r"[!-;=?-~]{1,400}@[!-;=?-~]{1,255}")


class Meaning(Enum):
    """What a provider's type says of the reason why a mail did not arrive."""

    DEAD = auto()
    """The address does not exist, and nothing else."""
    UNSURE = auto()
    """Anything for which a server refuses for good."""
    SOFT = auto()
    """Given up for now. SES says so of unknown domains too, so a certain refusal (5xx) is looked at."""
    OTHER = auto()
    """Another cause than the address."""


def failed(recipient: str, meaning: Meaning, type_: str, words: str, status: str = "") -> Returned:
    """Judges a mail that will not arrive. `words` are the server's own, `type_` is the provider's, for people."""
    said = _said("failed", words, status)
    judged = judge(said)
    kind = _kind(meaning, said, judged)
    return _returned(kind, recipient, type_, words, said, judged.rule if judged.kind is kind else None)


def _kind(meaning: Meaning, said: Said, judged: Judged) -> Kind:
    if judged.kind is Kind.DEAD:
        is_believed = meaning in (Meaning.DEAD, Meaning.UNSURE) or (meaning is Meaning.SOFT and _is_certain(said))
        return Kind.DEAD if is_believed else Kind.FAILED
    is_dead = meaning is Meaning.DEAD and judged.rule is None and _says_no_other_cause(said)
    return Kind.DEAD if is_dead else Kind.FAILED


def _says_no_other_cause(said: Said) -> bool:
    return not (said.status or said.code) or (
        _is_certain(said) and (said.status is None or _OF_ADDRESS.fullmatch(said.status) is not None)
    )


def _is_certain(said: Said) -> bool:
    return (said.status or str(said.code)).startswith("5")


def noted(kind: Kind, recipient: str, type_: str, words: str = "", status: str = "") -> Returned:
    """Returns what is no failure, as the provider says it."""
    return _returned(kind, recipient, type_, words, _said(None, words, status))


def _said(action: str | None, words: str, status: str) -> Said:
    """Reads the codes out of the words. A status of its own counts where the words have none that says something."""
    found = diagnosis(words)
    given = ENHANCED.fullmatch(status.strip())
    chosen = given[0] if given and is_generic(found.status) else found.status
    return Said(action, chosen, found.code, found.words, None)


def _returned(kind: Kind, recipient: str, type_: str, words: str, said: Said, rule: str | None = None) -> Returned:
    shown = one_line(": ".join(part for part in (type_, words) if part))
    return Returned(kind, said.status, said.code, shown, address(recipient), rule)


def address(recipient: str) -> str | None:
    """Returns whom an event names, as reports name them; None if that is no address."""
    found = plain(recipient)
    return found if "@" in found else None


def arrival(provider: str, *names: str) -> str:
    """Returns what an event has alone: the provider's ids of it, and what else makes them unique."""
    return f"{provider}:{' '.join(filter(None, names))}"[:ARRIVAL_LIMIT]


def clues(texts: Iterable[str], message_ids: Iterable[str] = ()) -> Clues:
    """Gathers what may name our mail: tokens anywhere in `texts`, and Message-IDs with or without brackets."""
    tokens = islice(dict.fromkeys(tokens_in(texts)), TOKEN_LIMIT)
    return Clues(tuple(tokens), tuple(islice(dict.fromkeys(_without_brackets(message_ids)), ID_LIMIT)))


def _without_brackets(message_ids: Iterable[str]) -> Iterator[str]:
    for each in message_ids:
        found = each.strip().removeprefix("<").removesuffix(">")
        if _MESSAGE_ID.fullmatch(found):
            yield found
