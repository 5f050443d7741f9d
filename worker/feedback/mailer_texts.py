"""Mailers' texts: reports that have no machine-readable part, and what other reports say in words.

Pure. The systems write alike: a few polite lines, the recipient, the other server's reply or the mailer's own reason,
perhaps a transcript, and then a copy of the mail. So one reader knows where a copy begins, who is a recipient, and
which words tell the reason:

- Exim, GMX, 1&1, Mail.ru, Zoho: the recipient on a line, the reason on lines below it, or behind it.
- qmail, Yahoo, Courier, Postfix, OpenSMTPD, DragonFly: `<recipient>:` and the reason.
- Sendmail and its kin (Active!hunter, InterScan, AOL): a list of recipients with `(reason: ...)`, and a transcript.
- Exchange: for people first, and for administrators the other server's reply. Gmail: the same.
- Domino, Exchange 5.5, X.400 gateways, iMail, MailMarshal, m-FILTER, carriers: the recipient in a sentence, and words
  without any code.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from worker.feedback import delivery_status
from worker.feedback.addresses import addresses_in, plain
from worker.feedback.diagnoses import Diagnosis, diagnosis, one_line
from worker.feedback.findings import RECIPIENT_LIMIT, Finding, finding
from worker.feedback.phrases import in_small_letters, is_any_in, phrases

_BLOCK_LIMIT: Final = 1_200
"""Characters after a recipient in which the reason is looked for."""
_HEAD_LIMIT: Final = 4_000
"""Characters at the beginning in which a mailer says who it is and whether it still tries."""
_LETTERS: Final = 8
"""A reason has more letters than these."""
_ADDRESSES: Final = 2_000
"""Addresses in a text that are looked at."""

# A copy of the mail without a line before it: fields that only servers write, and more fields after them.
_COPY: Final = re.compile(
    r"^(?=Received:|Return-Path:|DKIM-Signature:|MIME-Version:|Message-ID:|X-[\w-]{2,40}:)"
    r"(?:[A-Za-z][\w-]{1,40}:[^\n]*\n(?:[ \t][^\n]*\n){0,30}){3}",
    re.MULTILINE | re.IGNORECASE,
)
_STATUS_FIELD: Final = re.compile(r"^[ \t>]{0,8}final-recipient[ \t]*:", re.MULTILINE | re.IGNORECASE)
# What stands before an address that is the sender's, or nobody's.
_NOT_A_RECIPIENT: Final = re.compile(r"(?:\bfrom|reply-to|return-path|sender|by|contact|e-?mail|message-id|id)\b[:\s]*<?\"?$", re.IGNORECASE)
# What stands before a recipient, on his line: nothing, signs, or a label.
_OPENING: Final = re.compile(r"(?:[^\w\n]*|[^\n]{0,120}?(?:[:>]|\bto|\bfor|\baddress)\s*[\"'<(*]*)$", re.IGNORECASE)
_NOBODY: Final = ("mailer-daemon@", "postmaster@", "abuse@", "support@", "helpdesk@", "administrator@", "no-reply@", "noreply@")
_RECIPIENT_ASIDE: Final = re.compile(r"^[\s>\"'*)]*:?[ \t]*")


@dataclass(frozen=True, slots=True)
class Told:
    """A mailer's text, and the copy of the mail that follows it."""

    text: str
    copy: str = ""


def without_copy(text: str) -> Told:
    """Returns a text in two: what the mailer tells, and the copy of the mail if there is one."""
    small = in_small_letters(text)
    places = [place for phrase in phrases().copies if (place := _at_line_start(small, phrase)) is not None]
    if fields := _COPY.search(text):
        places.append(fields.start())
    place = min(places, default=len(text))
    return Told(text[:place], text[place:])


def _at_line_start(small: str, phrase: str) -> int | None:
    """Returns where a line begins with the phrase (behind dashes and the like), or None."""
    place = small.find(phrase)
    while place >= 0:
        begin = small.rfind("\n", 0, place) + 1
        is_first = not any(map(str.isalnum, small[begin:place]))
        if is_first and not small.startswith(tuple(phrases().no_copies), place) and _is_short_line(small, place):
            return begin
        place = small.find(phrase, place + len(phrase))
    return None


def _is_short_line(text: str, place: int) -> bool:
    end = text.find("\n", place)
    return (end if end >= 0 else len(text)) - place <= 100


def form(text: str) -> str | None:
    """Returns the name of the system whose fixed words a text has, or None."""
    small = in_small_letters(text[:_HEAD_LIMIT])
    return next((name for name, known in phrases().systems.items() if is_any_in(known, small)), None)


def is_report(text: str) -> bool:
    """Whether a text has words that reports have, and people hardly."""
    return form(text) is not None or is_any_in(phrases().said, in_small_letters(text[:_HEAD_LIMIT]))


def action(subject: str, text: str) -> str:
    """Returns what a report without an Action field (RFC 3464 section 2.3.3) says: failed, delayed or delivered."""
    small = f"{in_small_letters(subject)}\n{in_small_letters(text[:_HEAD_LIMIT])}"
    if is_any_in(phrases().finals, small):
        return "failed"
    if is_any_in(phrases().arrivals, small):
        return "delivered"
    return "delayed" if is_any_in(phrases().delays, small) else "failed"


def findings(told: Told, subject: str, failed: Collection[str], ours: Collection[str]) -> list[Finding]:
    """Returns what a text says of each recipient, at least one finding.

    `failed` are the recipients whom a header names (`X-Failed-Recipients`), `ours` the addresses that it was sent to.
    """
    text = _for_administrators(told.text)
    if _STATUS_FIELD.search(told.text) and (found := delivery_status.findings(told.text)):
        return found
    what, system = action(subject, told.text), form(told.text)
    blocks = list(_blocks(text, failed, ours))
    if not blocks:
        return [finding(name, _alone(text, ""), what, system) for name in [*failed][:RECIPIENT_LIMIT] or [None]]
    if len(blocks) == 1:
        [block] = blocks
        return [finding(block.recipient, _alone(text, block.text), what, system)]
    return [finding(block.recipient, _among_others(text, block, blocks), what, system) for block in blocks]


def reason(text: str, recipient: str | None) -> Diagnosis:
    """Returns what a text says of a recipient whom the machine-readable part names."""
    text = _for_administrators(text)
    blocks = [block for block in _blocks(text, [recipient] if recipient else [], ()) if block.recipient == recipient]
    return _alone(text, blocks[0].text if blocks else "")


def _for_administrators(text: str) -> str:
    small = in_small_letters(text)
    places = [place for phrase in phrases().diagnostics if (place := small.find(phrase)) >= 0]
    rest = text[min(places) :] if places else text
    return rest if diagnosis(rest).code or diagnosis(rest).status else text


@dataclass(frozen=True, slots=True)
class _Block:
    """A recipient, and the text from his first mention to that of the next."""

    recipient: str
    text: str


def _blocks(text: str, failed: Collection[str], ours: Collection[str]) -> Iterator[_Block]:
    mentions = list(_mentions(text, failed, ours))
    if any(opens for _, _, opens in mentions):
        mentions = [mention for mention in mentions if mention[2]]
    first: dict[str, re.Match[str]] = {}
    for name, match, _ in mentions:
        first.setdefault(name, match)
    ends = [*(match.start() for match in first.values()), len(text)]
    for (name, match), (_, end) in zip([*first.items()][: RECIPIENT_LIMIT + 1], pairwise(ends), strict=False):
        yield _Block(name, _RECIPIENT_ASIDE.sub("", text[match.end() : end][:_BLOCK_LIMIT]))


def _mentions(text: str, failed: Collection[str], ours: Collection[str]) -> Iterator[tuple[str, re.Match[str], bool]]:
    """Yields each mention of a recipient: his address, its place, and whether it opens what is said of him."""
    for match, _ in zip(addresses_in(text), range(_ADDRESSES), strict=False):
        name = plain(match[0])
        line = text[max(text.rfind("\n", 0, match.start()) + 1, match.start() - 200) : match.start()]
        if failed:
            if name in failed:
                yield name, match, not any(map(str.isalnum, line))
        elif name not in ours and not name.startswith(_NOBODY) and not _NOT_A_RECIPIENT.search(line):
            yield name, match, _OPENING.match(line) is not None


def _alone(text: str, block: str) -> Diagnosis:
    """Returns the reason if it can only be about one recipient."""
    near = diagnosis(block)
    if near.code or near.status:
        return near
    anywhere = diagnosis(text)
    if anywhere.code or anywhere.status:
        return anywhere
    return near if _says_something(near.words) else anywhere


def _among_others(text: str, block: _Block, blocks: Sequence[_Block]) -> Diagnosis:
    """Returns the reason for one of several recipients: behind his name, or where a transcript has his name again."""
    near = diagnosis(block.text)
    if near.code or near.status:
        return near
    others = [other.recipient for other in blocks if other is not block]
    said = [diagnosis(line) for line in _lines_with(text, block.recipient, others)]
    coded = [each for each in said if each.code]
    final = next((each for each in coded if each.code and each.code >= 500), coded[0] if coded else None)
    return final or (near if _says_something(near.words) else Diagnosis(words=one_line(block.text or text)))


def _lines_with(text: str, recipient: str, others: Sequence[str]) -> Iterator[str]:
    for paragraph in re.split(r"\n(?=[ \t]*(?:>>>|<<<|-->|<--|\d{3}[ -]|\n))", text):
        small = paragraph.lower()
        if recipient in small and not any(other in small for other in others):
            yield paragraph


def _says_something(words: str) -> bool:
    return sum(map(str.isalpha, words)) > _LETTERS
