"""HTTP as uvicorn reads it, with a limit for heads, and with our answer to what is no HTTP.

Uvicorn keeps a head of any size. The methods take the place of its own, which are not documented; a test sends such
heads to a real process.
"""

import random
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from worker.web.errors import application_error
from worker.web.middleware import REQUEST_ID

MAX_HEAD: Final = 128 * 1024
"""Octets of a request's line and headers. The line alone may have 64 KiB, by httptools."""


HANG_UP: Final = "stockbell.hang_up"
"""In a request's scope: ends its connection at once, for a client that takes nothing of what it asked for."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    _head = 0
    """octets received of a head that has not ended"""

    def data_received(self, data: bytes) -> None:
        """Reads what has come."""
        self._head += len(data)
        super().data_received(data)
        if self._head > MAX_HEAD and not self.transport.is_closing():
            self._refuse(431, "HEADERS_TOO_LARGE", f"the request's line and headers are over {MAX_HEAD} bytes")

    def on_headers_complete(self) -> None:
        """Begins with a request. What follows is its body."""
        self._head = 0
        self.scope[HANG_UP] = self.transport.abort  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Takes a part of a body."""
        self._head = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP."""
        self._refuse(400, "INVALID_ARGUMENT", "this is no valid HTTP request")

    def _refuse(self, status: int, code: str, text: str) -> None:
        body = bytes(application_error(status, code, text).body)
        head = (
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            f"access-control-allow-origin: *\r\naccess-control-expose-headers: {REQUEST_ID}\r\n"
            f"{REQUEST_ID}: {random.getrandbits(64):016x}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()
