"""Confirming over HTTP: the mail that asks, the page behind its link, and the page's button."""

import asyncio
import tomllib
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.contract.shop import CUP, MUG, Shop, ref
from tests.contract.web.site import SECRET, Site, context_of, site_over
from tests.contract.web.test_double_opt_in import age, claim, contact_of, sign_up, suppress
from tests.redis_server import RedisServer
from tests.relay import Do, ScriptedRelay
from worker.domain.errors import BadSetting
from worker.domain.returned import Cause
from worker.domain.tokens import Tokens
from worker.models import Confirmation
from worker.store import confirmations, erasure
from worker.web import confirmation_mails, pages
from worker.web.confirmation_mails import ConfirmationMails

TOKENS = Tokens([SECRET.encode()])
LINK = "https://notify.shop.example/confirm/"


@pytest.fixture
def relay() -> Iterator[ScriptedRelay]:
    with ScriptedRelay() as relay:
        yield relay


@pytest.fixture
def quiet(shop: Shop, redis_server: RedisServer) -> Iterator[Site]:
    """A web process that sends no mail."""
    with site_over(shop, redis_url=redis_server.url, double_opt_in="on") as site:
        yield site


def mails(shop: Shop, relay: ScriptedRelay, **settings: Any) -> int:
    """Sends what is due, as the web process does. Returns how many mails the relay has taken."""
    given = {"double_opt_in": "on", "smtp": relay.url, "mail_from": "Shop <shop@shop.example>", **settings}
    with context_of(shop, **given) as context:

        async def run() -> None:
            sender = ConfirmationMails(context)
            while await context.read(confirmations.is_any_due):
                await sender._next()
            await sender._mailer.close()

        asyncio.run(run())
    return len(relay.accepted)


def parsed(relay: ScriptedRelay) -> EmailMessage:
    found = message_from_bytes(relay.accepted[-1].content, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    body = mail.get_body((kind,))
    assert body
    return str(body.get_content())


def path_of(contact_id: UUID) -> str:
    return f"/confirm/{TOKENS.for_confirming(contact_id)}"


def row(shop: Shop) -> Any:
    return shop.ask("SELECT due_at, sent_at, tries, why FROM confirmation", due_at="time", sent_at="time")[0]


def test_the_mail_says_what_was_asked_for_and_has_a_link_that_only_confirms(shop: Shop, relay: ScriptedRelay) -> None:
    shop.tell(ref(size="L"), in_stock=False, name="Blaue Tasse", price="12.50", currency="EUR")
    request = sign_up(shop, ref(size="L")).request_id
    assert mails(shop, relay) == 1
    mail = parsed(relay)
    token = TOKENS.for_confirming(contact_of(shop, request))
    for kind in ("plain", "html"):
        text = text_of(mail, kind)
        assert LINK + token in text
        assert "Blaue Tasse" in text
        assert "12.50" not in text.replace(",", ".")
    assert (mail["To"], mail["Content-Language"], mail["Auto-Submitted"]) == (
        "Jane@example.com",
        "de",
        "auto-generated",
    )
    assert TOKENS.contact_of_link(token) is None
    assert (row(shop).due_at, row(shop).why) == (None, None)
    assert mails(shop, relay) == 1


def test_the_mail_carries_no_words_of_whoever_signed_her_up(shop: Shop, relay: ScriptedRelay) -> None:
    shop.tell(MUG, in_stock=False, name="Blue mug")
    shop.tell(ref(Size="L"), in_stock=False)
    for reference in (ref(size="l"), ref(Prize="evil.example"), ref("Win at evil.example")):
        sign_up(shop, reference)
    assert mails(shop, relay) == 1
    for kind in ("plain", "html"):
        text = text_of(parsed(relay), kind)
        assert "evil" not in text
        assert "Blue mug" in text


@pytest.mark.parametrize(
    ("stage", "answer", "is_over"),
    [
        ("rcpt", "550 5.1.1 <jane@example.com>: no such user", True),
        ("rcpt", "450 4.2.1 later", False),
        ("dot", "554 5.7.1 spam", False),
        ("dot", Do.DROP, False),
        ("greeting", "421 busy", False),
    ],
)
def test_a_refusal_for_good_ends_it_and_another_is_tried_again(
    shop: Shop, relay: ScriptedRelay, stage: Any, answer: Any, is_over: bool
) -> None:
    sign_up(shop)
    relay.script(stage, answer)
    assert mails(shop, relay) == 0
    assert (row(shop).due_at is None) == is_over
    assert row(shop).why
    assert "jane" not in row(shop).why
    shop.change("UPDATE confirmation SET due_at = stockbell_now(-1) WHERE due_at IS NOT NULL")
    assert mails(shop, relay) == (0 if is_over else 1)
    if is_over:
        sign_up(shop, CUP)
        assert claim(shop) is None  # she is not told again within a day


def test_an_address_that_smtp_cannot_say_is_given_up(shop: Shop, relay: ScriptedRelay) -> None:
    sign_up(shop, email='"jane doe"@example.com')
    assert (mails(shop, relay), row(shop).due_at) == (0, None)


def test_a_bounce_of_the_mail_is_no_bounce_of_a_customers_mail(shop: Shop, relay: ScriptedRelay) -> None:
    sign_up(shop)
    mails(shop, relay, bounce_address="bounces+{token}@shop.example")
    command = next(line for line in relay.commands if line.startswith("MAIL"))
    token = command.partition("+")[2].partition("@")[0]
    sender = TOKENS.sender(token)
    assert sender
    assert sender.request_id == UUID(int=0)
    assert parsed(relay)["Message-ID"].strip("<>").partition("@")[0] not in {str(row.id) for row in shop.rows()}


def test_get_shows_and_changes_nothing_and_post_confirms(quiet: Site) -> None:
    shop = quiet.shop
    shop.tell(MUG, in_stock=False, name="Blue <mug>")
    request = sign_up(shop).request_id
    path = path_of(contact_of(shop, request))
    for _ in range(2):
        page = quiet.client.get(path, headers={"Accept-Language": "fr"})
        assert page.status_code == 200
        assert 'method="post"' in page.text
        assert "Blue &lt;mug&gt;" in page.text
        assert 'lang="de"' in page.text  # the language in which she signed up
    assert quiet.client.head(path).status_code == 200
    assert shop.waiting_for(request) == "unconfirmed"
    for _ in range(2):
        page = quiet.client.post(path)
        assert page.status_code == 200
        assert "Blue &lt;mug&gt;" in page.text
        assert 'method="post"' not in page.text
        assert 'lang="de"' in page.text
    assert shop.waiting_for(request) == "noStock"
    page = quiet.client.get(path)
    assert page.status_code == 200
    assert (page.headers["cache-control"], page.headers["referrer-policy"]) == ("no-store", "same-origin")


def test_who_confirms_when_the_item_is_back_is_told_at_once(quiet: Site) -> None:
    request = sign_up(quiet.shop).request_id
    quiet.shop.tell(MUG)
    quiet.client.post(path_of(contact_of(quiet.shop, request)))
    assert quiet.shop.list_row(MUG).bell_at is not None


def test_a_token_of_another_kind_and_one_for_nobody_get_the_same_page(quiet: Site) -> None:
    jane = contact_of(quiet.shop, sign_up(quiet.shop).request_id)
    good = TOKENS.for_confirming(jane)
    forged = [
        TOKENS.for_link(jane),
        TOKENS.for_mail(jane),
        TOKENS.for_return(jane, 0),
        Tokens([b"another key of thirty-two octets"]).for_confirming(jane),
        TOKENS.for_confirming(uuid4()),
        good[:-1],
        f"{good}=",
        f"{good}A",
        good.swapcase(),
        "x",
        "%00",
        "%ff",
        "a" * 5000,
    ]
    texts = set()
    for token in forged:
        for reply in (quiet.client.get(f"/confirm/{token}"), quiet.client.post(f"/confirm/{token}")):
            assert reply.status_code == 404, token
            texts.add(reply.text)
    assert len(texts) == 1
    assert quiet.shop.rows()[0].failure_code == "UNCONFIRMED"


def test_a_link_that_is_too_old_or_of_an_erased_customer_is_gone(quiet: Site) -> None:
    shop = quiet.shop
    bob = contact_of(shop, sign_up(shop, email="bob@example.com").request_id)
    age(shop, 7 * 86_400 + 5)
    jane = contact_of(shop, sign_up(shop).request_id)
    shop.write(erasure.erase, jane, TOKENS)
    for path in map(path_of, (jane, bob)):
        assert quiet.client.get(path).status_code == quiet.client.post(path).status_code == 404


def test_who_left_is_let_in_again_by_the_page(quiet: Site) -> None:
    jane = suppress(quiet.shop, Cause.UNSUBSCRIBED)
    request = sign_up(quiet.shop).request_id
    assert quiet.client.get(path_of(jane)).status_code == 200
    assert quiet.client.post(path_of(jane)).status_code == 200
    assert quiet.shop.waiting_for(request) == "noStock"


def test_without_the_database_nobody_is_told_that_it_is_done(shop: Shop) -> None:
    with site_over(Shop("postgresql://127.0.0.1:1/none", shop.database)) as site:
        for reply in (site.client.get(path_of(uuid4())), site.client.post(path_of(uuid4()))):
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
            assert "text/html" in reply.headers["content-type"]


def test_a_process_that_could_not_ask_says_so_and_does_not_start(shop: Shop) -> None:
    refusal = pytest.raises(BadSetting, match="needs STOCKBELL_PUBLIC_URL, SMTP_URL, MAIL_FROM: ")
    with context_of(shop, double_opt_in="first", public_url=None) as context, refusal:
        confirmation_mails.check(context.parts)


def test_where_nobody_has_to_confirm_nothing_is_needed(site: Site) -> None:
    confirmation_mails.check(site.context.parts)
    assert confirmation_mails.sender_of(site.context) is None
    assert site.shop.count(Confirmation) == 0


def test_the_pages_words_are_complete_in_every_language() -> None:
    found = pages.words("confirm")
    assert len(found) == 10
    own = tomllib.loads((pages._HERE / "words" / "confirm.toml").read_text())
    assert {len(words) for words in own.values()} == {len(own["en"])}
