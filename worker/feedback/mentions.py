"""Mentions: who is a recipient in a mailer's text, and which words are about him.

Pure.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from worker.feedback.addresses import addresses_in, plain
from worker.feedback.diagnoses import Diagnosis, diagnosis, first_words, says_something
from worker.feedback.findings import RECIPIENT_LIMIT

_BLOCK_LIMIT: Final = 1_200
"""Characters after a recipient in which the reason is looked for."""
_ADDRESSES: Final = 2_000
"""Addresses in a text that are looked at."""

# What stands before an address that is the sender's, or nobody's.
_NOT_A_RECIPIENT: Final = re.compile(
    r"(?:\bfrom|reply-to|return-path|sender|by|contact|e-?mail|message-id|id|original address)\b[:\s]*<?\"?$",
    re.IGNORECASE,
)
# What stands before a recipient, on his line: nothing, signs, or a label.
_OPENING: Final = re.compile(r"(?:[^\w\n]*|[^\n]{0,120}?(?:[:>]|\bto|\bfor|\baddress)\s*[\"'<(*]*)$", re.IGNORECASE)
_NOBODY: Final = (
    "mailer-daemon@",
    "postmaster@",
    "abuse@",
    "support@",
    "helpdesk@",
    "administrator@",
    "no-reply@",
    "noreply@",
)
# `To: jane@example.com` is no recipient's line where `Subject:` follows: a mailer tells which mail it is about.
_ADDRESSED: Final = re.compile(r"[ \t>]*[^\W\d]{1,12}[ \t]?:[ \t]*[\"'<]*$")
_FIELD_FOLLOWS: Final = re.compile(
    r"[^\n]*\n[ \t>]*(?:\n[ \t>]*)?"
    r"(?:subject|sent|date|from|cc|betreff|gesendet|datum|objet|envoyé|asunto|enviado|oggetto|inviato)[ \t]?:",
    re.IGNORECASE,
)
# A line of a transcript: `550 5.1.1 <jane@example.com>... User unknown`. What is said stands on both sides of the name.
_REPLY: Final = re.compile(r"[ \t]*(?:<<<[ \t]*)?[45][0-9]{2}[ -](?:[45]\.[0-9.]{3,7}[ \t])?[ \t]*[<\"']?$")
# A sentence that comes to the name, and tells the reason only afterwards.
_LEADING: Final = re.compile(r"\bdeliver(?:ing)? your (?:mail|message) to[\s\"'<(]*$", re.IGNORECASE)
_RECIPIENT_ASIDE: Final = re.compile(r"^(?:[\s\"'*)]|>(?!>))*:?[ \t]*")


@dataclass(frozen=True, slots=True)
class Block:
    """A recipient, and the text from his first mention to that of the next."""

    recipient: str
    text: str

    @property
    def diagnosis(self) -> Diagnosis:
        """What is said of him: a reply, or else the first words that say something."""
        found = diagnosis(self.text)
        if found.code or found.status:
            return found
        return Diagnosis(words=first_words(self.text))


def blocks_of(text: str, failed: Collection[str], ours: Collection[str]) -> Iterator[Block]:
    """Yields the recipients whom a text names, each with what is said of him.

    `failed` are the recipients if they are known, and `ours` are addresses that are none.
    """
    mentions = list(_mentions(text, failed, ours))
    if any(mention.opens for mention in mentions):
        mentions = [mention for mention in mentions if mention.opens]
    first: dict[str, _Mention] = {}
    for mention in mentions:
        first.setdefault(mention.recipient, mention)
    found = [*first.values()][: RECIPIENT_LIMIT + 1]
    ends = [*(mention.start for mention in found), len(text)]
    for mention, (_, end) in zip(found, pairwise(ends), strict=True):
        rest = _RECIPIENT_ASIDE.sub("", text[mention.end : end][:_BLOCK_LIMIT])
        yield Block(mention.recipient, f"{mention.label}{rest}")


@dataclass(frozen=True, slots=True)
class _Mention:
    """Where a text names a recipient, and where what is said of him begins."""

    recipient: str
    start: int
    end: int
    opens: bool
    """Whether he stands at the beginning of what is said, and not amid it."""
    label: str = ""
    """What stands before him on his line, if that says something: "Unknown user: " """


def _mentions(text: str, failed: Collection[str], ours: Collection[str]) -> Iterator[_Mention]:
    for match, _ in zip(addresses_in(text), range(_ADDRESSES), strict=False):
        name, begin = plain(match[0]), text.rfind("\n", 0, match.start()) + 1
        line = text[max(begin, match.start() - 200) : match.start()]
        if failed:
            if name in failed:
                yield _Mention(name, match.start(), match.end(), not any(map(str.isalnum, line)))
        elif _ADDRESSED.match(line) and _FIELD_FOLLOWS.match(text, match.end()):
            continue
        elif name not in ours and not name.startswith(_NOBODY) and not _NOT_A_RECIPIENT.search(line):
            if _REPLY.match(line):
                yield _Mention(name, begin, begin, opens=True)
            else:
                label = line.rstrip("<\"'") if says_something(line) and not _LEADING.search(line) else ""
                yield _Mention(name, match.start(), match.end(), _OPENING.match(line) is not None, label)
