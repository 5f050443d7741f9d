"""Reads a folder on an IMAP server (RFC 9051 and 3501): the one place that knows imapclient.

Messages are looked at without marking them as seen. One that was dealt with moves to a folder of its own. Where the
server can't move, or the folder can only be read, the message stays and its UID is remembered.
"""

import json
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Final

from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, IMAPClientReadOnlyError, LoginError

from worker.domain.errors import MailboxAway, MailboxRefused
from worker.domain.imap_account import ImapAccount
from worker.domain.replies import one_line
from worker.feedback.mailbox import Message, Pause
from worker.feedback.parts import READ_LIMIT

DONE: Final = "Stockbell"
"""The folder for what was dealt with."""
KEYWORD: Final = "$Stockbell"
"""What a message is marked with where it can't be moved."""
CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 60.0
POLL_SECONDS: Final = 60.0
"""How often to ask a server that doesn't tell."""
IDLE_SECONDS: Final = 240.0
"""RFC 2177 allows 29 minutes, but routers forget a silent connection much sooner."""

_TICK: Final = 1.0
_AT_ONCE: Final = 100
_OCTETS_AT_ONCE: Final = 4 * READ_LIMIT
_UIDS_AT_ONCE: Final = 50_000
"""The answer to a search is one line, and imaplib reads no line of over 1,000,000 octets."""
_PART: Final = f"BODY.PEEK[]<0.{READ_LIMIT}>"
_CONTENT: Final = b"BODY[]<0>"


class Means(StrEnum):
    """What is done with a message that was dealt with."""

    MOVE = "moves it (MOVE)"
    COPY = "copies it and expunges it alone (UIDPLUS)"
    MARK = "marks it as seen: the server has neither MOVE nor UIDPLUS"
    NONE = "leaves it as it is: the folder can only be read"


class ImapMailbox:
    """A folder on an IMAP server. Its position is the UIDVALIDITY and the highest UID that was looked at."""

    source = "imap"

    def __init__(
        self,
        account: ImapAccount,
        *,
        tls_context: ssl.SSLContext | None = None,
        changes_nothing: bool = False,
        answer_seconds: float | None = None,
    ) -> None:
        """With `changes_nothing` the folder is only read. `answer_seconds` is how long to wait for each."""
        self._account = account
        self._answer_seconds = answer_seconds or ANSWER_SECONDS
        self._tls_context = tls_context
        self._changes_nothing = changes_nothing
        self.where = str(account)
        self.key = account.key
        self._client: IMAPClient | None = None
        self._means = Means.NONE
        self._done = DONE
        self._validity = 0
        self._highest = 0

    def start_at(self, position: str) -> None:
        """Goes on behind the highest UID that was looked at, if the UIDs are still those."""
        with suppress(ValueError, TypeError, KeyError):
            found = json.loads(position)
            self._validity, self._highest = int(found["uidValidity"]), int(found["uid"])

    @property
    def position(self) -> str:
        """How far the folder was read, as JSON."""
        return json.dumps({"uidValidity": self._validity, "uid": self._highest}) if self._highest else ""

    def messages(self) -> Iterator[Message]:
        """Yields the messages with higher UIDs than were looked at. Connects and selects the folder first."""
        with self._translated():
            client, next_uid = self._selected()
        for uids in self._unread(client, next_uid):
            for start in range(0, len(uids), _AT_ONCE):
                yield from self._fetched(client, uids[start : start + _AT_ONCE])

    def settle(self, dealt_with: Sequence[str], left: Sequence[str]) -> None:
        """Moves messages away, and remembers the highest UID."""
        uids = [int(name) for name in dealt_with]
        if uids:
            with self._translated():
                self._put_away(uids)
        self._highest = max(self._highest, *uids, *map(int, left))

    def wait(self, pause: Pause) -> None:
        """Waits until the server says that something came in (IDLE), or for a minute."""
        with self._translated():
            client = self._connected()
            if client.has_capability("IDLE"):
                _idle(client, pause)
            else:
                pause(POLL_SECONDS)

    def close(self) -> None:
        """Logs out, if that is possible."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(IMAPClientError, OSError):
                client.logout()
            with suppress(IMAPClientError, OSError):
                client.shutdown()

    def look(self) -> str:
        """Logs in, opens the folder, and returns what the server can do, for people."""
        with self._translated():
            client, _ = self._selected()
            hears = "says at once what comes in (IDLE)" if client.has_capability("IDLE") else "is asked every minute"
            return f"{hears}; what is dealt with: {self._means}"

    # connection

    def _connected(self) -> IMAPClient:
        if self._client is None:
            self._client = _logged_in(self._account, self._tls_context, self._answer_seconds)
        return self._client

    def _selected(self) -> tuple[IMAPClient, int]:
        """Opens the folder anew, so that UIDVALIDITY and UIDNEXT are those of now."""
        client = self._connected()
        found, is_writable = _select(client, self._account.folder, reads_only=self._changes_nothing)
        self._means = _means(client, found, is_writable=is_writable and not self._changes_nothing)
        validity = int(found.get(b"UIDVALIDITY", 0))  # type: ignore[call-overload]  # imapclient has no types
        if validity != self._validity:
            self._validity, self._highest = validity, 0
        return client, int(found.get(b"UIDNEXT", 0))  # type: ignore[call-overload]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turns errors of connection and server into MailboxAway. The next use connects anew."""
        try:
            yield
        except (LoginError, MailboxRefused) as error:
            self._drop()
            words = _words(error).replace(self._account.password.get_secret_value(), "***")
            raise MailboxRefused(f"{self.where}: the server refuses user or password: {words}") from error
        except ssl.SSLCertVerificationError as error:
            self._drop()
            raise MailboxAway(f"{self.where}: certificate not accepted: {error.verify_message}") from error
        except (IMAPClientError, OSError, ValueError, IndexError, KeyError) as error:  # what it raises for odd answers
            self._drop()
            raise MailboxAway(f"{self.where}: {_words(error)}") from error

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(IMAPClientError, OSError):
                client.shutdown()

    # reading

    def _unread(self, client: IMAPClient, next_uid: int) -> Iterator[Sequence[int]]:
        """Yields UIDs of messages that were not looked at, in rising order."""
        first = self._highest + 1
        if not next_uid:  # some servers don't say
            with self._translated():
                found = _found(client, first, "*")
            yield found
            return
        for start in range(first, next_uid, _UIDS_AT_ONCE):
            with self._translated():
                found = _found(client, start, str(min(start + _UIDS_AT_ONCE, next_uid) - 1))
            yield found

    def _fetched(self, client: IMAPClient, uids: Sequence[int]) -> Iterator[Message]:
        with self._translated():
            sizes = client.fetch(uids, ["RFC822.SIZE"])
        for group in _groups(uids, lambda uid: min(READ_LIMIT, int(sizes.get(uid, {}).get(b"RFC822.SIZE", 0)))):
            with self._translated():
                found = client.fetch(group, [_PART])
            for uid in group:
                content = found.pop(uid, {}).get(_CONTENT)
                if isinstance(content, bytes):  # else somebody has deleted it meanwhile
                    yield Message(str(uid), content)

    # what was dealt with

    def _put_away(self, uids: Sequence[int]) -> None:
        client = self._connected()
        match self._means:
            case Means.MOVE:
                self._into_folder(client, client.move, uids)
            case Means.COPY:
                self._into_folder(client, client.copy, uids)
                client.add_flags(uids, [rb"\Deleted"], silent=True)
                client.uid_expunge(uids)
            case Means.MARK:
                client.add_flags(uids, [rb"\Seen"], silent=True)
                with suppress(IMAPClientError):  # not all servers take keywords
                    client.add_flags(uids, [KEYWORD.encode()], silent=True)
            case Means.NONE:
                pass

    def _into_folder(
        self, client: IMAPClient, act: Callable[[Sequence[int], str], object], uids: Sequence[int]
    ) -> None:
        """Moves or copies. Makes the folder if it is not there, at the top or, where that is refused, in the inbox."""
        try:
            act(uids, self._done)
        except IMAPClientAbortError:
            raise
        except IMAPClientError:
            self._done = _made_folder(client)
            act(uids, self._done)


def _logged_in(account: ImapAccount, tls_context: ssl.SSLContext | None, answer_seconds: float) -> IMAPClient:
    context = tls_context or (None if account.security == "plain" else ssl.create_default_context())
    client = IMAPClient(
        account.host,
        account.port,
        ssl=account.security == "tls",
        ssl_context=context,
        timeout=SocketTimeout(min(CONNECT_SECONDS, answer_seconds), answer_seconds),
    )
    try:
        if account.security == "starttls":
            client.starttls(context)
        if client.has_capability("LOGINDISABLED"):
            raise MailboxRefused("it takes no password here (LOGINDISABLED)")
        _log_in(client, account)
    except BaseException:
        with suppress(IMAPClientError, OSError):
            client.shutdown()
        raise
    return client


def _log_in(client: IMAPClient, account: ImapAccount) -> None:
    password = account.password.get_secret_value()
    if client.has_capability("AUTH=PLAIN"):  # in UTF-8 (RFC 4616); LOGIN takes ASCII only
        client.plain_login(account.username, password)
    else:
        client.login(account.username, password)


def _select(client: IMAPClient, folder: str, *, reads_only: bool) -> tuple[dict[bytes, object], bool]:
    """Opens a folder. Returns the server's answer, and whether the folder can be written to."""
    if not reads_only:
        with suppress(IMAPClientReadOnlyError):
            return client.select_folder(folder), True
    return client.select_folder(folder, readonly=True), False


def _means(client: IMAPClient, found: dict[bytes, object], *, is_writable: bool) -> Means:
    if not is_writable or b"READ-ONLY" in found:
        return Means.NONE
    if client.has_capability("MOVE"):
        return Means.MOVE
    return Means.COPY if client.has_capability("UIDPLUS") else Means.MARK


def _found(client: IMAPClient, first: int, last: str) -> Sequence[int]:
    # "*" is the last message even if its UID is lower (RFC 9051 section 9, seq-range).
    return sorted(uid for uid in client.search(["UID", f"{first}:{last}", "UNDELETED"]) if uid >= first)


def _groups(uids: Sequence[int], size: Callable[[int], int]) -> Iterator[Sequence[int]]:
    """Yields groups of messages that are not too large together."""
    group: list[int] = []
    octets = 0
    for uid in uids:
        if group and octets + size(uid) > _OCTETS_AT_ONCE:
            yield group
            group, octets = [], 0
        group.append(uid)
        octets += size(uid)
    if group:
        yield group


def _idle(client: IMAPClient, pause: Pause) -> None:
    """Waits until the server says something, the process shall end, or it is time to show that we are here."""
    client.idle()
    until = time.monotonic() + IDLE_SECONDS
    while time.monotonic() < until and not pause(0):
        began = time.monotonic()
        said = client.idle_check(_TICK)
        if any(b"EXISTS" in each for each in said):
            break
        if not said and time.monotonic() - began < _TICK / 2:
            break  # the connection ended: the next command says so
    client.idle_done()


def _made_folder(client: IMAPClient) -> str:
    """Makes the folder for what was dealt with, and returns its name."""
    prefix, delimiter = _personal(client)
    names = dict.fromkeys([f"{prefix}{DONE}", f"INBOX{delimiter}{DONE}"])
    refusal: Exception | None = None
    for name in names:
        try:
            if not client.folder_exists(name):
                client.create_folder(name)
        except IMAPClientAbortError:
            raise
        except IMAPClientError as error:
            refusal = error
            continue
        with suppress(IMAPClientError):
            client.subscribe_folder(name)
        return name
    raise refusal or IMAPClientError("no folder can be made")


def _personal(client: IMAPClient) -> tuple[str, str]:
    """Returns the prefix of own folders and the delimiter of the hierarchy (RFC 2342)."""
    if client.has_capability("NAMESPACE"):
        with suppress(IMAPClientError, IndexError, TypeError):
            prefix, delimiter = client.namespace().personal[0]
            return prefix or "", delimiter or "/"
    return "", "/"


def _words(error: BaseException) -> str:
    """Returns an error as one line, safe to show. imaplib shows some of the server's words as bytes."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    text = str(error.args[0] if error.args else error)
    return one_line(text.removeprefix("b'").removesuffix("'"))[:200] or type(error).__name__
