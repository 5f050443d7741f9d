"""Serves the page of the preview on this machine, until Ctrl-C. Nothing in it changes anything."""

import errno
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from worker.domain.errors import Refused
from worker.preview.page import findings, framed, page, wished
from worker.preview.shelf import Shelf
from worker.processes.stop import Stop

HOST: Final = "127.0.0.1"

_FILES: Final = Path(__file__).parent
_KINDS: Final = {"page.css": "text/css", "page.js": "text/javascript"}
_NAMES: Final = ("127.0.0.1", "localhost", "::1")
_OK, _NOT_FOUND, _NOT_FOR_YOU = 200, 404, 421
_LOOK_SECONDS: Final = 0.3
_LONG_SECONDS: Final = 3600.0
_QUIET_SECONDS: Final = 10.0
"""After so long a word is sent, which shows whether the page is still there."""
_OWN: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# A mail runs no scripts and sends no forms. It is of our origin, so that the page can measure it.
_OF_MAIL: Final = (
    "sandbox allow-same-origin; default-src 'none'; style-src 'unsafe-inline' https:; font-src https: data:; "
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
        self.is_over: Final = threading.Event()
        try:
            super().__init__((HOST, port), partial(_Handler, shelf))
        except OSError as error:
            words = "is taken" if error.errno == errno.EADDRINUSE else f"can't be used: {error.strerror}"
            raise Refused(f"port {port} {words}. stockbell preview --serve 0 takes a free one") from None
        self.url: Final = f"http://{HOST}:{self.server_port}/"

    def server_close(self) -> None:
        """Ends what is still being told."""
        self.is_over.set()
        super().server_close()

    def run(self, then: Callable[[], None]) -> None:
        """Serves until SIGTERM or Ctrl-C. Once it does, it calls `then`."""
        stop = Stop().listen()
        threading.Thread(target=self.serve_forever, name="preview", daemon=True).start()
        then()
        while not stop.wait(_LONG_SECONDS):
            pass
        self.shutdown()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, shelf: Shelf, *connection: object) -> None:
        self._shelf = shelf
        super().__init__(*connection)  # type: ignore[arg-type]  # what socketserver gives, passed on

    def do_GET(self) -> None:
        # A page elsewhere may give a name of its own this machine's address (DNS rebinding).
        if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in _NAMES:
            self.send_error(_NOT_FOR_YOU, "The preview is for this machine alone")
            return
        path, _, query = self.path.partition("?")
        try:
            if path == "/changes":
                self._tell_changes()
            elif reply := self._reply(path.removeprefix("/"), query):
                self._send(reply)
            else:
                self.send_error(_NOT_FOUND)
        except ConnectionError:  # the page has been closed
            self.close_connection = True

    def _reply(self, name: str, query: str) -> _Reply | None:
        if name in _KINDS:
            return _Reply(_KINDS[name], (_FILES / name).read_bytes())
        gallery, version = self._shelf.now()
        wish = wished(query, gallery)
        match name:
            case "":
                return _html(page(wish, gallery, version))
            case "findings":
                return _html(findings(gallery))
            case "mail":
                return _html(framed(wish, gallery), _OF_MAIL)
            case "message.eml":
                return _Reply("message/rfc822", gallery.shown(wish.sample, wish.locale).message, file="preview.eml")
        return None

    def _send(self, reply: _Reply) -> None:
        headers = {**_HEADERS, "Content-Security-Policy": reply.policy, "Content-Length": str(len(reply.body))}
        if reply.file:
            headers["Content-Disposition"] = f'attachment; filename="{reply.file}"'
        self._begin(reply.kind, headers)
        self.wfile.write(reply.body)

    def _tell_changes(self) -> None:
        """Sends the version of the files, and each other one, as long as the page is there (server-sent events)."""
        self._begin("text/event-stream", _HEADERS)
        assert isinstance(self.server, Server)  # noqa: S101  # nobody else makes handlers
        for word in _words(self._shelf, self.server.is_over):
            self.wfile.write(word.encode())
            self.wfile.flush()

    def _begin(self, kind: str, headers: Mapping[str, str]) -> None:
        self.send_response(_OK)
        text = kind.startswith("text/")
        for header, value in {"Content-Type": f"{kind}; charset=utf-8" if text else kind, **headers}.items():
            self.send_header(header, value)
        self.end_headers()

    def log_message(self, *_what: object) -> None:
        """Says nothing: who looks on knows."""


def _html(text: str, policy: str = _OWN) -> _Reply:
    return _Reply("text/html", text.encode("utf-8", "replace"), policy)


def _words(shelf: Shelf, is_over: threading.Event) -> Iterator[str]:
    told, said_at = "", 0.0
    while not is_over.wait(_LOOK_SECONDS if told else 0):
        _, version = shelf.now()
        if version != told:
            told, said_at = version, time.monotonic()
            yield f"data: {version}\n\n"
        elif time.monotonic() - said_at > _QUIET_SECONDS:
            said_at = time.monotonic()
            yield ": still here\n\n"
