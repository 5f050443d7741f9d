"""A shop's own files take the place of ours, one by one, and are read once."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from tests.unit.mail.test_confirmation import Named, body, read, writer
from tests.unit.mail.test_render import TEMPLATES, context
from worker.domain.errors import TemplateBroken
from worker.mail.message import Rendered
from worker.mail.render import Renderer
from worker.mail.sources import FILE_LIMIT, MOST_FILES, Sources

ABOUT: Final = replace(context(), unsubscribe_url="https://notify.shop.example/u/x")
FILES: Final = Sources(TEMPLATES).names()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A directory with nothing in it."""
    directory = tmp_path / "own"
    directory.mkdir()
    return directory


def put(own: Path, name: str, text: str | bytes) -> Path:
    file = own / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def shipped(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def shop(own: Path) -> Renderer:
    return Renderer(Sources(own, TEMPLATES), "Shop")


def one(own: Path, locale: str = "en") -> Rendered:
    return shop(own).render(ABOUT, locale)[0]


def all_mails(own: Path) -> dict[str, str]:
    """Returns the parts of all mails, in English and in German."""
    renderer, asking, found = shop(own), writer(own), dict[str, str]()
    for locale in ("en", "de"):
        mails = {
            "back_in_stock": renderer.render(ABOUT, locale)[0],
            "back_in_stock_many": renderer.render_many([ABOUT] * 2, locale)[0],
        }
        for name, mail in mails.items():
            found |= {f"{name} {part} {locale}": getattr(mail, part) for part in ("subject", "text", "html")}
        asked = read(asking, Named(), locale=locale)
        found |= {f"confirm {part} {locale}": body(asked, kind) for part, kind in (("text", "plain"), ("html", "html"))}
        found[f"confirm subject {locale}"] = asked["Subject"]
    # The link has a token of its own, with the time in it.
    return {part: re.sub(r"/confirm/\S+?(?=[\"<\s])", "/confirm/x", text) for part, text in found.items()}


def test_without_a_file_of_its_own_a_shop_has_all_of_ours(own: Path) -> None:
    assert all_mails(own) == all_mails(TEMPLATES)
    assert shop(own).check() == shop(TEMPLATES).check()
    assert shop(own).problems() == []


CHANGES: Final[dict[str, tuple[Callable[[str], str], str]]] = {
    "_base/mail.css": (lambda text: f"{text}\nh1 {{ outline: 0 }}", " html "),
    "_base/layout.html": (lambda text: text.replace("<body>", '<body id="own">'), " html "),
    "_base/item.html": (lambda text: text.replace('<p class="news', '<p id="own" class="news'), "^back_in_stock html "),
    "_base/items.html": (lambda text: text.replace('<p class="news', '<p id="own" class="news'), "many html "),
    "_base/end.txt": (lambda text: f"{text}\nOwn.", " text "),
}


def changed(name: str) -> tuple[str, str]:
    """Returns a file of ours with a change, and a pattern for the names of the parts that it changes."""
    if name in CHANGES:
        change, parts = CHANGES[name]
        return change(shipped(name)), parts
    if name.startswith("locales/"):
        # Words that are in the text or the HTML of all mails in German, in a catalogue that says nothing else.
        words = ("If the button doesn’t work, open this address:", "Get no more mails from us")
        return "".join(f'msgid "{each}"\nmsgstr "Eigenes"\n\n' for each in words), "(text|html) de$"
    mail, file = name.split("/")
    # The title of the page has the subject, too.
    part = {"subject.txt": "(subject|html)", "body.txt": "text", "body.html": "html"}[file]
    own = "{% block head %}<i>own</i>{% endblock %}" if part == "html" else "own"
    return f"{shipped(name)}{own}", f"^{mail} {part} "


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("locales/") or name.endswith("/de.po")])
def test_one_file_takes_the_place_of_its_twin_and_of_nothing_else(own: Path, name: str) -> None:
    text, parts = changed(name)
    assert text != shipped(name)
    put(own, name, text)
    ours, theirs = all_mails(TEMPLATES), all_mails(own)
    assert {part for part in ours if theirs[part] != ours[part]} == {part for part in ours if re.search(parts, part)}
    shop(own).check()


def test_a_file_extends_ours_by_the_name_shipped(own: Path) -> None:
    put(own, "_base/item.html", '{% extends "shipped/_base/item.html" %}{% block news %}Hooray{% endblock %}')
    put(
        own,
        "_base/layout.html",
        '{% extends "shipped/_base/layout.html" %}{% block head %}<style>.news{color:#012345}</style>{% endblock %}',
    )
    put(own, "back_in_stock/subject.txt", '{% include "shipped/back_in_stock/subject.txt" %} (really)')
    put(
        own,
        "back_in_stock/body.html",
        '{% extends "shipped/back_in_stock/body.html" %}{% block news %}{{ super() }}, hooray{% endblock %}',
    )
    put(own, "_base/mail.css", '/* ours first */ @import "shipped/_base/mail.css";\n.news { letter-spacing: 9px }')
    mail = one(own)
    assert mail.subject == "Back in stock: Blue mug (really)"
    found = re.search(r'<p[^>]* style="([^"]*)">Back in stock, hooray</p>', mail.html)
    assert found
    assert "letter-spacing:9px" in found[1]
    assert "color:#012345" in found[1]
    assert "max-height:320px" in mail.html  # as our CSS has it
    german = one(own, "de").html
    assert ", hooray</p>" in german
    assert "Back in stock, hooray" not in german


def test_one_sentence_is_changed_and_the_others_are_ours(own: Path) -> None:
    put(own, "locales/de.po", 'msgid "View item"\nmsgstr "Hin da"\n')
    put(own, "locales/en.po", 'msgid "View item"\nmsgstr "Have a look"\n')
    put(own, "locales/sv.po", 'msgid "View item"\nmsgstr "Visa"\n')
    assert "Hin da" in one(own, "de").html
    assert "Wieder verfügbar" in one(own, "de").html
    assert "Have a look" in one(own).html
    assert "Visa" in one(own, "sv").html
    assert "Voir l’article" in one(own, "fr").html
    assert shop(own).languages == ["en", "ar", "de", "es", "fr", "it", "ja", "nl", "pl", "pt-BR", "sv"]


def test_a_folder_has_files_for_one_language(own: Path) -> None:
    put(own, "back_in_stock/de/body.txt", "Eigener Text: {{ item_url }} {{ unsubscribe_url }}")
    put(own, "back_in_stock/parts/body.css", "is in no language")
    assert one(own, "de-AT").text.startswith("Eigener Text: https://")
    assert "Wieder verfügbar" in one(own, "de").html
    assert "parts" not in shop(own).languages


def test_an_empty_file_is_a_file(own: Path) -> None:
    put(own, "_base/end.txt", "")
    assert "no more mails" in one(TEMPLATES).text
    assert "no more mails" not in one(own).text


def test_a_byte_order_mark_is_no_part_of_a_mail(own: Path) -> None:
    put(own, "back_in_stock/subject.txt", b"\xef\xbb\xbfHere again")
    assert one(own).subject == "Here again"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("_base/item.html", '{% extends "_base/item.html" %}', "_base/item.html: line 1: extends, includes,"),
        ("_base/end.txt", '{% include "_base/end.txt" %}', "_base/end.txt: line 1: extends, includes,"),
        ("_base/mail.css", '@import "_base/mail.css";', "back_in_stock/body.html: extends, includes, imports or calls"),
        ("_base/mail.css", "a" * 300_000, "_base/mail.css: has over 256 kB"),
        ("back_in_stock/body.txt", "a" * 300_000, "back_in_stock/body.txt: has over 256 kB"),
        ("back_in_stock/body.txt", b"caf\xe9", "back_in_stock/body.txt: is not UTF-8: byte 4 can't be read"),
        ("back_in_stock/body.txt", "{{ item_name", "back_in_stock/body.txt: line 1: unexpected end of template"),
        ("back_in_stock/body.txt", "\n{{ itemname }}", "back_in_stock/body.txt: line 2: 'itemname' is undefined"),
        (
            "back_in_stock/body.html",
            '{% extends "_base/items.htm" %}',
            "body.html: line 1: there is no file _base/items.htm, but _base/items.html",
        ),
        (
            "back_in_stock/body.html",
            '{% extends "shipped/_base/itm.html" %}',
            "body.html: line 1: there is no file shipped/_base/itm.html, but shipped/_base/item.html",
        ),
        (
            "back_in_stock/body.html",
            '{% extends "shiped/back_in_stock/body.html" %}',
            "there is no file shiped/back_in_stock/body.html, but shipped/back_in_stock/body.html",
        ),
        (
            "back_in_stock/body.html",
            '<link rel="stylesheet" href="mail.css">',
            "back_in_stock/body.html: there is no file mail.css, but _base/mail.css",
        ),
        ("back_in_stock/body.html", '{% extends "../../etc/passwd" %}', "there is no file ../../etc/passwd"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line(own: Path, name: str, text: str | bytes, words: str) -> None:
    put(own, name, text)
    with pytest.raises(TemplateBroken) as caught:
        one(own)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(own) not in str(caught.value)


def test_what_is_broken_holds_only_what_uses_it(own: Path) -> None:
    put(own, "_base/items.html", "{% if %}")
    put(own, "back_in_stock/de/body.txt", b"\xff")
    assert one(own).subject == "Back in stock: Blue mug"
    with pytest.raises(TemplateBroken, match=r"back_in_stock/de/body\.txt: is not UTF-8"):
        one(own, "de")
    with pytest.raises(TemplateBroken, match=r"_base/items\.html: line 1"):
        shop(own).render_many([context()] * 2, "en")
    assert read(writer(own), Named())["Subject"] == "Please confirm your request to Shop"


def test_what_is_hidden_is_no_template(own: Path) -> None:
    put(own, ".git/objects/x", b"\xff")
    put(own, "back_in_stock/.body.txt.swp", b"\xff")
    assert Sources(own, TEMPLATES).names() == FILES


def test_files_are_found_where_kubernetes_has_them(own: Path) -> None:
    """A volume is links into a hidden folder, which another one replaces when the files change."""
    put(own, "..2026/back_in_stock/subject.txt", "First")
    (own / "..data").symlink_to("..2026")
    (own / "back_in_stock").symlink_to("..data/back_in_stock")
    assert one(own).subject == "First"


def test_a_directory_that_is_none_of_templates_is_named(own: Path) -> None:
    for number in range(MOST_FILES + 1):
        put(own, f"{number}.txt", "")
    with pytest.raises(TemplateBroken, match="is no directory of templates: it has over 1,000 files"):
        one(own)
    (own / "0.txt").unlink()
    assert one(own).subject == "Back in stock: Blue mug"


def test_what_is_no_file_is_not_waited_for(own: Path) -> None:
    (own / "back_in_stock").mkdir()
    os.mkfifo(own / "back_in_stock" / "body.txt")
    (own / "_base" / "mail.css").mkdir(parents=True)
    with pytest.raises(TemplateBroken, match=r"back_in_stock/body\.txt: is no file"):
        one(own)
    with pytest.raises(TemplateBroken, match=r"_base/mail\.css: is no file"):
        shop(own).render_many([ABOUT] * 2, "en")


def test_a_directory_that_is_gone_is_named(own: Path) -> None:
    own.rmdir()
    with pytest.raises(TemplateBroken, match="own: No such file or directory"):
        one(own)


# While a process runs


def test_what_changes_later_is_for_the_next_start(own: Path) -> None:
    subject = put(own, "back_in_stock/subject.txt", "First")
    renderer = shop(own)
    subject.write_text("Second")
    put(own, "back_in_stock/de/subject.txt", "Zweitens")
    put(own, "locales/sv.po", 'msgid "View item"\nmsgstr "Visa"\n')
    for locale in ("en", "de", "sv"):
        assert renderer.render(context(), locale)[0].subject == "First"
    subject.unlink()
    assert renderer.render(context(), "fr")[0].subject == "First"
    assert one(own).subject == "Back in stock: Blue mug"


def test_what_is_broken_is_tried_anew_when_something_has_changed(own: Path) -> None:
    subject = put(own, "back_in_stock/subject.txt", "{{ itemname }}")
    body_text = put(own, "back_in_stock/body.txt", "First {{ item_url }}")
    renderer = shop(own)
    for _ in range(2):
        with pytest.raises(TemplateBroken, match="itemname"):
            renderer.render(context(), "en")
    subject.write_text("Mended: {{ item_name }}")
    body_text.write_text("Second {{ item_url }}")
    mail = renderer.render(context(), "en")[0]
    assert (mail.subject, mail.text) == ("Mended: Blue mug", f"Second {context().item_url}")
    subject.write_text("{{ itemname }}")
    assert renderer.render(context(), "en")[0].subject == "Mended: Blue mug"


def test_a_file_at_its_limit_is_read(own: Path) -> None:
    put(own, "back_in_stock/body.txt", "a" * FILE_LIMIT)
    assert one(own).text == "a" * FILE_LIMIT
