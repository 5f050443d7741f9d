"""Outcomes: how one attempt to send a mail can end.

Pure. `judge` classifies a relay's reply first by scope (the relay, our configuration, this message, this recipient) and
then by class: one wrong password must not fail ten thousand customers. `verdicts` decides what happens to the request.
Sources: RFC 5321 sections 4.2 and 4.5.3.1.10, RFC 3463, and Postfix (src/smtp/smtp_trouble.c).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Final, TypeAlias

_REASON_LIMIT: Final = 300

_ENHANCED: Final = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})\b")
# Control characters, line and direction marks, and lone surrogates (which no database can store).
_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+")
# Matches only at the start of a word. This keeps the search linear in the length of the text.
_ADDRESS: Final = re.compile(r"(?<![^\s<>()\[\]\"',;:])[^\s<>()\[\]\"',;:@]*@[^\s<>()\[\]\"',;:]*")
# Words of relays for too many mails per second or per connection. Greylisting replies use some of them too.
_TOO_FAST: Final = re.compile(
    r"(?!.*gr[ea]ylist).*(\brate\b|\btoo (many|much|fast|quick)|throttl|slow(ing)? down|(sending|connection) limit)",
    re.IGNORECASE | re.DOTALL,
)
# Codes about the mailbox (4.2.x) and the number of recipients (4.5.3). They are not about our rate.
_NOT_ABOUT_SPEED: Final = re.compile(r"4\.(2\..*|5\.3)")
# Sendmail writes `550 5.1.1 <jane.doe>... User unknown`.
_BRACKETED: Final = re.compile(r"<[^<>\s\[\]*]+>")


class Stage(StrEnum):
    """The step of the SMTP session at which something happened."""

    CONNECT = auto()
    GREETING = auto()
    EHLO = auto()
    STARTTLS = auto()
    AUTH = auto()
    MAIL = auto()
    RCPT = auto()
    DATA = auto()
    DOT = auto()


CONNECTING: Final = frozenset({Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.AUTH})
"""The stages before a connection can be used for a mail."""


class Scope(StrEnum):
    """The cause when no mail can be sent: the relay, or our configuration."""

    RELAY = auto()
    CONFIGURATION = auto()


class FailureCode(StrEnum):
    """Why a request is FAILED. The codes are part of the public contract."""

    RECIPIENT_REJECTED = "RECIPIENT_REJECTED"
    MESSAGE_REJECTED = "MESSAGE_REJECTED"
    INVALID_ADDRESS = "INVALID_ADDRESS"
    SUPPRESSED = "SUPPRESSED"
    RETRIES_EXHAUSTED = "RETRIES_EXHAUSTED"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    MISSING_ITEM_URL = "MISSING_ITEM_URL"
    EXPIRED = "EXPIRED"


TEMPLATE_ERROR: Final = "TEMPLATE_ERROR"
"""The code of RECEIVED requests whose mail can't be rendered. It never ends a request, because it is our fault."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A relay's reply: the three-digit code, and the text after it (lines joined by LF)."""

    code: int
    text: str

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code (RFC 3463), or None if it is missing or contradicts the three-digit code."""
        match = _ENHANCED.match(self.text)
        return match[0] if match and int(match[1]) == self.code // 100 else None

    @property
    def is_too_fast(self) -> bool:
        """Whether the relay asks for a lower rate, by its words or by codes that have no other use."""
        if self.code // 100 != 4 or _NOT_ABOUT_SPEED.fullmatch(self.enhanced or ""):
            return False
        if self.enhanced == "4.7.28" or (self.code == 421 and self.enhanced == "4.7.0"):
            return True
        return bool(_TOO_FAST.match(self.text))


# The outcomes of one attempt.


@dataclass(frozen=True, slots=True)
class Sent:
    """The relay accepted the mail and is now responsible for it (RFC 5321 section 4.2.5)."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Deferred:
    """A transient refusal. With `policy`, the mail is tried once more; a second refusal fails it with `code`."""

    stage: Stage
    reply: Reply
    policy: bool = False
    code: FailureCode = FailureCode.RETRIES_EXHAUSTED


@dataclass(frozen=True, slots=True)
class Rejected:
    """A permanent refusal of this recipient or this message."""

    code: FailureCode
    stage: Stage
    reply: Reply | None
    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The whole mail was written, but no usable reply came. The relay may have accepted it or not."""

    reason: str


@dataclass(frozen=True, slots=True)
class RelayDown:
    """No mail can be sent now, for a reason that is not about the customer. This mail was not accepted."""

    scope: Scope
    stage: Stage
    reason: str
    reply: Reply | None = None

    @property
    def is_too_fast(self) -> bool:
        """Whether the relay only asks for a lower rate."""
        return self.reply is not None and self.reply.is_too_fast


@dataclass(frozen=True, slots=True)
class NotSent:
    """Sending stopped before the mail was written. The relay certainly did not accept it."""

    reason: str


Outcome: TypeAlias = Sent | Deferred | Rejected | Unknown | RelayDown | NotSent


def mask_addresses(text: str) -> str:
    """Returns `text` with everything masked that looks like an e-mail address or a part of one."""
    return _BRACKETED.sub("<***>", _ADDRESS.sub("***@***", text))


def one_line(text: str) -> str:
    """Returns `text` as one printable line of at most 300 characters with addresses masked, safe to store and show."""
    return mask_addresses(_UNPRINTABLE.sub(" ", text).strip())[:_REASON_LIMIT]


def reason(reply: Reply) -> str:
    """Returns the reply as a failure reason: "550 5.1.1 no such user"."""
    return one_line(f"{reply.code} {reply.text}")


# The classification of replies.

_Meaning: TypeAlias = Callable[[Stage, Reply], Outcome]


def _sent(_stage: Stage, reply: Reply) -> Outcome:
    return Sent(reply)


def _unknown(_stage: Stage, reply: Reply) -> Outcome:
    return Unknown(f"unexpected reply to the mail: {reason(reply)}"[:_REASON_LIMIT])


def _relay_down(stage: Stage, reply: Reply) -> Outcome:
    return RelayDown(Scope.RELAY, stage, reason(reply), reply)


def _configuration(stage: Stage, reply: Reply) -> Outcome:
    return RelayDown(Scope.CONFIGURATION, stage, reason(reply), reply)


def _deferred(stage: Stage, reply: Reply) -> Outcome:
    return Deferred(stage, reply)


def _deferred_once(code: FailureCode) -> _Meaning:
    return lambda stage, reply: Deferred(stage, reply, policy=True, code=code)


def _rejected(code: FailureCode) -> _Meaning:
    return lambda stage, reply: Rejected(code, stage, reply, reason(reply))


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table: the outcome for replies at these stages whose code and enhanced code (if given) match."""

    stages: frozenset[Stage]
    code: str
    enhanced: str | None
    means: _Meaning
    too_fast: bool = False
    """Whether the row is only for replies that ask for a lower rate."""

    def matches(self, stage: Stage, reply: Reply) -> bool:
        """Whether this row applies to the reply."""
        if stage not in self.stages or not re.fullmatch(self.code, str(reply.code)):
            return False
        if self.too_fast and not reply.is_too_fast:
            return False
        return self.enhanced is None or bool(re.fullmatch(self.enhanced, reply.enhanced or ""))


_ANY: Final = frozenset(Stage)
_RCPT: Final = frozenset({Stage.RCPT})
_DOT: Final = frozenset({Stage.DOT})
_CONTENT: Final = frozenset({Stage.DATA, Stage.DOT})
_SENDER: Final = frozenset({Stage.AUTH, Stage.MAIL})
_EARLY: Final = CONNECTING | {Stage.MAIL}
ABOUT_A_MAIL: Final = _RCPT | _CONTENT
"""The stages at which a reply can be about one recipient or message."""

_RECIPIENT: Final = FailureCode.RECIPIENT_REJECTED
_MESSAGE: Final = FailureCode.MESSAGE_REJECTED

# The first row that matches decides. RFC 5321 section 4.5.3.1.10: 552 to RCPT means 452.
# fmt: off
RULES: Final = (
    #    at          code       enhanced           means
    Rule(_DOT,       r"2..",    None,              _sent),
    Rule(_ANY,       r"421",    None,              _relay_down),
    Rule(_ANY,       r"53[08]", None,              _configuration),  # login or encryption required
    Rule(_ANY,       r"[45]..", r"..1\.[78]",      _configuration),  # our sender address
    Rule(_SENDER,    r"5..",    None,              _configuration),
    Rule(_EARLY,     r"[45]..", None,              _relay_down),
    Rule(_RCPT,      r"5..",    r"5\.7\..*",       _deferred_once(_RECIPIENT)),
    Rule(_CONTENT,   r"5..",    r"5\.7\..*",       _deferred_once(_MESSAGE)),
    Rule(ABOUT_A_MAIL,      r"4..",    None,              _relay_down, too_fast=True),
    Rule(ABOUT_A_MAIL,      r"4..",    None,              _deferred),
    Rule(ABOUT_A_MAIL,      r"5..",    r"5\.2\.2",        _deferred),       # mailbox full
    Rule(_RCPT,      r"552",    None,              _deferred),
    Rule(ABOUT_A_MAIL,      r"5..",    r"5\.[12]\..*",    _rejected(_RECIPIENT)),
    Rule(_RCPT,      r"501",    None,              _rejected(_RECIPIENT)),  # syntax of the address
    Rule(ABOUT_A_MAIL,      r"50[0-4]", None,             _rejected(_MESSAGE)),
    Rule(_RCPT,      r"5..",    None,              _rejected(_RECIPIENT)),
    Rule(_CONTENT,   r"5..",    None,              _rejected(_MESSAGE)),
    Rule(_DOT,       r".*",     None,              _unknown),        # not a valid SMTP reply
    Rule(_ANY,       r".*",     None,              _relay_down),
)
# fmt: on


def is_go_ahead(stage: Stage, code: int) -> bool:
    """Whether the code is a success: 354 for DATA, 2xx for all other stages (RFC 5321 section 4.3.2)."""
    return code == 354 if stage is Stage.DATA else code // 100 == 2


def judge(stage: Stage, reply: Reply) -> Outcome:
    """Returns the outcome for a reply that ends an attempt: any reply to the final dot, any refusal before it."""
    return next(rule.means(stage, reply) for rule in RULES if rule.matches(stage, reply))
