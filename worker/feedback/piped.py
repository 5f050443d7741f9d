"""One message on standard input, as a mail server hands it to a program (Postfix's pipe(8), Exim's pipe transport)."""

from typing import BinaryIO, Final

from worker.feedback.parts import READ_LIMIT

_FROM: Final = b"From "
_CHUNK: Final = 64 * 1024


def piped_message(stream: BinaryIO) -> bytes:
    """Returns the beginning of the message, without the "From " line that some servers put before it.

    All of it is read: a mail server takes it for a failure if nobody reads what it writes.
    """
    content = stream.read(READ_LIMIT)
    while stream.read(_CHUNK):
        pass
    return content.partition(b"\n")[2] if content.startswith(_FROM) else content
