"""Items as real shops send them, and what their customers see: the cases of `tests/field/mail.json`."""

import email
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.unit.mail.test_letter import Item, claim, writer_of, written
from tests.unit.mail.test_message import undone

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parents[2] / "field" / "mail.json").read_text("utf-8"))


@dataclass(frozen=True)
class Seen:
    """A mail as its reader gets it. `all_text` is the text without tags, of all three."""

    name: str
    raw: bytes
    subject: str
    text: str
    html: str
    html_text: str

    @property
    def all_text(self) -> tuple[str, str, str]:
        return self.subject, self.text, self.html_text

    @property
    def price(self) -> str:
        (line,) = [line for line in self.text.splitlines() if line.startswith(("Price: ", "Preis: "))]
        shown = line.partition(": ")[2]
        assert shown in self.html_text
        return shown.replace("\N{NO-BREAK SPACE}", " ")


class Text(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.text += data


def seen(item: Mapping[str, str], locale: str) -> Seen:
    facts = Item(name=item["name"], price=item.get("price"), currency=item.get("currency"))
    raw = undone(written(writer_of(), claim(locale=locale), facts))
    message = email.message_from_bytes(raw, policy=default)
    assert isinstance(message, EmailMessage)
    text, html = (message.get_body((kind,)) for kind in ("plain", "html"))
    assert text
    assert html
    content = html.get_content()
    return Seen(item["name"], raw, str(message["Subject"]), text.get_content(), content, Text(content).text)


CHECKS: Mapping[str, Callable[[Seen], bool]] = {
    "€12.50 and no more digits": lambda mail: mail.price == "€12.50",
    "¥1,200": lambda mail: mail.price == "¥1,200",
    "grouped or plain, comma for decimals": lambda mail: mail.price == "1.234.567,50 €",
    "shown as it came": lambda mail: mail.price == "12,50 €",
    "€19.90 or 19.90 €": lambda mail: mail.price == "€19.90",
    "the reader sees & and no &amp;": lambda mail: all("Salt & Pepper – Set" in text for text in mail.all_text),
    "html is not bold, subject as it is": lambda mail: (
        "<b>" not in mail.html and all(mail.name in text for text in mail.all_text)
    ),
    "one line": lambda mail: all("Blue mug" in text for text in mail.all_text),
    "no half picture before the dots": lambda mail: mail.subject == f"Back in stock: {'x' * 68}…",
    "what follows is not turned round": lambda mail: (
        all("Mug gpj.exe" in text for text in mail.all_text) and "\u202e" not in mail.html
    ),
    "whole in the text": lambda mail: (
        mail.subject.endswith(": Donaudampfschiff") and "Donaudampfschiff is" in mail.text
    ),
    "isolated in the HTML (a span with dir=rtl; not bdi, which Gmail, Outlook and Yahoo drop), "
    "or the sentence's end jumps": lambda mail: (
        f'<span dir="rtl">{mail.name}</span></a></h1>' in mail.html
        and mail.subject == f"Back in stock: \u2068{mail.name}\u2069"
        and f"\u2068{mail.name}\u2069 is back" in mail.text
        and "<bdi" not in mail.html
    ),
    "no wrong claim: lang en with English words": lambda mail: (
        '<html lang="en" dir="ltr"' in mail.html and "Content-Language: en\r\n" in mail.raw.decode()
    ),
    "words without a name": lambda mail: (
        mail.subject == "Back in stock: the item you asked about" and "asked about is here again" in mail.html_text
    ),
    "not decoded twice": lambda mail: all(mail.name in text for text in mail.all_text),
    "lines of the raw mail are under 998": lambda mail: max(map(len, mail.raw.split(b"\r\n"))) <= 78,
}
"""By the words of the case: whether they hold for its mail."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_a_mail_about_a_real_item_is_as_it_must_be(case: Mapping[str, Any]) -> None:
    assert CHECKS[case["must"]](seen(case["item"], case["locale"]))


def test_no_check_is_for_nothing() -> None:
    assert {case["must"] for case in CASES} == set(CHECKS)
