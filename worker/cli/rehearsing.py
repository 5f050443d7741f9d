"""What commands with --dry-run have in common: the writer of the first mail, and what is printed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from worker.cli.output import printable, say, say_summary

if TYPE_CHECKING:
    from worker.mail.letter import LetterWriter
    from worker.processes.bootstrap import Parts
    from worker.services.rehearsal import Verb
    from worker.services.rehearsed import Rehearsal
    from worker.services.verbs import Seen, Summary


class Would(Protocol):
    """A verb of `services.verbs` that only tells what it would do."""

    def __call__(self, *, seen: "Seen") -> "Summary":
        """Tells `seen` whom it would change."""


def letter_writer(parts: "Parts") -> "LetterWriter":
    """Returns what writes mails that are only shown. Raises BadSetting."""
    from worker.domain.relays import Mailbox
    from worker.services.trying import SHOP

    return parts.letter_writer(parts.settings.mail_from or Mailbox("", SHOP))


def rehearse(parts: "Parts", would: Would, verb: "Verb", what: str, malformed: Sequence[str], *, as_json: bool) -> None:
    """Says what a verb on many requests would do, to whom, and who is told then. Exits with 1 if any id is refused."""
    from worker.services.rehearsal import of_verb

    ids: list[UUID] = []
    done = would(seen=ids.extend)
    found = of_verb(parts.database, letter_writer(parts), parts.policies, verb, ids)
    if not as_json:
        say_rehearsal(found, names_items=True)
    more = {"dryRun": True, "ids": [str(id_) for id_ in ids], **found.as_json()} if as_json else {}
    say_summary(done, what, malformed, as_json=as_json, more=more)


def say_rehearsal(found: "Rehearsal", *, names_items: bool = False) -> None:
    """Prints a rehearsal for people. `names_items`: see `services.rehearsal_words`."""
    from worker.services.rehearsal_words import lines

    for line in lines(found, names_items=names_items):
        say(printable(line))
