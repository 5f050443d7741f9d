"""Diagnoses: the reply of a server within a report's words, with its codes (RFC 5321 section 4.2, RFC 3463).

Pure. Reports quote replies in many ways: `<<< 550 5.1.1 ...`, `said: 550-5.7.1 ...`, `smtp;550 ...`, `(#5.1.1)`,
`reason: 550 ...`, `ERROR_CODE :550`, `'550 5.1.10 ...'`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

WORDS_LIMIT: Final = 2_000
"""Characters of a reason, at most."""

# Three digits that are no number of hours, no part of an address, a size, a version or a time.
_CODE: Final = re.compile(
    r"(?<![\w./+=@])(?<!\d[:-])(?:<)?([45][0-57][0-9])(?=[-:,;)\]'\"\s]|$)"
    r"(?!\s*(?:hours?|days?|min|sec|[kmg]?i?b(?:ytes)?\b|lines\b|times\b|attempts\b|of\b))",
    re.IGNORECASE,
)
_BEFORE_CODE: Final = re.compile(
    r"(?:^|[:;>\"'\[(<#]|\],?|\b(?:said|says|reason|error|code|returned|response|replied|reply|with|was|state|smtp|status))"
    r"[\s:=#]*$",
    re.IGNORECASE | re.MULTILINE,
)
_ENHANCED_NEXT: Final = re.compile(
    r"[-\s:,;]*(?:error_code\s*:\s*)?#?[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![\w.])", re.IGNORECASE
)
ENHANCED: Final = re.compile(r"(?<![\w.])([245])\.[0-9]{1,3}\.[0-9]{1,3}(?!\.?\w)")
"""An enhanced status code, and no part of an IP address or a version."""

# What ends a reply: a blank line, the next step of a transcript, or what the mailer says of its own.
_END: Final = re.compile(
    r"\n[ \t]*\n"
    r"|\)[ \t]*\n(?=[ \t]*(?:[45][0-9]{2}|\(|<|-))"
    r"|\n[ \t]*(?:>>>|-->|<--|-{3,}|={4,}|\.\.\. |while talking|giving up on|i'm not going to try)"
    r"|\n[ \t]*(?:\(other mxes|for further|please (?:contact|do not|note|send)|host \S+ ?\[)",
    re.IGNORECASE,
)
# Replies that only follow from an earlier one: to DATA after no recipient was taken, or the mailer's own.
_CONSEQUENCE: Final = re.compile(
    r"[- ](?:5\.[0-9]\.[0-9] )?(?:<[^<>\n]*>\.* )?(?:error: )?"
    r"(?:no valid recipients|need rcpt|need recipient|bad sequence|no recipients|(?:valid )?rcpt (?:command|first)|"
    r"service unavailable[ \t]*$)",
    re.MULTILINE | re.IGNORECASE,
)
# Steps before a server has heard of any recipient: what it then refuses is the host or the sender.
_EARLY: Final = (
    r"(?:in reply to|after|did not like our|>>>) (?:pipelined |sending )?"
    r"(?:initial connection|EHLO|HELO|STARTTLS|AUTH|MAIL)\b"
    r"|refused to talk to me|sender was rejected"
)
_AFTER_EARLY_STEP: Final = re.compile(
    rf"(?:{_EARLY})(?!.*(?:{_EARLY}|\bRCPT|\bDATA\b|\b[245][0-9]{{2}}[ -]))", re.DOTALL | re.IGNORECASE
)
_IN_REPLY_TO_EARLY_STEP: Final = re.compile(rf"\((?:{_EARLY})", re.IGNORECASE)
_REFUSED_SENDER: Final = re.compile(r">>> MAIL[^\n]*\n[ \t]*5", re.IGNORECASE)
_STEP_BEFORE: Final = 300
"""Characters before a reply in which the step is told."""
_CODED_LINE: Final = re.compile(r"\n[ \t]*([45][0-57][0-9])[ -]")
_SERVER_SAYS: Final = re.compile(r"^[ \t]*(?:<<<|<-+|[<>]{1,3}(?=\s*[0-9]{3}\b))[ \t]*", re.MULTILINE)
_EASTERN: Final = "\u2e80"
_IN_REPLY: Final = re.compile(r"\(in reply to [^()]*\)")
_PARAGRAPHS: Final = re.compile(r"\n[ \t>]*\n")
_LETTERS: Final = 10
"""A reason has at least so many letters."""
_CODES: Final = 50
"""Codes in a text that are looked at."""
_BLANKS: Final = re.compile(r"\s+")
_GENERIC: Final = re.compile(r"[245]\.0\.0")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A reply: its three digits, its enhanced status code, and its text on one line, without the three digits."""

    code: int | None = None
    status: str | None = None
    words: str = ""
    is_cut: bool = False
    """whether the reply has more lines than these"""
    is_early: bool = False
    """whether it was said before the server had heard of any recipient"""


def diagnosis(text: str) -> Diagnosis:
    """Returns the reply in a text. If the text quotes several, a refusal for good comes before one for now.

    Without any code the words are the whole text.
    """
    text = _SERVER_SAYS.sub("", text)
    codes = list(islice(_codes(text), _CODES))
    if not codes:
        return Diagnosis(None, enhanced_in(text), collapsed(text))
    found = _reply(text, _decisive(text, codes))
    if not found.is_early and _REFUSED_SENDER.search(text):  # a list of recipients does not tell the step
        others = (_reply(text, match) for match in codes if int(match[1]) == found.code)
        found = replace(found, is_early=any(other.is_early and other.status == found.status for other in others))
    if found.is_cut:  # a list of recipients has one line of it, and the transcript all of them
        others = (_reply(text, match) for match in codes if int(match[1]) == found.code)
        return next((other for other in others if not other.is_cut), found)
    return found


def _decisive(text: str, codes: Sequence[re.Match[str]]) -> re.Match[str]:
    """Returns the first refusal for good, but for one that a reply only quotes."""
    codes = [match for match in codes if not _CONSEQUENCE.match(text, match.end())] or codes
    is_quoting = not any(map(str.isalnum, text[: codes[0].start()]))
    final = (match for match in codes if match[1][0] == "5" and (not is_quoting or _begins_a_line(text, match.start())))
    return next(final, codes[0])


def _begins_a_line(text: str, place: int) -> bool:
    return not text[text.rfind("\n", 0, place) + 1 : place].strip()


def _codes(text: str) -> Iterator[re.Match[str]]:
    for match in _CODE.finditer(text):
        before = text[max(match.start() - 40, 0) : match.start()]
        if _ENHANCED_NEXT.match(text, match.end()) or _BEFORE_CODE.search(before):
            yield match


def _reply(text: str, match: re.Match[str]) -> Diagnosis:
    code, begin = match[1], match.end()
    text = text[: begin + 2 * WORDS_LIMIT]  # whatever follows would be cut off in the end
    end = _end_of(text, begin, code)
    said = text[begin : end.start() if end else len(text)]
    if letters(said) < 3 and end:  # "550" alone on its line
        said = text[begin:]
    has_lines = said.startswith("-")
    is_cut = has_lines and not re.search(rf"\s{code}(?:\s|$)", said)
    said = re.sub(rf"\n[ \t]*{code}(?:[- ]|$)", "\n", said)
    if has_lines:  # its lines may have been joined by blanks, as Postfix does
        said = re.sub(rf"\s{code}[- ]", " ", said[1:])
    said = re.sub(rf"\A(?:[\s:;,-]*{code}\b)*[\s:;,-]*", "", said)
    status, words = enhanced_in(said, code[0]), collapsed(said)
    if status and has_lines:  # each of which repeats it
        words = words[: len(status)] + words[len(status) :].replace(f" {status} ", " ")
    return Diagnosis(
        int(code), status, words, is_cut, _is_early(text[max(match.start() - _STEP_BEFORE, 0) : match.start()], words)
    )


def _is_early(before: str, words: str) -> bool:
    if _IN_REPLY.search(words):
        return _IN_REPLY_TO_EARLY_STEP.search(words) is not None
    return _AFTER_EARLY_STEP.search(before) is not None


def _end_of(text: str, begin: int, code: str) -> re.Match[str] | None:
    """Returns where a reply ends: where something else begins, or a line with another code."""
    other = next((match for match in _CODED_LINE.finditer(text, begin) if match[1] != code), None)
    ends = [match for match in (_END.search(text, begin), other) if match]
    return min(ends, key=re.Match.start, default=None)


def enhanced_in(text: str, first: str = "") -> str | None:
    """Returns the first enhanced status code in a text that begins with this digit. One for good comes before others.

    One that says something comes before one that says nothing, such as 5.0.0.
    """
    found = [match[0] for match in ENHANCED.finditer(text[:WORDS_LIMIT]) if match[1] == first or not first]
    return min(found, key=lambda status: (is_generic(status), status[0] != "5"), default=None)


def is_generic(status: str | None) -> bool:
    """Whether a status says nothing beyond its class, or is missing."""
    return status is None or _GENERIC.fullmatch(status) is not None


def letters(text: str) -> int:
    """Returns how many letters a text has. One of Chinese, Japanese or Korean says as much as three."""
    return sum(1 + 2 * (letter >= _EASTERN) for letter in text if letter.isalpha())


def collapsed(text: str) -> str:
    """Returns a text with single blanks between its words, cut at `WORDS_LIMIT`."""
    return _BLANKS.sub(" ", text[: 2 * WORDS_LIMIT]).strip()[:WORDS_LIMIT]


def first_words(text: str) -> str:
    """Returns the first paragraphs that say something, on one line."""
    paragraphs = _PARAGRAPHS.split(text)
    heads = ("\n".join(paragraphs[: number + 1]) for number in range(len(paragraphs)))
    return collapsed(next(filter(says_something, heads), text))


def says_something(words: str) -> bool:
    """Whether words may be a reason: `71`, `unknown` and `because:` are none."""
    return letters(_IN_REPLY.sub("", words)) >= _LETTERS
