"""Templates are tried before they are used, and what is wrong is said in one line each."""

from pathlib import Path
from typing import Final

import pytest

from tests.unit.mail.test_render import TEMPLATES
from tests.unit.mail.test_sources import put
from worker.domain.brand import NO_BRAND
from worker.mail import samples
from worker.mail.confirmation import ConfirmationPage
from worker.mail.inspection import Inspection, inspect
from worker.mail.render import Renderer
from worker.mail.sources import Sources

MANY: Final = "back_in_stock_many"
LINK: Final = '<div lang="{{ locale }}">{{ _("View item") }} <a href="{{ item_url }}">x</a> {{ unsubscribe_url }}'
OTHERS: Final = "(ar, de, es, fr, it, ja, nl, pl, pt-BR)"


def inspected(own: Path) -> Inspection:
    sources = Sources(own, TEMPLATES)
    page = ConfirmationPage(sources, "Shop", NO_BRAND, "en")
    return inspect(Renderer(sources, "Shop"), page, sources)


def found(own: Path) -> list[str]:
    """Returns the lines, as `stockbell templates check` prints them."""
    return [f"{'FAIL' if each.is_fault else 'warn'} {each}" for each in inspected(own).findings]


def test_nothing_is_wrong_with_ours() -> None:
    inspection = inspected(TEMPLATES)
    assert inspection.findings == []
    assert inspection.mails == 10 * (len(samples.ONE) + len(samples.MANY) + 3)
    assert inspection.languages == ["en", "ar", "de", "es", "fr", "it", "ja", "nl", "pl", "pt-BR"]


def test_the_samples_are_those_that_are_hard() -> None:
    """Nothing known, all known, long, a word of 77 letters, hostile, from right to left, emoji, a URL of 2 kB."""
    assert len(samples.ONE) == 8
    assert len(samples.ONE["long word"].item_name or "") == 77
    assert len(samples.ONE["long URL"].item_url) == 2048
    assert max(map(len, samples.MANY.values())) == 20
    for many in samples.MANY.values():
        assert len({each.item_url for each in many}) == len(many)


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        (
            "back_in_stock/body.txt",
            "\n{{ itm_name }}",
            ["FAIL back_in_stock/body.txt: line 2: 'itm_name' is undefined; the nearest name is item_name"],
        ),
        (
            "back_in_stock/de/body.txt",
            "{% if not price %}{{ pricee }}{% endif %}{{ item_url }} {{ unsubscribe_url }} {{ _('View item') }}",
            ["FAIL back_in_stock/de/body.txt: line 1: 'pricee' is undefined; the nearest name is price (de)"],
        ),
        (
            "_base/items.html",
            '{% extends "shipped/_base/items.html" %}{% block news %}{{ items[1].prize }}{% endblock %}',
            ["warn _base/items.html: line 1: the block news is said by the mails, in their body.html: nobody sees it"],
        ),
        (
            f"{MANY}/subject.txt",
            "{{ items[1].prize }}",
            [
                f"FAIL {MANY}/subject.txt: line 1: 'dict object' has no attribute 'prize'; the nearest name is price",
            ],
        ),
        (
            "confirm/body.html",
            "{% if",
            ["FAIL confirm/body.html: line 1: unexpected 'end of template'"],
        ),
        ("back_in_stock/subject.txt", " ", ["FAIL back_in_stock/subject.txt: makes an empty subject"]),
        (
            "back_in_stock/body.txt",
            "",
            ["FAIL back_in_stock/body.txt: makes no text, which some mail programs and readers show alone"],
        ),
        ("back_in_stock/body.html", "", ["FAIL back_in_stock/body.html: makes no HTML"]),
        (
            "back_in_stock/body.txt",
            "{{ _('View item') }} {{ unsubscribe_url }}",
            [
                "FAIL back_in_stock/body.txt: does not show item_url, so customers don't get to the item: "
                "write {{ item_url }}"
            ],
        ),
        (
            f"{MANY}/body.html",
            '<div lang="{{ locale }}">{{ _("View item") }} {{ unsubscribe_url }} {{ items[0].item_url }}',
            [
                f"FAIL {MANY}/body.html: does not show item_url, so customers don't get to the item: "
                'write <a href="{{ item_url }}">'
            ],
        ),
        (
            "confirm/body.txt",
            "{{ _('Yes, tell me') }} {{ unsubscribe_url }}",
            ["FAIL confirm/body.txt: does not show confirm_url, so nobody can confirm: write {{ confirm_url }}"],
        ),
        (
            "back_in_stock/body.txt",
            "{{ _('View item') }} {{ item_url }}",
            [
                "warn back_in_stock/body.txt: does not show unsubscribe_url, so customers see no way out: "
                "write {{ unsubscribe_url }}"
            ],
        ),
        (
            "back_in_stock/body.html",
            LINK.replace(' lang="{{ locale }}"', ""),
            [
                "warn back_in_stock/body.html: does not say its language, for those who hear it: "
                'write <div lang="{{ locale }}">'
            ],
        ),
        (
            "back_in_stock/body.html",
            f"{LINK}\n<img alt='' src='http://shop.example/a.png' width=3>",
            [
                "warn back_in_stock/body.html: line 2: has a picture by http:, which mail programs block: use https:",
            ],
        ),
        (
            "_base/mail.css",
            '@import "shipped/_base/mail.css";\n\n.page { background: url(http://shop.example/paper.png) }',
            ["warn _base/mail.css: line 3: has a picture by http:, which mail programs block: use https:"],
        ),
        (
            "back_in_stock/body.html",
            f"{LINK}{{{{ 'a' * 61000 }}}}",
            [
                "warn back_in_stock/body.html: makes over 60,000 bytes. Over 100,000 are refused: make it shorter",
            ],
        ),
        (
            "back_in_stock/body.html",
            f"{LINK}{{{{ 'a' * 101000 }}}}",
            ["FAIL back_in_stock/body.html: makes over 100,000 bytes, and Gmail cuts off the end: make it shorter"],
        ),
        (
            "back_in_stock/body.txt",
            "It is here: {{ item_url }} {{ unsubscribe_url }}",
            [
                "warn back_in_stock/body.txt: says the same as in English: "
                f'write words as {{{{ _("…") }}}}, and have them in a catalogue {OTHERS}'
            ],
        ),
        (
            "locales/de.po",
            '\nmsgid "%(name)s is back in stock."\nmsgstr "Wieder da."\n',
            ['warn locales/de.po: line 2: lacks %(name)s: "%(name)s is back in stock."'],
        ),
        ("locales/de.po", "<xml>", ["FAIL locales/de.po: line 1: is no keyword with a text in quotes (de)"]),
        (
            "back_in_stock/boddy.html",
            "",
            ["warn back_in_stock/boddy.html: is used by no mail. Ours is back_in_stock/body.html"],
        ),
        ("mail.css", "", ["warn mail.css: is used by no mail. Ours is _base/mail.css"]),
        ("README.md", "for us", []),
        (
            "back_in_stock/subject.txt",
            "{{ _('Back in stock') }} {{ price }}",
            [
                "FAIL back_in_stock/subject.txt: prints None where something is not known: "
                "ask for it first, like {% if price %}"
            ],
        ),
        ("back_in_stock/subject.txt", "{{ _('Back in stock') }}: None of our mugs", []),
        (
            "back_in_stock/body.html",
            LINK.replace("<a href", "<!-- <a href").replace("x</a>", "x</a> -->"),
            [
                "FAIL back_in_stock/body.html: does not show item_url, so customers don't get to the item: "
                'write <a href="{{ item_url }}">'
            ],
        ),
        (
            "back_in_stock/body.html",
            f'{LINK}<script src="x"></script>',
            ["warn back_in_stock/body.html: has <script>, which mail programs remove"],
        ),
        (
            "back_in_stock/body.html",
            f'{LINK}<b onclick="x()">b</b>',
            ["warn back_in_stock/body.html: has onclick, and mail programs run no scripts"],
        ),
        (
            "back_in_stock/body.html",
            f'{LINK}<img src="images/logo.png" alt="">',
            [
                "warn back_in_stock/body.html: has a picture at images/logo.png, which is nowhere: "
                "write its whole address, https://..."
            ],
        ),
        (
            "_base/mail.css",
            '@import "shipped/_base/mail.css"\n.news { color: #012345 }',
            [
                f'warn {mail}/body.html: its CSS has @import "shipped/_base/mail.css", which is not followed: '
                "one of a file of yours must come first, and end with ;"
                for mail in ("back_in_stock", MANY, "confirm")
            ],
        ),
        (
            "back_in_stock/body.html",
            f"<style>b {{ color: var(--brnd) }}</style>{LINK}<b>b</b>",
            ["warn back_in_stock/body.html: its CSS uses --brnd, which :root does not set"],
        ),
        (
            "back_in_stock/body.html",
            '{% extends "shipped/back_in_stock/body.html" %}\n<p>Big sale!</p>',
            ["warn back_in_stock/body.html: line 2: is in no block of what it extends: nobody sees it"],
        ),
        (
            "confirm/body.html",
            '{% extends "_base/item.html" %}{% block preheader %}{% endblock %}{% block footer %}{% endblock %}'
            '{% block content %}{{ _("Yes, tell me") }}{{ confirm_url }}{% endblock %}'
            "\n{% block action %}x{% endblock %}",
            [
                "warn confirm/body.html: line 2: the block action is in content, which this file says anew: "
                "nobody sees it"
            ],
        ),
        (
            "locales/de.po",
            'msgid "View itm"\nmsgstr "Hin da"\n',
            ['warn locales/de.po: line 1: no template has these words: "View itm"'],
        ),
        (
            "back_in_stock/body.html",
            '{% extends "shipped/back_in_stock/body.html" %}\n{% block newss %}x{% endblock %}',
            ["warn back_in_stock/body.html: line 2: what it extends has no block newss, but news: nobody sees it"],
        ),
        (
            "_base/layout.html",
            '{% extends "shipped/_base/layout.html" %}{% block xyz %}{% endblock %}',
            ["warn _base/layout.html: line 1: what it extends has no block xyz: nobody sees it"],
        ),
    ],
)
def test_what_is_wrong_is_said_with_file_line_and_what_to_do(own: Path, name: str, text: str, lines: list[str]) -> None:
    put(own, name, text)
    assert found(own) == lines


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A directory with nothing in it."""
    directory = tmp_path / "own"
    directory.mkdir()
    return directory


def test_all_that_is_wrong_is_said_at_once_faults_first(own: Path) -> None:
    put(own, "mail.css", "")
    put(own, "_base/mail.css", ".page { background: url(http://shop.example/a.png) }")
    put(own, "back_in_stock/body.txt", "{{ itm_name }}")
    put(own, f"{MANY}/de/body.html", "{{ nonsense }}")
    put(own, "confirm/subject.txt", "")
    lines = found(own)
    assert [line.split(":")[0] for line in lines] == [
        "FAIL back_in_stock/body.txt",
        f"FAIL {MANY}/de/body.html",
        "FAIL confirm/subject.txt",
        "warn _base/mail.css",
        "warn mail.css",
    ]


def test_a_language_whose_words_are_lacking_is_named(own: Path) -> None:
    put(own, "locales/sv.po", 'msgid "View item"\nmsgstr "Visa"\n')
    assert "warn back_in_stock/subject.txt: is said in English: the catalogue lacks its words (sv)" in found(own)
    assert not any("body.html" in line for line in found(own) if "back_in_stock/" in line)


def test_a_mail_about_many_items_may_be_long_since_it_is_made_about_fewer(own: Path) -> None:
    body = '<div lang="{{ locale }}">{{ _("View item") }}{{ unsubscribe_url }}'
    body += "{% for item in items %}{{ item.item_url }}{{ 'a' * 15000 }}{% endfor %}"
    put(own, f"{MANY}/body.html", body)
    assert found(own) == []


def test_a_directory_of_something_else_is_one_line(own: Path) -> None:
    for number in range(1001):
        put(own, f"{number}.txt", "")
    assert found(own) == [f"FAIL {own}: is no directory of templates: it has over 1,000 files"]
