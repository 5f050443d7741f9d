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
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from worker.feedback import delivery_status
from worker.feedback.addresses import addresses_in, plain
from worker.feedback.diagnoses import Diagnosis, diagnosis, is_generic, letters, one_line
from worker.feedback.findings import RECIPIENT_LIMIT, Finding, finding
from worker.feedback.phrases import end_of_first, in_small_letters, is_any_in, phrases

_BLOCK_LIMIT: Final = 1_200
"""Characters after a recipient in which the reason is looked for."""
_HEAD_LIMIT: Final = 4_000
"""Characters at the beginning in which a mailer says who it is and whether it still tries."""
_LETTERS: Final = 10
"""A reason has at least so many letters. `71`, `unknown` and `because:` are none."""
_SAME_WORDS: Final = 40
"""Characters at the beginning of two replies by which they are the same."""
_ADDRESSES: Final = 2_000
"""Addresses in a text that are looked at."""

# A copy of the mail without a line before it: fields that only servers write, and more fields after them.
_COPY: Final = re.compile(
    r"^(?=Received:|Return-Path:|DKIM-Signature:|MIME-Version:|Message-ID:|ARC-Seal:)"
    r"(?:[A-Za-z][\w-]{1,40}:[^\n]*\n(?:[ \t][^\n]*\n){0,30}){3}",
    re.MULTILINE | re.IGNORECASE,
)
_STATUS_FIELDS: Final = re.compile(
    r"^[ \t>]{0,8}(?:reporting-mta|final-recipient)[ \t]*:", re.MULTILINE | re.IGNORECASE
)
# What stands before an address that is the sender's, or nobody's.
_NOT_A_RECIPIENT: Final = re.compile(
    r"(?:\bfrom|reply-to|return-path|sender|by|contact|e-?mail|message-id|id)\b[:\s]*<?\"?$", re.IGNORECASE
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
_IN_REPLY: Final = re.compile(r"\(in reply to [^()]*\)")
_PARAGRAPHS: Final = re.compile(r"\n[ \t>]*\n")
# Where the next step of a transcript begins.
_STEPS: Final = re.compile(r"\n(?=[ \t]*(?:>>>|<<<|-->|<--|[45][0-9]{2}[ -]))")
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
    if fields := _COPY.search(text, _end_of_status(text)):
        places.append(fields.start())
    place = min(places, default=len(text))
    return Told(text[:place], text[place:])


def _end_of_status(text: str) -> int:
    """Returns where the last fields of delivery status begin that a text has. No copy is before them."""
    return max((match.end() for match in _STATUS_FIELDS.finditer(text)), default=0)


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
    status = _STATUS_FIELDS.search(told.text)
    if status and (fields := delivery_status.findings(told.text)):
        before = told.text[: status.start()]
        return [completed(each, subject, before) for each in fields]
    what, system = action(subject, told.text), form(told.text)
    blocks = list(_blocks(text, failed, ours))
    if len(blocks) > 1:
        return [finding(block.recipient, _among_others(text, block, blocks), what, system) for block in blocks]
    if blocks:
        return [finding(blocks[0].recipient, _alone(text, blocks[0]), what, system)]
    names: Sequence[str | None] = [*failed] or [block.recipient for block in _blocks(told.text, (), ours)] or [None]
    return [finding(name, _alone(text, None), what, system) for name in names[: RECIPIENT_LIMIT + 1]]


def completed(found: Finding, subject: str, text: str) -> Finding:
    """Returns a finding of the machine-readable part, with what only the text for people says."""
    said = replace(found.said, action=found.said.action or action(subject, text))
    told = _reason(text, found.recipient)
    if _says_more(told, found):
        status = told.status if is_generic(said.status) and told.status else said.status
        said = replace(said, code=told.code or said.code, status=status, words=told.words)
    return replace(found, said=said)


def _reason(text: str, recipient: str | None) -> Diagnosis:
    text = _for_administrators(text)
    blocks = [block for block in _blocks(text, [recipient] if recipient else [], ()) if block.recipient == recipient]
    return _alone(text, blocks[0] if blocks else None)


def _says_more(told: Diagnosis, found: Finding) -> bool:
    """Whether the text has the reply and the fields have none, or the text has all lines of the same reply."""
    said = found.said
    if said.code is None:
        return told.code is not None or (_says_something(told.words) and not _says_something(said.words))
    return found.is_cut and told.code == said.code and told.words.startswith(said.words[:_SAME_WORDS])


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

    @property
    def diagnosis(self) -> Diagnosis:
        """What is said of him: a reply, or else the first words that say something."""
        found = diagnosis(self.text)
        if found.code or found.status:
            return found
        return Diagnosis(words=_first_words(self.text))


def _blocks(text: str, failed: Collection[str], ours: Collection[str]) -> Iterator[_Block]:
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
        yield _Block(mention.recipient, f"{mention.label}{rest}")


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
                label = line.rstrip("<\"'") if _says_something(line) else ""
                yield _Mention(name, match.start(), match.end(), _OPENING.match(line) is not None, label)


def _alone(text: str, block: _Block | None) -> Diagnosis:
    """Returns the reason if it can only be about one recipient."""
    near = block.diagnosis if block else Diagnosis()
    if near.code or near.status:
        return near
    anywhere = diagnosis(text)
    if anywhere.code or anywhere.status:
        return anywhere
    return _told_reason(text) or (near if _says_something(near.words) else anywhere)


def _told_reason(text: str) -> Diagnosis | None:
    """Returns what stands behind a phrase such as "for the following reason", or None."""
    begin = end_of_first(phrases().reasons, in_small_letters(text))
    words = "" if begin is None else _first_words(text[begin:][:_BLOCK_LIMIT].lstrip(" \t:-"))
    return Diagnosis(words=words) if _says_something(words) else None


def _first_words(text: str) -> str:
    """Returns the first paragraphs that say something, on one line."""
    paragraphs = _PARAGRAPHS.split(text)
    heads = ("\n".join(paragraphs[: number + 1]) for number in range(len(paragraphs)))
    return one_line(next(filter(_says_something, heads), text))


def _among_others(text: str, block: _Block, blocks: Sequence[_Block]) -> Diagnosis:
    """Returns the reason for one of several recipients: behind his name, or where a transcript has his name again."""
    others = [other.recipient for other in blocks if other is not block]
    near = block.diagnosis
    if not _is_any_in(others, block.text) and (near.code or near.status or _says_something(near.words)):
        return near
    said = [diagnosis(step) for step in _STEPS.split(text)[1:] if _is_about(step, block.recipient, others)]
    coded = [each for each in said if each.code]
    return next(
        (each for each in coded if each.code and each.code >= 500), coded[0] if coded else _before(others, block.text)
    )


def _is_about(step: str, recipient: str, others: Sequence[str]) -> bool:
    return _is_any_in([recipient], step) and not _is_any_in(others, step)


def _before(others: Sequence[str], text: str) -> Diagnosis:
    """Returns what a text says before it comes to others."""
    small = in_small_letters(text)
    places = [place for other in others if (place := small.find(other)) >= 0]
    return Diagnosis(words=one_line(text[: min(places, default=len(text))]))


def _is_any_in(names: Sequence[str], text: str) -> bool:
    return is_any_in(names, in_small_letters(text))


def _says_something(words: str) -> bool:
    return letters(_IN_REPLY.sub("", words)) >= _LETTERS
