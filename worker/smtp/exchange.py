"""What is said on a pipelined connection (RFC 2920), without the connection: replies in, bytes to write out.

The content of a mail and MAIL, RCPT, DATA of the next one are one write. The replies to all of them are told apart by
their order alone, so one too many, too few or garbled ends the exchange: what is certain by then is reported as it is,
a mail whose final dot was written is Unknown, and no other was sent.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from worker.domain.outcomes import Outcome, RelayDown, Reply, Scope, Sent, Stage, Unknown, is_go_ahead, judge, one_line
from worker.smtp.rules import LEAVING, STOPPED, STOPPED_LATE, UNUSABLE, Mail, Turn, can_be_said, is_last_word

_START_INPUT: Final = 354
_LONE_DOT: Final = b".\r\n"


@dataclass(frozen=True, slots=True, eq=False)  # without eq: compared by identity, which is quick
class _Question:
    """Something written that the relay has to reply to, and the stage that its reply is judged by."""

    stage: Stage


_RSET: Final = _Question(Stage.MAIL)
_MAIL: Final = _Question(Stage.MAIL)
_RCPT: Final = _Question(Stage.RCPT)
_DATA: Final = _Question(Stage.DATA)
_DOT: Final = _Question(Stage.DOT)


class _State(Enum):
    """How far a transaction has come."""

    NEW = auto()
    OFFERED = auto()
    """MAIL, RCPT and DATA are written."""
    EXPECTED = auto()
    """The relay waits for the content: 354."""
    WRITTEN = auto()
    """So is the final dot. Only the reply to it can tell now."""


@dataclass(slots=True, eq=False)
class _Transaction:
    mail: Mail
    state: _State = _State.NEW
    refused_at: _Question | None = None
    is_reported: bool = False


class Exchange:
    """One mail after the other, for `turn`, which is told how each ended. `relay` is its name for people."""

    def __init__(self, relay: str, sender: str) -> None:
        self.mails = 0
        """How many were begun, whatever became of them."""
        self.is_over = False
        """Nothing more may be said on this connection."""
        self.is_held = False
        """Whether the relay waits for a mail's content, because it may not be written yet."""
        self._relay = relay
        self._before_recipient = f"MAIL FROM:<{sender}>\r\nRCPT TO:<".encode("ascii")
        self._questions: deque[_Question] = deque()
        """What has not been replied to, in order."""
        self._current: _Transaction | None = None
        """The one that the next reply is about."""
        self._following: _Transaction | None = None
        """The one whose commands went out behind the content of the current one."""
        self._needs_reset = False

    @property
    def is_asking(self) -> bool:
        """Whether a reply is due: until it comes there is nothing to write."""
        return bool(self._questions)

    @property
    def awaits_verdict(self) -> bool:
        """Whether the next reply is the one to a mail's final dot, for which the relay may take its time."""
        return bool(self._questions) and self._questions[0] is _DOT

    def unsent(self) -> Mail | None:
        """The mail that the relay had not heard of when the exchange ended, if there was one: it is not reported."""
        return next((mail for mail, _ in self._unreported()), None)

    def leftovers(self) -> list[tuple[Mail, Outcome]]:
        """What to report, once, of the mails that are not reported yet if the connection is closed by us, now."""
        leftovers = list(self._unreported())
        self._current = self._following = None
        return leftovers

    def _unreported(self) -> Iterator[tuple[Mail, Outcome]]:
        for transaction in (self._current, self._following):
            if transaction is not None and not transaction.is_reported:
                is_written = transaction.state is _State.WRITTEN
                yield transaction.mail, Unknown(STOPPED_LATE) if is_written else STOPPED

    # Writing

    def next_bytes(self, turn: Turn, *, ahead: bool) -> bytes:
        """What to write when no reply is due any more. Nothing: there is no mail at once, or the exchange is over.

        `ahead`: along with a mail's content may go the commands for the next, which then has to wait for its verdict.
        """
        current = self._current = self._current or self._take(turn)
        if current is None:
            return b""
        if current.state is _State.EXPECTED:
            self.is_held = current.refused_at is None and not turn.may_write()
            return b"" if self.is_held else self._content_of(current, turn, ahead=ahead)
        if not self._needs_reset:
            return self._commands_for(current, b"")
        self._needs_reset = False
        self._questions.append(_RSET)
        return self._commands_for(current, b"RSET\r\n")

    def _commands_for(self, transaction: _Transaction, before: bytes) -> bytes:
        transaction.state = _State.OFFERED
        self._questions.extend((_MAIL, _RCPT, _DATA))
        return b"".join((before, self._before_recipient, transaction.mail.recipient.encode("ascii"), b">\r\nDATA\r\n"))

    def _content_of(self, current: _Transaction, turn: Turn, *, ahead: bool) -> bytes:
        if current.refused_at is not None:
            content = _LONE_DOT
        elif turn.is_wanted(current.mail):
            content = current.mail.content
        else:  # after a 354 there is no way back but to leave
            self._report(current, STOPPED, turn)
            self.is_over = True
            return b""
        self._following = self._take(turn) if ahead else None
        current.state = _State.WRITTEN
        self._questions.append(_DOT)
        return content if self._following is None else self._commands_for(self._following, content)

    def _take(self, turn: Turn) -> _Transaction | None:
        """The next mail, of those that are there: nothing that could be written now waits for one."""
        while (mail := turn.next_now()) is not None:
            if transaction := self._transaction(mail, turn):
                return transaction
        return None

    def _transaction(self, mail: Mail, turn: Turn) -> _Transaction | None:
        if not can_be_said(mail.recipient):
            turn.report(mail, UNUSABLE)
            return None
        self.mails += 1
        return _Transaction(mail)

    # Replies

    def hear(self, code: int, text: bytes, turn: Turn) -> None:
        """The next reply."""
        if not self._questions or self._current is None:
            self.break_off("it said more than it was asked", turn)
            return
        asked = self._questions.popleft()
        if asked is _DOT:
            self._hear_of_content(self._current, code, text, turn)
        elif self._current.refused_at is not None:
            self._hear_after_refusal(self._current, asked, code)
        elif not is_go_ahead(asked.stage, code):
            self._hear_refusal(self._current, asked, _reply(code, text), turn)
        elif asked is _DATA:
            self._current.state = _State.EXPECTED

    def _hear_of_content(self, current: _Transaction, code: int, text: bytes, turn: Turn) -> None:
        self._current, self._following = self._following, None
        if current.refused_at is not None:  # what comes to a lone dot is about nobody's mail
            self.is_over = code == LEAVING
            return
        if is_go_ahead(Stage.DOT, code):  # what `judge` says too, but the most frequent case need not be looked up
            self._report(current, Sent(_reply(code, text)), turn)
            return
        self.is_over = is_last_word(code)
        self._report(current, judge(Stage.DOT, _reply(code, text)), turn)

    def _hear_refusal(self, current: _Transaction, asked: _Question, reply: Reply, turn: Turn) -> None:
        if asked is _RSET or (asked is _MAIL and reply.code == LEAVING and self._has_served()):
            self.is_over = True
            return
        current.refused_at = asked
        self.is_over = is_last_word(reply.code)
        if asked is _DATA:
            self._end_without_dot()
        self._report(current, judge(asked.stage, reply), turn)

    def _hear_after_refusal(self, current: _Transaction, asked: _Question, code: int) -> None:
        """The relay has been asked for the rest as well. It will mostly refuse that too, but need not (section 3.1)."""
        if code == LEAVING:
            self.is_over = True
        elif asked is not _DATA:
            pass
        elif code == _START_INPUT and current.refused_at is _RCPT:
            current.state = _State.EXPECTED
        elif code // 100 in (4, 5):
            self._end_without_dot()
        else:  # also 354 though MAIL was refused: whatever the relay has in mind must not get a dot
            self.is_over = True

    def _end_without_dot(self) -> None:
        self._current = None
        self._needs_reset = True  # where there is a dot it ends the transaction, also if it is refused

    def break_off(self, trouble: str, turn: Turn, *, has_left: bool = False) -> None:
        """The reply that is due won't come, or can't be relied on."""
        self.is_over = True
        current = self._current
        if current is None or current.is_reported:
            return
        if current.state is _State.WRITTEN:
            self._report(current, Unknown(one_line(f"no usable reply to the mail: {trouble}")), turn)
            return
        if self.is_held:
            self._report(current, STOPPED, turn)  # whatever it was, the relay had to wait for us
            return
        stage = self._stage_of(current)
        if not (has_left and stage is Stage.MAIL and self._has_served()):
            self._report(current, RelayDown(Scope.RELAY, stage, one_line(f"{self._relay}: {trouble}")), turn)

    def _stage_of(self, current: _Transaction) -> Stage:
        if self._questions:
            return self._questions[0].stage
        return Stage.MAIL if current.state is _State.NEW else Stage.DATA

    def _has_served(self) -> bool:
        """Whether a relay that leaves at the first command has only had enough of this connection."""
        return self.mails > 1  # the current one counts

    def _report(self, transaction: _Transaction, outcome: Outcome, turn: Turn) -> None:
        transaction.is_reported = True
        turn.report(transaction.mail, outcome)


def _reply(code: int, text: bytes) -> Reply:
    # As aiosmtplib decodes it, so that both sessions know the same reply.
    return Reply(code, text.strip().decode("utf-8", "surrogateescape"))
