"""Outcomes: how one attempt to send a mail can end.

Pure. `judge` classifies a relay's reply first by scope (the relay, our configuration, this message, this recipient) and
then by class: one wrong password must not fail ten thousand customers. `verdicts` decides what happens to the request.
Sources: RFC 5321 sections 4.2 and 4.5.3.1.10, RFC 3463, and Postfix (src/smtp/smtp_trouble.c).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Final, TypeAlias

from worker.domain import reply_rules
from worker.domain.replies import CLOSING, CONNECTING, REASON_LIMIT, Reply, Stage, reason
from worker.domain.reply_rules import Blame


class Scope(StrEnum):
    """The cause when no mail can be sent. The breaker stores it, since it decides how the relay is probed."""

    RELAY = auto()
    """The relay can't be used."""
    CONFIGURATION = auto()
    """It refuses our login, sender, host or account."""
    QUOTA = auto()
    """It has taken as many mails from us as it takes in hours or in a day."""
    REFUSALS = auto()
    """It can be used, but takes no mail. Only a mail can show that it takes some again."""


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
    BOUNCED = "BOUNCED"
    """A report said later that the mail did not arrive."""


TEMPLATE_ERROR: Final = "TEMPLATE_ERROR"
"""The code of RECEIVED requests whose mail can't be rendered. It never ends a request, because it is our fault."""

UNCONFIRMED: Final = "UNCONFIRMED"
"""The code of RECEIVED requests whose customer has not confirmed yet (double opt-in). It never ends a request."""

INTERVAL: Final = "INTERVAL"
"""The code of RECEIVED requests whose customer had a mail a while ago. It never ends a request."""


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
    is_certain: bool = False
    """Whether the words are certainly about this recipient. Otherwise they may mean us."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A permanent refusal of this recipient or this message."""

    code: FailureCode
    stage: Stage
    reply: Reply | None
    reason: str
    is_certain: bool = False
    """Whether the words are certainly about this recipient. Otherwise they may mean us."""


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
    blame: Blame | None = None
    """Who is to blame by the table of replies. None: no row knows the reply, or there is none."""

    @property
    def is_too_fast(self) -> bool:
        """Whether the relay only asks for a lower rate or for fewer connections."""
        return self.blame is Blame.PACE or self.blame is Blame.CONNECTIONS

    @property
    def probe_scope(self) -> Scope:
        """The scope that says how the relay has to be probed. After trouble with a mail, only a mail can tell."""
        is_by_mail = self.stage in ABOUT_A_MAIL and self.scope is not Scope.QUOTA
        return Scope.REFUSALS if is_by_mail else self.scope

    @property
    def is_refusal(self) -> bool:
        """Whether the relay refused one mail, and the session goes on. Perhaps it only means this mail."""
        if self.reply is None or self.reply.code == CLOSING:
            return False
        return self.stage in ABOUT_A_MAIL and self.reply.code // 100 in (4, 5)


@dataclass(frozen=True, slots=True)
class NotSent:
    """Sending stopped before the mail was written. The relay certainly did not accept it."""

    reason: str


Outcome: TypeAlias = Sent | Deferred | Rejected | Unknown | RelayDown | NotSent


def is_doubtful(outcome: Outcome) -> bool:
    """Whether the relay refused the mail with words that may mean us as well as this recipient or message.

    Such words are judged by evidence (`delivery.evidence`): whether the relay took other mails since.
    """
    match outcome:
        case Deferred() | Rejected():
            return not outcome.is_certain
        case RelayDown():
            return outcome.is_refusal and not outcome.is_too_fast
    return False


# The classification of replies.

_Meaning: TypeAlias = Callable[[Stage, Reply], Outcome]


def _sent(_stage: Stage, reply: Reply) -> Outcome:
    return Sent(reply)


def _unknown(_stage: Stage, reply: Reply) -> Outcome:
    return Unknown(f"unexpected reply to the mail: {reason(reply)}"[:REASON_LIMIT])


def _down(scope: Scope, blame: Blame | None = None) -> _Meaning:
    return lambda stage, reply: RelayDown(scope, stage, reason(reply), reply, blame)


def _deferred(stage: Stage, reply: Reply) -> Outcome:
    return Deferred(stage, reply)


def _deferred_once(code: FailureCode) -> _Meaning:
    return lambda stage, reply: Deferred(stage, reply, policy=True, code=code)


def _rejected(code: FailureCode) -> _Meaning:
    return lambda stage, reply: Rejected(code, stage, reply, reason(reply))


@dataclass(frozen=True, slots=True)
class ClassRule:
    """What replies mean that no row of the table knows: by stage, code and enhanced code (if given)."""

    stages: frozenset[Stage]
    code: str
    enhanced: str | None
    means: _Meaning

    def matches(self, stage: Stage, reply: Reply) -> bool:
        """Whether this row applies to the reply."""
        if stage not in self.stages or not re.fullmatch(self.code, str(reply.code)):
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
_RELAY: Final = _down(Scope.RELAY)
_CONFIGURATION: Final = _down(Scope.CONFIGURATION)

# The first row that matches decides. RFC 5321 section 4.5.3.1.10: 552 to RCPT means 452.
# fmt: off
CLASSES: Final = (
    #         at            code        enhanced       means
    ClassRule(_DOT,         r"2..",     None,          _sent),
    ClassRule(_ANY,         r"421",     None,          _RELAY),
    ClassRule(_ANY,         r"53[08]",  None,          _CONFIGURATION),  # login or encryption required
    ClassRule(_SENDER,      r"5..",     None,          _CONFIGURATION),
    ClassRule(_EARLY,       r"[45]..",  None,          _RELAY),
    ClassRule(_RCPT,        r"5..",     r"5\.7\..*",   _deferred_once(_RECIPIENT)),
    ClassRule(_CONTENT,     r"5..",     r"5\.7\..*",   _deferred_once(_MESSAGE)),
    ClassRule(ABOUT_A_MAIL, r"4..",     None,          _deferred),
    ClassRule(_RCPT,        r"552",     None,          _deferred),
    ClassRule(ABOUT_A_MAIL, r"5..",     r"5\.[12]\..*", _rejected(_RECIPIENT)),
    ClassRule(_RCPT,        r"501",     None,          _rejected(_RECIPIENT)),  # syntax of the address
    ClassRule(ABOUT_A_MAIL, r"50[0-4]", None,          _rejected(_MESSAGE)),
    ClassRule(_RCPT,        r"5..",     None,          _rejected(_RECIPIENT)),
    ClassRule(_CONTENT,     r"5..",     None,          _rejected(_MESSAGE)),
    ClassRule(_DOT,         r".*",      None,          _unknown),        # not a valid SMTP reply
    ClassRule(_ANY,         r".*",      None,          _RELAY),
)
# fmt: on

# Who is to blame decides before the class of the code. Blames that are missing here are left to the class.
_BY_BLAME: Final[Mapping[Blame, _Meaning]] = {
    Blame.ACCOUNT: _down(Scope.CONFIGURATION, Blame.ACCOUNT),
    Blame.QUOTA: _down(Scope.QUOTA, Blame.QUOTA),
    **{blame: _down(Scope.RELAY, blame) for blame in (Blame.RELAY, Blame.CONNECTION, Blame.CONNECTIONS, Blame.PACE)},
}


def is_go_ahead(stage: Stage, code: int) -> bool:
    """Whether the code is a success: 354 for DATA, 2xx for all other stages (RFC 5321 section 4.3.2)."""
    return code == 354 if stage is Stage.DATA else code // 100 == 2


def judge(stage: Stage, reply: Reply) -> Outcome:
    """Returns the outcome for a reply that ends an attempt: any reply to the final dot, any refusal before it.

    The table of replies says who is to blame. What it does not know is judged by the class of its code.
    """
    if stage is Stage.DOT and reply.code // 100 == 2:
        return Sent(reply)
    rule = reply_rules.in_force().match(stage, reply) if reply.code // 100 in (4, 5) else None
    return by_class(stage, reply) if rule is None else by_blame(stage, reply, rule.blames)


def by_blame(stage: Stage, reply: Reply, blame: Blame) -> Outcome:
    """Returns the outcome of a refusal if it is known who is to blame."""
    if means := _BY_BLAME.get(blame):
        return means(stage, reply)
    if stage in ABOUT_A_MAIL:
        is_permanent = reply.code // 100 == 5
        match blame:
            case Blame.RECIPIENT if is_permanent:
                return Rejected(_RECIPIENT, stage, reply, reason(reply), is_certain=True)
            case Blame.RECIPIENT | Blame.MAILBOX:
                return Deferred(stage, reply, is_certain=True)
            case Blame.MESSAGE if is_permanent:
                return Rejected(_MESSAGE, stage, reply, reason(reply))
    return by_class(stage, reply)


def by_class(stage: Stage, reply: Reply) -> Outcome:
    """Returns the outcome of a reply if nobody knows its words."""
    return next(rule.means(stage, reply) for rule in CLASSES if rule.matches(stage, reply))
