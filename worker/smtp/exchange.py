"""The protocol of a pipelined connection (RFC 2920) without I/O: takes replies, returns bytes to write.

The content of a mail and MAIL, RCPT, DATA of the next one are one write. Replies are matched to commands by their order
alone. So an extra, missing or garbled reply ends the exchange: known outcomes are reported, a mail whose final dot was
written is Unknown, and no other mail was sent.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from worker.domain.outcomes import Outcome, RelayDown, Scope, Sent, Unknown, is_go_ahead, judge
from worker.domain.replies import CLOSING, Reply, Stage, one_line
from worker.smtp.envelope import Envelope, are_parameters_doubted
from worker.smtp.rules import STOPPED, STOPPED_LATE, UNUSABLE, Mail, Turn, can_be_said, is_last_word

_START_INPUT: Final = 354
_LONE_DOT: Final = b".\r\n"


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity, which is faster
class _Command:
    """A command, or the final dot, that the relay must reply to, and the stage for judging its reply."""

    stage: Stage


_RSET: Final = _Command(Stage.MAIL)
_MAIL: Final = _Command(Stage.MAIL)
_RCPT: Final = _Command(Stage.RCPT)
_DATA: Final = _Command(Stage.DATA)
_DOT: Final = _Command(Stage.DOT)


class _State(Enum):
    """The progress of a transaction."""

    NEW = auto()
    OFFERED = auto()
    """MAIL, RCPT and DATA were written."""
    EXPECTED = auto()
    """The relay replied 354 and waits for the content."""
    WRITTEN = auto()
    """The content and the final dot were written. Only the reply tells the outcome."""


@dataclass(slots=True, eq=False)
class _Transaction:
    mail: Mail
    state: _State = _State.NEW
    refused_at: _Command | None = None
    has_parameters: bool = False
    """Whether MAIL and RCPT have DSN parameters (RFC 3461)."""
    asks_again: bool = False
    """Whether the relay will be asked again without parameters, since it may have refused only those."""
    is_second: bool = False
    """Whether it is asked again."""
    is_reported: bool = False


class Exchange:
    """Sends the mails of a turn one after the other, and reports each outcome to it.

    `relay` is the relay's name for error texts. `offers_dsn`: whether it offers DSN on this connection.
    """

    def __init__(self, relay: str, envelope: Envelope, *, offers_dsn: bool = False) -> None:
        self.mails = 0
        """The number of transactions begun, with any outcome."""
        self.is_over = False
        """Whether nothing more may be written to this connection."""
        self.is_held = False
        """Whether the relay waits for the content of a mail that may not be written yet."""
        self._relay = relay
        self._envelope = envelope
        self._offers_dsn = offers_dsn
        self._pending: deque[_Command] = deque()
        """Commands that wait for their reply, in order."""
        self._current: _Transaction | None = None
        """The transaction that the next reply is about."""
        self._following: _Transaction | None = None
        """The transaction whose commands were written after the content of the current one."""
        self._needs_reset = False

    @property
    def is_asking(self) -> bool:
        """Whether a reply is due. Nothing is written until it comes."""
        return bool(self._pending)

    @property
    def awaits_verdict(self) -> bool:
        """Whether the next reply is for a final dot, which has a longer timeout."""
        return bool(self._pending) and self._pending[0] is _DOT

    def unsent(self) -> Mail | None:
        """Returns the mail that was not begun when the exchange ended, if there is one. It is not reported."""
        return next((mail for mail, _ in self._unreported()), None)

    def leftovers(self) -> list[tuple[Mail, Outcome]]:
        """Returns and forgets the unreported mails, with their outcomes if this side closes the connection now."""
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
        """Returns the bytes to write when no reply is due. Empty if there is no mail yet, or the exchange is over.

        With `ahead`, the commands for the next mail may follow a mail's content. The next mail then waits for the
        verdict on this one.
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
        self._pending.append(_RSET)
        return self._commands_for(current, b"RSET\r\n")

    def _commands_for(self, transaction: _Transaction, before: bytes) -> bytes:
        transaction.state = _State.OFFERED
        self._pending.extend((_MAIL, _RCPT, _DATA))
        mail = transaction.mail
        parameters = self._offers_dsn and not transaction.is_second and self._envelope.has_parameters(mail.token)
        transaction.has_parameters = parameters
        return before + self._envelope.commands(mail, parameters=parameters)

    def _content_of(self, current: _Transaction, turn: Turn, *, ahead: bool) -> bytes:
        if current.refused_at is not None:
            content, ahead = _LONE_DOT, ahead and not current.asks_again
        elif turn.is_wanted(current.mail):
            content = self._envelope.content(current.mail)
        else:  # after a 354, only closing the connection ends the transaction without a mail
            self._report(current, STOPPED, turn)
            self.is_over = True
            return b""
        self._following = self._take(turn) if ahead else None
        current.state = _State.WRITTEN
        self._pending.append(_DOT)
        return content if self._following is None else self._commands_for(self._following, content)

    def _take(self, turn: Turn) -> _Transaction | None:
        """Begins a transaction for the next mail that is available now, if any. It never waits for one."""
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
        """Processes the next reply."""
        if not self._pending or self._current is None:
            self.break_off("it sent more replies than it got commands", turn)
            return
        command = self._pending.popleft()
        if command is _DOT:
            self._process_final_reply(self._current, code, text, turn)
        elif self._current.refused_at is not None:
            self._process_after_refusal(self._current, command, code)
        elif not is_go_ahead(command.stage, code):
            self._process_refusal(self._current, command, _reply(code, text), turn)
        else:
            self._process_go_ahead(self._current, command)

    def _process_go_ahead(self, current: _Transaction, command: _Command) -> None:
        if command is _DATA:
            current.state = _State.EXPECTED
        elif command is _RCPT and current.is_second:
            self._envelope.settle(without=True)

    def _process_final_reply(self, current: _Transaction, code: int, text: bytes, turn: Turn) -> None:
        self._current, self._following = self._following, None
        if current.refused_at is not None:  # the reply to a lone dot is not about a mail
            self.is_over = code == CLOSING
            self._begin_again(current)
            return
        if is_go_ahead(Stage.DOT, code):  # `judge` gives the same result; this is faster for the most frequent case
            self._report(current, Sent(_reply(code, text)), turn)
            return
        self.is_over = is_last_word(code)
        self._report(current, judge(Stage.DOT, _reply(code, text)), turn)

    def _process_refusal(self, current: _Transaction, command: _Command, reply: Reply, turn: Turn) -> None:
        if command is _RSET or (command is _MAIL and reply.code == CLOSING and self._has_served()):
            self.is_over = True
            return
        current.refused_at = command
        if command is not _DATA and self._asks_again(current, reply):
            return
        self.is_over = is_last_word(reply.code)
        if command is _DATA:
            self._end_without_dot()
        self._report(current, judge(command.stage, reply), turn)

    def _asks_again(self, current: _Transaction, reply: Reply) -> bool:
        """Whether the relay may only mean the parameters. Then it is asked once more when it has replied to all."""
        if current.is_second and reply.code != CLOSING:
            self._envelope.settle(without=False)
        current.asks_again = current.has_parameters and are_parameters_doubted(reply.code, reply.enhanced)
        if current.asks_again:
            self._envelope.doubt()
        return current.asks_again

    def _process_after_refusal(self, current: _Transaction, command: _Command, code: int) -> None:
        """Processes a reply to a command that was pipelined after the refused one.

        The relay usually refuses it too, but may accept it (RFC 2920 section 3.1).
        """
        if code == CLOSING:
            self.is_over = True
        elif command is not _DATA:
            pass
        elif code == _START_INPUT and current.refused_at is _RCPT:
            current.state = _State.EXPECTED
        elif code // 100 in (4, 5):
            self._end_without_dot()
        else:  # includes a 354 after a refused MAIL: a dot could then send a mail that nobody expects
            self.is_over = True

    def _end_without_dot(self) -> None:
        current, self._current = self._current, None
        self._needs_reset = True  # a final dot would have ended the transaction, accepted or refused
        if current is not None:
            self._begin_again(current)

    def _begin_again(self, transaction: _Transaction) -> None:
        """Asks again without parameters, if the relay may have refused only those."""
        if transaction.asks_again:
            self._current = _Transaction(transaction.mail, is_second=True)

    def break_off(self, trouble: str, turn: Turn, *, has_left: bool = False) -> None:
        """Ends the exchange because the due reply will not come or can't be trusted."""
        self.is_over = True
        current = self._current
        if current is None or current.is_reported:
            return
        if current.state is _State.WRITTEN:
            self._report(current, Unknown(one_line(f"no usable reply to the mail: {trouble}")), turn)
            return
        if self.is_held:
            self._report(current, STOPPED, turn)  # the relay is not to blame: it had to wait for us
            return
        stage = self._stage_of(current)
        if not (has_left and stage is Stage.MAIL and self._has_served()):
            self._report(current, RelayDown(Scope.RELAY, stage, one_line(f"{self._relay}: {trouble}")), turn)

    def _stage_of(self, current: _Transaction) -> Stage:
        if self._pending:
            return self._pending[0].stage
        return Stage.MAIL if current.state is _State.NEW else Stage.DATA

    def _has_served(self) -> bool:
        """Whether a relay that closes at MAIL has only ended a used connection."""
        return self.mails > 1  # the current one counts

    def _report(self, transaction: _Transaction, outcome: Outcome, turn: Turn) -> None:
        transaction.is_reported = True
        turn.report(transaction.mail, outcome)


def _reply(code: int, text: bytes) -> Reply:
    # Decoded as aiosmtplib does, so that both kinds of session give the same reply.
    return Reply(code, text.strip().decode("utf-8", "surrogateescape"))
