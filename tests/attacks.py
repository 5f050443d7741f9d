"""Texts that try to act as more than text, and the checks for them. The tests of all inputs share both."""

import re
from html.parser import HTMLParser
from typing import Final

from tests.contract.mailing import SENDER
from tests.unit.mail.test_message import ATTACKS

EVIL: Final = (
    *ATTACKS,
    *("x\0y", "a, b@c.example", 'quo"te', "it's", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'),
    *("'; DROP TABLE request; --", "%(id)s :id $1 ? {0} %s", "\\", "{}", "NULL", '","', "{{ 7*7 }}", "{% raw %}"),
    *(
        "{{ ''.__class__.__mro__ }}",
        "${7*7}",
        "jane＠evil.example",
        "a．b",
        "\u202egpj.exe",
        "ｊａｎｅ",
        "аdmin",
        "\u200b",
    ),
    *("\r\n.\r\nMAIL FROM:<evil@example.com>", "\n.\n", ".", "..", "250 ok", "x" * 5000, "ä" * 3000, "=?utf-8?q?x?="),
    *("javascript:alert(1)", "https://shop.example/\r\nX: y", "https://a@evil.example", "//a@evil.example", "data:,x"),
    *("https://shop.example/<script>?a=\"'&b={{ 7*7 }}", "https://shop.example/%0d%0aBcc:x", "\x1b[2J\x1b]0;x\a"),
)

COMMAND: Final = re.compile(rf"EHLO \S+|MAIL FROM:<{SENDER}>|RCPT TO:<[!-;=?-~]+@[a-z0-9.-]+>|DATA|RSET|QUIT")
"""The lines that we send to a relay. Any other line comes from somebody else."""


class Shape(HTMLParser):
    """The tags of a text with their attributes, and the targets of its links."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attributes)))
        self.links += [value or "" for name, value in attributes if name in ("href", "src")]


def shape_of(html: str) -> Shape:
    shape = Shape()
    shape.feed(html)
    shape.close()
    return shape
