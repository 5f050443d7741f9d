"""Letters: each recipient gets exactly what a full rendering makes for them, by whatever short cut it was made."""

import email
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.policy import default
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.mail.test_message import ATTACKS, BAD_ADDRESSES, assert_well_formed, undone
from tests.unit.mail.test_templates import DOING_MORE, FILES, PRINTING
from worker.domain.errors import BadSetting, TemplateBroken
from worker.domain.outcomes import FailureCode
from worker.domain.relays import Mailbox
from worker.domain.verdicts import Failed, Tries
from worker.mail.folders import SIZE_LIMIT
from worker.mail.letter import LETTERS, Held, LetterWriter
from worker.mail.letterhead import letterhead
from worker.mail.message import Form, dot_stuffed, envelope_address, head, remainder
from worker.mail.render import BLANK_LIMIT, MailContext, Renderer
from worker.mail.sources import Sources
from worker.mail.ways_out import NO_WAY_OUT
from worker.smtp.mailer import Mail
from worker.store.claims import Claim

TEMPLATES = Path(__file__).resolve().parents[3] / "templates"
SHOP = Mailbox("Shop", "no-reply@shop.example")
NOON = 1795435200.9
DATE = "Mon, 23 Nov 2026 12:00:00 +0000"
LETTERHEAD = letterhead(SHOP, "Shop & Sons", reply_to=None, ways=NO_WAY_OUT)
ASKED_AT = datetime(2026, 3, 8, 23, 59, tzinfo=UTC)
CONSTANT = ["List-Id", "Feedback-ID", "X-Auto-Response-Suppress"]
OWN = "https://shop.example/p/mug-1?a=1&request={}"


@dataclass(unsafe_hash=True)
class Item:
    catalog_item_id: str = "mug-1"
    options: str = '{"Size": "L"}'
    name: str | None = "Blue mug"
    price: str | None = "12.50"
    currency: str | None = "EUR"
    image_url: str | None = "https://shop.example/mug.jpg"
    url: str | None = "https://shop.example/p/mug-1"


def claim(
    number: int = 1,
    *,
    to: str = "jane@example.com",
    url: str | None = None,
    locale: str | None = None,
    created: datetime | None = ASKED_AT,
) -> Claim:
    id_, nobody = UUID(int=number), UUID(int=0)
    return Claim(id_, 1, nobody, nobody, id_, to, url, locale, Tries(), created=created)


def writer_of(templates: Path = TEMPLATES, url_template: str | None = None) -> LetterWriter:
    return LetterWriter(Renderer(Sources(templates), "Shop & Sons"), SHOP, url_template, lambda: NOON)


def written(writer: LetterWriter, to: Claim, item: Item | None = None) -> bytes:
    mail = writer.write(to, item or Item())
    assert isinstance(mail, Mail)
    return mail.content


def rendered_in_full(templates: Path, to: Claim, item: Item, url: str) -> bytes | None:
    """Returns the mail as it is without any short cut, or None if the templates can't make it."""
    options = {"Size": "L"} if item.options != "{}" else {}
    renderer = Renderer(Sources(templates), "Shop & Sons")
    day = renderer.shown_day(to.created.date(), to.locale) if to.created else None
    facts = item.name, item.price, item.currency, item.image_url
    context = MailContext(url, item.catalog_item_id, options, *facts, asked_on=day)
    try:
        rendered, locale = renderer.render(context, to.locale)
    except TemplateBroken:
        return None
    own = head(envelope_address(to.email), to.id, "shop.example", DATE)
    return dot_stuffed(own + remainder(rendered, sender=SHOP, locale=locale, letterhead=LETTERHEAD))


def assert_all_as_rendered_in_full(
    templates: Path,
    urls: list[str],
    item: Item,
    locale: str | None = None,
    asked: Sequence[datetime | None] = (ASKED_AT,),
) -> None:
    writer = writer_of(templates)
    for number, url in enumerate(urls):
        to = claim(number, url=url, locale=locale, created=asked[number % len(asked)])
        letter, full = writer.write(to, item), rendered_in_full(templates, to, item, url)
        assert isinstance(letter, Held) if full is None else isinstance(letter, Mail)
        if isinstance(letter, Mail):
            assert letter.content == full


texts = st.text(st.characters(codec="utf-8"), max_size=80)
urls = st.lists(
    texts.filter(bool)
    | st.text(st.sampled_from(".=&?/%<'\"\r\n a\u2028ü€"), min_size=1, max_size=200)
    | st.integers(0, 10**9).map(OWN.format)
    | st.sampled_from([".", "..", "\n.\n", "\r", "x" * 75, "x" * 76, "x" * 77, "=" * 3000, "é" * BLANK_LIMIT]),
    min_size=2,
    max_size=5,
)
surroundings = texts | st.sampled_from(
    [".", "\n.", "\n", "\r", "\r\n", " \n", "\t", "=", "-" * 80, "ü" * 40, "a " * 50]
)
items = st.builds(
    Item,
    name=st.none() | texts,
    price=st.none() | texts,
    currency=st.none() | texts,
    image_url=st.none() | texts,
    options=st.sampled_from(["{}", '{"Size": "L"}']),
)


days = st.lists(
    st.none() | st.integers(-9_000, 9_000).map(lambda days: ASKED_AT + timedelta(days)), min_size=1, max_size=3
)


@settings(deadline=None, max_examples=50)
@given(urls=urls, item=items, locale=st.sampled_from([None, "en", "de", "de-AT", "fr", "ja", "ar"]), asked=days)
@example(urls=[OWN.format(1), OWN.format(1), OWN.format(2), OWN.format(1)], item=Item(), locale=None, asked=[None])
@example(urls=[OWN.format(1)] * 4, item=Item(), locale="ar", asked=[ASKED_AT, None, ASKED_AT + timedelta(1)])
def test_every_mail_of_the_shipped_templates_is_as_rendered_in_full(
    urls: list[str], item: Item, locale: str | None, asked: list[datetime | None]
) -> None:
    assert_all_as_rendered_in_full(TEMPLATES, urls, item, locale, asked)


DAYS = [
    "{{ asked_on }}",
    "{% if asked_on %}on {{ asked_on }}{% endif %} {{ item_url }}",
    "{{ asked_on|upper }}{{ item_url }}",
    "{% if asked_on == 'x' %}{% endif %}",
    "{{ _('on %(day)s', day=asked_on) }}",
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        for file, text in FILES.items():
            Path(name, file).write_text(text)
        Path(name, "back_in_stock").mkdir()
        yield Path(name)


def escaped(text: str) -> str:
    """Returns `text` with other characters for those that begin template syntax."""
    return text.replace("{", "(").replace("}", ")").replace("#", "+")


@settings(deadline=None, max_examples=150)
@given(
    parts=st.lists(st.tuples(surroundings, st.sampled_from(PRINTING + DOING_MORE + DAYS)), max_size=4),
    last=surroundings,
    in_subject=st.sampled_from(["It is back", "{{ item_url }}", "{{ item_url|upper }}", "x {{ asked_on }}"]),
    urls=urls,
    item=items,
    asked=days,
)
def test_every_mail_of_any_template_is_as_rendered_in_full(
    folder: Path,
    parts: list[tuple[str, str]],
    last: str,
    in_subject: str,
    urls: list[str],
    item: Item,
    asked: list[datetime | None],
) -> None:
    source = "".join(escaped(text) + template for text, template in parts) + escaped(last)
    mail = folder / "back_in_stock"
    (mail / "subject.txt").write_text(in_subject)
    (mail / "body.txt").write_bytes(source.encode())
    (mail / "body.html").write_bytes(source.encode())
    assert_all_as_rendered_in_full(folder, urls, item, asked=asked)


@pytest.mark.parametrize("source", PRINTING + DOING_MORE + DAYS)
def test_each_use_of_a_variable_is_as_rendered_in_full(folder: Path, source: str) -> None:
    mail = folder / "back_in_stock"
    (mail / "subject.txt").write_text("It is back")
    for file in ("body.txt", "body.html"):
        (mail / file).write_text(source)
    urls = [OWN.format(number) for number in "aabc"] + ["'<x>'", "."]
    assert_all_as_rendered_in_full(folder, urls, Item(), asked=[ASKED_AT, ASKED_AT, ASKED_AT + timedelta(1), None])


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A copy of the shipped templates, which the test may change."""
    return Path(shutil.copytree(TEMPLATES, tmp_path / "own"))


def renderings(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Returns a list to which each rendering adds its locale."""
    seen: list[str | None] = []
    render = Renderer.render

    def counted(self: Renderer, context: MailContext, locale: str | None) -> Any:
        seen.append(locale)
        return render(self, context, locale)

    monkeypatch.setattr(Renderer, "render", counted)
    return seen


def test_an_item_is_rendered_once_for_all_who_get_the_same_url(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, seen = writer_of(), renderings(monkeypatch)
    for number in range(20):
        written(writer, claim(number))
        written(writer, claim(number), Item(name="Cup"))
        written(writer, claim(number, locale="de_DE"))
        written(writer, claim(number, locale="de"))
        written(writer, claim(number, locale="en-XX"))
    assert seen == ["en", "en", "de"]


def test_and_once_more_for_each_country_that_writes_prices_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, seen = writer_of(), renderings(monkeypatch)
    for locale in ("de", "de_AT", "de-at", "de-Latn-AT", "de-DE") * 3:
        text = undone(written(writer, claim(locale=locale))).decode()
        assert ("=E2=82=AC=C2=A012,50" if "at" in locale.lower().split("_")[-1] else "12,50=C2=A0=E2=82=AC") in text
    assert seen == ["de", "de-at"]


def test_and_twice_if_each_has_an_url_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, seen = writer_of(), renderings(monkeypatch)
    contents = {written(writer, claim(1, url=OWN.format(number))) for number in range(20)}
    assert len(seen) == 2
    assert len(contents) == 20


@pytest.mark.parametrize("own_url", [False, True])
def test_the_day_on_which_each_asked_costs_no_rendering(monkeypatch: pytest.MonkeyPatch, own_url: bool) -> None:
    writer, seen = writer_of(), renderings(monkeypatch)
    for number in range(40):
        asked = ASKED_AT + timedelta(number // 2)
        mail = written(writer, claim(number, created=asked, url=OWN.format(number) if own_url else None))
        assert mail.count(f"Asked for on: {asked:%B} {asked.day}, 2026".encode()) == 2
    assert len(seen) == 1 + own_url


def test_a_day_is_that_of_utc_and_nothing_is_said_of_one_that_is_not_known() -> None:
    writer = writer_of()
    assert b"Angefragt am: 8. M=C3=A4rz 2026" in written(writer, claim(locale="de"))
    for created in (None, ASKED_AT, None):
        mail = written(writer, claim(created=created))
        assert (b"Asked for on" in mail) == (created is not None)


def test_templates_that_do_more_with_it_are_rendered_for_each(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "back_in_stock" / "body.txt").write_text("{{ item_url|upper }}")
    writer, seen = writer_of(own), renderings(monkeypatch)
    contents = [written(writer, claim(number, url=OWN.format(number))) for number in range(20)]
    assert len(seen) == 20
    assert b"REQUEST=3D19" in contents[-1]


def test_an_url_that_would_make_a_text_too_large_is_found_out(own: Path) -> None:
    (own / "back_in_stock" / "body.txt").write_text("{{ item_url }}" * (SIZE_LIMIT // 1000))
    writer = writer_of(own)
    assert isinstance(writer.write(claim(url="https://x/1"), Item()), Mail)
    assert isinstance(writer.write(claim(url="https://x/" + "a" * 980), Item()), Mail)
    assert isinstance(writer.write(claim(url="https://x/" + "a" * 1020), Item()), Held)
    assert isinstance(writer.write(claim(url="https://x/2"), Item()), Mail)


def test_other_facts_make_another_mail_and_the_same_the_same() -> None:
    writer = writer_of()
    first = written(writer, claim())
    for changed in (
        Item(name="Cup"), Item(price="9"), Item(currency="USD"), Item(image_url=None), Item(options="{}"),
        Item(url="https://shop.example/other"),
    ):  # fmt: skip
        assert written(writer, claim(), changed) != first
    assert written(writer, claim(), replace(Item())) == first
    assert written(writer, claim(locale="de")) != first


EXTRAS = '{"discount":"5 %","product.name":"<Mug>","items":"3"}'
USES_EXTRAS = """{% if extra.discount %}{{ extra.discount }} off {{ extra["product.name"] }}, {{ extra.items }} left\
{% endif %}{{ extra.no_such }}"""


def test_a_mail_says_what_its_order_gave_and_others_do_not(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in ("body.txt", "body.html"):
        (own / "back_in_stock" / file).write_text(USES_EXTRAS)
    writer, seen = writer_of(own), renderings(monkeypatch)
    for number in range(3):
        with_extras = undone(written(writer, replace(claim(number), extras=EXTRAS)))
        assert b"5 % off <Mug>, 3 left" in with_extras
        assert b"5 % off &lt;Mug&gt;, 3 left" in with_extras
        other = replace(claim(number), extras='{"discount":"9 %"}')
        assert b"9 % off , " in undone(written(writer, other))
        assert b" off " not in undone(written(writer, claim(number)))
    assert len(seen) == 3


def test_letters_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    writer, seen = writer_of(), renderings(monkeypatch)
    for number in range(LETTERS + 1):
        written(writer, claim(), Item(name=f"Mug {number}"))
    written(writer, claim(), Item(name=f"Mug {LETTERS}"))
    assert len(seen) == LETTERS + 1
    written(writer, claim(), Item(name="Mug 0"))
    assert len(seen) == LETTERS + 2


def test_what_is_broken_is_held_until_it_is_mended(own: Path) -> None:
    body = own / "back_in_stock" / "body.txt"
    good = body.read_text()
    body.write_text("{{ nothing_known }}{% if %}")
    writer = writer_of(own)
    for _ in range(2):
        held = writer.write(claim(), Item())
        assert isinstance(held, Held)
        assert "back_in_stock/body.txt" in held.reason
    body.write_text(good)
    for url in ("https://x/1", "https://x/2", "https://x/3"):
        assert url.encode() in written(writer, claim(url=url))


def test_the_requests_url_wins_over_the_items_and_that_over_the_made_up_one() -> None:
    writer = writer_of(url_template="https://made.example/{catalogItemId}")
    assert b"https://own.example" in written(writer, claim(url="https://own.example"))
    assert b"https://shop.example/p/mug-1" in written(writer, claim())
    assert b"https://made.example/a%2Fb" in written(writer, claim(), Item(catalog_item_id="a/b", url=None))


def test_without_any_url_it_fails_even_if_nothing_else_is_right(own: Path) -> None:
    shutil.rmtree(own)
    failed = writer_of(own).write(claim(to="jane"), Item(url=None))
    assert isinstance(failed, Failed)
    assert failed.code is FailureCode.MISSING_ITEM_URL


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_a_bad_address_fails(address: str) -> None:
    failed = writer_of().write(claim(to=address), Item())
    assert isinstance(failed, Failed)
    assert failed.code is FailureCode.INVALID_ADDRESS


@settings(deadline=None)
@given(value=st.sampled_from(ATTACKS) | st.text(st.characters(codec="utf-8")))
def test_no_value_becomes_a_header_or_ends_the_mail(value: str) -> None:
    writer = writer_of()
    item = Item(name=value, price=value, currency=value, image_url=value, url=value)
    for url in (None, value or None, f"{value}.", f".{value}"):
        letter = writer.write(claim(url=url, locale=value), item)
        assert isinstance(letter, Mail | Held | Failed)
        if isinstance(letter, Mail):
            assert_well_formed(undone(letter.content), CONSTANT)


def test_a_sender_that_cant_be_used_is_our_fault_and_found_at_the_start() -> None:
    with pytest.raises(BadSetting, match="MAIL_FROM") as raised:
        LetterWriter(Renderer(Sources(TEMPLATES), "Shop"), Mailbox("", "=?x@shop.example"), None)
    assert "=?x" not in str(raised.value)


def test_head_and_envelope_are_the_recipients() -> None:
    mail = writer_of().write(claim(7, to="jane@münchen.example"), Item())
    assert isinstance(mail, Mail)
    message = email.message_from_bytes(undone(mail.content), policy=default)
    assert mail.recipient == message["To"] == "jane@xn--mnchen-3ya.example"
    assert message["Message-ID"] == f"<{UUID(int=7)}@shop.example>"
    assert mail.request_id == UUID(int=7)


def test_the_date_goes_with_the_clock() -> None:
    times = iter([NOON, NOON + 0.05, NOON + 0.2])
    writer = LetterWriter(Renderer(Sources(TEMPLATES), "Shop"), SHOP, None, lambda: next(times))
    dates = [email.message_from_bytes(written(writer, claim()))["Date"] for _ in range(3)]
    assert dates == [DATE, DATE, "Mon, 23 Nov 2026 12:00:01 +0000"]


def test_a_form_says_how_many_values_it_needs() -> None:
    rendered, _ = Renderer(Sources(TEMPLATES), "Shop").render(MailContext("https://x", "mug-1", {}), None)
    form = Form(rendered, ("https://x", "back in stock"), sender=SHOP, locale="en")
    with pytest.raises(ValueError, match="zip"):
        form.filled(("https://y",), ("https://y",))
