"""Serves the demo's shop: a product page with the sign-up form, and the mails of the inbox."""

import json
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from email import message_from_bytes, policy
from functools import partial
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlencode

from worker.demo.inbox import Arrival, html_of
from worker.demo.processes import CantGoOn

_FILES: Final = Path(__file__).parent
_HOST: Final = "127.0.0.1"
_MAILS_SHOWN: Final = 30
_SECONDS: Final = 10.0
"""For so long the web process may take to answer."""
_COLOURS: Final = {
    "bag-sand.svg": {"light": "#d8b98a", "dark": "#a8814a"},
    "bag-olive.svg": {"light": "#8a9663", "dark": "#5c6840"},
}


class _Reply(NamedTuple):
    media: str
    text: str
    policy: str = ""
    """the page's Content-Security-Policy"""


class Shop:
    """Serves on a free port, in its own thread, from `open` to `close`."""

    def __init__(self, web_port: int, arrived: Sequence[Arrival]) -> None:
        """`web_port` is that of Stockbell's web process. `arrived` are the mails of the inbox, which get more."""
        self.has_olive = False
        """Whether the olive bag is in stock."""
        self._web_port = web_port
        self._widget = f"http://{_HOST}:{web_port}/widget/"
        self._arrived = arrived
        self._key = ""
        self._server = ThreadingHTTPServer((_HOST, 0), partial(_Handler, self.reply))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="shop", daemon=True)
        self.origin: Final = f"http://{_HOST}:{self._server.server_port}"

    def open(self, key: str) -> None:
        """Begins to serve. `key` is a publishable key for this shop's origin."""
        self._key = key
        self._thread.start()

    def close(self) -> None:
        """Ends."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()

    def sign_up(self, email: str, item: str, colour: str) -> str:
        """Signs a customer up, as the form in the page does in a browser. Returns where to. Raises CantGoOn."""
        form = {"key": self._key, "item": item, "option.Colour": colour, "email": email, "itemUrl": f"{self.origin}/"}
        try:
            said = self._post("/widget/subscribe", urlencode(form))
        except OSError as error:
            raise CantGoOn(f"the web process does not answer: {error}") from None
        if not said.startswith("HTTP/1.1 200 "):
            raise CantGoOn(f"the web process refused a sign-up: {said}")
        return f"{self._widget}subscribe"

    def _post(self, path: str, form: str) -> str:
        """Posts a form and returns the whole reply. One call needs no client for HTTP, and the program has none."""
        head = (
            f"POST {path} HTTP/1.1",
            f"Host: {_HOST}:{self._web_port}",
            f"Origin: {self.origin}",
            "Accept: application/json",
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(form)}",
            "Connection: close",
        )
        with socket.create_connection((_HOST, self._web_port), timeout=_SECONDS) as connection:
            connection.sendall("\r\n".join((*head, "", form)).encode("ascii"))
            return b"".join(iter(partial(connection.recv, 65536), b"")).decode(errors="replace")

    def reply(self, path: str) -> _Reply | None:
        """Returns what is at a path, or None if there is nothing."""
        name = path.partition("?")[0].removeprefix("/")
        if name.startswith("mail/"):
            return self._mail(name.removeprefix("mail/"))
        if name in _COLOURS:
            return _Reply("image/svg+xml", _filled("bag.svg", _COLOURS[name]))
        replies: Mapping[str, Callable[[], _Reply]] = {
            "": self._product,
            "inbox": self._inbox,
            "privacy": lambda: _Reply("text/html", _read("privacy.html"), self._strict()),
            "stock": lambda: _Reply("application/json", json.dumps({"olive": self.has_olive})),
            "shop.css": lambda: _Reply("text/css", _read("shop.css")),
            "shop.js": lambda: _Reply("text/javascript", _read("shop.js")),
        }
        reply = replies.get(name)
        return reply() if reply else None

    def _product(self) -> _Reply:
        values = {"widget": self._widget, "key": self._key, "shop": self.origin}
        return _Reply("text/html", _filled("product.html", values), self._strict())

    def _strict(self) -> str:
        """What the sign-up form needs, and nothing else."""
        ours = self._widget
        return (
            f"default-src 'none'; script-src 'self' {ours}; style-src 'self' {ours}; connect-src 'self' {ours}; "
            f"form-action {ours}; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
        )

    def _inbox(self) -> _Reply:
        newest = list(enumerate(list(self._arrived), start=1))[-_MAILS_SHOWN:]
        lines = [f'<li value="{number}">{_line(number, mail)}</li>' for number, mail in reversed(newest)]
        return _Reply("text/html", _filled("inbox.html", {"mails": "\n".join(lines)}), self._strict())

    def _mail(self, number: str) -> _Reply | None:
        mails = list(self._arrived)
        if not number.isascii() or not number.isdecimal() or not 1 <= int(number[:9]) <= len(mails):
            return None
        own_look = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
        return _Reply("text/html", html_of(mails[int(number) - 1].file), own_look)


def _line(number: int, mail: Arrival) -> str:
    subject = message_from_bytes(mail.file.read_bytes(), policy=policy.default)["Subject"]
    return f'<a href="mail/{number}">{escape(str(subject))}</a><br>{escape(mail.recipient)}'


def _read(name: str) -> str:
    return (_FILES / name).read_text(encoding="utf-8")


def _filled(name: str, values: Mapping[str, str]) -> str:
    text = _read(name)
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", value)
    return text


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, reply: Callable[[str], _Reply | None], *connection: object) -> None:
        self._find = reply
        super().__init__(*connection)  # type: ignore[arg-type]  # what socketserver gives, passed on

    def do_GET(self) -> None:
        reply = self._find(self.path)
        if reply is None:
            self.send_error(404)
            return
        body = reply.text.encode()
        self.send_response(200)
        headers = {"Content-Type": f"{reply.media}; charset=utf-8", "Cache-Control": "no-store"}
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        if reply.policy:
            self.send_header("Content-Security-Policy", reply.policy)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_what: object) -> None:
        """Says nothing: the terminal shows the demo."""
