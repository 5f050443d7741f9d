"""One connection to the relay, used for one mail after the other.

This module uses aiosmtplib; `errors` translates its exceptions. It opens every connection and sends mails by plain
SMTP: one command and one reply at a time. If the relay offers pipelining, `pipeline` takes over the open connection.
aiosmtplib's `sendmail` is not used: it has one timeout for everything, and does not tell whether the final dot was
written before the connection broke. That decides between "not sent" and "unknown".
"""

import asyncio
import re
import socket
import ssl
from contextlib import suppress
from functools import cache
from typing import Final, cast

from aiosmtplib import (
    SMTP,
    SMTPException,
    SMTPResponse,
    SMTPServerDisconnected,
)

from worker.domain.outcomes import Outcome, RelayDown, Unknown, is_go_ahead, judge
from worker.domain.relays import Relay
from worker.domain.replies import CLOSING, Reply, Stage, one_line
from worker.smtp.envelope import Envelope, are_parameters_doubted
from worker.smtp.errors import NotOfferedError, refusal, relay_down, words
from worker.smtp.rules import (
    QUIT_TIMEOUT,
    STOPPED,
    STOPPED_LATE,
    UNUSABLE,
    Mail,
    Timeouts,
    Turn,
    can_be_said,
    is_last_word,
)

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")


class SmtpSession:
    """A connection for one user at a time. Check `is_open` before each use."""

    def __init__(
        self, relay: Relay, envelope: Envelope, timeouts: Timeouts, tls_context: ssl.SSLContext | None
    ) -> None:
        self.mails = 0
        """The number of mails tried on this connection, with any outcome."""
        self._relay = relay
        self._envelope = envelope
        self._timeouts = timeouts
        self._stage: Stage = Stage.CONNECT
        self._needs_reset = False
        self._client = SMTP(
            hostname=relay.host,
            port=relay.port,
            use_tls=relay.security == "tls",
            start_tls=False,  # `_connect` does it, and fails if STARTTLS is not offered
            tls_context=tls_context,
            timeout=timeouts.command,
            local_hostname=_ehlo_name(),
        )

    @property
    def is_open(self) -> bool:
        """Whether the connection is open, as far as this side knows."""
        return self._client.is_connected

    @property
    def offers_pipelining(self) -> bool:
        """Whether the relay offers PIPELINING (RFC 2920)."""
        return self._client.supports_extension("pipelining")

    @property
    def offers_dsn(self) -> bool:
        """Whether the relay offers delivery status notifications (RFC 3461)."""
        return self._client.supports_extension("dsn")

    async def open(self) -> RelayDown | None:
        """Connects, encrypts and logs in according to the relay's settings. Returns None if ready for mails."""
        try:
            await self._connect()
        except asyncio.CancelledError:
            self.drop()
            raise
        except Exception as error:
            self.drop()
            return relay_down(error, self._stage, self._relay)
        return None

    def give_away(self) -> asyncio.Transport:
        """Detaches and returns the open transport: encrypted, logged in, and with every reply read."""
        transport = cast(asyncio.Transport, self._client.transport)
        self._client.transport = None  # otherwise `close`, which resets the client, would close the transport too
        self._client.close()
        return transport

    async def serve(self, turn: Turn) -> Mail | None:
        """Sends the mails of `turn` one by one; see `Session`."""
        while self.is_open:
            mail = turn.next_now()
            if mail is None:
                if not await _wait_for_turn(turn):
                    return None
            elif unsent := await self._send(mail, turn):
                return unsent
        return None

    async def _send(self, mail: Mail, turn: Turn) -> Mail | None:
        try:
            outcome = await self._try(mail, turn)
        except BaseException:  # usually a cancellation
            self.drop()
            turn.report(mail, Unknown(STOPPED_LATE) if self._stage is Stage.DOT else STOPPED)
            raise
        if outcome is None:
            return mail
        turn.report(mail, outcome)
        return None

    async def _try(self, mail: Mail, turn: Turn) -> Outcome | None:
        """Runs one mail transaction. Returns None if the relay closed the connection before it; nothing was sent."""
        if not can_be_said(mail.recipient):
            return UNUSABLE
        try:
            return await self._transaction(mail, turn)
        except Exception as error:
            self.drop()
            return self._outcome_of_error(error)
        finally:
            self.mails += 1

    async def check_sender(self) -> RelayDown | None:
        """Checks that the relay accepts our sender (MAIL FROM, then RSET). Returns None if it does."""
        try:
            refused = await self._announce(self._envelope.sample)
            if refused is not None:
                return refusal(refused, Stage.MAIL)
            await self._command(Stage.MAIL, b"RSET")
        except Exception as error:
            return relay_down(error, self._stage, self._relay)
        return None

    async def quit(self) -> None:
        """Sends QUIT and closes the connection. Waits at most 2 seconds and ignores every error."""
        transport = self._transport
        try:
            with suppress(Exception):
                async with asyncio.timeout(QUIT_TIMEOUT):
                    await self._client.quit(timeout=None)
        finally:
            self.drop()
            if transport is not None:  # with TLS, the client's close waits long for the relay
                transport.abort()

    def drop(self) -> None:
        """Closes at once without QUIT. Discards data that is not written yet."""
        transport = self._transport
        self._client.close()
        if transport is not None:
            transport.abort()

    @property
    def _transport(self) -> asyncio.WriteTransport | None:
        return cast("asyncio.WriteTransport | None", self._client.transport)

    async def _connect(self) -> None:
        # Here and in `quit`, asyncio.timeout is used. aiosmtplib uses wait_for, which in Python 3.11 loses a
        # cancellation that arrives together with the awaited result.
        async with asyncio.timeout(self._timeouts.connect):
            await self._client.connect(timeout=None)
        await self._ehlo()
        if self._relay.security == "starttls":
            await self._encrypt()
            await self._ehlo()
        if self._relay.username is not None and self._relay.password is not None:
            await self._log_in(self._relay.username, self._relay.password.get_secret_value())
        self._check_no_extra_reply()

    async def _ehlo(self) -> None:
        self._stage = Stage.EHLO
        async with asyncio.timeout(self._timeouts.command):
            await self._client.ehlo(timeout=None)

    async def _encrypt(self) -> None:
        self._stage = Stage.STARTTLS
        if not self._client.supports_extension("starttls"):
            raise NotOfferedError("it does not offer STARTTLS; nothing is sent unencrypted")
        async with asyncio.timeout(self._timeouts.command):
            await self._client.starttls(timeout=None)

    def _check_no_extra_reply(self) -> None:
        # Extra data in the packet of a reply stays in a buffer, for which aiosmtplib has no public name. Every later
        # reply would then be matched to the wrong command.
        if self._client.protocol is not None and self._client.protocol._buffer:
            raise SMTPException("it sent more replies than it got commands")

    async def _log_in(self, username: str, password: str) -> None:
        self._stage = Stage.AUTH
        mechanisms = {
            "plain": self._client.auth_plain,
            "login": self._client.auth_login,
            "cram-md5": self._client.auth_crammd5,
        }
        # Only the first offered mechanism is tried. aiosmtplib's own `login` repeats a wrong password with the next
        # one, and relays lock accounts after repeated failures.
        for name, log_in in mechanisms.items():
            if name in self._client.server_auth_methods:
                async with asyncio.timeout(self._timeouts.command):
                    await log_in(username, password, timeout=None)
                return
        raise NotOfferedError("it offers no login by PLAIN, LOGIN or CRAM-MD5")

    async def _transaction(self, mail: Mail, turn: Turn) -> Outcome | None:
        self._stage = Stage.MAIL
        if self._needs_reset and not await self._reset():
            return None
        refused = await self._announce(mail.token, mail.contact_token, mail.recipient)
        if refused is not None:
            return self._refused(self._stage, refused)
        response = await self._command(Stage.DATA, b"DATA")
        if not is_go_ahead(Stage.DATA, response.code):
            return self._refused(Stage.DATA, response)
        while not turn.may_write():
            await _wait_for_turn(turn, is_amid=True)
        if not turn.is_wanted(mail):  # after a 354, only closing the connection ends the transaction without a mail
            self.drop()
            return STOPPED
        response = await self._write_content(self._envelope.content(mail))
        if not is_go_ahead(Stage.DOT, response.code):
            return self._refused(Stage.DOT, response)
        return judge(Stage.DOT, Reply(response.code, response.message))

    async def _announce(self, token: str, contact_token: str = "", recipient: str | None = None) -> SMTPResponse | None:
        """Says MAIL, and RCPT if there is a recipient. Returns the refusal if one of them is refused.

        If it may be about the parameters alone, the relay is asked again without.
        """
        envelope = self._envelope
        parameters = self.offers_dsn and envelope.has_parameters(token)
        refused = await self._say(token, contact_token, recipient, parameters=parameters)
        if refused is None or not parameters or not _is_about_parameters(refused):
            return refused
        envelope.doubt()
        if not await self._reset():
            raise SMTPServerDisconnected("closed after it refused a parameter")
        refused = await self._say(token, contact_token, recipient, parameters=False)
        if refused is None or refused.code != CLOSING:
            envelope.settle(without=refused is None)
        return refused

    async def _say(
        self, token: str, contact_token: str, recipient: str | None, *, parameters: bool
    ) -> SMTPResponse | None:
        envelope = self._envelope
        sender = envelope.mail_from(token, contact_token, parameters=parameters)
        response = await self._command(Stage.MAIL, sender.encode("ascii"))
        if is_go_ahead(Stage.MAIL, response.code) and recipient is not None:
            command = envelope.rcpt_to(recipient, parameters=parameters)
            response = await self._command(Stage.RCPT, command.encode("ascii"))
        return None if is_go_ahead(self._stage, response.code) else response

    async def _reset(self) -> bool:
        response = await self._command(Stage.MAIL, b"RSET")
        self._needs_reset = not is_go_ahead(Stage.MAIL, response.code)
        if self._needs_reset:
            self.drop()
        return not self._needs_reset

    async def _command(self, stage: Stage, command: bytes) -> SMTPResponse:
        self._stage = stage
        response = await self._client.execute_command(command)
        task = asyncio.current_task()
        # A lost cancellation, as in `_connect`. This check is cheaper than another asyncio.timeout.
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        return response

    async def _write_content(self, content: bytes) -> SMTPResponse:
        protocol = self._client.protocol
        if protocol is None:
            raise SMTPServerDisconnected("closed after the reply to DATA")
        protocol.write(content)
        self._stage = Stage.DOT
        return await protocol.read_response(timeout=self._timeouts.final)

    def _refused(self, stage: Stage, response: SMTPResponse) -> Outcome | None:
        # RSET is sent at the next use of the connection, so that the known outcome is reported without delay.
        self._needs_reset = True
        if is_last_word(response.code):
            self.drop()
        if response.code == CLOSING and self._is_stale(stage):
            return None
        return judge(stage, Reply(response.code, response.message))

    def _outcome_of_error(self, error: Exception) -> Outcome | None:
        """Returns the outcome of an exception in a transaction, or None as `_try`. The connection is closed."""
        if isinstance(error, SMTPServerDisconnected) and self._is_stale(self._stage):
            return None
        if self._stage is Stage.DOT:
            return Unknown(one_line(f"no usable reply to the mail: {words(error)}"))
        return relay_down(error, self._stage, self._relay)

    def _is_stale(self, stage: Stage) -> bool:
        """Whether a relay that closes at `stage` has only ended a used connection."""
        return stage is Stage.MAIL and self.mails > 0


def _is_about_parameters(refused: SMTPResponse) -> bool:
    return are_parameters_doubted(refused.code, Reply(refused.code, refused.message).enhanced)


async def _wait_for_turn(turn: Turn, *, is_amid: bool = False) -> bool:
    """Waits until the turn may have a mail or may write again. Returns False if no mail will come."""
    rested = asyncio.get_running_loop().create_future()
    if not turn.rest(lambda: None if rested.done() else rested.set_result(None), is_amid=is_amid):
        return False
    await rested
    return True


@cache
def _ehlo_name() -> str:
    """Returns the name for EHLO. `getfqdn` is not used, because it may wait for a name server."""
    name = socket.gethostname()
    return name if _HOST_NAME.fullmatch(name) else "[127.0.0.1]"
