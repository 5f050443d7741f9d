"""An SMTP server that does what a test tells it, on a real socket, in a thread of its own.

    with ScriptedRelay() as relay:
        relay.script("rcpt", "550 5.1.1 no such user", recipient="bob@example.com")
        relay.script("dot", Do.DROP)          # the next mail's dot is not answered
        ...
        assert [mail.recipient for mail in relay.accepted] == ["alice@example.com"]

It is strict about the order of commands. It is careless about the end of a mail, as the relays of CVE-2023-51764 were:
a dot between two bare LF ends the mail. With pipelining it replies as RFC 2920 section 3.2 says: one packet replies to
all the commands that are there, unless `piece` or `cut_after` say otherwise.
"""

import asyncio
import base64
import socket
import ssl
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from enum import Enum, auto
from functools import cache
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

import trustme

from tests import tasks
from tests.ports import accept, listen

HOST: Final = "127.0.0.1"

StageName = Literal[
    "connect", "greeting", "ehlo", "starttls", "tls", "auth", "mail", "rcpt", "data", "dot", "rset", "quit"
]


class Do(Enum):
    """What the relay can do instead of a reply that the test gives."""

    USUAL = auto()
    """The usual reply."""
    HOLD = auto()
    """The usual reply, but only after `release`."""
    SILENCE = auto()
    """No reply. The connection stays open."""
    DROP = auto()
    """No reply. The relay closes the connection."""
    RESET = auto()
    """No reply. The relay resets the connection (RST), as a host does that has crashed."""
    HALF_CLOSE = auto()
    """No reply. The relay says that it will send nothing more, and goes on reading."""
    TAKE_AND_DROP = auto()
    """What was asked is done (a mail is accepted). Then the relay closes the connection without a reply."""
    LEAVE = auto()
    """The usual reply. Then the relay closes the connection."""


@dataclass(frozen=True, slots=True)
class Later:
    """A reply after `seconds`: `text`, or the usual one."""

    seconds: float
    text: str | None = None


Answer: TypeAlias = str | Do | Later
"""A reply's text ("550 5.1.1 no such user"; "421 ..." also closes), or what to do instead."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A mail that the relay has taken, as it was sent but without the doubled dots."""

    message_id: str
    recipient: str
    content: bytes
    connection: int
    client: str = ""
    """The address from which it came."""


@dataclass(slots=True)
class _Rule:
    stage: str
    answer: Answer
    recipient: str | None
    always: bool


@cache
def authority() -> trustme.CA:
    """Returns the authority that signs every relay's certificate. Nobody trusts it unless told to."""
    return trustme.CA()


def trusting_context() -> ssl.SSLContext:
    """Returns a client's TLS settings that trust the relays of this module, and nobody else."""
    return ssl.create_default_context(cadata=authority().cert_pem.bytes().decode())


class ScriptedRelay:
    """One SMTP server. It is a context manager. The test's thread may read its attributes."""

    def __init__(
        self,
        *,
        security: Literal["plain", "starttls", "tls"] = "plain",
        users: Mapping[str, str] | None = None,
        mechanisms: str = "PLAIN LOGIN",
        pipelining: bool = False,
        dsn: bool = False,
        certificate_for: str = HOST,
        host: str = HOST,
        on_accept: Callable[[int], None] | None = None,
    ) -> None:
        self.host = host
        self.security = security
        self.users = dict(users or {})
        self.mechanisms = mechanisms
        self.pipelining = pipelining
        self.dsn = dsn
        """Whether it offers delivery status notifications (RFC 3461). Without it, it knows no parameters."""
        self.piece: int | None = None
        """The number of octets in each packet of replies. None sets no limit."""
        self.cut_after: int | None = None
        """The number of octets of replies, the greeting included, after which the first connection is closed."""
        self.takes_mail_for_nobody = False
        """Whether the relay accepts DATA though it refused the recipient. It refuses the mail afterwards."""
        self.for_nobody: list[bytes] = []
        """The contents of such mails."""
        self.packets: list[bytes] = []
        """Everything that the relay read, from all connections, as it came."""
        self.on_accept = on_accept
        """Called with the number of mails accepted, before the reply is written."""
        self.decide: Callable[[str, str | None], Answer | None] | None = None
        """Called with stage and recipient where no script says anything. At "mail" the recipient is not known yet. The
        place of the mail replaces it: "2.1" is the first mail of the second connection."""
        self.port = 0
        self.accepted: list[Accepted] = []
        self.commands: list[str] = []
        """Every command line, from all connections."""
        self.conversations: dict[int, list[str]] = defaultdict(list)
        """The command lines of each connection, by its number."""
        self.open_connections = 0
        self.most_connections = 0
        self.connections = 0
        self.holding = 0
        """The number of replies that are held back now."""
        self._rules: list[_Rule] = []
        self.certify(certificate_for)

    def certify(self, host: str) -> None:
        """Sets the host of the certificate that the relay shows to all who encrypt from now on."""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority().issue_cert(host).configure_cert(tls)
        self._tls = tls

    def script(
        self,
        stage: StageName,
        *answers: Answer,
        recipient: str | None = None,
        always: bool = False,
    ) -> None:
        """Sets the answers to the next commands of that stage (for that recipient), one for each command.

        `always`: the last answer stays. Stages: connect, greeting, tls (instead of a handshake, once the other side has
        said hello), dot, and the commands' names.
        """
        for number, answer in enumerate(answers, 1):
            self._rules.append(_Rule(stage, answer, recipient, always and number == len(answers)))

    def release(self) -> None:
        """Sends every reply that is held back. From then on no reply is held back."""
        self._loop.call_soon_threadsafe(self._released.set)

    @property
    def recipients(self) -> list[str]:
        """The recipients of all accepted mails, in order."""
        return [mail.recipient for mail in self.accepted]

    @property
    def url(self) -> str:
        """The value for SMTP_URL, with the first user's name and password."""
        scheme = {"plain": "smtp", "starttls": "smtp+starttls", "tls": "smtps"}[self.security]
        login = "".join(f"{user}:{password}@" for user, password in list(self.users.items())[:1])
        return f"{scheme}://{login}{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listens on a free port, or after `stop` on the same port again."""
        self._socket = listen(1000, port=self.port, host=self.host)
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._released = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._conversing: set[asyncio.Task[None]] = set()
        self._accepted: list[socket.socket] = []
        self._loop.add_reader(self._socket, self._accept_connections)
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Closes the port and every connection at once, as a crash would. Does nothing if that was done before."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def drop_connections(self) -> None:
        """Closes every connection without a reply, and goes on listening. They are closed when this returns."""
        asyncio.run_coroutine_threadsafe(tasks.end(self._conversing), self._loop).result(60)

    def answer(self, stage: str, recipient: str | None) -> Answer:
        """Returns what to do now. The connections call this."""
        for rule in self._rules:
            if rule.stage == stage and rule.recipient in (None, recipient):
                if not rule.always:
                    self._rules.remove(rule)
                return rule.answer
        return (self.decide and self.decide(stage, recipient)) or Do.USUAL

    def accept(self, mail: Accepted) -> None:
        """Takes a mail. The connections call this before they reply."""
        self.accepted.append(mail)
        if self.on_accept is not None:
            self.on_accept(len(self.accepted))

    async def hold(self) -> None:
        """Waits for `release`. The connections call this."""
        self.holding += 1
        try:
            await self._released.wait()
        finally:
            self.holding -= 1

    async def start_tls(self, writer: asyncio.StreamWriter) -> None:
        """Goes on with TLS. The connections call this."""
        await writer.start_tls(self._tls)

    def _accept_connections(self) -> None:
        # This is neither a task nor `asyncio.start_server`: stopped at the wrong moment, those forget a connection.
        for accepted, client in accept(self._socket):
            self._accepted.append(accepted)
            task = self._loop.create_task(self._serve(accepted, client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(self._conversing.discard)

    async def _end(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()
        await tasks.end(self._tasks)
        await tasks.close(self._accepted)

    async def _serve(self, accepted: socket.socket, client: str) -> None:
        self.connections += 1
        self.open_connections += 1
        self.most_connections = max(self.most_connections, self.open_connections)
        try:
            with suppress(OSError, EOFError):  # one of the two sides has left
                await self._converse(accepted, self.connections, client)
        finally:
            self.open_connections -= 1

    async def _converse(self, accepted: socket.socket, number: int, client: str) -> None:
        connected: asyncio.Future[asyncio.StreamWriter] = self._loop.create_future()
        reader = asyncio.StreamReader(limit=2**20)
        # With a callback the protocol knows that it is a server, which matters in `start_tls`.
        protocol = asyncio.StreamReaderProtocol(reader, lambda _, writer: connected.set_result(writer))
        handshake = self.answer("tls", None) if self.security == "tls" else Do.USUAL
        tls = self._tls if self.security == "tls" and handshake is Do.USUAL else None
        await self._loop.connect_accepted_socket(lambda: protocol, accepted, ssl=tls)
        writer = await connected
        if this := asyncio.current_task():
            self._conversing.add(this)
        try:
            connection = _Connection(self, reader, writer, number, client)
            await (connection.run() if handshake is Do.USUAL else connection.fail_handshake(handshake))
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            writer.close()


_NO_LINGERING: Final = struct.pack("ii", 1, 0)
"""The option that makes a socket send RST when it is closed."""


class _Left(ConnectionError):
    """Raised when the conversation is over."""


class _Connection:
    """One conversation."""

    def __init__(
        self,
        relay: ScriptedRelay,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
        client: str,
    ) -> None:
        self._relay = relay
        self._reader = reader
        self._writer = writer
        self._number = number
        self._client = client
        self._encrypted = relay.security == "tls"
        self._logged_in = False
        self._sender: str | None = None
        self._recipient: str | None = None
        self._mails = 0
        self._heard = b""
        self._unsaid = b""
        self._said = 0

    async def run(self) -> None:
        await self._do("connect", None)
        await self._do("greeting", "220 relay.test ESMTP")
        while line := await self._line():
            command = line.decode("utf-8", "backslashreplace").removesuffix("\r\n")
            self._relay.commands.append(command)
            self._relay.conversations[self._number].append(command)
            verb, _, argument = command.partition(" ")
            handler = self._HANDLERS.get(verb.upper())
            if handler is None:
                await self._say("500 5.5.2 unknown command")
            else:
                await handler(self, argument)

    async def fail_handshake(self, answer: Answer) -> None:
        """Waits for the other side's hello, and does something else than TLS."""
        await self._reader.read(1)
        await self._obey(answer, None)
        await self._flush()
        raise _Left

    async def _ehlo(self, _argument: str) -> None:
        offers = ["relay.test", "SIZE 10485760", "ENHANCEDSTATUSCODES"]
        if self._relay.pipelining:
            offers.append("PIPELINING")
        if self._relay.dsn:
            offers.append("DSN")
        if self._relay.security == "starttls" and not self._encrypted:
            offers.append("STARTTLS")
        if self._relay.users and (self._encrypted or self._relay.security == "plain"):
            offers.append(f"AUTH {self._relay.mechanisms}")
        lines = [f"250-{offer}" for offer in offers[:-1]] + [f"250 {offers[-1]}"]
        await self._do("ehlo", "\r\n".join(lines))

    async def _starttls(self, _argument: str) -> None:
        if await self._do("starttls", "220 2.0.0 go ahead"):
            await self._flush()
            if (handshake := self._relay.answer("tls", None)) is not Do.USUAL:
                await self.fail_handshake(handshake)
            await self._relay.start_tls(self._writer)
            self._encrypted = True

    async def _auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if mechanism.upper() == "PLAIN":
            _, user, password = base64.b64decode(initial).decode().split("\0")
        else:
            user = base64.b64decode(initial).decode()
            await self._say("334 UGFzc3dvcmQ6")
            password = base64.b64decode(await self._line()).decode()
        right = self._relay.users.get(user) == password
        self._logged_in = right
        await self._do("auth", "235 2.7.0 welcome" if right else "535 5.7.8 wrong password")

    async def _mail(self, argument: str) -> None:
        if self._relay.users and not self._logged_in:
            await self._say("530 5.7.0 log in first")
        elif self._sender is not None:
            await self._say("503 5.5.1 nested MAIL")
        elif not (self._relay.dsn or argument.endswith(">")):
            await self._say("555 5.5.4 unknown parameter")
        elif await self._do("mail", "250 2.1.0 ok", recipient=self._place()):
            self._sender = _path(argument)

    async def _rcpt(self, argument: str) -> None:
        if self._sender is None:
            await self._say("503 5.5.1 MAIL first")
        elif not (self._relay.dsn or argument.endswith(">")):
            await self._say("555 5.5.4 unknown parameter")
        elif await self._do("rcpt", "250 2.1.5 ok", recipient=_path(argument)):
            self._recipient = _path(argument)

    async def _data(self, _argument: str) -> None:
        if self._recipient is None and self._sender is not None and self._relay.takes_mail_for_nobody:
            await self._say("354 go ahead")
            self._relay.for_nobody.append(await self._content())
            self._sender = None
            await self._say("554 5.5.1 no valid recipients")
        elif self._recipient is None:
            await self._say("503 5.5.1 RCPT first")
        elif await self._do("data", "354 go ahead", recipient=self._recipient):
            content = await self._content()
            recipient, self._sender, self._recipient = self._recipient, None, None
            mail = Accepted(_message_id(content), recipient, content, self._number, self._client)
            await self._do("dot", "250 2.0.0 ok", recipient=recipient, effect=lambda: self._relay.accept(mail))

    async def _content(self) -> bytes:
        lines = []
        while (line := await self._line()) != b".\r\n":
            if not line:
                raise _Left
            lines.append(line.removeprefix(b"."))
        return b"".join(lines)

    async def _rset(self, _argument: str) -> None:
        if await self._do("rset", "250 2.0.0 ok"):
            self._sender = self._recipient = None

    async def _quit(self, _argument: str) -> None:
        self._relay.open_connections -= 1  # before the client knows, so that nobody is counted twice
        try:
            await self._do("quit", "221 2.0.0 bye")
        finally:
            self._relay.open_connections += 1
        raise _Left

    async def _do(
        self,
        stage: StageName,
        usual: str | None,
        *,
        recipient: str | None = None,
        effect: Callable[[], None] = lambda: None,
    ) -> bool:
        """Answers as the script says. Returns True if the answer is a go-ahead, so that what was asked is done."""
        return await self._obey(self._relay.answer(stage, recipient), usual, effect)

    async def _obey(self, answer: Answer, usual: str | None, effect: Callable[[], None] = lambda: None) -> bool:
        if answer in (Do.DROP, Do.RESET):
            await self._leave(reset=answer is Do.RESET)
        if answer in (Do.SILENCE, Do.HALF_CLOSE):
            await self._flush()
            if answer is Do.HALF_CLOSE:
                self._writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
            await self._reader.read(-1)
            raise _Left
        if answer is Do.HOLD:
            await self._flush()
            await self._relay.hold()
        if isinstance(answer, Later):
            await self._flush()
            await asyncio.sleep(answer.seconds)
            answer = answer.text or Do.USUAL
        reply = answer if isinstance(answer, str) else usual
        go_ahead = reply is None or reply[:1] in ("2", "3")
        if go_ahead:
            effect()
        if answer is Do.TAKE_AND_DROP:
            await self._leave()
        if reply is not None:
            await self._say(reply)
            if answer is Do.LEAVE or reply.startswith("421"):
                await self._flush()
                raise _Left
        return go_ahead

    async def _line(self) -> bytes:
        """Returns the next line, or nothing at the end. Sends all replies before it waits for the other side."""
        while b"\n" not in self._heard:
            await self._flush()
            packet = await self._reader.read(2**16)
            if not packet:
                return b""
            self._relay.packets.append(packet)
            self._heard += packet
        line, end, self._heard = self._heard.partition(b"\n")
        return line + end

    async def _say(self, text: str) -> None:
        self._unsaid += f"{text}\r\n".encode()
        if not self._relay.pipelining:
            await self._flush()

    async def _flush(self) -> None:
        data, self._unsaid = self._unsaid, b""
        most = self._relay.cut_after
        is_cut = most is not None and self._number == 1 and self._said + len(data) >= most
        if most is not None and is_cut:
            data = data[: most - self._said]
        self._said += len(data)
        piece = self._relay.piece or len(data) or 1
        for start in range(0, len(data), piece):
            self._writer.write(data[start : start + piece])
            await self._writer.drain()
        if is_cut:
            raise _Left

    def _place(self) -> str:
        self._mails += 1
        return f"{self._number}.{self._mails}"

    async def _leave(self, *, reset: bool = False) -> None:
        await self._flush()
        if reset:
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
        self._writer.transport.abort()
        raise _Left

    _HANDLERS: Final = {
        "EHLO": _ehlo,
        "STARTTLS": _starttls,
        "AUTH": _auth,
        "MAIL": _mail,
        "RCPT": _rcpt,
        "DATA": _data,
        "RSET": _rset,
        "QUIT": _quit,
    }


def _path(argument: str) -> str:
    return argument.partition("<")[2].partition(">")[0]


def _message_id(content: bytes) -> str:
    return str(BytesHeaderParser().parsebytes(content)["Message-ID"] or "")
