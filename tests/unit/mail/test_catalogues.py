"""Words in other languages: what a catalogue lacks or has wrong costs one sentence, and is named."""

import re
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
from babel.messages.pofile import read_po
from jinja2 import nodes

from tests.unit.mail.test_render import TEMPLATES, context
from worker.domain.errors import TemplateBroken
from worker.mail.catalogues import Catalogues
from worker.mail.render import Renderer
from worker.mail.sources import Sources
from worker.mail.templates import Templates

LANGUAGES = ["de", "fr", "es", "it", "nl", "pl", "pt-BR", "ja", "ar"]
NEWS = 'msgid "Back in stock"'


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A copy of the shipped templates, which the test may change."""
    return Path(shutil.copytree(TEMPLATES, tmp_path / "own"))


def html(own: Path, locale: str) -> str:
    return Renderer(Sources(own), "Shop").render(context(), locale)[0].html


def catalogue(own: Path, language: str, text: str) -> None:
    (own / "locales" / f"{language}.po").write_text(text, encoding="utf-8")


def problems(own: Path) -> list[str]:
    return list(Catalogues(Sources(own)).problems())


def texts(value: object) -> list[str]:
    return [value] if isinstance(value, str) else list(cast("tuple[str, ...]", value))


def sentences() -> set[str]:
    """Returns what the shipped templates say in English."""
    found = set[str]()
    for file in TEMPLATES.rglob("*.*"):
        if file.suffix in (".txt", ".html"):
            tree = Templates(Sources(TEMPLATES), escape=True).parse(file.read_text(encoding="utf-8"))
            for call in tree.find_all(nodes.Call):
                if isinstance(call.node, nodes.Name) and call.node.name in ("_", "ngettext"):
                    found.update(str(each.value) for each in call.args if isinstance(each, nodes.Const))
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_says_all_that_the_templates_say_and_nothing_else(language: str) -> None:
    with (TEMPLATES / "locales" / f"{language}.po").open("rb") as file:
        entries = [each for each in read_po(file) if each.id]
    assert {text for each in entries for text in texts(each.id)} == sentences()
    assert all(text for each in entries for text in texts(each.string))


def test_the_shipped_ones_have_no_problems_and_are_those_that_are_promised() -> None:
    assert sorted(Catalogues(Sources(TEMPLATES)).languages.values()) == sorted(LANGUAGES)
    assert problems(TEMPLATES) == []
    assert Renderer(Sources(TEMPLATES), "Shop").languages == ["en", *sorted(LANGUAGES)]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("number", [2, 3, 5, 11, 20])
def test_no_language_shows_english_or_placeholders(language: str, number: int) -> None:
    renderer = Renderer(Sources(TEMPLATES), "Shop")
    facts = context(options={}, image_url=None)
    for mail, used in (renderer.render(facts, language), renderer.render_many([facts] * number, language)):
        assert used == language
        for text in (mail.subject, mail.text, re.sub(r"<style>.*?</style>", "", mail.html, flags=re.DOTALL)):
            assert not re.search(r"%\(|%s|\bthe\b|\byou\b|\bstock:", text), text


def test_one_sentence_is_changed_by_a_catalogue_with_nothing_else(own: Path) -> None:
    catalogue(own, "en", f'{NEWS}\nmsgstr "Hooray"\n')
    assert ">Hooray</p>" in html(own, "en")
    assert ">View item</a>" in html(own, "en")
    assert ">Wieder verfügbar</p>" in html(own, "de")


def test_a_region_has_the_words_of_its_language_but_for_its_own(own: Path) -> None:
    catalogue(own, "de-AT", f'{NEWS}\nmsgstr "Endlich wieder da"\n')
    mail, used = Renderer(Sources(own), "Shop").render(context(), "de_at")
    assert used == "de-AT"
    assert ">Endlich wieder da</p>" in mail.html
    assert ">Artikel ansehen</a>" in mail.html
    assert ">Wieder verfügbar</p>" in html(own, "de-CH")


def test_a_new_language_is_one_file_and_what_it_lacks_is_english(own: Path) -> None:
    catalogue(own, "sv", f'{NEWS}\nmsgstr "Åter i lager"\n\nmsgid "View item"\nmsgstr ""\n')
    mail, used = Renderer(Sources(own), "Shop").render(context(), "sv-SE")
    assert used == "sv"
    assert ">Åter i lager</p>" in mail.html
    assert ">View item</a>" in mail.html
    assert problems(own) == []


PRICE = 'msgid "Price: %(price)s"'
ITEMS = (
    'msgid "%(num)s item you asked about is here again"\nmsgid_plural "%(num)s items you asked about are here again"'
)


@pytest.mark.parametrize(
    ("entry", "line", "why"),
    [
        (f'#, fuzzy\n{PRICE}\nmsgstr "Pris: %(price)s"', 2, "is fuzzy"),
        (f'{PRICE}\nmsgstr "Pris"', 1, "lacks %(price)s"),
        (f'{PRICE}\nmsgstr "Pris: %(pris)s"', 1, "lacks %(price)s"),
        (f'{PRICE}\nmsgstr "Pris: %(price)s %(shop)s"', 1, "has %(shop)s, which is not in the original"),
        (f'{PRICE}\nmsgstr "Pris: %(price)s (100 %)"', 1, "has a % that is not doubled"),
        (f'{PRICE}\nmsgstr "Pris: %(price)d"', 1, "lacks %(price)s"),
        (f'{ITEMS}\nmsgstr[0] "en"', 1, "has not all 2 plural forms"),
        (f'{ITEMS}\nmsgstr[0] "en"\nmsgstr[1] "%(number)s"', 1, "has %(number)s, which is not in the original"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named_and_english_is_shown(own: Path, entry: str, line: int, why: str) -> None:
    catalogue(own, "sv", f'{entry}\n\n{NEWS}\nmsgstr "Åter i lager"\n')
    [problem] = problems(own)
    assert problem.startswith(f"locales/sv.po: line {line}: {why}: ")
    renderer = Renderer(Sources(own), "Shop")
    assert "Price: 12,50" in renderer.render(context(), "sv")[0].text
    many = renderer.render_many([context()] * 2, "sv")[0].html
    assert "2 items you asked about are here again" in many
    assert "Åter i lager" in many


def test_a_number_may_be_said_in_a_word_and_a_doubled_percent_is_one(own: Path) -> None:
    catalogue(own, "sv", f'{ITEMS}\nmsgstr[0] "en"\nmsgstr[1] "%(num)s stycken"\n\n{NEWS}\nmsgstr "100 %%"\n')
    assert problems(own) == []
    assert ">100 %</p>" in Renderer(Sources(own), "Shop").render_many([context()] * 2, "sv")[0].html


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f'{NEWS}\nmsgstr "b\n', 2),
        (f"{NEWS}\nmsgstr b\n", 2),
        (f'{NEWS}\nmsgstr "a"b"\n', 2),
        ("\n<html>\n", 2),
        (f'{NEWS}\n{NEWS}\nmsgstr "c"\n', 1),
        (f'{NEWS}\nmsgstr "c"\n"d\n', 3),
        ("msgstr[12] x", 1),
    ],
)
def test_a_file_that_is_none_is_named_with_its_line_and_harms_its_language_alone(
    own: Path, text: str, line: int
) -> None:
    catalogue(own, "sv", text)
    with pytest.raises(TemplateBroken, match=rf"template locales/sv\.po: line {line}: "):
        html(own, "sv")
    assert ">Wieder verfügbar</p>" in html(own, "de")
    with pytest.raises(TemplateBroken, match=r"locales/sv\.po"):
        Renderer(Sources(own), "Shop").check()


HEADER = 'msgid ""\nmsgstr "{}\\n"\n\n'


@pytest.mark.parametrize(
    "forms", ["nplurals=2; plural=n=1;", "nplurals=2; plural=__import__('os');", "nplurals=x; plural"]
)
def test_a_rule_for_plurals_that_is_none_is_named(own: Path, forms: str) -> None:
    catalogue(own, "sv", HEADER.format(f"Plural-Forms: {forms}") + f'{NEWS}\nmsgstr "Åter"\n')
    with pytest.raises(TemplateBroken, match=r"template locales/sv\.po: "):
        html(own, "sv")


def test_a_file_in_utf8_is_read_as_that_whatever_its_header_says(own: Path) -> None:
    header = HEADER.format("Content-Type: text/plain; charset=ISO-8859-1")
    catalogue(own, "sv", f'\ufeff{header}{NEWS}\nmsgstr "Åter 再入荷"\n#~ msgid "old"\n#~ msgstr "gone"\n')
    assert ">Åter 再入荷</p>" in html(own, "sv")


def test_a_file_that_is_not_utf8_is_named(own: Path) -> None:
    (own / "locales" / "sv.po").write_bytes(f'{NEWS}\nmsgstr "K\xe4the"\n'.encode("latin-1"))
    with pytest.raises(TemplateBroken, match=r"locales/sv\.po: is not UTF-8: byte \d+"):
        html(own, "sv")


@pytest.mark.parametrize("name", ["xx-Latn-!!", "tlh", "de.bak", "template"])
def test_a_language_that_nobody_knows_has_two_plural_forms(own: Path, name: str) -> None:
    catalogue(own, name, f'{ITEMS}\nmsgstr[0] "eins %(num)s"\nmsgstr[1] "viele %(num)s"\n')
    assert problems(own) == []
    assert html(own, "en") == html(TEMPLATES, "en")


def test_words_of_a_shop_are_escaped_where_values_are_put_in_and_may_have_tags(own: Path) -> None:
    catalogue(own, "en", f'{NEWS}\nmsgstr "<b>Hooray</b>"\n\n{PRICE}\nmsgstr "<%(price)s>"\n')
    (own / "back_in_stock" / "body.html").write_text(
        '{{ _("Back in stock") }} {{ _("Price: %(price)s", price=item_name) }}'
    )
    mail = Renderer(Sources(own), "Shop").render(context(item_name="<i>"), "en")[0]
    assert mail.html == "<b>Hooray</b> <&lt;i&gt;>"
    assert "<€12.50>" in mail.text


@pytest.mark.parametrize(
    "source",
    [
        "{% trans %}Back in stock{% endtrans %}",
        "{% trans price=price %}Price: {{ price }}{% endtrans %}",
        '{{ gettext("Back in stock") }}',
        '{{ ngettext("%(num)s a", "%(num)s b", 3) }}',
    ],
)
def test_templates_may_write_it_as_gettext_does(own: Path, source: str) -> None:
    (own / "back_in_stock" / "body.txt").write_text(source)
    text = Renderer(Sources(own), "Shop").render(context(), "de")[0].text
    assert text in ("Wieder verfügbar", "Preis: 12,50\N{NO-BREAK SPACE}€", "3 b")


@pytest.mark.parametrize("source", ['{{ _("%(no)s") }}', '{{ _("100 %") }}', "{{ _(nothing) }}", "{{ _() }}"])
def test_a_sentence_that_cannot_be_filled_names_its_file(own: Path, source: str) -> None:
    (own / "back_in_stock" / "body.txt").write_text(source)
    with pytest.raises(TemplateBroken, match=r"back_in_stock/body\.txt: line 1"):
        Renderer(Sources(own), "Shop").render(context(), "en")


def test_the_link_in_a_sentence_is_more_than_printing(tmp_path: Path) -> None:
    """What a sentence does with it depends on the language: each customer gets a full rendering."""

    def prints(source: str) -> Any:
        (tmp_path / "mail").write_text(source)
        return Templates(Sources(tmp_path), escape=True).only_prints("mail", ["item_url"])

    assert not prints('{{ _("See %(url)s", url=item_url) }}')
    assert prints('{{ _("See it at %(shop)s", shop=store_name) }} {{ item_url }}')
