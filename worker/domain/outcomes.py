"""How one try to send a mail can end.

Pure. `judge` reads a relay's reply by scope first (the relay, our configuration, this message, this
recipient) and only then by class: one wrong password must not fail ten thousand customers. What
becomes of the request is said in `verdicts`. Sources: RFC 5321 sections 4.2 and 4.5.3.1.10, RFC 3463, and
Postfix (src/smtp/smtp_trouble.c).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Final, TypeAlias

_REASON_LIMIT: Final = 300

_ENHANCED: Final = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})\b")
# Controls, line and direction marks, and halves of surrogate pairs, which no database takes.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+")
# Looked for only where a word begins, which keeps it linear in the length of the text.
_ADDRESS: Final = re.compile(r"(?<![^\s<>()\[\]\"',;:])[^\s<>()\[\]\"',;:@]*@[^\s<>()\[\]\"',;:]*")
# What relays say to who sends too much, whether by the second or by the connection; a greylist says some of it too.
_TOO_FAST: Final = re.compile(
    r"(?!.*gr[ea]ylist).*(\brate\b|\btoo (many|much|fast|quick)|throttl|slow(ing)? down|(sending|connection) limit)",
    re.IGNORECASE | re.DOTALL,
)
# The mailbox, and how many recipients one message may have: not about us.
_NOT_ABOUT_SPEED: Final = re.compile(r"4\.(2\..*|5\.3)")
# Sendmail's way: `550 5.1.1 <jane.doe>... User unknown`.
_BRACKETED: Final = re.compile(r"<[^<>\s\[\]*]+>")


class Stage(StrEnum):
    """Where in the SMTP session something happened."""

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
    """Whose fault it is when nobody can be mailed: the relay's, or our settings'."""

    RELAY = auto()
    CONFIGURATION = auto()


class FailureCode(StrEnum):
    """Why a request is FAILED; part of the contract with admins."""

    RECIPIENT_REJECTED = "RECIPIENT_REJECTED"
    MESSAGE_REJECTED = "MESSAGE_REJECTED"
    INVALID_ADDRESS = "INVALID_ADDRESS"
    SUPPRESSED = "SUPPRESSED"
    RETRIES_EXHAUSTED = "RETRIES_EXHAUSTED"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    MISSING_ITEM_URL = "MISSING_ITEM_URL"
    EXPIRED = "EXPIRED"


TEMPLATE_ERROR: Final = "TEMPLATE_ERROR"
"""Not a way to end: the code of RECEIVED requests that wait because their mail can't be made, which is our fault."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the relay said: the three-digit code, and its text without it (lines joined by LF)."""

    code: int
    text: str

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code (RFC 3463), unless it contradicts the three-digit one."""
        match = _ENHANCED.match(self.text)
        return match[0] if match and int(match[1]) == self.code // 100 else None

    @property
    def is_too_fast(self) -> bool:
        """Whether the relay wants us to slow down: by its words, or by codes that are used for nothing else."""
        if self.code // 100 != 4 or _NOT_ABOUT_SPEED.fullmatch(self.enhanced or ""):
            return False
        if self.enhanced == "4.7.28" or (self.code == 421 and self.enhanced == "4.7.0"):
            return True
        return bool(_TOO_FAST.match(self.text))


# The outcomes of one try.


@dataclass(frozen=True, slots=True)
class Sent:
    """The relay has taken the mail and is responsible for it (RFC 5321 section 4.2.5)."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Deferred:
    """Refused for now. `policy`: only once more, and then rejected with `code`."""

    stage: Stage
    reply: Reply
    policy: bool = False
    code: FailureCode = FailureCode.RETRIES_EXHAUSTED


@dataclass(frozen=True, slots=True)
class Rejected:
    """Refused for good, because of this recipient or this message."""

    code: FailureCode
    stage: Stage
    reply: Reply | None
    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The whole mail was written, and no usable reply came: it may have been taken or not."""

    reason: str


@dataclass(frozen=True, slots=True)
class RelayDown:
    """Nobody can be mailed now, and it is not the customers' fault. This mail was not taken."""

    scope: Scope
    stage: Stage
    reason: str
    reply: Reply | None = None

    @property
    def is_too_fast(self) -> bool:
        """Whether it is only that the relay wants us to slow down."""
        return self.reply is not None and self.reply.is_too_fast


@dataclass(frozen=True, slots=True)
class NotSent:
    """We stopped before the mail was sent. It was certainly not taken."""

    reason: str


Outcome: TypeAlias = Sent | Deferred | Rejected | Unknown | RelayDown | NotSent


def mask_addresses(text: str) -> str:
    """`text` with everything that looks like an e-mail address, or half of one, made unreadable."""
    return _BRACKETED.sub("<***>", _ADDRESS.sub("***@***", text))


def one_line(text: str) -> str:
    """`text` as it may be stored and shown: one printable line, no addresses, 300 characters."""
    return mask_addresses(_UNPRINTABLE.sub(" ", text).strip())[:_REASON_LIMIT]


def reason(reply: Reply) -> str:
    """The relay's words as a failure reason: "550 5.1.1 no such user"."""
    return one_line(f"{reply.code} {reply.text}")


# What a reply means.

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
    """One row: at these stages, codes that match (and enhanced codes, if given) mean this."""

    stages: frozenset[Stage]
    code: str
    enhanced: str | None
    means: _Meaning
    too_fast: bool = False
    """only of replies that ask us to slow down"""

    def matches(self, stage: Stage, reply: Reply) -> bool:
        """Whether this row is about the reply."""
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
"""Before these stages nobody's mail has been named."""

_RECIPIENT: Final = FailureCode.RECIPIENT_REJECTED
_MESSAGE: Final = FailureCode.MESSAGE_REJECTED

# The first row that matches decides. RFC 5321 section 4.5.3.1.10: 552 to RCPT means 452.
# fmt: off
RULES: Final = (
    #    at          code       enhanced           means
    Rule(_DOT,       r"2..",    None,              _sent),
    Rule(_ANY,       r"421",    None,              _relay_down),
    Rule(_ANY,       r"53[08]", None,              _configuration),  # log in first; encrypt first
    Rule(_ANY,       r"[45]..", r"..1\.[78]",      _configuration),  # our sender's address
    Rule(_SENDER,    r"5..",    None,              _configuration),
    Rule(_EARLY,     r"[45]..", None,              _relay_down),
    Rule(_RCPT,      r"5..",    r"5\.7\..*",       _deferred_once(_RECIPIENT)),
    Rule(_CONTENT,   r"5..",    r"5\.7\..*",       _deferred_once(_MESSAGE)),
    Rule(ABOUT_A_MAIL,      r"4..",    None,              _relay_down, too_fast=True),
    Rule(ABOUT_A_MAIL,      r"4..",    None,              _deferred),
    Rule(ABOUT_A_MAIL,      r"5..",    r"5\.2\.2",        _deferred),       # mailbox full
    Rule(_RCPT,      r"552",    None,              _deferred),
    Rule(ABOUT_A_MAIL,      r"5..",    r"5\.[12]\..*",    _rejected(_RECIPIENT)),
    Rule(_RCPT,      r"501",    None,              _rejected(_RECIPIENT)),  # its syntax
    Rule(ABOUT_A_MAIL,      r"50[0-4]", None,             _rejected(_MESSAGE)),
    Rule(_RCPT,      r"5..",    None,              _rejected(_RECIPIENT)),
    Rule(_CONTENT,   r"5..",    None,              _rejected(_MESSAGE)),
    Rule(_DOT,       r".*",     None,              _unknown),        # no reply that SMTP knows
    Rule(_ANY,       r".*",     None,              _relay_down),
)
# fmt: on


def is_go_ahead(stage: Stage, code: int) -> bool:
    """Whether the session goes on: 354 to DATA, 2xx to everything else (RFC 5321 section 4.3.2)."""
    return code == 354 if stage is Stage.DATA else code // 100 == 2


def judge(stage: Stage, reply: Reply) -> Outcome:
    """What a reply means that ends a try: any to the dot, any but a go-ahead before it."""
    return next(rule.means(stage, reply) for rule in RULES if rule.matches(stage, reply))
