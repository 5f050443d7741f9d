"""What both kinds of SMTP session keep to: the mails they are given, their patience, and when they part.

`SmtpSession` waits for each reply; `PipelinedSession` (RFC 2920) does not. The same contract tests hold for both.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

from worker.domain.outcomes import FailureCode, NotSent, Outcome, Rejected, Stage

QUIT_TIMEOUT: Final = 2.0
LEAVING: Final = 421
"""With this reply, to whatever it was, the relay closes the connection (RFC 5321 section 3.8)."""
STOPPED: Final = NotSent("stopped before it was sent")
STOPPED_LATE: Final = "stopped before the relay replied to the mail"
UNUSABLE: Final = Rejected(FailureCode.INVALID_ADDRESS, Stage.RCPT, None, "not usable in SMTP")

_LAST_WORDS: Final = frozenset({LEAVING, 500, 502, 503, 504})
_PATH: Final = re.compile(r"[!-;=?-~]+@[!-;=?-~]+")


@dataclass(frozen=True, slots=True)
class Mail:
    """One message for one recipient: an ASCII address, and what follows DATA, as `message.dot_stuffed` makes it.

    The sessions write `content` as it is: it has to end with the final dot, and nowhere before.
    """

    request_id: UUID
    recipient: str = field(repr=False)
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a connection with its greeting, a reply, and the reply to the final dot.

    The last is long because giving up there means not to know (RFC 5321 section 4.5.3.2.6). All together they stay
    under the 15 minutes after which a claim is taken from whoever holds it.
    """

    connect: float = 30
    command: float = 30
    final: float = 600


class Turn(Protocol):
    """What a session works for while it serves: where its mails come from, and whom to report to."""

    def next_now(self) -> Mail | None:
        """Another mail for this connection, if there is one; each has to be reported."""

    def rest(self, go_on: Callable[[], None], *, is_amid: bool = False) -> bool:
        """There is no mail now. `go_on` will be called when it is time to ask again; False: nothing will come.

        `is_amid`: a mail is begun, and `may_write` said no; then it is always worth waiting.
        """

    def may_write(self) -> bool:
        """Whether the content of a mail may be written now: too many outcomes may wait to be recorded."""

    def is_wanted(self, mail: Mail) -> bool:
        """Whether a mail may still go out. Asked when everything is said but its content."""

    def report(self, mail: Mail, outcome: Outcome) -> None:
        """How a mail ended; exactly once for each."""


class Session(Protocol):
    """A connection to the relay, ready for mails, for one user at a time."""

    @property
    def mails(self) -> int:
        """How many mails it was used for, whatever became of them."""

    @property
    def is_open(self) -> bool:
        """Whether it can be used, as far as is known on this side."""

    async def serve(self, turn: Turn) -> Mail | None:
        """Send the mails of `turn`, and report each, until nothing more will come or the connection has ended.

        Returns the one that needs another connection, unreported: this one ended before the relay had heard of it.
        If cancelled it reports whatever it was given, and raises CancelledError.
        """

    async def quit(self) -> None:
        """Take leave and close. Waits 2 seconds at most, and hides every error."""


def can_be_said(recipient: str) -> bool:
    """Whether an address fits between the brackets of RCPT TO, without saying anything else."""
    return _PATH.fullmatch(recipient) is not None


def is_last_word(code: int) -> bool:
    """Whether a refusal ends the connection: the relay leaves, or we are no longer in step with it."""
    return code in _LAST_WORDS or code // 100 not in (4, 5)
