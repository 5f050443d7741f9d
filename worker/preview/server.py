"""Serves the page of the preview on this machine, until Ctrl-C. Nothing in it changes anything."""

import errno
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from worker.domain.errors import Refused
from worker.preview.page import findings, framed, page, shown, wished
from worker.preview.shelf import Shelf
from worker.processes.stop import Stop

HOST: Final = "127.0.0.1"

_FILES: Final = Path(__file__).parent
_KINDS: Final = {"page.css": "text/css", "page.js": "text/javascript"}
_HOST: Final = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?", re.IGNORECASE)
_OK, _NOT_FOUND, _NOT_FOR_YOU, _OUR_FAULT = 200, 404, 421, 500
_LONG_SECONDS: Final = 3600.0
_IDLE_SECONDS: Final = 60.0
"""So long a browser may keep a connection that it opened in advance."""
_OWN: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A mail runs no scripts and sends no forms. It is of our origin, so that the page can measure it.
_OF_MAIL: Final = (
    "sandbox allow-same-origin; default-src 'none'; style-src 'unsafe-inline'; font-src https: data:; "
    "img-src https: data:; frame-ancestors 'self'"
)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class _Reply:
    kind: str
    body: bytes
    policy: str = _OWN
    file: str = ""
    """the name to save it under"""


class Server(ThreadingHTTPServer):
    """Listens from the start. Port 0 is any free one. Raises Refused if the port can't be had."""

    daemon_threads = True

    def __init__(self, shelf: Shelf, port: int) -> None:
        try:
            super().__init__((HOST, port), partial(_Handler, shelf))
        except OSError as error:
            words = "is taken" if error.errno == errno.EADDRINUSE else f"can't be used: {error.strerror}"
            raise Refused(f"port {port} {words}. stockbell preview --serve 0 takes a free one") from None
        self.url: Final = f"http://{HOST}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of pages that were closed."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def run(self, then: Callable[[], None]) -> None:
        """Serves until SIGTERM or Ctrl-C. Once it does, it calls `then`."""
        stop = Stop().listen()
        threading.Thread(target=self.serve_forever, name="preview", daemon=True).start()
        then()
        while not stop.wait(_LONG_SECONDS):
            pass
        self.shutdown()


class _Handler(BaseHTTPRequestHandler):
    timeout = _IDLE_SECONDS

    def __init__(self, shelf: Shelf, *connection: object) -> None:
        self._shelf = shelf
        super().__init__(*connection)  # type: ignore[arg-type]  # what socketserver gives, passed on

    def do_GET(self) -> None:
        # A page elsewhere may give a name of its own this machine's address (DNS rebinding).
        if not _HOST.fullmatch(self.headers.get("Host", "")):
            self.send_error(_NOT_FOR_YOU, "The preview is for this machine alone")
            return
        path, _, query = self.path.partition("?")
        try:
            reply = self._reply(path.removeprefix("/"), query)
        except Exception as error:  # whatever a template leads to, the page goes on
            self.send_error(_OUR_FAULT, f"This can't be shown: {type(error).__name__}")
            return
        if reply is None:
            self.send_error(_NOT_FOUND)
        else:
            self._send(reply)

    def _reply(self, name: str, query: str) -> _Reply | None:
        if name in _KINDS:
            return _Reply(_KINDS[name], (_FILES / name).read_bytes())
        gallery, version = self._shelf.now()
        wish = wished(query, gallery)
        match name:
            case "":
                return _html(page(wish, gallery, version))
            case "version":
                return _Reply("text/plain", version.encode())
            case "findings":
                return _html(findings(gallery))
            case "mail":
                return _html(framed(wish, gallery), _OF_MAIL)
            case "message.eml":
                name = re.sub(r"[^\w.-]", "_", f"preview-{wish.sample}-{wish.locale}.eml", flags=re.ASCII)
                return _Reply("message/rfc822", shown(wish, gallery).message, file=name)
        return None

    def _send(self, reply: _Reply) -> None:
        headers = {**_HEADERS, "Content-Security-Policy": reply.policy, "Content-Length": str(len(reply.body))}
        if reply.file:
            headers["Content-Disposition"] = f'attachment; filename="{reply.file}"'
        kind = f"{reply.kind}; charset=utf-8" if reply.kind.startswith("text/") else reply.kind
        self.send_response(_OK)
        for header, value in {"Content-Type": kind, **headers}.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_what: object) -> None:
        """Says nothing: who looks on knows."""


def _html(text: str, policy: str = _OWN) -> _Reply:
    return _Reply("text/html", text.encode("utf-8", "replace"), policy)
