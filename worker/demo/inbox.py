"""An SMTP inbox for the demo. It accepts mails at a limited rate, refuses some, and stores the others as .eml files."""

import asyncio
import logging
import re
import socket
import threading
import time
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Final
from uuid import UUID

from aiosmtpd.smtp import SMTP, Envelope, Session

from worker.demo.story import BUSY, CLOSED, MOVING

MAILS_PER_SECOND: Final = 90.0
"""The highest rate that the inbox accepts. It is limited so that people can watch."""

_HOST: Final = "127.0.0.1"
_MESSAGE_ID: Final = re.compile(rb"^Message-ID: <([0-9a-f-]{36})@", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An accepted mail. `at` is monotonic time."""

    request_id: UUID
    recipient: str
    at: float
    file: Path


class Inbox:
    """Listens on a free port, in its own thread, from `start` to `stop`."""

    def __init__(self, mails: Path, log: Path) -> None:
        """`mails` is the directory for the .eml files. `log` is the file for warnings and errors."""
        self._mails = mails
        self._socket = socket.create_server((_HOST, 0))
        self.port: int = self._socket.getsockname()[1]
        self.arrived: list[Arrival] = []
        self.deferred: list[str] = []
        """The recipients that were refused temporarily."""
        self.refused: list[str] = []
        """The recipients that were refused permanently, one entry per attempt."""
        self.knows_moved = False
        """Whether the mailboxes that moved are accepted again."""
        self._free_at = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="inbox", daemon=True)
        _log_to(log)

    def start(self) -> None:
        """Starts to answer. Connections wait until then."""
        self._thread.start()
        serving = self._loop.create_server(self._session, sock=self._socket)
        asyncio.run_coroutine_threadsafe(serving, self._loop).result()

    def stop(self) -> None:
        """Stops the inbox. It accepts no more mail."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._socket.close()

    def _session(self) -> SMTP:
        return SMTP(self, hostname="inbox.example", ident="Stockbell demo", loop=self._loop)

    async def handle_RCPT(  # noqa: N802  # aiosmtpd requires this name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Accepts or refuses the recipient."""
        domain = address.rpartition("@")[2]
        if domain == CLOSED or (domain == MOVING and not self.knows_moved):
            self.refused.append(address)
            return "550 5.1.1 no such user here"
        if domain == BUSY and address not in self.deferred:
            self.deferred.append(address)
            return "450 4.2.1 mailbox is busy, try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Accepts the mail when it is its turn."""
        await self._turn()
        content = envelope.original_content or b""
        found = _MESSAGE_ID.search(content)
        if found is None:
            return "554 5.6.0 no Message-ID"
        self._keep(UUID(found[1].decode()), envelope.rcpt_tos[0], content)
        return "250 2.0.0 taken"

    async def _turn(self) -> None:
        """Waits, so that all connections together stay within `MAILS_PER_SECOND`."""
        now = self._loop.time()
        turn = max(now, self._free_at)
        self._free_at = turn + 1 / MAILS_PER_SECOND
        await asyncio.sleep(turn - now)

    def _keep(self, request_id: UUID, recipient: str, content: bytes) -> None:
        name = re.sub(r"[^\w.@-]", "_", recipient)
        file = self._mails / f"{len(self.arrived) + 1:04}-{name}.eml"
        file.write_bytes(content)
        self.arrived.append(Arrival(request_id, recipient, time.monotonic(), file))


def html_of(mail: Path) -> str:
    """Returns the HTML part of a mail."""
    message = message_from_bytes(mail.read_bytes(), EmailMessage, policy=policy.default)
    body = message.get_body(("html",))
    return str(body.get_content()) if body else ""


def _log_to(file: Path) -> None:
    log = logging.getLogger("mail.log")  # the logger of aiosmtpd
    log.propagate = False
    log.handlers = [logging.FileHandler(file, delay=True)]
    log.setLevel(logging.WARNING)
