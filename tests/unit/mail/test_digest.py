"""A digest: one mail about all that came back for a customer, and what becomes of each request that was to be in it."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from html import unescape
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.mail.test_letter import ASKED_AT, CONSTANT, DATE, SHOP, TEMPLATES, Item, claim
from tests.unit.mail.test_letter import writer_of as plain_writer_of
from tests.unit.mail.test_message import ATTACKS, assert_well_formed, undone
from tests.unit.mail.test_ways_out import ALL, BOTH, IDS, TOKENS, bodies, parsed, uris, writer_of
from worker.domain.outcomes import FailureCode
from worker.domain.policies import MOST_ITEMS
from worker.domain.verdicts import Failed
from worker.mail.folders import SIZE_LIMIT
from worker.mail.letter import Digest, Held, LetterWriter
from worker.mail.render import Renderer
from worker.mail.sources import Sources
from worker.mail.unaddressed import DIGEST_LIMIT
from worker.mail.ways_out import LINK_MARK, MAIL_MARK, NO_WAY_OUT, WaysOut
from worker.smtp.mailer import Mail
from worker.store.claims import Claim

MANY = "back_in_stock_many"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A copy of the shipped templates, which the test may change."""
    return Path(shutil.copytree(TEMPLATES, tmp_path / "own"))


def item(number: int) -> Item:
    return Item(f"mug-{number}", name=f"Mug {number}.", url=f"https://shop.example/p/{number}.html")


def claims(number: int) -> list[Claim]:
    """Returns requests of one customer, each for an item of its own."""
    return [replace(claim(each), list_id=UUID(int=1000 + each), contact_id=UUID(int=7)) for each in range(number)]


def joined(requests: Sequence[Claim]) -> Claim:
    return replace(requests[0], others=tuple(requests[1:]))


def facts(requests: Sequence[Claim], *items: Item) -> Mapping[UUID, Item]:
    """Returns the facts by waiting list: `items`, and those of the usual ones for the rest."""
    usual = [item(number) for number in range(len(items), len(requests))]
    return {each.list_id: about for each, about in zip(requests, (*items, *usual), strict=True)}


def digest(writer: LetterWriter, requests: Sequence[Claim], *items: Item) -> Digest:
    return writer.write_digest(joined(requests), facts(requests, *items))


def mail_of(done: Digest) -> EmailMessage:
    assert isinstance(done.result, Mail)
    return parsed(done.result)


def fields(mail: Mail | Failed | Held) -> tuple[object, ...]:
    """Returns what a mail is made of: mails themselves are never equal."""
    assert isinstance(mail, Mail)
    return mail.request_id, mail.recipient, mail.content, mail.token, mail.contact_token


def names(message: EmailMessage) -> list[str]:
    """Returns the names of the items in the plain text, in order."""
    return [line for line in bodies(message)[0].splitlines() if line.startswith("Mug ")]


# What the mail is


@pytest.mark.parametrize("ways", [NO_WAY_OUT, *ALL], ids=["none", *IDS])
@pytest.mark.parametrize("number", [2, MOST_ITEMS])
def test_it_is_the_first_ones_mail_as_if_that_went_alone(ways: WaysOut, number: int) -> None:
    writer, requests = writer_of(ways), claims(number)
    done = digest(writer, requests)
    alone = writer.write(requests[0], item(0))
    assert isinstance(done.result, Mail)
    assert isinstance(alone, Mail)
    assert fields(replace(done.result, content=b"")) == fields(replace(alone, content=b""))
    assert done.result.token == TOKENS.for_return(requests[0].id, requests[0].claim_no)
    ours, single = mail_of(done), parsed(alone)
    assert ours.keys() == single.keys()
    assert {name for name in ours if str(ours[name]) != str(single[name])} == {"Subject"}
    assert (ours["Message-ID"], ours["Date"]) == (f"<{UUID(int=0)}@shop.example>", DATE)
    assert done == Digest(done.result, joined(requests))
    assert names(ours) == [f"Mug {each}." for each in range(number)]
    assert ours["Subject"].startswith(f"Back in stock: Mug 0. and {number - 1} more item")


@pytest.mark.parametrize("ways", ALL, ids=IDS)
@pytest.mark.parametrize("locale", ["en", "de"])
def test_the_header_and_both_bodies_lead_out_by_the_customers_own_way(ways: WaysOut, locale: str) -> None:
    requests = [replace(each, locale=locale) for each in claims(2)]
    done = digest(writer_of(ways), requests)
    message = mail_of(done)
    assert uris(message)[0] in bodies(message)[0]
    assert uris(message)[0] in unescape(bodies(message)[1])
    assert isinstance(done.result, Mail)
    for mark in (LINK_MARK, MAIL_MARK):
        assert mark.encode() not in done.result.content.replace(b"=\r\n", b"")


def test_each_item_has_the_requests_url_or_the_items_or_the_made_up_one() -> None:
    requests = claims(3)
    requests[1] = replace(requests[1], item_url="https://own.example/1")
    writer = plain_writer_of(url_template="https://made.example/{catalogItemId}")
    done = digest(writer, requests, item(0), item(1), replace(item(2), url=None, catalog_item_id="a/b"))
    text = bodies(mail_of(done))[0]
    urls = [line for line in text.splitlines() if line.startswith("https:")]
    assert urls == ["https://shop.example/p/0.html", "https://own.example/1", "https://made.example/a%2Fb"]


def test_what_an_order_gave_is_said_of_its_item_alone(own: Path) -> None:
    for file in ("body.txt", "body.html"):
        (own / MANY / file).write_text(
            "{% for item in items %}[{{ item.item_name }}{{ item.extra.discount }}]{% endfor %}"
        )
    requests = claims(3)
    requests[1] = replace(requests[1], extras='{"discount":" -5 %"}')
    for body in bodies(mail_of(digest(plain_writer_of(own), requests))):
        assert body.strip() == "[Mug 0.][Mug 1. -5 %][Mug 2.]"


@pytest.mark.parametrize(
    ("locales", "used", "price"),
    [
        ([None, None, None], "en", "€12.50"),
        (["de", "en", None], "de", "12,50 €"),
        ([None, "de-AT", "en"], "de", "€ 12,50"),
        ([None, "", "de"], "de", "12,50 €"),
        (["sv", "de", "de"], "en", "€12.50"),
    ],
)
def test_the_language_is_the_first_that_a_request_has(locales: list[str | None], used: str, price: str) -> None:
    requests = [replace(each, locale=locale) for each, locale in zip(claims(3), locales, strict=True)]
    message = mail_of(digest(plain_writer_of(), requests))
    assert message["Content-Language"] == used
    assert f": {price}" in bodies(message)[0].replace("\N{NO-BREAK SPACE}", " ")


def test_it_keeps_its_language_when_those_who_have_one_are_left() -> None:
    requests = [replace(each, item_url=url_of(2_000)) for each in claims(MOST_ITEMS)]
    requests[-1] = replace(requests[-1], locale="de")
    done = digest(plain_writer_of(), requests)
    assert mail_of(done)["Content-Language"] == "de"
    assert requests[-1] in done.left


def test_a_digest_changes_no_mail_about_one() -> None:
    writer = writer_of(BOTH)
    before = fields(writer.write(claim(3), item(0)))
    digest(writer, claims(3))
    assert fields(writer.write(claim(3), item(0))) == before


# Who is not in it


def without_url(number: int) -> Item:
    return replace(item(number), url=None)


def test_others_without_an_url_fail_and_the_mail_goes_without_them() -> None:
    requests = claims(4)
    done = digest(plain_writer_of(), requests, item(0), without_url(1), item(2), without_url(3))
    assert names(mail_of(done)) == ["Mug 0.", "Mug 2."]
    assert done.claim == joined([requests[0], requests[2]])
    assert [each for each, _ in done.failed] == [requests[1], requests[3]]
    assert {verdict.code for _, verdict in done.failed} == {FailureCode.MISSING_ITEM_URL}
    assert not done.left


def test_if_only_the_first_remains_it_is_the_mail_about_one() -> None:
    requests = claims(3)
    writer = writer_of(BOTH)
    done = digest(writer, requests, item(0), without_url(1), without_url(2))
    assert fields(done.result) == fields(writer.write(requests[0], item(0)))
    assert done.claim == requests[0]
    assert [each for each, _ in done.failed] == requests[1:]
    assert not done.left


def test_one_without_others_is_the_mail_about_one() -> None:
    writer = writer_of(BOTH)
    done = digest(writer, claims(1))
    assert fields(done.result) == fields(writer.write(claims(1)[0], item(0)))
    assert done == Digest(done.result, claims(1)[0])


@pytest.mark.parametrize("other", [item(1), without_url(1)])
def test_if_the_first_has_no_url_it_fails_alone(own: Path, other: Item) -> None:
    requests = claims(3)
    shutil.rmtree(own / MANY)
    done = digest(plain_writer_of(own), requests, without_url(0), other)
    failed = plain_writer_of().write(requests[0], without_url(0))
    assert isinstance(failed, Failed)
    assert done == Digest(failed, requests[0], left=tuple(requests[1:]))
    assert failed.code is FailureCode.MISSING_ITEM_URL


@pytest.mark.parametrize("other", [item(1), without_url(1)])
@pytest.mark.parametrize("number", [2, 3])
def test_if_its_address_is_none_it_fails_alone(own: Path, other: Item, number: int) -> None:
    requests = [replace(each, email="jane@localhost@x") for each in claims(number)]
    (own / MANY / "body.txt").write_text("{% if %}")
    done = digest(plain_writer_of(own), requests, item(0), other)
    assert isinstance(done.result, Failed)
    assert done.result.code is FailureCode.INVALID_ADDRESS
    assert done == Digest(done.result, requests[0], left=tuple(requests[1:]))


@pytest.mark.parametrize("number", [2, 3, 20])
def test_a_broken_template_holds_all(own: Path, number: int) -> None:
    requests = claims(number)
    (own / MANY / "body.txt").write_text("{{ item_name }}")
    done = digest(plain_writer_of(own), requests, *map(item, range(number)))
    assert isinstance(done.result, Held)
    assert done.result.reason == "template back_in_stock_many/body.txt: line 1: 'item_name' is undefined in this mail"
    assert done == Digest(done.result, joined(requests))


def test_a_broken_template_holds_nobody_who_can_never_be_told(own: Path) -> None:
    requests = claims(3)
    (own / MANY / "body.txt").write_text("{{ item_name }}")
    done = digest(plain_writer_of(own), requests, item(0), without_url(1), item(2))
    assert isinstance(done.result, Held)
    assert [each.id for each in done.claim.together] == [requests[0].id, requests[2].id]
    assert [each.id for each, _ in done.failed] == [requests[1].id]


@pytest.mark.parametrize("bad", [0, 1, 7, 19])
def test_an_item_at_which_the_template_breaks_holds_no_other(own: Path, bad: int) -> None:
    (own / MANY / "body.txt").write_text(
        "{% for item in items %}{{ item.item_url }}{% if item.item_name == 'bad' %}{{ nothing }}{% endif %}{% endfor %}"
    )
    writer, left = plain_writer_of(own), claims(20)
    about = [replace(item(n), name="bad") if n == bad else item(n) for n in range(20)]
    told, held = list[UUID](), list[UUID]()
    while left:
        if len(left) == 1:
            told.append(left[0].id)  # by the mail about one
            break
        done = digest(writer, left, *about[-len(left) :])
        (held if isinstance(done.result, Held) else told).extend(each.id for each in done.claim.together)
        left = list(done.left)
    assert held == [] if bad == 19 else [claims(20)[bad].id]
    assert sorted([*told, *held]) == sorted(each.id for each in claims(20))


def test_also_that_of_the_mail_about_one_if_only_the_first_remains(own: Path) -> None:
    requests = claims(2)
    (own / "back_in_stock" / "body.txt").write_text("{{ items }}")
    done = digest(plain_writer_of(own), requests, item(0), without_url(1))
    assert isinstance(done.result, Held)
    assert (done.claim.others, [each.id for each, _ in done.failed]) == ((), [requests[1].id])


# How long it is


def url_of(length: int) -> str:
    return f"https://shop.example/{'a' * length}"[:length]


def test_what_gmail_would_cut_off_is_left_for_the_next_mail() -> None:
    requests = [replace(each, item_url=url_of(2_000)) for each in claims(MOST_ITEMS)]
    done = digest(plain_writer_of(), requests)
    assert (len(done.claim.together), list(done.left)) == (10, requests[10:])
    assert done.claim == joined(requests[:10])
    assert names(mail_of(done)) == [f"Mug {each}." for each in range(10)]
    assert len(bodies(mail_of(done))[1].encode()) <= DIGEST_LIMIT
    again = digest(plain_writer_of(), done.left)
    assert (again.claim, list(again.left)) == (joined(requests[10:]), [])


def sized(own: Path, requests: Sequence[Claim], size: int) -> Digest:
    """Writes a digest whose HTML has `size` bytes for two items, and one more for each further one."""
    (own / MANY / "body.html").write_text(
        f"<p>{'.' * (size - 7 - 2)}</p>{{% for item in items %}}.{{% endfor %}}", encoding="utf-8"
    )
    return digest(plain_writer_of(own), requests)


@pytest.mark.parametrize(
    ("number", "size", "goes"),
    [
        (2, DIGEST_LIMIT, 2),
        (2, DIGEST_LIMIT + 1, 1),
        (3, DIGEST_LIMIT - 1, 3),
        (3, DIGEST_LIMIT, 1),
        (20, DIGEST_LIMIT - 18, 20),
        (20, DIGEST_LIMIT - 17, 10),
        (20, DIGEST_LIMIT - 8, 10),
        (20, DIGEST_LIMIT - 7, 5),
        (20, DIGEST_LIMIT, 2),
        (20, DIGEST_LIMIT + 1, 1),
        (13, DIGEST_LIMIT - 4, 6),
    ],
)
def test_it_is_about_as_many_as_fit_of_all_their_halves(own: Path, number: int, size: int, goes: int) -> None:
    requests = claims(number)
    done = sized(own, requests, size)
    html = bodies(mail_of(done))[1]
    if goes > 1:
        assert len(html.removesuffix("\n").encode()) == size + goes - 2
    else:
        assert "It is the only one" in html
        assert fields(done.result) == fields(plain_writer_of(own).write(requests[0], item(0)))
    assert done == Digest(done.result, joined(requests[:goes]), left=tuple(requests[goes:]))


def test_bytes_are_counted_and_not_characters(own: Path) -> None:
    (own / MANY / "body.html").write_text("ü" * (DIGEST_LIMIT // 2), encoding="utf-8")
    assert not digest(plain_writer_of(own), claims(2)).left
    (own / MANY / "body.html").write_text("ü" * (DIGEST_LIMIT // 2) + "a", encoding="utf-8")
    assert digest(plain_writer_of(own), claims(2)).left


def test_a_text_that_no_mail_may_have_is_no_broken_template(own: Path) -> None:
    (own / MANY / "body.txt").write_text(f"{{% for item in items %}}{'a' * (SIZE_LIMIT // 4)}{{% endfor %}}")
    requests = claims(10)
    done = digest(plain_writer_of(own), requests)
    assert (len(mail_of(done).as_bytes()) > SIZE_LIMIT // 2, list(done.left)) == (True, requests[2:])


def test_one_item_may_be_too_long_for_any_company(own: Path) -> None:
    """Nothing is lost, and each mail takes at least one."""
    waiting, mails = claims(4), 0
    huge = [replace(item(each), name="&" * 9_000) for each in range(4)]
    while waiting:
        done = digest(plain_writer_of(own), waiting, *huge[4 - len(waiting) :])
        assert isinstance(done.result, Mail)
        waiting, mails = list(done.left), mails + 1
    assert mails == 4


def test_who_has_no_url_fails_though_others_are_left() -> None:
    requests = [replace(each, item_url=url_of(2_000)) for each in claims(MOST_ITEMS)]
    requests[3] = replace(requests[3], item_url=None)
    requests[19] = replace(requests[19], item_url=None)
    items = [without_url(each) if each in (3, 19) else item(each) for each in range(MOST_ITEMS)]
    done = digest(plain_writer_of(), requests, *items)
    going = [each for place, each in enumerate(requests) if place not in (3, 19)]
    assert done.claim == joined(going[:9])
    assert list(done.left) == going[9:]
    assert [each for each, _ in done.failed] == [requests[3], requests[19]]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_each_request_is_in_just_one_place(data: st.DataObject) -> None:
    urls = st.none() | st.sampled_from([50, 1_000, 2_000, 5_000]).map(url_of)
    chosen = data.draw(st.lists(urls, min_size=1, max_size=MOST_ITEMS))
    requests = [replace(each, item_url=url) for each, url in zip(claims(len(chosen)), chosen, strict=True)]
    done = digest(plain_writer_of(), requests, *[without_url(each) for each in range(len(requests))])
    failed = [each for each, _ in done.failed]
    assert sorted([*(each.id for each in done.claim.together), *(each.id for each in (*failed, *done.left))]) == [
        each.id for each in requests
    ]
    if chosen[0] is None:
        assert isinstance(done.result, Failed)
        assert (failed, done.claim.others) == ([], ())
    else:
        assert isinstance(done.result, Mail)
        assert failed == [each for each in requests if each.item_url is None]
        html = bodies(mail_of(done))[1].replace("\r\n", "\n")  # the limit is for what is rendered
        assert len(html.encode()) <= DIGEST_LIMIT + 1
        in_order = [*done.claim.together, *done.left]
        assert [each.id for each in in_order] == [each.id for each in requests if each.item_url]


# What others write


@settings(deadline=None, max_examples=100)
@given(value=st.sampled_from(ATTACKS) | st.text(st.characters(codec="utf-8")), place=st.integers(0, 2))
def test_no_value_becomes_a_header_or_ends_the_mail(value: str, place: int) -> None:
    requests = claims(3)
    requests[place] = replace(requests[place], locale=value, item_url=f".{value}")
    items = [item(each) for each in range(3)]
    items[place] = Item(name=value, price=value, currency=value, image_url=value, url=value)
    done = digest(plain_writer_of(), requests, *items)
    assert isinstance(done.result, Mail)
    assert_well_formed(undone(done.result.content), CONSTANT)
    assert not done.left


def test_a_line_with_a_dot_alone_stays_in_the_mail() -> None:
    requests = claims(2)
    for about in (replace(item(0), name="."), replace(item(0), name=".\r\nQUIT", url=".")):
        done = digest(plain_writer_of(), requests, about)
        assert isinstance(done.result, Mail)
        text = bodies(mail_of(done))[0]
        assert about.name is not None
        assert " ".join(about.name.split()) in text.splitlines()
        assert "Mug 1." in text


def test_the_longest_digest_is_still_a_sane_message() -> None:
    requests = [replace(each, item_url=url_of(2_048)) for each in claims(MOST_ITEMS)]
    done = digest(writer_of(BOTH), requests)
    assert isinstance(done.result, Mail)
    content = undone(done.result.content)
    assert max(map(len, content.partition(b"\r\n\r\n")[2].split(b"\r\n"))) <= 76


# When each was asked for


def test_each_item_says_on_which_day_it_was_asked_for() -> None:
    requests = [replace(each, created=ASKED_AT + timedelta(number)) for number, each in enumerate(claims(3))]
    requests[2] = replace(requests[2], created=None)
    text, html = bodies(mail_of(digest(plain_writer_of(), requests)))
    for body in (text, unescape(html)):
        assert re.findall(r"Asked for on: (\w+ \d+, \d+)", body) == ["March 8, 2026", "March 9, 2026"]


def test_the_day_is_in_the_language_of_the_mail_about_several_items(own: Path) -> None:
    """A shop may have the mail about one item in a language more."""
    (own / MANY.removesuffix("_many") / "sv").mkdir()
    (own / MANY.removesuffix("_many") / "sv" / "subject.txt").write_text("Finns igen")
    renderer = Renderer(Sources(own), "Shop")
    writer = LetterWriter(renderer, SHOP, None, tokens=TOKENS)
    requests = [replace(each, locale="sv", created=ASKED_AT) for each in claims(2)]
    assert "Asked for on: March 8, 2026" in bodies(mail_of(digest(writer, requests)))[0]
    assert renderer.shown_day(ASKED_AT.date(), "sv") == "8 mars 2026"
