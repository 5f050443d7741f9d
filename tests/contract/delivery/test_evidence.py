"""Whom a refusal is about: judged by words that are known, else by what the relay takes. On SQLite and PostgreSQL."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from tests.contract.lines import line_of, serve, serve_until_done
from tests.contract.shop import CUP, MUG, Shop
from tests.relay import Answer, Do, ScriptedRelay
from worker.delivery.deliver import deliver, probe
from worker.delivery.evidence import DOUBTS_IN_A_ROW
from worker.delivery.line import Line
from worker.delivery.trial import TRIAL_MAILS
from worker.models import Status
from worker.store import breaker

RECEIVED, SENT, FAILED = Status.RECEIVED, Status.NOTIFICATION_SENT, Status.FAILED
FIELD: Final = {case["reply"]: case for case in json.loads(Path("tests/field/replies.json").read_text())}
DEAD: Final = "550 5.1.1 <jane@example.com>: Recipient address rejected: User unknown"
ODD: Final = "554 the sky is falling"
"""Words that no table knows."""


@pytest.fixture
def server() -> Iterator[ScriptedRelay]:
    with ScriptedRelay(pipelining=True) as relay:
        yield relay


def counts(shop: Shop) -> Counter[Status]:
    return Counter(row.status for row in shop.rows())


def addressed(shop: Shop, domain: str, *emails: str, item: Any = MUG) -> None:
    """Adds people of one mail domain who wait for an item, then its event."""
    for email in emails:
        shop.sign_up(item, f"{email}@{domain}")
    shop.tell(item)


def on(shop: Shop, server: ScriptedRelay, **settings: Any) -> Callable[[Callable[[Line], Any]], None]:
    """Runs an async function with a worker's line."""

    def run(work: Callable[[Line], Any]) -> None:
        async def main() -> None:
            async with line_of(shop, server, **settings) as line:
                await work(line)

        asyncio.run(main())

    return run


async def go_on(line: Line, shop: Shop, rounds: int) -> None:
    """Serves all lists `rounds` times. Backoffs and the pause before a probe are over each time."""
    for _ in range(rounds):
        shop.end_back_offs()
        shop.change("UPDATE relay SET probe_at = stockbell_now(-1)")
        await probe(line)
        if work := sorted(shop.with_work()):
            await deliver(line, work)


# Certain: the recipient is dead


def test_any_number_of_dead_addresses_end_one_by_one_and_hold_up_nobody(shop: Shop, server: ScriptedRelay) -> None:
    """They may even be at the head of the list."""
    addressed(shop, "dead.example", *(f"dead{number}" for number in range(60)))
    addressed(shop, "example.com", *(f"living{number}" for number in range(20)))
    addressed(shop, "example.com", "cup", item=CUP)
    server.decide = lambda stage, to: DEAD if stage == "rcpt" and "dead" in str(to) else None
    on(shop, server)(lambda line: serve_until_done(line, shop))
    assert counts(shop) == {FAILED: 60, SENT: 21}
    assert {row.attempts for row in shop.rows()} == {1, 0}
    found = shop.breaker()
    assert (found.state, found.refusals) == ("closed", 0)


# Words that mean us, or that may


@pytest.mark.parametrize(
    "reply",
    [
        *(reply for reply, case in FIELD.items() if case["about"] in ("us", "relay") and case["stage"] != "idle"),
        ODD,
        "550 5.7.1 no",
        "450 not today",
        "451 4.7.1 try again later",
    ],
)
def test_a_relay_that_takes_nobodys_mail_fails_nobody_however_long_it_lasts(
    shop: Shop, server: ScriptedRelay, reply: str
) -> None:
    stage = FIELD[reply]["stage"] if reply in FIELD else "rcpt"
    shop.waiting(DOUBTS_IN_A_ROW + 3)
    server.decide = lambda at, _to: reply if at == stage else None

    async def endure(line: Line) -> None:
        await go_on(line, shop, rounds=12)
        assert counts(shop) == {RECEIVED: DOUBTS_IN_A_ROW + 3}
        assert max(row.attempts for row in shop.rows()) < line.policy.max_attempts
        found = shop.breaker()
        assert found.state == "open"
        assert reply.split("\r\n")[0].partition(" ")[2][-20:].split("<")[0] in str(found.reason)
        assert found.refusals > 0
        server.decide = None
        await go_on(line, shop, rounds=3)
        assert counts(shop) == {SENT: DOUBTS_IN_A_ROW + 3}
        assert (shop.breaker().state, shop.breaker().refusals) == ("closed", 0)

    on(shop, server)(endure)


@pytest.mark.parametrize("reply", [ODD, "451 4.7.1 try again later", "454 4.7.1 <***>: Relay access denied"])
def test_a_few_customers_are_kept_too_and_the_relays_words_are_told(
    shop: Shop, server: ScriptedRelay, reply: str
) -> None:
    """They are too few for a streak."""
    shop.waiting(2)
    server.decide = lambda at, _to: reply if at == "rcpt" else None
    on(shop, server)(lambda line: go_on(line, shop, rounds=12))
    assert counts(shop) == {RECEIVED: 2}
    found = shop.breaker()
    assert found.refusals >= 2
    assert found.refused_since is not None
    assert found.refusal == reply


def test_refusals_by_unknown_words_narrow_the_line_to_one_mail_at_a_time(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(50)
    server.decide = lambda at, _to: ODD if at == "dot" else None
    serve(shop, server, connections=10)
    refused = [row for row in shop.rows() if row.not_before is not None]
    assert len(refused) <= DOUBTS_IN_A_ROW + 2 * 10 + TRIAL_MAILS
    server.most_connections = server.open_connections
    on(shop, server, connections=10)(lambda line: go_on(line, shop, rounds=1))
    assert server.most_connections == 1
    assert shop.breaker().state == "open"


def test_whoever_was_refused_in_a_trial_is_tried_again_once_a_mail_was_taken(shop: Shop, server: ScriptedRelay) -> None:
    """The trouble ended between them, though the relay had taken mails before it."""
    shop.waiting(30)
    server.script("rcpt", *[Do.USUAL] * 5, *[ODD] * 12)

    async def run(line: Line) -> None:
        await serve_until_done(line, shop)
        await go_on(line, shop, rounds=3)

    on(shop, server, connections=1)(run)
    assert counts(shop) == {SENT: 30}


def test_sending_goes_on_by_itself_as_soon_as_one_mail_is_taken(shop: Shop, server: ScriptedRelay) -> None:
    """Nobody who was refused for us has to wait for the end of his backoff."""
    shop.waiting(40)
    server.decide = lambda at, _to: ODD if at == "rcpt" else None
    serve(shop, server)
    assert shop.breaker().state == "open"
    server.decide = None
    shop.change("UPDATE relay SET probe_at = stockbell_now(-1), since = stockbell_now(-60)")

    async def resume(line: Line) -> None:
        assert await probe(line)
        await serve_until_done(line, shop)

    on(shop, server)(resume)
    assert counts(shop) == {SENT: 40}


def test_a_domain_that_refuses_everybody_does_not_stop_the_others(shop: Shop, server: ScriptedRelay) -> None:
    """They are at the head of the only list. The trial picks other domains first."""
    addressed(shop, "odd.example", *(f"odd{number}" for number in range(30)))
    addressed(shop, "example.com", *(f"living{number}" for number in range(20)))
    server.decide = lambda stage, to: ODD if stage == "rcpt" and "odd.example" in str(to) else None

    async def run(line: Line) -> None:
        for _ in range(40):
            if work := sorted(shop.with_work()):
                await deliver(line, work)
            shop.change("UPDATE relay SET probe_at = stockbell_now(-1)")
            await probe(line)

    on(shop, server)(run)
    assert {row.status for row in shop.rows() if row.email.endswith("@example.com")} == {SENT}
    assert shop.breaker().state == "closed"


@pytest.mark.parametrize("domain", ["example.com", "elsewhere.example"])
def test_whoever_stands_behind_any_number_of_refused_is_told(shop: Shop, server: ScriptedRelay, domain: str) -> None:
    """The trial does not take the head of the list only, where those stand again whose backoff is over."""
    addressed(shop, "example.com", *(f"odd{number}" for number in range(120)))
    addressed(shop, domain, *(f"living{number}" for number in range(30)))
    server.decide = lambda stage, to: ODD if stage == "rcpt" and "odd" in str(to) else None
    on(shop, server)(lambda line: go_on(line, shop, rounds=40))
    assert {row.status for row in shop.rows() if row.email.startswith("living")} == {SENT}


@pytest.mark.parametrize(("open_for", "expected"), [(1, "backoff"), (60, "queued")])
def test_only_after_an_outage_the_refused_need_not_wait_for_their_backoff(
    shop: Shop, server: ScriptedRelay, open_for: int, expected: str
) -> None:
    """A relay that greylists takes one mail, then refuses the next. Nobody's tries may be spent meanwhile."""
    waiting = shop.waiting(DOUBTS_IN_A_ROW)
    server.decide = lambda at, _to: "451 4.7.1 Greylisted" if at == "rcpt" else None
    serve(shop, server)
    assert shop.breaker().state == "open"
    shop.change(f"UPDATE relay SET since = stockbell_now(-{open_for})")
    shop.database.write(breaker.close)
    assert {shop.waiting_for(request_id) for request_id in waiting} == {expected}


# Another relay


@pytest.mark.parametrize(
    ("reply", "stage"),
    [
        *((reply, case["stage"]) for reply, case in FIELD.items() if case["about"] in ("us", "relay")),
        (ODD, "rcpt"),
        ("450 not today", "dot"),
    ],
)
def test_a_second_relay_takes_what_the_first_refuses(shop: Shop, server: ScriptedRelay, reply: str, stage: str) -> None:
    """The breaker stays closed. Whenever the first is asked again, it costs a mail some seconds."""
    server.decide = lambda at, _to: reply if at == stage else None
    shop.waiting(40)

    async def run(line: Line) -> None:
        with capture_logs() as logs:
            await serve_until_done(line, shop)
            await go_on(line, shop, rounds=3)
        assert not [entry for entry in logs if entry["event"] == "breaker.opened"]

    with ScriptedRelay(pipelining=True) as second:
        on(shop, server, others=[second])(run)
        assert len(second.accepted) == 40
    assert counts(shop) == {SENT: 40}


def test_one_relay_that_takes_mail_again_is_enough(shop: Shop, server: ScriptedRelay) -> None:
    quota = "454 Throttling failure: Daily message quota exceeded."
    server.decide = lambda at, _to: quota if at == "dot" else None
    shop.waiting(12)
    with ScriptedRelay(pipelining=True) as second:
        second.decide = server.decide

        async def run(line: Line) -> None:
            await go_on(line, shop, rounds=4)
            assert shop.breaker().state == "open"
            assert shop.breaker().scope == "quota"
            second.decide = None
            await go_on(line, shop, rounds=4)

        on(shop, server, others=[second])(run)
    assert counts(shop) == {SENT: 12}


# About one mail, whatever the words


@pytest.mark.parametrize("stage", ["rcpt", "data", "dot"])
def test_whoever_is_refused_for_good_while_others_are_taken_fails_at_once(
    shop: Shop, server: ScriptedRelay, stage: str
) -> None:
    waiting = shop.waiting(60)
    unlucky = waiting[30]
    server.script(stage, ODD, recipient=shop.row(unlucky).email, always=True)  # type: ignore[arg-type]
    on(shop, server)(lambda line: serve_until_done(line, shop))
    assert counts(shop) == {SENT: 59, FAILED: 1}
    assert shop.row(unlucky).attempts == 1


def test_whoever_is_refused_last_waits_for_proof(shop: Shop, server: ScriptedRelay) -> None:
    *_, last = shop.waiting(20)
    server.script("rcpt", ODD, recipient=shop.row(last).email, always=True)
    on(shop, server)(lambda line: serve_until_done(line, shop))
    assert (shop.status(last), shop.row(last).attempts) == (RECEIVED, 1)
    assert shop.waiting_for(last) == "backoff"


def test_a_lonely_request_fails_only_if_others_were_taken_between_its_tries(shop: Shop, server: ScriptedRelay) -> None:
    (lonely,) = shop.waiting(1)
    server.script("rcpt", ODD, recipient=shop.row(lonely).email, always=True)
    for _ in range(15):
        shop.end_back_offs()
        serve(shop, server)
    assert shop.status(lonely) == RECEIVED
    for _ in range(2):
        shop.take_others()
        shop.end_back_offs()
        serve(shop, server)
    assert (shop.status(lonely), shop.row(lonely).failure_code) == (FAILED, "RECIPIENT_REJECTED")


def test_words_about_us_said_to_one_of_many_fail_nobody_and_stop_nobody(shop: Shop, server: ScriptedRelay) -> None:
    """A relay may pass on what the servers of one domain say of us."""
    unlucky, *_ = shop.waiting(10)
    denied = "554 5.7.1 <***>: Relay access denied"
    server.script("rcpt", denied, recipient=shop.row(unlucky).email, always=True)

    async def run(line: Line) -> None:
        for _ in range(8):
            await serve_until_done(line, shop)
            shop.waiting(1)
            await go_on(line, shop, rounds=1)

    on(shop, server)(run)
    assert shop.breaker().state == "closed"
    assert counts(shop) == {SENT: 17, RECEIVED: 1}
    assert (shop.row(unlucky).attempts, shop.waiting_for(unlucky)) == (0, "backoff")
    assert [entry.event for entry in shop.attempts(unlucky)][:2] == ["put off"] * 2


@pytest.mark.parametrize("reply", [reply for reply, case in FIELD.items() if case["to"] == "one of 60"])
def test_words_about_one_mailbox_are_that_recipients_alone(shop: Shop, server: ScriptedRelay, reply: str) -> None:
    waiting = shop.waiting(60)
    full = waiting[20]
    server.script("rcpt", reply, recipient=shop.row(full).email, always=True)
    with capture_logs() as logs:
        on(shop, server)(lambda line: serve_until_done(line, shop))
    assert counts(shop) == {SENT: 59, RECEIVED: 1}
    assert shop.row(full).attempts == 1
    assert not [entry for entry in logs if entry["event"] in ("relay.too_fast", "breaker.opened")]


# Pace and quota


def test_a_relay_that_allows_few_at_once_gets_few_and_nobody_spends_a_try(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(60)

    def decide(stage: str, _to: str | None) -> Answer | None:
        is_crowded = stage == "dot" and server.open_connections > 3
        return "432 4.3.2 Concurrent connections limit exceeded. [Hostname=X]" if is_crowded else None

    server.decide = decide
    on(shop, server, connections=10, claim_size=100)(lambda line: serve_until_done(line, shop))
    assert counts(shop) == {SENT: 60}
    assert {row.attempts for row in shop.rows()} == {0}
    assert shop.breaker().state == "closed"


@pytest.mark.parametrize(
    "reply", ["454 Throttling failure: Daily message quota exceeded.", "550 5.4.5 Daily user sending limit exceeded."]
)
def test_a_quota_is_probed_rarely_with_one_mail(shop: Shop, server: ScriptedRelay, reply: str) -> None:
    shop.waiting(30)
    server.decide = lambda stage, _to: reply if stage == "dot" else None

    def tried() -> int:
        return sum(command == "DATA" for command in server.commands)

    async def run(line: Line) -> None:
        await deliver(line, [shop.list_id()])
        assert shop.breaker().scope == "quota"
        for _ in range(3):
            found, before = shop.breaker(), tried()
            assert found.probe_at is not None
            assert timedelta(seconds=55) < found.probe_at - shop.now() < timedelta(seconds=901)
            shop.change("UPDATE relay SET probe_at = stockbell_now(-1), since = stockbell_now(-7200)")
            assert not await probe(line)
            assert tried() == before + 1
        assert (shop.breaker().probe_at or shop.now()) - shop.now() > timedelta(seconds=890)
        assert {(row.status, row.attempts) for row in shop.rows()} == {(RECEIVED, 0)}
        server.decide = None
        shop.change("UPDATE relay SET probe_at = stockbell_now(-1)")
        assert await probe(line)
        await serve_until_done(line, shop)

    on(shop, server)(run)
    assert counts(shop) == {SENT: 30}


def test_a_connection_that_was_idle_too_long_costs_nobody_anything(shop: Shop, server: ScriptedRelay) -> None:
    shop.waiting(3)
    server.script("mail", Do.USUAL, "451 4.4.2 Timeout waiting for data from client.")
    on(shop, server, connections=1)(lambda line: go_on(line, shop, rounds=3))
    assert counts(shop) == {SENT: 3}
    assert {row.attempts for row in shop.rows()} == {0}


def test_nobody_waits_whose_trial_could_be_made_so_the_breaker_stays_open(shop: Shop, server: ScriptedRelay) -> None:
    shop.write(breaker.trip, "550 no", "refusals", at_once=True)
    on(shop, server)(probe)
    found = shop.breaker()
    assert (found.state, found.reason, found.scope) == ("open", "550 no", "refusals")
    assert server.connections == 0
