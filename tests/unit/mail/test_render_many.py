"""The mail about several items: each is shown as in the mail about one, and the mail is one mail all the same."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.attacks import EVIL, shape_of
from tests.unit.mail.test_render import NASTY, TEMPLATES, Seen, context
from worker.domain.errors import TemplateBroken, TextTooLarge
from worker.domain.policies import MOST_ITEMS
from worker.mail.folders import SIZE_LIMIT
from worker.mail.message import Rendered
from worker.mail.render import MailContext, Renderer
from worker.mail.sources import Sources

MANY = "back_in_stock_many"
NAMES = ["Blue mug", "Red cup", "Plate", "Bowl", "Jug"]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A copy of the shipped templates, which the test may change."""
    return Path(shutil.copytree(TEMPLATES, tmp_path / "own"))


def named(number: int, **changed: Any) -> MailContext:
    """Returns the facts of an item that differ from those of all others."""
    facts = {
        "item_url": f"https://shop.example/p/{number}?a=1&b=2",
        "image_url": f"https://shop.example/{number}.jpg",
        "item_name": NAMES[number % len(NAMES)],
        "options": {"Size": f"S{number}"},
        "price": f"{number + 10}.50",
    }
    return context(**(facts | changed))


def many(number: int, **changed: Any) -> list[MailContext]:
    return [named(each, **changed) for each in range(number)]


def bare(number: int) -> list[MailContext]:
    return many(number, options={}, item_name=None, price=None, image_url=None)


def rendered(
    items: Sequence[MailContext], locale: str | None = None, templates: Path = TEMPLATES, shop: str = "Shop & Sons"
) -> Rendered:
    return Renderer(Sources(templates), shop).render_many(items, locale)[0]


@pytest.mark.parametrize("locale", ["en", "de"])
@pytest.mark.parametrize("number", [2, 5, MOST_ITEMS])
def test_each_item_is_shown_with_its_name_options_price_picture_and_link(number: int, locale: str) -> None:
    items = many(number)
    mail = rendered(items, locale)
    seen = Seen(mail.html)
    assert seen.links == [item.item_url for item in items for _ in ("heading", "button")]
    assert [image["src"] for image in seen.images] == [item.image_url for item in items]
    entries = [entry.splitlines() for entry in mail.text.split("\n\n")[1 : number + 1]]
    for place, entry in enumerate(entries):
        price = {"en": f"Price: €{place + 10}.50", "de": f"Preis: {place + 10},50\N{NO-BREAK SPACE}€"}[locale]
        assert entry == [NAMES[place % 5], f"Size: S{place}", price, items[place].item_url]
        for fact in (*entry[:2], price.partition(": ")[2]):
            assert fact in seen.text
    for text in (mail.text, seen.text):
        assert {"en": "because you asked Shop & Sons", "de": "weil Sie Shop & Sons"}[locale] in text
        assert {"en": "the only one", "de": "bei dieser einen"}[locale] in text
        assert {"en": "We could not set any aside", "de": "nicht für Sie reserviert"}[locale] in text
        assert f"{number} " in text
    assert "\n\n\n" not in mail.text


def test_items_stay_in_their_order() -> None:
    mail = rendered([named(3), named(0), named(2)])
    assert mail.subject == "Back in stock: Bowl and 2 more items"
    for text in (mail.text, mail.html.partition("<h1")[2]):
        assert text.index("Bowl") < text.index("Blue mug") < text.index("Plate")


LONG = "Very long name " * 20


@pytest.mark.parametrize(
    ("items", "locale", "subject"),
    [
        (many(2), "en", "Back in stock: Blue mug and 1 more item"),
        (many(3), "en", "Back in stock: Blue mug and 2 more items"),
        (many(20), "en", "Back in stock: Blue mug and 19 more items"),
        (many(2), "de-AT", "Wieder da: Blue mug und 1 weiterer Artikel"),
        (many(3), "de", "Wieder da: Blue mug und 2 weitere Artikel"),
        (bare(2), None, "Back in stock: 2 items you asked about"),
        (bare(20), "de", "Wieder da: 20 gewünschte Artikel"),
        ([*bare(1), *many(2)], "en", "Back in stock: Blue mug and 2 more items"),
        (many(2, item_name=LONG), "en", f"Back in stock: {LONG[:69]}… and 1 more item"),
        (many(2, item_name=LONG), "de", f"Wieder da: {LONG[:69]}… und 1 weiterer Artikel"),
        (many(2, item_name="Donau&shy;dampf"), "en", "Back in stock: Donaudampf and 1 more item"),
        (many(2, item_name="חולצה"), "en", "Back in stock: \u2068חולצה\u2069 and 1 more item"),
        # Plural forms: none in Japanese, three in Polish, six in Arabic.
        (many(2), "ja", "再入荷：Blue mug ほか 1 点"),
        (many(2), "pl", "Znów dostępne: Blue mug i jeszcze 1 produkt"),
        (many(3), "pl", "Znów dostępne: Blue mug i jeszcze 2 produkty"),
        (many(6), "pl", "Znów dostępne: Blue mug i jeszcze 5 produktów"),
        (many(3), "ar", "متوفر من جديد: \u2068Blue mug\u2069 ومنتجان آخران"),
        (many(6), "ar", "متوفر من جديد: \u2068Blue mug\u2069 و5 منتجات أخرى"),
        (many(20), "ar", "متوفر من جديد: \u2068Blue mug\u2069 و19 منتجًا آخر"),
    ],
)
def test_the_subject_names_an_item_and_how_many_more(items: list[MailContext], locale: str, subject: str) -> None:
    assert rendered(items, locale).subject == subject


@pytest.mark.parametrize(
    ("items", "locale", "words"),
    [
        (many(2), "en", "Available again: Blue mug · Red cup · You asked us to tell you."),
        (many(9), "en", "Available again: Blue mug · Red cup · Plate · Bowl · Jug · You asked us to tell you."),
        (bare(2), "en", "Available again: You asked us to tell you."),
        (many(3), "de", "Wieder verfügbar: Blue mug · Red cup · Plate · Sie wollten Bescheid wissen."),
    ],
)
def test_what_an_inbox_shows_beside_the_subject_names_them(items: list[MailContext], locale: str, words: str) -> None:
    assert words in Seen(rendered(items, locale).html.partition("<table")[0]).text


@pytest.mark.parametrize("locale", ["en", "de"])
def test_items_need_nothing_but_a_link(locale: str) -> None:
    mail = rendered(bare(2), locale)
    seen = Seen(mail.html)
    assert seen.links == [item.item_url for item in bare(2) for _ in ("heading", "button")]
    assert not seen.images
    assert 'class="side"' not in mail.html
    for text in (mail.text, mail.html):
        assert text.count({"en": "An item you asked about", "de": "Ein gewünschter Artikel"}[locale]) == 2
        for absent in ("None", "mug-1-id", "Price", "Preis", 'aria-label="View item'):
            assert absent not in text
    assert "\n\n\n" not in mail.text


def test_items_with_and_without_a_picture_stand_in_one_column() -> None:
    html = rendered([named(0), named(1, image_url=None)]).html
    assert html.count('class="side"') == 2
    assert html.count("<img") == 1


def test_each_extra_belongs_to_its_item(own: Path) -> None:
    for file in ("body.txt", "body.html"):
        (own / MANY / file).write_text(
            "{% for item in items %}[{{ item.extra.discount }}|{{ item.extra.no }}]{% endfor %}"
        )
    first = MailContext("https://x/1", "1", {}, extra={"discount": "5 %"})
    mail = rendered([first, MailContext("https://x/2", "2", {}), first], None, own)
    assert mail.text == mail.html == "[5 %|][|][5 %|]"


def test_every_variable_is_as_in_the_mail_about_one(own: Path) -> None:
    names = ["item_url", "item_name", "price", "image_url", "options", "catalog_item_id"]
    shared = ["store_name", "locale", "direction", "unsubscribe_url"]
    one = "".join(f"{{{{ {name} }}}}\n" for name in (*names, *shared))
    each = "".join(f"{{{{ items[0].{name} }}}}\n" for name in names) + "".join(f"{{{{ {name} }}}}\n" for name in shared)
    for folder, source in {"back_in_stock": one, MANY: each}.items():
        for file in ("body.txt", "body.html"):
            (own / folder / file).write_text(source)
    facts = MailContext(
        NASTY,
        "<1>",
        {"a\nb": "חולצה", "variantId": "7"},
        "a &amp; חולצה\u202e&shy;",
        "1234.5",
        "EUR",
        NASTY,
        "mailto:<x>",
    )
    renderer = Renderer(Sources(own), "Shop חנות <b>")
    about_one, about_many = renderer.render(facts, "en-AU")[0], renderer.render_many([facts, named(1)], "en-AU")[0]
    assert (about_many.text, about_many.html) == (about_one.text, about_one.html)
    assert "EUR\N{NO-BREAK SPACE}1,234.50" in about_many.text


@pytest.mark.parametrize("unsubscribe_url", ["", "https://notify.shop.example/u/a?b=1&c=2"])
@pytest.mark.parametrize("locale", ["en", "de"])
def test_the_customer_leaves_where_the_first_one_says(unsubscribe_url: str, locale: str) -> None:
    items = [MailContext("https://x/1", "1", {}, unsubscribe_url=unsubscribe_url), MailContext("https://x/2", "2", {})]
    mail = rendered(items, locale)
    leave = {"en": "Get no more mails", "de": "Keine E-Mails mehr"}[locale]
    assert (leave in mail.text, leave in mail.html) == (bool(unsubscribe_url),) * 2
    links = [url for url in ("https://x/1", "https://x/2") for _ in ("heading", "button")]
    assert Seen(mail.html).links == [*links, *([unsubscribe_url] if unsubscribe_url else [])]
    assert unsubscribe_url in mail.text


# Hostile and odd facts


@pytest.mark.parametrize("field", ["item_name", "price", "image_url", "item_url", "options", "currency"])
def test_every_fact_is_escaped_in_html(field: str) -> None:
    value: Any = {NASTY: NASTY} if field == "options" else f"https://x/1{NASTY}"
    mail = rendered([named(0), named(1, **{field: value})])
    assert "<b>" not in mail.html
    assert "&lt;b&gt;&amp;&#39;&#34;" in mail.html
    assert "&lt;b&gt;" not in mail.text


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("place", [0, 1])
def test_no_text_adds_an_element_an_attribute_or_a_link(evil: str, place: int) -> None:
    def shape(value: str) -> Any:
        items = many(2)
        items[place] = named(place, item_name=value, options={f"{value}: x": value}, price=f"1 {value}")
        return shape_of(rendered(items, None, shop=value).html)

    attacked, usual = shape(f"x{evil}"), shape("x")
    isolating = ("span", ("dir",))
    assert [tag for tag in attacked.tags if tag != isolating] == usual.tags
    assert attacked.links == usual.links


def test_facts_stay_on_their_line() -> None:
    mail = rendered(many(2, item_name="Blue\r\nBcc: x\u2028mug\ud800", options={"a\nb": "c\nd"}))
    assert mail.subject == "Back in stock: Blue Bcc: x mug and 1 more item"
    assert mail.text.splitlines().count("Blue Bcc: x mug") == mail.text.splitlines().count("a b: c d") == 2
    mail.html.encode()


def test_a_name_of_another_direction_does_not_turn_round_what_follows() -> None:
    mail = rendered(many(2, item_name="חולצה (M)", options={"מידה": "38"}))
    assert mail.text.count("\u2068חולצה (M)\u2069\n\u2068מידה\u2069: 38\n") == 2
    assert mail.html.count('<span dir="rtl">חולצה (M)</span>') == 4  # in the preheader and the headings
    assert mail.html.count('aria-label="View item: \u2068חולצה (M)\u2069"') == 2


def test_in_a_language_from_right_to_left_the_rows_begin_at_the_right(own: Path) -> None:
    shutil.copy(own / "locales" / "de.po", own / "locales" / "he.po")
    html = rendered(many(2), "he-IL", own).html
    assert html.count('lang="he" dir="rtl"') == 2
    assert html.count('align="right"') == html.count("padding:20px 0 20px 16px") == 2
    german = rendered(many(2), "de", own).html
    assert german.count('align="left"') == german.count("padding:20px 16px 20px 0") == 2


def test_soft_hyphens_help_in_html_and_are_gone_from_the_text() -> None:
    mail = rendered([named(0), named(1, item_name="Donau\u00addampfschiff")])
    assert "\u00ad" not in mail.text
    assert "\nDonaudampfschiff\n" in mail.text
    assert "Donau\u00addampfschiff</a></h2>" in mail.html


def test_long_words_do_not_widen_the_mail() -> None:
    html = rendered(many(2, item_name="n" * 300, options={"o" * 300: "v" * 300}, price=f"1 {'p' * 300}")).html
    rows = re.findall(r"<td[^>]*word-break:break-word[^>]*>(.*?)</td>", html, re.DOTALL)
    assert len(rows) == 2
    for row in rows:
        assert all(letter * 300 in row for letter in "novp")
    assert html.count("table-layout:fixed") == 3  # also what comes after the last item


@pytest.mark.parametrize("locale", ["en", "de"])
def test_the_html_is_fit_for_mail_programs(locale: str) -> None:
    html = rendered(many(20), locale).html
    assert len(html.encode()) < 40_000
    assert max(len(line) for line in html.splitlines()) < 998
    for needed in ("color-scheme", "prefers-color-scheme:dark", "max-width:600px", "viewport"):
        assert needed in html
    for forbidden in ("<script", "<link", "@import", "http://"):
        assert forbidden not in html
    assert html.count("<table") == html.count('role="presentation"') == html.count("</table>")


@pytest.mark.parametrize("locale", ["en", "de"])
def test_a_screen_reader_hears_headings_and_which_item_a_button_is_about(locale: str) -> None:
    html = rendered(many(3), locale).html
    assert re.findall(r"<(h\d)", html) == ["h1", "h2", "h2", "h2"]
    action = {"en": "View item", "de": "Artikel ansehen"}[locale]
    assert re.findall(r'aria-label="(.*?)"', html)[1:] == [f"{action}: {name}" for name in NAMES[:3]]
    assert [image["alt"] for image in Seen(html).images] == [""] * 3  # the heading says the same


# Folders


@pytest.mark.parametrize(
    ("asked", "used"),
    [(None, "en"), ("sv", "en"), ("fr", "fr"), ("DE_at", "de"), ("../../../etc", "en"), ("-" * 100_000, "en")],
)
def test_the_nearest_language_is_used(asked: str | None, used: str) -> None:
    mail, locale = Renderer(Sources(TEMPLATES), "Shop").render_many(many(2), asked)
    assert locale == used
    assert f'<html lang="{used}"' in mail.html


def test_a_shop_with_this_mail_gets_its_own(own: Path) -> None:
    (own / MANY / "subject.txt").write_text("{{ items|length }} at {{ store_name }}")
    assert Renderer(Sources(own, TEMPLATES), "Shop").render_many(many(2), "en")[0].subject == "2 at Shop"


def test_check_finds_what_is_wrong_with_few_and_with_many_full_and_bare(own: Path) -> None:
    body = own / MANY / "de" / "body.txt"
    body.parent.mkdir()
    for wrong in (
        "{{ item_name }}",
        "{{ items[0].nothing }}",
        "{{ items[20].price }}",
        "{% if items|length == 2 %}{{ oops }}{% endif %}",
        "{% if items|length == 20 %}{{ oops }}{% endif %}",
        "{% if items[1].price %}{{ oops }}{% endif %}",
        "{% if not items[19] is defined and not items[1].price %}{{ oops }}{% endif %}",
        "{% if items[19] is defined and not items[19].price %}{{ oops }}{% endif %}",
        "{% if items[1].extra.rare %}{{ oops }}{% endif %}",
    ):
        body.write_text(wrong)
        with pytest.raises(TemplateBroken, match=r"template back_in_stock_many/de/body\.txt: line 1"):
            Renderer(Sources(own), "Shop").check()
    body.unlink()
    assert f"{MANY}/de/body.txt" not in Renderer(Sources(own), "Shop").check()


def test_what_is_wrong_with_the_rows_is_told_with_their_file_and_line(own: Path) -> None:
    rows = own / "_base" / "items.html"
    rows.write_text(
        rows.read_text(encoding="utf-8").replace("item.price|spanned", "item.prize|spanned"), encoding="utf-8"
    )
    with pytest.raises(TemplateBroken, match=r"template _base/items\.html: line \d+: .*'prize'"):
        Renderer(Sources(own), "Shop").check()


def test_the_mail_about_one_needs_no_templates_for_many(own: Path) -> None:
    shutil.rmtree(own / MANY)
    assert Renderer(Sources(own), "Shop").render(context(), None)[0].subject == "Back in stock: Blue mug"
    with pytest.raises(TemplateBroken, match=r"back_in_stock_many/"):
        Renderer(Sources(own), "Shop").check()


def test_a_text_that_is_too_large_is_told_from_what_is_broken(own: Path) -> None:
    body = own / MANY / "body.txt"
    body.write_text("a" * SIZE_LIMIT)
    assert len(rendered(many(2), None, own).text) == SIZE_LIMIT
    body.write_text(f"{{{{ 'a' * {SIZE_LIMIT} }}}}b")
    with pytest.raises(TextTooLarge, match=r"back_in_stock_many/body\.txt: makes over 262144 bytes"):
        rendered(many(2), None, own)


@pytest.mark.parametrize(
    "escape", ["{{ items.append(1) }}", "{{ items[0].update({'a': 'b'}) }}", "{{ items.__class__ }}"]
)
def test_a_template_does_not_change_the_items_or_leave_the_sandbox(own: Path, escape: str) -> None:
    (own / MANY / "body.txt").write_text(escape)
    with pytest.raises(TemplateBroken, match=r"SecurityError|unsafe"):
        rendered(many(2), None, own)
