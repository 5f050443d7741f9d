"""What all mailboxes have in common: messages are read, and only dealt with after what they say is committed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

Pause = Callable[[float], bool]
"""Waits for at most so many seconds. True: the process shall end."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a mailbox, or the first `parts.READ_LIMIT` octets of it."""

    name: str
    """names it within its mailbox: a file, an offset, a UID"""
    content: bytes = field(repr=False)


class Mailbox(Protocol):
    """A mailbox that others write to, and may read as well. Nothing in it is ever deleted.

    All methods raise MailboxAway.
    """

    source: str
    """What kind of mailbox it is, as reports keep it."""
    where: str
    """The mailbox for messages to people, without user and password."""
    key: str
    """Under which its position is kept."""

    def start_at(self, position: str) -> None:
        """Goes on where an earlier process was. A position that does not fit, or can't be read, is none."""
        ...

    @property
    def position(self) -> str:
        """How far the mailbox was read, as text to be kept. Empty: there is nothing to keep."""
        ...

    def messages(self) -> Iterator[Message]:
        """Yields the messages that are there and were not looked at. Reads them one by one."""
        ...

    def settle(self, dealt_with: Sequence[str], left: Sequence[str]) -> None:
        """Marks messages as dealt with, and remembers the ones that are left as they are: they were looked at, too."""
        ...

    def wait(self, pause: Pause) -> None:
        """Waits until something may have come in, or the process shall end."""
        ...

    def close(self) -> None:
        """Lets go of what is open."""
        ...
