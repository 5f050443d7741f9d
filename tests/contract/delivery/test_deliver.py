"""Claim, render, send, record: what happens to requests, whatever the relay, the database or an admin does.

The tests run against a scripted SMTP server, on SQLite and PostgreSQL. `serve` is one slice of work.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from tests.contract.lines import FlakyDatabase, NotedBell, Work, deliver_until_held, line_of, serve, serve_until_done
from tests.contract.mailing import SENDER
from tests.contract.shop import CUP, MUG, Shop, ref
from tests.polling import eventually
from tests.relay import Accepted, Answer, Do, Later, ScriptedRelay, StageName
from worker.delivery import in_flight as in_flight
from worker.delivery import lease as lease_module
from worker.delivery import slice as slice_module
from worker.delivery import slice_clock as clock_module
from worker.delivery.deliver import deliver, probe
from worker.delivery.slice_clock import SLICE_SECONDS
from worker.mail.letter import LetterWriter
from worker.models import Status
from worker.store import admin, breaker, claims, lists, owners, pauses, recording, requests, tally
from worker.store.books import books
from worker.store.requests import NewRequest

SENT, FAILED, RECEIVED = Status.NOTIFICATION_SENT, Status.FAILED, Status.RECEIVED


@pytest.fixture
def server() -> Iterator[ScriptedRelay]:
    with ScriptedRelay() as relay:
        yield relay


def status_counts(shop: Shop) -> dict[str, int]:
    return dict(Counter(row.status for row in shop.rows()))


def text_of(mail: Accepted) -> str:
    """Returns the plain text of a mail."""
    part = message_from_bytes(mail.content, policy=policy.default).get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def assert_untouched(shop: Shop, *request_ids: UUID) -> None:
    """Asserts that the requests wait as if they had never been tried, and may be claimed again at once."""
    for request_id in request_ids:
        row = shop.row(request_id)
        assert (row.status, row.owner, row.claimed_at, row.handed_at) == (RECEIVED, None, None, None)
        assert (row.attempts, row.unknowns, row.rescues, row.not_before) == (0, 0, 0, None)
        assert (row.auto_notified, row.failure_code) == (None, None)
        assert shop.attempts(request_id) == []


def assert_later_but_unspent(shop: Shop, *request_ids: UUID) -> None:
    """Asserts that the requests are in back-off, and wait after it as if they had never been tried."""
    for request_id in request_ids:
        assert shop.row(request_id).not_before is not None
        assert shop.waiting_for(request_id) == "backoff"
    shop.change("UPDATE request SET not_before = NULL")
    assert_untouched(shop, *request_ids)


# Told


def test_everybody_on_the_list_is_told_once(shop: Shop, server: ScriptedRelay) -> None:
    waiting = shop.waiting(20)
    bell = serve(shop, server, claim_size=100)
    rows = shop.rows()
    assert {row.status for row in rows} == {SENT}
    assert all(row.auto_notified and row.notified_date and row.attempts == 0 for row in rows)
    assert sorted(server.recipients) == sorted(row.email for row in rows)
    assert {mail.message_id for mail in server.accepted} == {f"<{request}@shop.example>" for request in waiting}
    assert bell.rings == []
    serve(shop, server)
    assert len(server.accepted) == 20


def test_each_told_mail_is_counted_with_its_latency_and_one_as_the_first(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(20)
    shop.change("UPDATE waiting_list SET woken_at = stockbell_now(-40)")
    shop.change("UPDATE request SET created_date = stockbell_now(-50)")
    serve(shop, server, claim_size=100)
    counts, told = shop.database.read(tally.totals), [row for row in shop.rows() if row.status is SENT]
    assert counts["told"] == sum(n for kind, n in counts.items() if kind.startswith("le:")) == len(told) > 0
    assert counts["first"] == sum(n for kind, n in counts.items() if kind.startswith("first_le:")) == 1
    assert counts["seconds"] >= len(told) * 40_000
    assert counts["first_seconds"] >= 40_000
    assert shop.database.read(books).is_balanced


@pytest.mark.parametrize("pipelining", [True, False])
def test_the_relays_words_are_kept_whatever_they_are(shop: Shop, server: ScriptedRelay, pipelining: bool) -> None:
    server.pipelining = pipelining
    said = {
        "250 2.0.0 Ok: queued as 4XyZ": "2.0.0 Ok: queued as 4XyZ",
        "250-2.0.0 Ok\r\n250 queued as 4711": "2.0.0 Ok queued as 4711",
        "250 2.1.5 <jane@example.com> ok": "2.1.5 <***@***> ok",
        "250 quelle \u00e9t\u00e9\x00\x1b[0m": "quelle \u00e9t\u00e9 [0m",
        f"250 {'x' * 4096}": "x" * 120,
        "250": None,
        "250 ": None,
    }
    waiting = shop.waiting(len(said))
    for request, words in zip(waiting, said, strict=True):
        server.script("dot", words, recipient=shop.row(request).email)
    serve(shop, server, claim_size=20)
    assert [shop.row(request).receipt for request in waiting] == list(said.values())
    assert status_counts(shop) == {SENT: len(said)}


def test_a_mail_says_what_the_item_is_in_the_language_of_the_request(shop: Shop, server: ScriptedRelay) -> None:
    shop.sign_up(ref(size="L"), "anne@example.com", locale="de", item_url="https://shop.example/p/mug?a=1&b=2")
    shop.tell(ref(size="L"), name="Blaue Tasse", price="12.50", currency="EUR")
    serve(shop, server, ref(size="L"))
    mail = message_from_bytes(server.accepted[0].content)
    assert mail["To"] == "anne@example.com"
    assert mail["Content-Language"] == "de"
    body = text_of(server.accepted[0])
    assert "Blaue Tasse" in body
    assert "https://shop.example/p/mug?a=1&b=2" in body


def test_lists_of_one_bell_are_served_together(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(3, MUG)
    shop.waiting(3, CUP)
    serve(shop, server, MUG, CUP, claim_size=50)
    assert status_counts(shop) == {SENT: 6}


def test_repeated_bells_and_many_workers_tell_nobody_twice(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(60)

    async def work() -> None:
        async with line_of(shop, server) as line:
            await serve_until_done(line, shop)

    async def all_at_once() -> None:
        await asyncio.gather(*(work() for _ in range(3)))

    asyncio.run(all_at_once())
    assert status_counts(shop) == {SENT: 60}
    assert len(server.accepted) == 60


# Refused


def test_a_recipient_refused_for_good_fails_and_nobody_else(shop: Shop, server: ScriptedRelay) -> None:
    first, refused, last = shop.waiting(3)
    server.script("rcpt", "550 5.1.1 no such user", recipient=shop.row(refused).email)
    serve(shop, server)
    assert [shop.status(request) for request in (first, refused, last)] == [SENT, FAILED, SENT]
    row = shop.row(refused)
    assert (row.failure_code, row.failure_reason) == ("RECIPIENT_REJECTED", "550 5.1.1 no such user")
    assert (row.auto_notified, row.attempts, row.owner) == (True, 1, None)
    (entry,) = shop.attempts(refused)
    assert (entry.event, entry.smtp_code, entry.enhanced_code) == ("rejected", 550, "5.1.1")


def test_a_refusal_for_now_is_tried_again_later(shop: Shop, server: ScriptedRelay) -> None:
    (request,) = shop.waiting(1)
    server.script("rcpt", "450 4.2.1 too quickly")
    serve(shop, server)
    row = shop.row(request)
    assert (row.status, row.attempts, row.auto_notified) == (RECEIVED, 1, None)
    assert timedelta(seconds=30) < row.not_before - shop.now() < timedelta(seconds=75)
    assert row.failure_reason == "450 4.2.1 too quickly"
    assert [entry.event for entry in shop.attempts(request)] == ["deferred"]
    assert shop.waiting_for(request) == "backoff"
    serve(shop, server)
    assert server.accepted == []
    shop.end_back_offs()
    serve(shop, server)
    row = shop.row(request)
    assert (row.status, row.attempts, row.failure_reason) == (SENT, 1, None)


def test_after_the_last_attempt_it_fails(shop: Shop, server: ScriptedRelay) -> None:
    (request,) = shop.waiting(1)
    server.script("dot", "451 not now", always=True)
    for _ in range(3):
        serve(shop, server, max_attempts=3)
        shop.take_others()
        shop.end_back_offs()
    row = shop.row(request)
    assert (row.status, row.failure_code, row.attempts) == (FAILED, "RETRIES_EXHAUSTED", 3)
    assert [entry.event for entry in shop.attempts(request)] == ["deferred"] * 3


def test_a_policy_refusal_fails_the_third_time_if_others_were_taken(shop: Shop, server: ScriptedRelay) -> None:
    (request,) = shop.waiting(1)
    server.script("dot", "554 5.7.1 looks odd", always=True)
    for _ in range(2):
        serve(shop, server)
        assert shop.status(request) == RECEIVED
        shop.take_others()
        shop.end_back_offs()
    serve(shop, server)
    assert (shop.row(request).status, shop.row(request).failure_code) == (FAILED, "MESSAGE_REJECTED")


# Unknown: the connection ended between the dot and the reply


@pytest.mark.parametrize("end", [Do.DROP, Do.TAKE_AND_DROP])
def test_an_unknown_outcome_is_sent_again_twice_with_the_same_id_then_fails(
    shop: Shop, server: ScriptedRelay, end: Do
) -> None:
    (request,) = shop.waiting(1)
    server.script("dot", end, always=True)
    for unknowns in (1, 2):
        serve(shop, server)
        row = shop.row(request)
        assert (row.status, row.unknowns, row.attempts, row.failure_code) == (
            RECEIVED,
            unknowns,
            unknowns,
            "OUTCOME_UNKNOWN",
        )
        assert row.not_before is not None
        shop.end_back_offs()
    serve(shop, server)
    row = shop.row(request)
    assert (row.status, row.failure_code, row.auto_notified) == (FAILED, "OUTCOME_UNKNOWN", True)
    assert [entry.event for entry in shop.attempts(request)] == ["unknown"] * 3
    taken = [mail.message_id for mail in server.accepted]
    assert taken == ([f"<{request}@shop.example>"] * 3 if end is Do.TAKE_AND_DROP else [])


def test_with_on_unknown_fail_it_fails_at_once(shop: Shop, server: ScriptedRelay) -> None:
    (request,) = shop.waiting(1)
    server.script("dot", Do.TAKE_AND_DROP)
    serve(shop, server, on_unknown="fail")
    row = shop.row(request)
    assert (row.status, row.failure_code, row.auto_notified, row.handed_at) == (FAILED, "OUTCOME_UNKNOWN", True, None)


def test_with_on_unknown_fail_it_is_committed_who_is_about_to_be_told(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(30)
    handed: list[int] = []
    unknown_to_us: list[str] = []

    def look(stage: str, recipient: str | None) -> None:
        if stage == "data":
            rows = [row for row in shop.rows() if row.handed_at is not None]
            handed.append(len(rows))
            if recipient not in {row.email for row in rows}:
                unknown_to_us.append(str(recipient))

    async def run() -> None:
        async with line_of(shop, server, on_unknown="fail", connections=3, claim_size=30) as line:
            await serve_until_done(line, shop)  # `look` is slow: one slice may be too short

    server.decide = look
    asyncio.run(run())
    assert status_counts(shop) == {SENT: 30}
    assert unknown_to_us == []
    # The window, and the mails that were sent and are not recorded yet.
    assert min(handed) <= 2 * 3
    assert {row.handed_at for row in shop.rows()} == {None}


# The relay is down: this is about us, never about customers


def test_a_relay_that_is_down_opens_the_breaker_and_spends_no_attempt(shop: Shop, server: ScriptedRelay) -> None:
    waiting = shop.waiting(10)
    server.stop()
    try:
        bell = serve(shop, server, claim_size=50)
        assert_untouched(shop, *waiting)
        found = shop.breaker()
        assert (found.state, found.scope) == ("open", "relay")
        assert found.reason
        assert bell.rings == []
        assert shop.with_work() == set()
        assert {shop.waiting_for(request) for request in waiting} == {"relayDown"}
        serve(shop, server)
        assert {row.claim_no for row in shop.rows()} == {1}
    finally:
        server.start()


def test_a_relay_that_leaves_in_the_middle_loses_nothing(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(20)
    server.script("rcpt", *[Do.USUAL] * 5, "421 4.3.2 closing down", always=True)
    serve(shop, server, claim_size=20)
    assert status_counts(shop) == {SENT: 5, RECEIVED: 15}
    assert len(server.accepted) == 5
    left = [row for row in shop.rows() if row.status == RECEIVED]
    assert_untouched(shop, *[row.id for row in left if row.not_before is None])
    assert_later_but_unspent(shop, *[row.id for row in left if row.not_before is not None])
    assert shop.breaker().state == "closed", "it took mail a moment ago: perhaps it only lets no more of us in"
    shop.change("UPDATE relay SET worked_at = stockbell_now(-60)")
    serve(shop, server, claim_size=20)
    assert shop.breaker().state == "open"


@pytest.mark.parametrize("trouble", ["421 4.3.2 not you", Do.DROP])
@pytest.mark.parametrize("stage", ["rcpt", "data"])
def test_recipients_that_upset_the_relay_stop_nobody_else(
    shop: Shop, server: ScriptedRelay, stage: StageName, trouble: Answer
) -> None:
    """This holds for any number of them: those that were first in line must not be first again."""
    *upsetting, good = shop.waiting(4)
    for request in upsetting:
        server.script(stage, trouble, recipient=shop.row(request).email, always=True)

    async def run() -> None:
        async with line_of(shop, server, connections=1, claim_size=10) as line:
            await serve_until_done(line, shop)

    asyncio.run(run())
    assert shop.breaker().state == "closed"
    assert shop.status(good) == SENT
    assert_later_but_unspent(shop, *upsetting)


def test_a_recipient_that_always_upsets_the_relay_is_tried_ever_less_often(shop: Shop, server: ScriptedRelay) -> None:
    upsetting, _ = shop.waiting(2)
    server.script("rcpt", Do.DROP, recipient=shop.row(upsetting).email, always=True)

    async def run() -> None:
        async with line_of(shop, server, connections=1, claim_size=10) as line:
            for _ in range(4):
                await serve_until_done(line, shop)
                shop.change("UPDATE request SET not_before = NULL WHERE status = 'RECEIVED'")

    with capture_logs() as logs:
        asyncio.run(run())
    assert [entry["seconds"] for entry in logs if entry["event"] == "mail.deferred"] == [5, 20, 80, 300]
    assert shop.row(upsetting).attempts == 0


def test_as_many_of_them_as_connections_hold_up_the_others_only_until_the_relay_is_found_well(
    shop: Shop, server: ScriptedRelay
) -> None:
    upsetting = shop.waiting(3)
    for request in upsetting:
        server.script("rcpt", Do.DROP, recipient=shop.row(request).email, always=True)
    serve(shop, server, connections=3, claim_size=10)
    assert shop.breaker().state == "open"
    (good,) = shop.waiting(1)
    serve(shop, server, connections=3, claim_size=10)
    assert shop.status(good) == RECEIVED
    _probe_is_due(shop)
    assert probed(shop, server)
    serve(shop, server, connections=3, claim_size=10)
    assert shop.status(good) == SENT
    assert_later_but_unspent(shop, *upsetting)


def test_a_connection_that_breaks_at_every_dot_opens_the_breaker(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(20)
    server.script("dot", Do.DROP, always=True)
    serve(shop, server, connections=4, claim_size=20)
    assert shop.breaker().state == "open"
    assert status_counts(shop) == {RECEIVED: 20}
    assert sum(row.attempts > 0 for row in shop.rows()) <= 12


def _probe_is_due(shop: Shop) -> None:
    shop.change("UPDATE relay SET probe_at = stockbell_now(-1)")


def probed(shop: Shop, server: ScriptedRelay, **settings: Any) -> bool:
    async def run() -> bool:
        async with line_of(shop, server, **settings) as line:
            return await probe(line)

    return asyncio.run(run())


def test_a_probe_that_finds_the_relay_again_closes_the_breaker(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(2)
    server.decide = lambda stage, _recipient: Do.DROP if stage == "connect" else None
    serve(shop, server)
    _probe_is_due(shop)
    assert not probed(shop, server)
    assert shop.breaker().state == "open"
    server.decide = None
    assert not probed(shop, server)  # not due
    _probe_is_due(shop)
    assert probed(shop, server)
    assert shop.breaker().state == "closed"
    assert not any(command.startswith("MAIL") for command in server.commands)
    serve(shop, server)
    assert status_counts(shop) == {SENT: 2}


def test_a_probe_while_the_breaker_is_closed_connects_to_nothing(shop: Shop, server: ScriptedRelay) -> None:
    assert not probed(shop, server)
    assert server.connections == 0


def test_a_refused_sender_is_our_configuration_and_the_probe_asks_for_it(shop: Shop, server: ScriptedRelay) -> None:
    waiting = shop.waiting(5)
    server.decide = lambda stage, _recipient: "550 5.7.26 sender not allowed" if stage == "mail" else None
    serve(shop, server, claim_size=5)
    assert_untouched(shop, *waiting)
    assert shop.breaker().scope == "configuration"
    _probe_is_due(shop)
    assert not probed(shop, server)
    assert shop.breaker().state == "open"
    server.decide = None
    server.commands.clear()
    _probe_is_due(shop)
    assert probed(shop, server)
    assert f"MAIL FROM:<{SENDER}>" in server.commands
    assert "RSET" in server.commands
    serve(shop, server, claim_size=5)
    assert status_counts(shop) == {SENT: 5}


def test_a_wrong_password_fails_nobody(shop: Shop) -> None:
    waiting = shop.waiting(5)
    with ScriptedRelay(users={"shop": "right"}) as server:
        serve(shop, server, user="shop", password="wrong", claim_size=5)
        assert_untouched(shop, *waiting)
        assert shop.breaker().scope == "configuration"
        assert "wrong" not in str(shop.breaker().reason).replace("wrong password", "")


# Sold out, paused, deleted in the middle


def in_the_middle(server: ScriptedRelay, number: int, what: Any) -> None:
    """Calls `what` when the relay has taken `number` mails, before the relay replies to the last of them."""

    def on_accept(accepted: int) -> None:
        if accepted == number:
            what()

    server.on_accept = on_accept


@pytest.mark.parametrize("stop", ["sold out", "paused", "item paused", "breaker"])
def test_what_happens_in_the_middle_stops_the_rest_untouched(shop: Shop, server: ScriptedRelay, stop: str) -> None:
    shop.waiting(100)
    happening = {
        "sold out": lambda: shop.tell(in_stock=False),
        "paused": lambda: shop.write(pauses.pause, None),
        "item paused": lambda: shop.write(pauses.pause, MUG),
        "breaker": lambda: shop.write(breaker.trip, "550 no such sender", "configuration", lately=0.0),
    }[stop]
    in_the_middle(server, 10, happening)

    async def run() -> None:
        async with line_of(shop, server, connections=1, claim_size=5) as line:
            for _ in range(100):
                await deliver(line, [shop.list_id()])

    asyncio.run(run())
    told = len(server.accepted)
    # The slice may still send what it had claimed by then: this claim and the next.
    assert 10 <= told <= 20
    assert status_counts(shop) == {SENT: told, RECEIVED: 100 - told}
    assert_untouched(shop, *[row.id for row in shop.rows() if row.status == RECEIVED])


def test_a_request_deleted_while_it_is_sent_is_no_trouble(shop: Shop, server: ScriptedRelay) -> None:
    waiting = shop.waiting(3)
    in_the_middle(server, 1, lambda: shop.write(requests.remove, waiting[0]))
    serve(shop, server, connections=1)
    assert status_counts(shop) == {SENT: 2}
    assert len(server.accepted) == 3


# Mails that can't be made


def test_a_template_that_cannot_render_holds_and_fails_nobody(
    shop: Shop, server: ScriptedRelay, tmp_path: Path
) -> None:
    request, *_ = shop.waiting(3)
    folder = tmp_path / "back_in_stock"
    folder.mkdir()
    (folder / "subject.txt").write_text("{{ nothing_known }}")
    (folder / "body.txt").write_text("text")
    (folder / "body.html").write_text("html")
    with capture_logs() as logs:
        serve(shop, server, template_dir=tmp_path)
    (held,) = [entry for entry in logs if entry["event"] in {"mails.held", "mail.deferred"}]  # one for all three
    assert (held["event"], held["log_level"]) == ("mails.held", "warning")
    row = shop.row(request)
    assert (row.status, row.failure_code, row.attempts, row.auto_notified) == (RECEIVED, "TEMPLATE_ERROR", 0, None)
    assert timedelta(seconds=45) < row.not_before - shop.now() <= timedelta(seconds=60)
    assert "nothing_known" in row.failure_reason
    assert shop.attempts(request) == []
    (folder / "subject.txt").write_text("It is back")
    shop.end_back_offs()
    serve(shop, server, template_dir=tmp_path)
    row = shop.row(request)
    assert (row.status, row.failure_code) == (SENT, None)


def test_one_request_whose_mail_breaks_the_program_stops_nobody_else(
    shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, broken, last = shop.waiting(3)
    write = LetterWriter.write

    def stumble(self: LetterWriter, claim: claims.Claim, item: Any) -> Any:
        if claim.id == broken:
            raise ZeroDivisionError("a fault of ours")
        return write(self, claim, item)

    monkeypatch.setattr(LetterWriter, "write", stumble)
    serve(shop, server)
    assert [shop.status(request) for request in (first, broken, last)] == [SENT, RECEIVED, SENT]
    row = shop.row(broken)
    assert (row.failure_code, row.attempts) == ("TEMPLATE_ERROR", 0)
    assert row.not_before is not None


def test_without_any_url_it_fails_and_nobody_else(shop: Shop, server: ScriptedRelay) -> None:
    without, with_one = shop.sign_up(item_url=None), shop.sign_up()
    shop.tell()
    serve(shop, server)
    assert shop.status(with_one) == SENT
    row = shop.row(without)
    assert (row.status, row.failure_code, row.auto_notified, row.attempts) == (FAILED, "MISSING_ITEM_URL", True, 0)
    (entry,) = shop.attempts(without)  # `retry --since` needs the time of the failure
    assert (entry.event, entry.smtp_code, entry.reply) == ("not made", None, "no itemUrl in request or event")


def test_the_requests_url_wins_over_the_events_and_that_over_the_template(shop: Shop, server: ScriptedRelay) -> None:
    template = "https://template.example/{catalogItemId}"
    cases = [
        (ref("a b"), "https://request.example", "https://event.example", "https://request.example"),
        (ref("cup"), None, "https://event.example", "https://event.example"),
        (ref("ä/?"), None, None, "https://template.example/%C3%A4%2F%3F"),
    ]
    for reference, of_request, of_event, expected in cases:
        shop.sign_up(reference, item_url=of_request)
        shop.tell(reference, url=of_event)
        serve(shop, server, reference, item_url_template=template)
        assert expected in text_of(server.accepted[-1])


def test_an_address_that_cannot_be_written_to_fails_and_nobody_else(shop: Shop, server: ScriptedRelay) -> None:
    good, bad = shop.waiting(2)
    shop.change("UPDATE request SET email = :email WHERE id = :id", email="jörg@example.com", id=bad)
    serve(shop, server)
    row = shop.row(bad)
    assert (row.status, row.failure_code, row.auto_notified) == (FAILED, "INVALID_ADDRESS", True)
    assert "example.com" not in row.failure_reason
    assert shop.status(good) == SENT


# Stopping


def test_a_stopping_worker_waits_for_replies_and_releases_the_rest(shop: Shop, server: ScriptedRelay) -> None:
    waiting = shop.waiting(10)
    server.script("dot", Do.HOLD)
    bell = NotedBell()

    async def run() -> None:
        async with line_of(shop, server, bell=bell, connections=1, claim_size=50) as line:
            work = await deliver_until_held(line, server, [shop.list_id()])
            line.stopping.set()
            server.release()
            await work
            assert not line.holds_claims
            await deliver(line, [shop.list_id()])

    asyncio.run(run())
    assert [shop.status(request) for request in waiting] == [SENT] + [RECEIVED] * 9
    assert_untouched(shop, *waiting[1:])
    assert len(server.accepted) == 1
    assert bell.rings == []


def test_a_stopping_worker_does_not_wait_for_ever(
    shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.delivery.line.STOP_SECONDS", 0.05)
    asked, unsent, _ = shop.waiting(3)
    dots: list[str | None] = []

    def never_answer_dots(stage: str, recipient: str | None) -> Do | None:
        if stage != "dot":
            return None
        dots.append(recipient)
        return Do.SILENCE

    server.decide = never_answer_dots

    async def run() -> None:
        async with line_of(shop, server, connections=1, claim_size=3) as line:
            work = asyncio.create_task(deliver(line, [shop.list_id()]))
            await asyncio.to_thread(eventually, lambda: dots)
            line.stopping.set()
            await work

    asyncio.run(run())
    row = shop.row(asked)
    assert (row.status, row.unknowns, row.failure_code) == (RECEIVED, 1, "OUTCOME_UNKNOWN")
    assert_untouched(shop, unsent)


# A slice


def test_where_a_claim_was_full_the_next_bell_is_rung_at_once(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(5)
    shop.write(lists.ring, [shop.list_id()])
    bell = NotedBell()
    server.script("dot", Do.HOLD)

    async def run() -> None:
        async with line_of(shop, server, bell=bell, connections=1, claim_size=2) as line:
            work = asyncio.create_task(deliver(line, [shop.list_id()]))
            await asyncio.to_thread(eventually, lambda: bell.rings)
            assert server.accepted == []
            server.release()
            await work

    asyncio.run(run())
    assert bell.rings[0] == [shop.list_id()]
    assert shop.list_row().bell_at is not None


def test_where_a_list_was_served_to_its_end_no_bell_is_rung(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(5)
    shop.write(lists.ring, [shop.list_id()])
    bell = serve(shop, server, claim_size=50)
    assert bell.rings == []
    assert shop.list_row().bell_at is None


def test_what_a_slice_could_not_send_is_released_though_a_reply_is_still_awaited(
    shop: Shop, server: ScriptedRelay
) -> None:
    slow, *others = shop.waiting(10)
    server.script("dot", Do.HOLD, recipient=shop.row(slow).email)
    # The second connection waits too. Otherwise it would send the other mails in time.
    server.script("rcpt", Do.HOLD, recipient=shop.row(others[0]).email)
    bell = NotedBell()

    async def run() -> None:
        async with line_of(shop, server, bell=bell, connections=2, claim_size=10) as line:
            work = asyncio.create_task(deliver(line, [shop.list_id()]))
            await asyncio.to_thread(eventually, lambda: server.holding == 2)
            await asyncio.to_thread(eventually, lambda: {shop.status(request) for request in others[1:]} == {RECEIVED})
            assert shop.status(slow) == shop.status(others[0]) == Status.PROCESSING
            server.release()
            await work

    asyncio.run(run())
    assert shop.status(slow) == shop.status(others[0]) == SENT
    assert_untouched(shop, *others[1:])
    assert bell.rings[-1] == [shop.list_id()]


def test_a_relay_that_is_silent_at_one_mail_holds_up_nobody_else(
    shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim of that mail is kept too, whatever later slices put back."""
    monkeypatch.setattr(slice_module, "REPLY_SECONDS", 0.05)
    slow, *others = shop.waiting(5)
    server.script("dot", Do.HOLD, recipient=shop.row(slow).email)

    async def run() -> None:
        async with line_of(shop, server, connections=2, claim_size=1) as line:
            while shop.with_work():
                await deliver(line, [shop.list_id()])
            assert {shop.status(request) for request in others} == {SENT}
            line.holds_claims = True
            shop.waiting(1)
            await deliver(line, [shop.list_id()])
            assert shop.status(slow) == Status.PROCESSING
            assert line.written == 1
            server.release()
            await asyncio.to_thread(eventually, lambda: shop.status(slow) == SENT)
            assert line.written == 0

    asyncio.run(run())
    assert status_counts(shop) == {SENT: 6}
    assert len(server.accepted) == 6


@pytest.mark.parametrize(("queued", "is_finished"), [(0, True), (1, True), (2, False)])
def test_a_slice_goes_on_while_no_bell_is_queued_but_its_own(
    shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch, queued: int, is_finished: bool
) -> None:
    monkeypatch.setattr(clock_module, "SLICE_SECONDS", 1.0)
    monkeypatch.setattr(slice_module, "LOOK_SECONDS", 0.9)
    shop.waiting(10)
    server.decide = lambda stage, _recipient: Later(0.15) if stage == "dot" else None
    bell = NotedBell()
    bell.waiting = queued

    async def run() -> None:
        async with line_of(shop, server, bell=bell, connections=1) as line:
            await deliver(line, [shop.list_id()])

    asyncio.run(run())
    assert (status_counts(shop) == {SENT: 10}) is is_finished


# A relay that asks for the content long after the slice is over


class Looks:
    """A counter of how often a slice that is over looked whether its mails may still go out."""

    def __init__(self, database: FlakyDatabase) -> None:
        self.count = 0
        self._database = database
        self._note_the_next()

    def _note_the_next(self) -> None:
        self._database.follows(claims.still_wanted, self._note)

    def _note(self) -> None:
        self.count += 1
        self._note_the_next()

    def until_it_looks(self) -> None:
        """Waits until a look has ended that began after this call."""
        seen = self.count
        eventually(lambda: self.count >= seen + 2)


@pytest.fixture
def no_late_mails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of 0 seconds: after its slice a mail may go out only if the slice looked at it again."""
    monkeypatch.setattr(in_flight, "LATE_SECONDS", 0.0)
    monkeypatch.setattr(in_flight, "RECHECK_SECONDS", 0.01)


def serve_slowly(
    shop: Shop, server: ScriptedRelay, stage: StageName, meanwhile: Callable[[Looks], object], failing: int = 0
) -> None:
    """Runs one slice with one mail. The relay waits at `stage` until `meanwhile` has returned."""

    async def run() -> None:
        with closing(FlakyDatabase(shop.url)) as database:
            looks = Looks(database)
            database.fails(claims.still_wanted, times=failing)
            async with line_of(shop, server, database=database, connections=1) as line:
                work = await deliver_until_held(line, server, [shop.list_id()])
                await asyncio.to_thread(meanwhile, looks)
                server.release()
                await work

    server.script(stage, Do.HOLD)
    asyncio.run(run())


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
@pytest.mark.usefixtures("no_late_mails")
def test_a_relay_slower_than_a_slice_is_given_its_mails(shop: Shop, server: ScriptedRelay, stage: StageName) -> None:
    (request,) = shop.waiting(1)
    serve_slowly(shop, server, stage, Looks.until_it_looks)
    assert shop.status(request) == SENT
    assert len(server.accepted) == 1


@pytest.mark.parametrize("change", ["sold out", "paused", "deleted"])
@pytest.mark.usefixtures("no_late_mails")
def test_what_changes_while_a_relay_is_slow_stops_its_mail(shop: Shop, server: ScriptedRelay, change: str) -> None:
    (request,) = shop.waiting(1)

    def meanwhile(looks: Looks) -> None:
        if change == "sold out":
            shop.tell(in_stock=False)
        elif change == "paused":
            shop.write(pauses.pause, MUG)
        else:
            shop.write(requests.remove, request)
        looks.until_it_looks()

    serve_slowly(shop, server, "rcpt", meanwhile)
    assert server.accepted == []
    if change != "deleted":
        assert_untouched(shop, request)


@pytest.mark.usefixtures("no_late_mails")
def test_an_admins_order_goes_out_slowly_though_sold_out(shop: Shop, server: ScriptedRelay) -> None:
    request = shop.sign_up()
    shop.write(admin.report, [request])
    serve_slowly(shop, server, "rcpt", Looks.until_it_looks)
    assert shop.status(request) == SENT


@pytest.mark.usefixtures("no_late_mails")
def test_a_mail_is_not_sent_late_while_nobody_can_look_whether_it_may(shop: Shop, server: ScriptedRelay) -> None:
    (request,) = shop.waiting(1)
    before = time.monotonic()

    def meanwhile(_: Looks) -> None:
        eventually(lambda: time.monotonic() > before + 2 * SLICE_SECONDS)

    serve_slowly(shop, server, "rcpt", meanwhile, failing=10**4)
    assert_untouched(shop, request)
    assert server.accepted == []


def test_a_suspect_is_in_nobodys_company(shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_module, "SLICE_SECONDS", 60.0)  # the slice ends when its work does
    (suspect,) = shop.waiting(1)
    shop.change("UPDATE request SET rescues = 2")
    together: list[int] = []
    server.decide = lambda _stage, _recipient: together.append(status_counts(shop).get(Status.PROCESSING, 0))

    async def run(database: FlakyDatabase) -> None:
        async with line_of(shop, server, database=database, connections=3) as line:
            database.follows(claims.claim, lambda: shop.waiting(5))
            await deliver(line, [shop.list_id()])

    with closing(FlakyDatabase(shop.url)) as database:
        asyncio.run(run(database))
    assert shop.status(suspect) == SENT
    assert len(server.accepted) == 1
    assert max(together) == 1


def test_leftover_claims_are_released_at_the_next_start(shop: Shop, server: ScriptedRelay) -> None:
    waiting = shop.waiting(3)

    async def run() -> None:
        async with line_of(shop, server) as line:
            await line.ensure_registered()
            shop.claim(line.lease.owner)
            line.holds_claims = True
            await deliver(line, [shop.list_id(CUP)])
            assert not line.holds_claims

    asyncio.run(run())
    assert_untouched(shop, *waiting)


# The lease


@pytest.mark.parametrize("how", ["lost", "lost and begun anew", "run out"])
def test_when_the_lease_ends_in_the_middle_nothing_more_is_sent(
    shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    waiting = shop.waiting(20)

    async def run() -> None:
        async with line_of(shop, server, connections=1, claim_size=10) as line:
            owner = line.lease.owner

            def end() -> None:
                if how == "run out":
                    monkeypatch.setattr(lease_module, "boot_time", lambda: float("inf"))
                    return
                shop.die(owner)
                line.lease.beat()
                if how == "lost and begun anew":
                    line.lease.beat()
                    assert line.lease.owner != owner

            in_the_middle(server, 3, end)
            await deliver(line, [shop.list_id()])

    asyncio.run(run())
    assert len(server.accepted) == 3
    assert [shop.status(request) for request in waiting] == [SENT] * 3 + [RECEIVED] * 17
    assert_untouched(shop, *waiting[3:])


def test_a_worker_whose_lease_had_ended_begins_anew(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(3)

    async def run() -> None:
        async with line_of(shop, server) as line:
            await line.ensure_registered()
            owner = line.lease.owner
            shop.die(owner)
            await serve_until_done(line, shop)
            assert line.lease.owner != owner

    asyncio.run(run())
    assert status_counts(shop) == {SENT: 3}


# The database is away


TROUBLES: list[tuple[Work, int]] = [
    (owners.register, 0),
    (claims.claim, 0),
    (claims.claim, 1),
    (claims.claim, 2),
    (recording.record, 0),
    (recording.record, 1),
    (lists.ring, 0),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("work", "skip"), TROUBLES)
def test_a_database_that_goes_away_loses_and_repeats_nothing(
    shop: Shop, server: ScriptedRelay, work: Work, skip: int, when: Literal["before", "after"]
) -> None:
    shop.waiting(12)

    async def run(database: FlakyDatabase) -> None:
        async with line_of(shop, server, database=database, connections=2) as line:
            database.fails(work, times=2, when=when, skip=skip)
            await serve_until_done(line, shop)
            assert not line.holds_claims

    with closing(FlakyDatabase(shop.url)) as database:
        asyncio.run(run(database))
    assert status_counts(shop) == {SENT: 12}
    assert len(server.accepted) == 12


def test_what_a_late_claim_brings_is_handed_over_at_once(
    shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No mail is in flight then, so no report says that there is room."""
    monkeypatch.setattr(clock_module, "SLICE_SECONDS", 60.0)
    shop.waiting(6)

    async def run(database: FlakyDatabase) -> None:
        async with line_of(shop, server, database=database, connections=2, claim_size=2, on_unknown="fail") as line:
            gates: list[threading.Event] = []

            def the_third_hangs() -> None:
                database.follows(claims.claim, lambda: gates.append(database.hangs(claims.claim)))

            database.follows(claims.claim, the_third_hangs)
            work = asyncio.create_task(deliver(line, [shop.list_id()]))
            await asyncio.to_thread(eventually, lambda: len(server.accepted) == 4 and line.written == 0)
            gates[0].set()
            await asyncio.wait_for(work, 30)

    with closing(FlakyDatabase(shop.url)) as database:
        asyncio.run(run(database))
    assert status_counts(shop) == {SENT: 6}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("skip", [0, 1])
def test_a_database_that_goes_away_at_a_hand_over_fails_nobody(
    shop: Shop, server: ScriptedRelay, skip: int, when: Literal["before", "after"]
) -> None:
    shop.waiting(12)

    async def run(database: FlakyDatabase) -> None:
        async with line_of(shop, server, database=database, connections=2, claim_size=12, on_unknown="fail") as line:
            database.fails(claims.hand_over, when=when, skip=skip)
            await serve_until_done(line, shop)
            assert not line.holds_claims

    with closing(FlakyDatabase(shop.url)) as database:
        asyncio.run(run(database))
    assert status_counts(shop) == {SENT: 12}
    assert len(server.accepted) == 12


def test_no_more_is_sent_than_the_bound_while_commits_hang(
    shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_module, "SLICE_SECONDS", 60.0)
    shop.waiting(90)
    connections = 3
    most_open = 0

    def look(accepted: int) -> None:
        nonlocal most_open
        most_open = max(most_open, accepted - status_counts(shop).get(SENT, 0))

    server.on_accept = look

    async def run(database: FlakyDatabase) -> None:
        async with line_of(shop, server, database=database, connections=connections, claim_size=100) as line:
            bound = line.most_uncommitted + connections
            assert line.most_uncommitted == 50
            commits = database.hangs(recording.record)
            work = asyncio.create_task(deliver(line, [shop.list_id()]))
            try:
                await asyncio.to_thread(eventually, lambda: len(server.accepted) > line.most_uncommitted)
                await asyncio.to_thread(eventually, lambda: line.written == 0)
            finally:
                commits.set()
            await work
            assert line.most_uncommitted < most_open <= bound

    with closing(FlakyDatabase(shop.url)) as database:
        asyncio.run(run(database))
    assert status_counts(shop) == {SENT: 90}
    assert len(server.accepted) == 90


def test_a_stopping_worker_whose_database_is_away_gives_up_in_time(
    shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.delivery.recorder.GIVE_UP_SECONDS", 0.05)
    shop.waiting(3)

    async def run(database: FlakyDatabase) -> None:
        async with line_of(shop, server, database=database, connections=1, claim_size=3) as line:
            loop = asyncio.get_running_loop()
            database.fails(recording.record, times=1000)
            in_the_middle(server, 2, lambda: loop.call_soon_threadsafe(line.stopping.set))
            await deliver(line, [shop.list_id()])

    with closing(FlakyDatabase(shop.url)) as database:
        asyncio.run(run(database))
    # The next sweep after the lease rescues them.
    assert status_counts(shop) == {Status.PROCESSING: 3}


# A late reply


def test_a_late_success_is_recorded_though_the_claim_was_rescued(shop: Shop, server: ScriptedRelay) -> None:
    (request,) = shop.waiting(1)

    def rescue() -> None:
        shop.die(shop.row(request).owner)
        assert shop.rescue().back_in_line == 1

    in_the_middle(server, 1, rescue)
    serve(shop, server)
    assert shop.status(request) == SENT
    serve(shop, server)
    assert len(server.accepted) == 1


def test_what_admins_ordered_is_sent_whatever_the_stock(shop: Shop, server: ScriptedRelay) -> None:
    ordered, other = shop.sign_up_many(2)
    shop.write(admin.report, [ordered])
    serve(shop, server)
    assert (shop.status(ordered), shop.status(other)) == (SENT, RECEIVED)


def test_a_new_request_after_the_mail_waits_for_the_next_event(shop: Shop, server: ScriptedRelay) -> None:
    shop.sign_up(MUG, "anne@example.com")
    shop.tell()
    serve(shop, server)
    (again,) = shop.write(requests.create, [NewRequest("anne@example.com", MUG, "https://shop.example")])
    serve(shop, server)
    assert shop.status(again) == RECEIVED
    shop.tell()
    serve(shop, server)
    assert server.recipients == ["anne@example.com"] * 2
