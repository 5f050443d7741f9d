"""Mailers' texts: reports that have no machine-readable part, and what other reports say in words.

Pure. The systems write alike: a few polite lines, the recipient, the other server's reply or the mailer's own reason,
perhaps a transcript, and then a copy of the mail (`copies`). So one reader knows who is a recipient (`mentions`), and
which words tell the reason:

- Exim, GMX, 1&1, Mail.ru, Zoho: the recipient on a line, the reason on lines below it, or behind it.
- qmail, Yahoo, Courier, Postfix, OpenSMTPD, DragonFly: `<recipient>:` and the reason.
- Sendmail and its kin (Active!hunter, InterScan, AOL): a list of recipients with `(reason: ...)`, and a transcript.
- Exchange: for people first, and for administrators the other server's reply. Gmail: the same.
- Domino, Exchange 5.5, X.400 gateways, iMail, MailMarshal, m-FILTER, carriers: the recipient in a sentence, and words
  without any code.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from worker.feedback import delivery_status
from worker.feedback.copies import STATUS_FIELDS, Told
from worker.feedback.diagnoses import Diagnosis, collapsed, diagnosis, first_words, is_generic, says_something
from worker.feedback.findings import RECIPIENT_LIMIT, Finding, finding
from worker.feedback.mentions import Block, blocks_of
from worker.feedback.phrases import end_of_first, in_small_letters, is_any_in, phrases

_HEAD_LIMIT: Final = 4_000
"""Characters at the beginning in which a mailer says who it is and whether it still tries."""
_REASON_LIMIT: Final = 1_200
"""Characters of what stands behind a phrase such as "for the following reason" that are looked at."""
_SAME_WORDS: Final = 40
"""Characters at the beginning of two replies by which they are the same."""
_QUOTED: Final = re.compile(r"^>(?!>).*$", re.MULTILINE)
# Where the next step of a transcript begins.
_STEPS: Final = re.compile(r"\n(?=[ \t]*(?:>>>|<<<|-->|<--|[45][0-9]{2}[ -]))")


def form(text: str) -> str | None:
    """Returns the name of the system whose fixed words a text has, or None."""
    small = _own_words(text)
    return next((name for name, known in phrases().systems.items() if is_any_in(known, small)), None)


def is_report(text: str) -> bool:
    """Whether a text has words that reports have, and people hardly."""
    return form(text) is not None or is_any_in(phrases().said, _own_words(text))


def _own_words(text: str) -> str:
    """Returns the beginning of a text in small letters, without what it quotes from a mail that it answers."""
    return in_small_letters(_QUOTED.sub("", text[:_HEAD_LIMIT]))


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
    status = STATUS_FIELDS.search(told.text)
    if status and (fields := delivery_status.findings(told.text)):
        before = told.text[: status.start()]
        return [completed(each, subject, before) for each in fields]
    what, system = action(subject, told.text), form(told.text)
    blocks = list(blocks_of(text, failed, ours))
    if len(blocks) > 1:
        return [finding(block.recipient, _among_others(text, block, blocks), what, system) for block in blocks]
    if blocks:
        return [finding(blocks[0].recipient, _alone(text, blocks[0]), what, system)]
    names: Sequence[str | None] = [*failed] or [block.recipient for block in blocks_of(told.text, (), ours)] or [None]
    return [finding(name, _alone(text, None), what, system) for name in names[: RECIPIENT_LIMIT + 1]]


def completed(found: Finding, subject: str, text: str) -> Finding:
    """Returns a finding of the machine-readable part, with what only the text for people says."""
    said = replace(found.said, action=found.said.action or action(subject, text))
    told = _reason(text, found.recipient)
    if _says_more(told, found):
        status = told.status if is_generic(said.status) and told.status else said.status
        said = replace(said, code=told.code or said.code, status=status, words=told.words)
    if told.is_early and told.code == said.code:
        said = replace(said, is_early=True)
    return replace(found, said=said)


def _reason(text: str, recipient: str | None) -> Diagnosis:
    text = _for_administrators(text)
    blocks = [block for block in blocks_of(text, [recipient] if recipient else [], ()) if block.recipient == recipient]
    return _alone(text, blocks[0] if blocks else None)


def _says_more(told: Diagnosis, found: Finding) -> bool:
    """Whether the text has the reply and the fields have none, or the text has all lines of the same reply."""
    said = found.said
    if said.code is None:
        return told.code is not None or (says_something(told.words) and not says_something(said.words))
    return found.is_cut and told.code == said.code and told.words.startswith(said.words[:_SAME_WORDS])


def _for_administrators(text: str) -> str:
    small = in_small_letters(text)
    places = [place for phrase in phrases().diagnostics if (place := small.find(phrase)) >= 0]
    rest = text[min(places) :] if places else text
    return rest if diagnosis(rest).code or diagnosis(rest).status else text


def _alone(text: str, block: Block | None) -> Diagnosis:
    """Returns the reason if it can only be about one recipient."""
    near = block.diagnosis if block else Diagnosis()
    if near.code or near.status:
        return near
    anywhere = diagnosis(text)
    if anywhere.code or anywhere.status:
        return anywhere
    return _told_reason(text) or (near if says_something(near.words) else anywhere)


def _told_reason(text: str) -> Diagnosis | None:
    """Returns what stands behind a phrase such as "for the following reason", or None."""
    begin = end_of_first(phrases().reasons, in_small_letters(text))
    words = "" if begin is None else first_words(text[begin:][:_REASON_LIMIT].lstrip(" \t:-"))
    return Diagnosis(words=words) if says_something(words) else None


def _among_others(text: str, block: Block, blocks: Sequence[Block]) -> Diagnosis:
    """Returns the reason for one of several recipients: behind his name, or where a transcript has his name again."""
    others = [other.recipient for other in blocks if other is not block]
    near = block.diagnosis
    if not _is_any_in(others, block.text) and (near.code or near.status or says_something(near.words)):
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
    return Diagnosis(words=collapsed(text[: min(places, default=len(text))]))


def _is_any_in(names: Sequence[str], text: str) -> bool:
    return is_any_in(names, in_small_letters(text))
