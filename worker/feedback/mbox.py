"""Reads an mbox: one file with all messages (RFC 4155), which is never changed.

It is locked as Debian's programs do it, by fcntl and by a file beside it (policy, section 11.6), but only while a few
messages are read. How far it was read is an offset, with a digest of what stands before it: a file that was replaced
or truncated is read from its beginning, and what is known by then is known to be repeated.
"""

import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from hashlib import blake2b
from io import BufferedReader
from pathlib import Path
from typing import Final

from worker.domain.errors import MailboxAway
from worker.feedback.mailbox import Message, Pause
from worker.feedback.parts import READ_LIMIT

POLL_SECONDS: Final = 2.0
LOCK_SECONDS: Final = 10.0
"""How long to wait for whoever has the lock."""
STALE_SECONDS: Final = 300.0
"""A lock file that is older was forgotten (liblockfile)."""
QUIET_SECONDS: Final = 60.0
"""A last message without an empty line after it is complete once the file has not grown for so long."""

_AT_ONCE: Final = 100
_OCTETS_AT_ONCE: Final = 4 * READ_LIMIT
_LINE: Final = 64 * 1024
_BEFORE: Final = 1024
_NOT_OURS: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
"""Errors of a folder in which we can't make files."""
_FROM: Final = b"From "
_EMPTY: Final = (b"\n", b"\r\n")


class Mbox:
    """An mbox file. Its position is an offset and a digest of the octets before it."""

    source = "mbox"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.where = str(path)
        self.key = f"mbox:{os.path.realpath(path)}"
        self._place = _Place()
        self._read_to: dict[str, _Place] = {}
        """The place after each message that was read."""

    def start_at(self, position: str) -> None:
        """Goes on behind what was read before, if that is still there."""
        with suppress(ValueError, TypeError, KeyError):
            found = json.loads(position)
            self._place = _Place(int(found["offset"]), str(found["before"]))

    @property
    def position(self) -> str:
        """How far the file was read, as JSON."""
        return json.dumps({"offset": self._place.offset, "before": self._place.before}) if self._place.offset else ""

    def messages(self) -> Iterator[Message]:
        """Yields what is behind the position, in order. The lock is free while a message is looked at."""
        place: _Place | None = None
        while read := self._read(place):
            for start, end, content in read:
                self._read_to[str(start)] = end
                yield Message(str(start), content)
            place = read[-1][1]

    def settle(self, dealt_with: Sequence[str], left: Sequence[str]) -> None:
        """Moves the position behind these messages."""
        ends = [self._read_to.pop(name) for name in (*dealt_with, *left)]
        self._place = max(ends, key=lambda place: place.offset)

    def wait(self, pause: Pause) -> None:
        """Waits a little: a file tells nobody that it has grown."""
        pause(POLL_SECONDS)

    def close(self) -> None:
        """Nothing is open."""

    def _read(self, place: "_Place | None") -> "list[tuple[int, _Place, bytes]]":
        """Returns some messages from `place` on, by default from the position: start, the place after it, content.

        Nothing if the file was changed meanwhile before the place: the next look at it begins anew.
        """
        if place is None:
            self._read_to.clear()
            if self._is_at_end():
                return []
        with _translated(self.where), self._path.open("rb") as file, _locked(self._path, file):
            if not (place or self._place).fits(file):
                if place:
                    return []
                self._place = _Place()
            is_quiet = os.fstat(file.fileno()).st_mtime < time.time() - QUIET_SECONDS
            start = (place or self._place).offset
            if not start and not _begins_as_mbox(file):
                raise MailboxAway(f'{self.where}: is not an mbox: its first line does not begin with "From "')
            found = _some(_messages(file, start, is_quiet=is_quiet))
            return [(first, _place_at(file, last), content) for first, last, content in found]

    def _is_at_end(self) -> bool:
        with _translated(self.where):
            found = self._path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise MailboxAway(f"{self.where}: is not a file")
        return found.st_size == self._place.offset


class _Place:
    """A place in the file: an offset, and a digest of what stands before it."""

    def __init__(self, offset: int = 0, before: str = "") -> None:
        self.offset, self.before = offset, before

    def fits(self, file: BufferedReader) -> bool:
        """Whether the file has what it had before this place."""
        is_long_enough = os.fstat(file.fileno()).st_size >= self.offset
        return is_long_enough and (not self.offset or _place_at(file, self.offset).before == self.before)


def _place_at(file: BufferedReader, offset: int) -> _Place:
    start = max(0, offset - _BEFORE)
    file.seek(start)
    return _Place(offset, blake2b(file.read(offset - start), digest_size=16).hexdigest())


def _begins_as_mbox(file: BufferedReader) -> bool:
    """Whether a message could begin here. Without this, a single message in a file would read as an empty mailbox."""
    file.seek(0)
    begin = file.read(_BEFORE).lstrip(b"\r\n")[: len(_FROM)]
    return _FROM.startswith(begin)


def _some(messages: Iterator[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    found: list[tuple[int, int, bytes]] = []
    octets = 0
    for message in messages:
        found.append(message)
        octets += len(message[2])
        if len(found) == _AT_ONCE or octets >= _OCTETS_AT_ONCE:
            break
    return found


def _messages(file: BufferedReader, start: int, *, is_quiet: bool) -> Iterator[tuple[int, int, bytes]]:
    """Yields start, end and content of the messages from `start` on. One that is still being written is none."""
    file.seek(start)
    at = start
    content: list[bytes] = []
    octets = 0
    is_after_empty, is_in_line, is_begun = True, False, False
    while piece := file.readline(_LINE):
        if is_after_empty and not is_in_line and piece.startswith(_FROM):
            if is_begun:
                yield start, at, b"".join(content)
            start, content, octets, is_begun = at, [], 0, True
        elif is_begun and octets < READ_LIMIT:
            content.append(piece if is_in_line else _unescaped(piece))
            octets += len(piece)
        at += len(piece)
        is_after_empty = not is_in_line and piece in _EMPTY
        is_in_line = not piece.endswith(b"\n")
    if is_begun and (is_after_empty or is_quiet):
        yield start, at, b"".join(content)


def _unescaped(line: bytes) -> bytes:
    """Returns a line without the sign by which "From " at its beginning was escaped."""
    return line[1:] if line.startswith(b">") and line.lstrip(b">").startswith(_FROM) else line


@contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MailboxAway(f"{where}: {error.strerror}") from error


@contextmanager
def _locked(path: Path, file: BufferedReader) -> Iterator[None]:
    """Has both locks meanwhile, or raises MailboxAway. Does not wait for one while it has the other."""
    give_up_at = time.monotonic() + LOCK_SECONDS
    while True:
        with ExitStack() as locks:
            if _lock(path, file, locks):
                yield
                return
        if time.monotonic() >= give_up_at:
            raise MailboxAway(f"{path}: is locked by another program")
        time.sleep(0.1)


def _lock(path: Path, file: BufferedReader, locks: ExitStack) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    locks.callback(fcntl.lockf, file, fcntl.LOCK_UN)
    lock_file = path.with_name(f"{path.name}.lock")
    try:
        _make(lock_file)
    except FileExistsError:
        _remove_forgotten(lock_file)
        return False
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        return True  # fcntl has to do
    locks.callback(lock_file.unlink, missing_ok=True)
    return True


def _make(lock_file: Path) -> None:
    """Makes the lock file, with our process id in it; raises FileExistsError."""
    number = os.open(lock_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
    try:
        os.write(number, f"{os.getpid()}\n".encode())
    finally:
        os.close(number)


def _remove_forgotten(lock_file: Path) -> None:
    with suppress(OSError):
        if _is_forgotten(lock_file):
            lock_file.unlink()


def _is_forgotten(lock_file: Path) -> bool:
    """Whether whoever made it has ended, or made it very long ago."""
    if lock_file.stat().st_mtime < time.time() - STALE_SECONDS:
        return True
    with suppress(ValueError):
        try:
            os.kill(int(lock_file.read_text(errors="replace").split()[0]), 0)
        except ProcessLookupError:
            return True
        except (IndexError, OverflowError):
            return False
    return False
