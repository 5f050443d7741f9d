"""Reads a Maildir: one file for each message (https://cr.yp.to/proto/maildir.html).

A message that was dealt with moves from `new` to `cur`, with the flag that says that it was seen, as if somebody had
read it. All others stay in `new`. Others may deliver and read at the same time.
"""

import base64
import errno
import json
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

import structlog

from worker.domain.errors import MailboxAway
from worker.feedback.mailbox import Message, Pause
from worker.feedback.parts import READ_LIMIT

POLL_SECONDS: Final = 2.0
LEFT_LIMIT: Final = 100_000
"""Of so many messages that are left in `new` it is known that they were looked at. More are looked at again."""

_MARK_OCTETS: Final = 8
_CLOCK_TICK_NS: Final = 1_000_000_000
"""Two changes of a folder within this time may have the same time stamp."""
_PASSING: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE}
"""Errors that are not about this message."""
_INFO: Final = ":2,"
_SEEN: Final = "S"

log = structlog.get_logger()


class Maildir:
    """A Maildir. Its position is the marks of the messages that are left in `new`."""

    source = "maildir"

    def __init__(self, path: Path, *, changes_nothing: bool = False) -> None:
        """With `changes_nothing` it may be a Maildir that we can only read."""
        self._rights = os.R_OK | os.X_OK | (0 if changes_nothing else os.W_OK)
        self._new, self._cur = path / "new", path / "cur"
        self.where = str(path)
        self.key = f"maildir:{os.path.realpath(path)}"
        self._left: dict[bytes, None] = {}
        self._unreadable: set[bytes] = set()
        self._looked_at: int | None = None
        """The time stamp of `new` when all its messages were looked at."""

    def start_at(self, position: str) -> None:
        """Takes over which messages were left."""
        with suppress(ValueError, TypeError, KeyError):
            marks = base64.b64decode(json.loads(position)["left"])
            self._left = dict.fromkeys(
                marks[start : start + _MARK_OCTETS] for start in range(0, len(marks), _MARK_OCTETS)
            )

    @property
    def position(self) -> str:
        """Which messages are left, as JSON."""
        return json.dumps({"left": base64.b64encode(b"".join(self._left)).decode()}) if self._left else ""

    def messages(self) -> Iterator[Message]:
        """Yields the messages in `new` that were not looked at, in no order."""
        self._check()
        changed_at, now = self._changed_at(), time.time_ns()
        if changed_at == self._looked_at:
            return
        there: set[bytes] = set()
        for name in self._names():
            mark = _mark(name)
            there.add(mark)
            if mark in self._left or mark in self._unreadable:
                continue
            if (message := self._read(name, mark)) is not None:
                yield message
        self._left = {mark: None for mark in self._left if mark in there}
        self._unreadable &= there
        self._looked_at = changed_at if changed_at < now - _CLOCK_TICK_NS else None

    def settle(self, dealt_with: Sequence[str], left: Sequence[str]) -> None:
        """Moves messages to `cur`. One that is gone was moved by another reader."""
        same = [name for name in dealt_with if not self._move(name)]
        self._left |= dict.fromkeys(map(_mark, [*left, *same]))
        for mark in list(self._left)[:-LEFT_LIMIT]:
            del self._left[mark]

    def wait(self, pause: Pause) -> None:
        """Waits a little: a folder tells nobody that it has changed."""
        pause(POLL_SECONDS)

    def close(self) -> None:
        """Nothing is open."""

    def _move(self, name: str) -> bool:
        """Moves a message to `cur`. False: one of the same name is there, which a rename would delete."""
        target = self._cur / _seen(name)
        with _translated(self.where), suppress(FileNotFoundError):
            if target.exists():
                return False
            (self._new / name).rename(target)
        return True

    def _check(self) -> None:
        """Raises MailboxAway before anything is read that could not be marked afterwards."""
        for folder in (self._new, self._cur):
            with _translated(self.where):
                is_there = folder.is_dir()
            if not is_there:
                raise MailboxAway(f"{self.where}: is not a Maildir: there is no folder {folder.name}")
            if not os.access(folder, self._rights):
                raise MailboxAway(f"{self.where}: no permission to read and change the folder {folder.name}")

    def _changed_at(self) -> int:
        with _translated(self.where):
            return self._new.stat().st_mtime_ns

    def _names(self) -> Iterator[str]:
        with _translated(self.where), os.scandir(self._new) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield entry.name

    def _read(self, name: str, mark: bytes) -> Message | None:
        """Returns a message. None: it is gone, no regular file, or can't be read."""
        try:
            content = _content(self._new / name)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _PASSING:
                raise MailboxAway(f"{self.where}: {error.strerror}") from error
            self._unreadable.add(mark)
            log.warning("mailbox.message_skipped", mailbox=self.where, message=name, reason=error.strerror)
            return None
        if content is None:
            self._unreadable.add(mark)
            return None
        return Message(name, content)


@contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MailboxAway(f"{where}: {error.strerror}") from error


def _content(path: Path) -> bytes | None:
    """Returns the beginning of a regular file; None: it is none. Neither waits for a pipe nor follows a link."""
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        return None
    with os.fdopen(number, "rb") as file:
        return file.read(READ_LIMIT)


def _seen(name: str) -> str:
    """Returns the name in `cur`. The flags are letters in the order of the alphabet."""
    unique, _, flags = name.partition(_INFO)
    return f"{unique}{_INFO}{''.join(sorted({*flags, _SEEN}))}"


def _mark(name: str) -> bytes:
    return blake2b(os.fsencode(name), digest_size=_MARK_OCTETS).digest()
