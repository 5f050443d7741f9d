"""Parses SMTP replies from bytes that may be split anywhere or hold several replies (RFC 5321 section 4.2)."""

from typing import Final

REPLY_LIMIT: Final = 32 * 1024
"""The most octets of one reply, so that a relay can't fill the memory. aiosmtplib has the same limit."""


class ReplyReader:
    """Reads bytes and returns replies: a three-digit code, and the raw text after it (lines joined by LF)."""

    __slots__ = ("_lines", "_rest", "_size", "garbage")

    def __init__(self) -> None:
        self.garbage: str | None = None
        """The error text once invalid data came, else None. No data after it can be trusted."""
        self._rest = b""
        self._lines: list[bytes] = []
        self._size = 0

    @property
    def is_amid(self) -> bool:
        """Whether a reply is incomplete."""
        return bool(self._rest or self._lines)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Returns the replies that `data` completes, up to the first invalid one."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        replies = []
        for line in lines:
            code = line[:3]
            if not code.isdigit() or len(code) < 3 or len(line) > REPLY_LIMIT:
                self._refuse(line)
                break
            if line[3:4] != b"-" and not self._lines:  # most replies have one line
                replies.append((int(code), line[4:]))
            elif reply := self._ended_by(line):
                replies.append(reply)
            if self.garbage:
                break
        if len(self._rest) > REPLY_LIMIT:
            self.garbage = "its reply is too long"
        return replies

    def _ended_by(self, line: bytes) -> tuple[int, bytes] | None:
        """Adds a line to a multi-line reply. Returns the reply if this line is its last."""
        self._lines.append(line)
        self._size += len(line)
        if line[:3] != self._lines[0][:3]:
            self.garbage = "the lines of its reply have different codes"
        elif self._size > REPLY_LIMIT:
            self.garbage = "its reply is too long"
        elif line[3:4] != b"-":
            text = b"\n".join(each[4:].strip() for each in self._lines)
            self._lines.clear()
            self._size = 0
            return int(line[:3]), text
        return None

    def _refuse(self, line: bytes) -> None:
        shown = line[:200].decode("utf-8", "backslashreplace")
        self.garbage = "its reply is too long" if len(line) > REPLY_LIMIT else f"it sent an invalid reply: {shown}"
