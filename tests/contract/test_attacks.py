"""Attacks on everything that takes text from outside. The whole line gets the text, and the relay shows the result.

A door (the event decoder, the import) either refuses a text with a named error, or lets it arrive as mere text. The
unit tests of `catalog`, `message`, `letter` and `logging` attack single doors more closely.
"""

import json
import re
from collections.abc import Iterator, Sequence
from email.message import EmailMessage
from io import BytesIO
from typing import Any, Final, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.attacks import COMMAND, EVIL, shape_of
from tests.contract.lines import serve
from tests.contract.mailing import SENDER, mailer_for, mails, on_both_loops, relay_of, sent_with
from tests.contract.shop import Shop
from tests.relay import HOST, ScriptedRelay
from tests.unit.mail.test_letter import CONSTANT
from tests.unit.mail.test_message import assert_well_formed, parsed
from worker.domain.catalog import CatalogReference, Item, catalog_reference, item_of, options_from_text
from worker.domain.errors import BadEvent
from worker.domain.events import decode
from worker.domain.outcomes import RelayDown, Scope
from worker.domain.relays import Relay
from worker.domain.replies import Stage
from worker.models import Status
from worker.services.import_file import Rejected, read_requests
from worker.store import admin, pauses, requests, stock
from worker.store.requests import Filter, NewRequest
from worker.store.sql import Sql

PLAIN_URL: Final = "https://shop.example/p"


# The whole line


def told_of(number: int, evil: str) -> Iterator[dict[str, Any]]:
    """Yields events of one item, each with the attack in another field. The last event is always good."""
    item = {"catalogItemId": f"item-{number}", "inStock": True, "itemUrl": PLAIN_URL}
    yield item | {"itemUrl": evil}
    yield item | {"item": {"image": {"url": evil}}}
    yield item | {"catalogItemId": evil}
    yield item | {"appId": evil}
    yield item | {"id": evil, "occurredAt": evil}
    yield item | {"options": {evil: "x"}}
    yield item | {"item": {"name": evil, "price": evil, "currency": evil}}
    yield item


def asked_for(number: int, evil: str) -> Iterator[dict[str, Any]]:
    """Yields requests, each with the attack in another field."""
    item = {"email": f"customer{number}@example.com", "catalogItemId": f"item-{number}"}
    yield item
    yield item | {"email": f"{evil}@example.com"}
    yield item | {"email": f"jane@{evil}"}
    yield item | {"email": f"jane@{evil}.example"}
    yield item | {"email": f"url{number}@example.com", "itemUrl": evil}
    yield item | {"email": f"locale{number}@example.com", "locale": evil}
    yield item | {"catalogItemId": evil}
    yield item | {"options": {"Size": evil}}
    yield item | {"options": {evil: "L"}}


def take_in(shop: Shop) -> list[NewRequest]:
    """Sends all attacks to the doors. Returns the requests that they let in. Refused ones must hurt no other."""
    lines = [json.dumps(line) for number, evil in enumerate(EVIL) for line in asked_for(number, evil)]
    entries = list(read_requests(BytesIO("\n".join(lines).encode()), "requests.jsonl"))
    taken = [entry for entry in entries if isinstance(entry, NewRequest)]
    for rejected in (entry for entry in entries if isinstance(entry, Rejected)):
        assert rejected.reason.isprintable()
    added = shop.write(requests.create, taken)
    assert len(added) >= len(EVIL)
    for number, evil in enumerate(EVIL):
        for place, event in enumerate(told_of(number, evil)):
            apply(shop, event, f"{1795424400000 + place}-{number}")
    return taken


def apply(shop: Shop, event: dict[str, Any], entry: str) -> None:
    try:
        shop.write(stock.apply, [decode(entry, {b"event": json.dumps(event).encode()})])
    except BadEvent as bad:
        refusal = str(bad)
        assert refusal.isprintable()


def bodies(message: EmailMessage) -> tuple[str, str]:
    text, html = (cast("EmailMessage", message.get_body((kind,))) for kind in ("plain", "html"))
    return text.get_content(), html.get_content()


@pytest.fixture(params=[False, True], ids=["plain", "pipelined"])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedRelay]:
    with ScriptedRelay(pipelining=bool(request.param)) as relay:
        yield relay


def test_whatever_is_let_in_arrives_as_a_text_and_says_nothing_to_the_relay(shop: Shop, server: ScriptedRelay) -> None:
    take_in(shop)
    while references := work_of(shop):
        serve(shop, server, *references)
    rows = shop.rows()
    due = [row for row in rows if row.status is not Status.RECEIVED]
    assert len(server.accepted) == sum(row.status is Status.NOTIFICATION_SENT for row in due)
    assert {row.failure_code for row in due if row.status is Status.FAILED} <= {"INVALID_ADDRESS"}
    assert {row.email for row in due} >= {f"customer{number}@example.com" for number in range(len(EVIL))}
    assert [command for command in server.commands if not COMMAND.fullmatch(command)] == []
    for mail in server.accepted:
        assert_well_formed(mail.content, CONSTANT)
        message = parsed(mail.content)
        assert message["To"] == mail.recipient
        assert message["From"].addresses[0].addr_spec == SENDER
        assert_harmless(*bodies(message))


def work_of(shop: Shop) -> list[CatalogReference]:
    wanted = set(shop.with_work())
    rows = shop.database.read(lambda c: list(requests.find(c, Filter())))
    return sorted(
        {
            catalog_reference(item_of(row.catalog_item_id, row.app_id), dict(options_from_text(row.options)))
            for row in rows
            if row.waiting_list_id in wanted
        }
    )


def assert_harmless(text: str, html: str) -> None:
    shape = shape_of(html)
    assert {tag for tag, _ in shape.tags} <= TAGS
    assert not [names for _, names in shape.tags if any(name.startswith("on") for name in names)]
    assert all(re.fullmatch(r"https?://[!-~]+", link) for link in shape.links)
    assert "evil.example" not in {link.split("/")[2].rpartition("@")[2] for link in shape.links}
    assert "49 is back" not in text + html


TAGS: Final = frozenset("html head meta title style body div table tbody tr td p h1 a br img".split())  # noqa: SIM905
"""The HTML tags of the shipped templates."""


# SQL


@pytest.mark.parametrize("evil", EVIL)
def test_no_text_says_anything_to_the_database(shop: Shop, evil: str) -> None:
    shop.waiting(2)
    before = shop.rows()
    plain = evil.replace("\0", "").encode(errors="ignore").decode()  # no door lets NUL or lone surrogates through
    reference = CatalogReference(Item("app", plain), (("Size", plain),))
    assert shop.database.read(lambda c: list(requests.find(c, Filter(email=plain)))) == []
    assert shop.database.read(lambda c: list(requests.find(c, Filter(failure_code=plain)))) == []
    assert shop.database.read(admin.item, reference.item) is None
    assert shop.write(pauses.pause, reference)
    assert not shop.database.read(pauses.is_known, CatalogReference(reference.item))
    (added,) = shop.write(requests.create, [NewRequest(plain, reference, plain, plain)])
    row = shop.row(added)
    assert (row.email, row.item_url, row.locale) == (plain, plain, plain)
    assert shop.waiting_for(added) == "paused"
    assert shop.write(requests.remove, added)
    assert shop.rows() == before


ECHO: Final = Sql("SELECT words, n FROM ROWS(words text, n int) ORDER BY n")
TEXTS: Final = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.none() | TEXTS | st.sampled_from(["NULL", "", "{}", '"', "\\", "\\\\n", "\x7f", "\x85"])))
@example(texts=["\\u0041", "\x01", "a\x1fb\\", '\\"', ",", " ", "\ufeff", "\U0010ffff"])
def test_rows_are_given_to_the_database_as_they_are(shop: Shop, texts: list[str | None]) -> None:
    rows = [{"words": text, "n": number} for number, text in enumerate(texts)]
    assert [row.words for row in shop.database.read(lambda c: ECHO(c, rows=rows))] == texts


# The relay


ENDS: Final = [
    b"\r\n.\r\n",
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r.\n",
    b"\n.\r",
]


@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_a_lone_dot_in_a_fact_ends_no_mail(shop: Shop, server: ScriptedRelay, end: bytes) -> None:
    evil = "\r\n.\r\n".join(["x", "MAIL FROM:<evil@example.com>"]).replace("\r\n.\r\n", end.decode())
    shop.waiting(2)
    shop.tell(name=evil, price=evil, currency=evil)
    serve(shop, server)
    assert len(server.accepted) == 2
    assert not [command for command in server.commands if not COMMAND.fullmatch(command)]
    for mail in server.accepted:
        assert_well_formed(mail.content, CONSTANT)


PASSWORD: Final = "s3cr3t-pass"
ENCODED: Final = ("s3cr3t", "czNjcjN0", "MzY3IzdC", "zM2NyM3", "AHNob3AAczNjcjN0")
"""The beginning of the password, as it is and in Base64 at each offset."""


def was_betrayed(server: ScriptedRelay) -> bool:
    heard = b"".join(server.packets).decode("latin-1")
    return "AUTH" in heard or any(word in heard for word in ENCODED)


@pytest.mark.parametrize(
    "greetings",
    [
        ("250-relay.test\r\n250 AUTH PLAIN LOGIN",),
        ("250-relay.test\r\n250-AUTH PLAIN LOGIN\r\n250-XSTARTTLS\r\n250 STARTTLSX",),
        ("250-relay.test\r\n250-AUTH=PLAIN\r\n250 SIZE 1",),
        ("502 5.5.1 what?",),
        ("250-relay.test\r\n250-AUTH PLAIN LOGIN\r\n250 STARTTLS", "250 relay.test"),
    ],
    ids=["stripped", "renamed", "old spelling", "no EHLO", "only without TLS"],
)
@on_both_loops
async def test_a_password_is_not_sent_where_auth_is_offered_only_without_tls(greetings: Sequence[str]) -> None:
    with ScriptedRelay(security="starttls", users={"shop": PASSWORD}) as server:
        server.script("ehlo", *greetings, always=True)
        relay = Relay(HOST, server.port, "starttls", "shop", SecretStr(PASSWORD))
        async with mailer_for(server, relay=relay) as mailer:
            box, down = await sent_with(mailer, *mails(2))
    assert isinstance(down, RelayDown)
    assert not was_betrayed(server)
    assert box.taken == []
    assert server.accepted == []
    assert PASSWORD not in repr(down) + repr(mailer) + str(relay) + repr(relay)


@pytest.mark.parametrize("injected", ["250 AUTH PLAIN", "250-x\r\n250 AUTH LOGIN", "235 2.7.0 welcome", "\0", "250"])
@on_both_loops
async def test_what_is_injected_behind_starttls_is_nobodys_answer(injected: str) -> None:
    with ScriptedRelay(security="starttls", users={"shop": PASSWORD}) as server:
        server.script("starttls", f"220 go ahead\r\n{injected}", always=True)
        server.script("auth", "535 5.7.8 no", always=True)
        async with mailer_for(server, relay=relay_of(server, "shop", PASSWORD)) as mailer:
            _, down = await sent_with(mailer, *mails(1))
    assert isinstance(down, RelayDown)
    assert down.stage in (Stage.STARTTLS, Stage.EHLO, Stage.AUTH)
    assert server.accepted == []
    assert PASSWORD not in repr(down)


@on_both_loops
async def test_a_relay_that_repeats_the_password_does_not_get_it_into_the_reason() -> None:
    with ScriptedRelay(users={"shop": PASSWORD}) as server:
        server.script("auth", "535 5.7.8 no such login: jane.doe@example.com", always=True)
        async with mailer_for(server, relay=relay_of(server, "shop", PASSWORD)) as mailer:
            _, down = await sent_with(mailer, *mails(1))
    assert isinstance(down, RelayDown)
    assert down.scope is Scope.CONFIGURATION
    assert "jane" not in down.reason
