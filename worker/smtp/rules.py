"""What both kinds of SMTP session share: the mails they get, their timeouts, and when they end a connection.

`SmtpSession` waits for each reply. `PipelinedSession` (RFC 2920) does not. The same contract tests hold for both.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

from worker.domain.outcomes import FailureCode, NotSent, Outcome, Rejected
from worker.domain.replies import CLOSING, Stage

QUIT_TIMEOUT: Final = 2.0
STOPPED: Final = NotSent("stopped before it was sent")
STOPPED_LATE: Final = "stopped before the relay replied to the mail"
UNUSABLE: Final = Rejected(FailureCode.INVALID_ADDRESS, Stage.RCPT, None, "not usable in SMTP", is_certain=True)

_LAST_WORDS: Final = frozenset({CLOSING, 500, 502, 503, 504})
_PATH: Final = re.compile(r"[!-;=?-~]+@[!-;=?-~]+")


@dataclass(frozen=True, slots=True, eq=False)  # without eq: compared and hashed by identity, which is quick
class Mail:
    """One message for one recipient: an ASCII address, and what follows DATA, as `message.dot_stuffed` makes it.

    The sessions write `content` as it is. It has to end with the final dot, and may have no other lone dot.
    """

    request_id: UUID
    recipient: str = field(repr=False)
    content: bytes = field(repr=False)
    token: str = field(default="", repr=False)
    """Names the mail in its return path, its ENVID and the provider's header. Empty: nothing does."""
    contact_token: str = field(default="", repr=False)
    """Names the customer, behind the token in the ENVID. Empty: nothing does."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a connection with its greeting, a reply, and the reply to the final dot.

    `final` is long because to give up there means that the outcome is unknown (RFC 5321 section 4.5.3.2.6). Together
    they stay under the 15 minutes after which a claim is taken away from its owner.
    """

    connect: float = 30
    command: float = 30
    final: float = 600


class Rest(Protocol):
    """How a session says that it has nothing to write now."""

    def __call__(self, go_on: Callable[[], None], *, is_amid: bool = False) -> bool:
        """`go_on` will be called when it is time to ask again. False: nothing more will come.

        `is_amid`: a mail is begun and `may_write` said no. Then it is always worth waiting.
        """


@dataclass(frozen=True, slots=True)
class Turn:
    """What a session works for while it serves a run: where its mails come from, and who hears of them.

    The fields are functions, so that a session calls the run's source directly.
    """

    next_now: Callable[[], Mail | None]
    """Another mail for this connection, if there is one. Each has to be reported."""
    rest: Rest
    may_write: Callable[[], bool]
    """Whether the content of a mail may be written now. No: too many outcomes are not recorded yet."""
    is_wanted: Callable[[Mail], bool]
    """Whether a mail may still go out. Asked when everything is said but its content."""
    report: Callable[[Mail, Outcome], None]
    """How a mail ended. Called exactly once for each."""


class Session(Protocol):
    """A connection to a relay, ready for mails, for one user at a time."""

    @property
    def mails(self) -> int:
        """How many mails the connection was used for, whatever their outcome."""

    @property
    def is_open(self) -> bool:
        """Whether the connection can be used, as far as is known on our side."""

    async def serve(self, turn: Turn) -> Mail | None:
        """Sends the mails of `turn` and reports each, until nothing more will come or the connection has ended.

        Returns a mail that needs another connection and is not reported: this connection ended before the relay heard
        of it. If cancelled, it reports every mail it has taken and raises CancelledError.
        """

    async def quit(self) -> None:
        """Sends QUIT and closes the connection. Waits at most 2 seconds and ignores every error."""


def can_be_said(recipient: str) -> bool:
    """Whether an address fits between the brackets of RCPT TO and cannot end them."""
    return _PATH.fullmatch(recipient) is not None


def is_last_word(code: int) -> bool:
    """Whether a refusal ends the connection: the relay closes it, or commands and replies are out of step."""
    return code in _LAST_WORDS or code // 100 not in (4, 5)
