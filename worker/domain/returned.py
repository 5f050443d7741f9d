"""What comes back for a mail, as values: reports that name a mail of ours, and what each says of it.

Pure. `feedback` reads messages and webhooks into these, `bounces` judges their words, and `store.reports` acts on them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Final


class Kind(StrEnum):
    """What a report says of one recipient. The values are stored, and shown by `status`."""

    DEAD = auto()
    """The mail did not arrive, and never will: the address itself is dead."""
    FAILED = auto()
    """The mail did not arrive, for good, but the address may be fine."""
    DELAYED = auto()
    """The relay still tries."""
    DELIVERED = auto()
    """The mail arrived, or was passed on to somebody who reports no more."""
    COMPLAINT = auto()
    """The customer called the mail spam (RFC 5965: abuse, fraud, virus)."""
    UNSUBSCRIBE = auto()
    """The customer wants no more mail (RFC 5965: opt-out; a mail to the unsubscribe address)."""
    FEEDBACK = auto()
    """A feedback report that is no complaint (RFC 5965: auth-failure, not-spam)."""
    AUTO_REPLY = auto()
    """A vacation notice or another automatic answer (RFC 3834)."""
    OTHER = auto()
    """No report at all: somebody wrote to us."""


_FATES: Final = (Kind.DELIVERED, Kind.DELAYED, Kind.FAILED, Kind.DEAD)
"""What becomes of a mail, mildest first."""
_WISHES: Final = (Kind.COMPLAINT, Kind.UNSUBSCRIBE)
_REMARKS: Final = (Kind.FEEDBACK, Kind.AUTO_REPLY, Kind.OTHER)


class Cause(StrEnum):
    """Why a contact is suppressed. The values are stored."""

    UNSUBSCRIBED = auto()
    COMPLAINED = auto()
    BOUNCED = auto()
    MANUAL = auto()


@dataclass(frozen=True, slots=True)
class Clues:
    """Everything in a report that may name a mail of ours. Nothing here is proved: `tokens` and the rows do that."""

    tokens: Sequence[str] = field(default=(), repr=False)
    """What may be a token of ours: from the addresses that the report was sent to (return path, unsubscribe address),
    its subject, ENVID, a provider's metadata, and the returned headers' List-Unsubscribe. Oldest letters as found."""
    message_ids: Sequence[str] = field(default=(), repr=False)
    """Message-IDs of returned mails, without brackets: never the report's own."""


@dataclass(frozen=True, slots=True)
class Returned:
    """What a report says of one recipient."""

    kind: Kind
    status: str | None = None
    """the enhanced status code (RFC 3463), such as 5.1.1"""
    code: int | None = None
    """the three digits of the SMTP reply"""
    words: str = ""
    """the reason in the report's own words, as one line (`replies.one_line`: addresses masked)"""
    recipient: str | None = field(default=None, repr=False)
    """whom the report names, in lower case, if anybody. Only compared with the address that the mail went to"""
    rule: str | None = None
    """the row of the table that judged it; None: judged by its code alone, or not a failure"""


@dataclass(frozen=True, slots=True)
class Report:
    """One message or webhook event that came back, read and judged."""

    returned: Sequence[Returned]
    """one for each recipient that it names, at least one"""
    clues: Clues = Clues()
    arrival: str = ""
    """what makes two reports about the same mail different reports: the reporter's queue id, or the event's id"""
    form: str = ""
    """how it was recognised, for people: "RFC 3464", "RFC 5965", "qmail", "webhook of ses" ..."""
    trouble: str | None = None
    """what is wrong with its form, as one line for people, if something is: cut short, nested too deeply ..."""

    def about(self, is_recipient: Callable[[str], bool]) -> Returned:
        """Returns what the report says of one mail, whose only recipient `is_recipient` knows.

        Each mail of ours has one recipient, so a report that names several, or another one, is about an alias, a list,
        or an address to which the mail was forwarded. Entries for our recipient count, if there are any; else all do.
        What a customer wants goes before what became of the mail. Of several fates the mildest counts: the mail failed
        only if it failed for all, and the address is dead only if all are.
        """
        own = [each for each in self.returned if each.recipient is not None and is_recipient(each.recipient)]
        entries = own or self.returned or (Returned(Kind.OTHER),)
        order = (*_WISHES, *_FATES, *_REMARKS)
        return min(entries, key=lambda each: order.index(each.kind))
