"""Two relays: the second takes over when the first can't be used. The first is used again when it is back."""

import asyncio
from collections import Counter
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.clock import Clock
from tests.contract.lines import line_of, serve_until_done
from tests.contract.mailing import (
    Box,
    OneByOne,
    mailer_for,
    mails,
    on_both_loops,
    relay_of,
    sent_with,
    until,
)
from tests.contract.shop import MUG, Shop
from tests.relay import Answer, Do, ScriptedRelay, StageName
from worker.delivery.deliver import deliver, probe
from worker.domain.outcomes import Outcome, RelayDown, Scope, Sent, Unknown
from worker.domain.replies import Stage
from worker.models import Status
from worker.smtp import mailer as mailer_module
from worker.smtp.failover import PAUSES
from worker.smtp.mailer import Limits, Mailer, Run

Logs = Sequence[MutableMapping[str, Any]]

SENT, RECEIVED = Status.NOTIFICATION_SENT, Status.RECEIVED
CONNECTIONS = 3
WRONG = "wr0ng-passw0rd"


@pytest.fixture
def first(pipelining: bool) -> Iterator[ScriptedRelay]:
    with ScriptedRelay(pipelining=pipelining) as relay:
        yield relay


@pytest.fixture
def second(pipelining: bool) -> Iterator[ScriptedRelay]:
    with ScriptedRelay(pipelining=pipelining) as relay:
        yield relay


def is_away(stage: str, _recipient: str | None) -> Answer | None:
    """Closes each new connection. For `decide`."""
    return Do.DROP if stage == "connect" else None


def taken_by(*relays: ScriptedRelay) -> Counter[str]:
    return Counter(recipient for relay in relays for recipient in relay.recipients)


def assert_told_truly(box: Box, *relays: ScriptedRelay) -> None:
    """Asserts that the relays together took each mail once if it is Sent, at most once if Unknown, and else never."""
    box.assert_each_reported_once()
    taken = taken_by(*relays)
    for mail, outcome in box.reports:
        copies = taken.pop(mail.recipient, 0)
        assert copies == 1 if isinstance(outcome, Sent) else copies <= isinstance(outcome, Unknown)
    assert not taken


async def all_held(relay: ScriptedRelay, mailer: Mailer) -> list[Run]:
    """Starts runs of one mail each, so that all connections wait for a verdict. Returns the runs."""
    relay.script("dot", *[Do.HOLD] * CONNECTIONS)
    runs = []
    for number in range(CONNECTIONS):
        box = Box(mails(1, start=number))
        runs.append(mailer.start(box, box.report))
        await until(lambda number=number: relay.holding == number + 1)  # type: ignore[misc] # bound to the turn
    return runs


def said(logs: Logs, *events: str) -> list[str]:
    return [line["event"] for line in logs if line["event"] in events]


# The first can't be used


@on_both_loops
async def test_where_the_first_is_not_there_the_second_takes_all_in_the_same_run(
    first: ScriptedRelay, second: ScriptedRelay
) -> None:
    first.stop()
    async with mailer_for(first, second, connections=CONNECTIONS) as mailer:
        box, down = await sent_with(mailer, *mails(30))
    first.start()
    assert down is None
    assert taken_by(second) == Counter(mail.recipient for mail in mails(30))
    assert {type(outcome) for outcome in box.outcomes} == {Sent}


@pytest.mark.parametrize(
    ("stage", "answer"),
    [
        ("connect", Do.DROP),
        ("greeting", "421 4.3.2 not now"),
        ("greeting", "554 5.3.0 not you"),
        ("greeting", "what?"),
        ("ehlo", "451 4.3.0 not now"),
        ("ehlo", Do.DROP),
        ("mail", "550 5.7.26 sender not allowed"),
    ],
)
@on_both_loops
async def test_where_the_first_refuses_us_the_second_takes_all(
    first: ScriptedRelay, second: ScriptedRelay, stage: StageName, answer: Answer
) -> None:
    first.script(stage, answer, always=True)
    async with mailer_for(first, second, connections=CONNECTIONS) as mailer:
        box, down = await sent_with(mailer, *mails(30))
        assert down is None
        assert_told_truly(box, second)
        more, _ = await sent_with(mailer, *mails(30, start=30))
    refused = [outcome for outcome in box.outcomes if isinstance(outcome, RelayDown)]
    assert len(refused) <= (CONNECTIONS if stage == "mail" else 0)
    assert {type(outcome) for outcome in more.outcomes} == {Sent}
    assert first.connections <= CONNECTIONS, "it is not asked again for every connection"


@pytest.mark.parametrize("security", ["starttls", "plain"])
@on_both_loops
async def test_a_wrong_password_at_the_first_is_shouted_and_the_second_takes_all(
    second: ScriptedRelay, security: Any, pipelining: bool
) -> None:
    users = {"shop": "secret"}
    with ScriptedRelay(security=security, users=users, pipelining=pipelining) as first, capture_logs() as logs:
        async with mailer_for(first, second, relay=relay_of(first, "shop", WRONG), connections=CONNECTIONS) as mailer:
            box, down = await sent_with(mailer, *mails(30))
            await sent_with(mailer, *mails(30, start=30))
        assert down is None
        assert {type(outcome) for outcome in box.outcomes} == {Sent}
        assert len(second.accepted) == 60
        [line] = [line for line in logs if line["event"] == "relay.failed_over"]
        assert line["log_level"] == "error"
        assert line["reason"] == "535 5.7.8 wrong password"
        assert (line["relay"], line["instead_of"]) == (str(relay_of(second)), str(relay_of(first)))
    assert WRONG not in str(logs)


@on_both_loops
async def test_a_first_that_keeps_silent_is_passed_over(
    first: ScriptedRelay, second: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailer_module, "HASTE_SECONDS", 0.2)
    first.script("greeting", Do.SILENCE, always=True)
    async with mailer_for(first, second, connections=CONNECTIONS) as mailer:
        _, down = await sent_with(mailer, *mails(30))
    assert down is None
    assert len(second.accepted) == 30


@on_both_loops
async def test_where_none_can_be_used_no_mail_is_taken(first: ScriptedRelay, second: ScriptedRelay) -> None:
    first.decide = is_away
    second.script("greeting", "554 5.3.0 not you", always=True)
    with capture_logs() as logs:
        async with mailer_for(first, second, connections=CONNECTIONS) as mailer:
            for turn in range(1, 3):
                box, down = await sent_with(mailer, *mails(30))
                assert down is not None
                assert down.reason.startswith("relay 1: ")
                assert down.reason.endswith("; relay 2: 554 5.3.0 not you")
                assert box.taken == []
                assert (first.connections, second.connections) == (CONNECTIONS * turn, CONNECTIONS * turn)
    assert said(logs, "relay.failed_over", "relay.back") == []


# The first ends in the middle


@pytest.mark.parametrize("moment", ["connect", "rcpt", "data", "dot"])
@on_both_loops
async def test_where_the_first_dies_in_the_middle_nobody_is_lost_or_told_twice(
    first: ScriptedRelay, second: ScriptedRelay, moment: str
) -> None:
    """The mails that are on its connections end as they are. The second relay sends all others."""
    first.decide = lambda stage, _: Do.DROP if stage in ("connect", moment) and len(first.accepted) >= 20 else None
    # Connections are renewed after 8 mails, so that even those that are well reach the moment "connect".
    async with mailer_for(first, second, connections=CONNECTIONS, limits=Limits(mails=8, age=1e6, idle=1e6)) as mailer:
        box, down = await sent_with(mailer, *mails(200))
    assert down is None
    assert box.waiting == []
    assert_told_truly(box, first, second)
    assert len(second.accepted) >= 200 - 20 - 8 * CONNECTIONS
    troubled = [outcome for outcome in box.outcomes if not isinstance(outcome, Sent)]
    assert len(troubled) <= (0 if moment == "connect" else CONNECTIONS)
    assert {type(outcome) for outcome in troubled} <= {Unknown if moment == "dot" else RelayDown}


@on_both_loops
async def test_a_first_that_lets_us_in_and_takes_no_mail_is_down(first: ScriptedRelay, second: ScriptedRelay) -> None:
    first.script("rcpt", "421 4.3.2 not now", always=True)
    async with mailer_for(first, second, connections=CONNECTIONS) as mailer:
        box, down = await sent_with(mailer, *mails(50))
    assert down is None
    assert_told_truly(box, second)
    assert len(second.accepted) >= 50 - 2 * CONNECTIONS


@pytest.mark.parametrize(("stage", "means"), [("data", RelayDown), ("dot", Unknown)])
@on_both_loops
async def test_so_is_one_that_will_not_take_the_only_mail(
    first: ScriptedRelay, second: ScriptedRelay, stage: StageName, means: type[Outcome]
) -> None:
    """The same mail comes again in the next run."""
    first.script(stage, Do.DROP, always=True)
    async with mailer_for(first, second, connections=CONNECTIONS) as mailer:
        box, down = await sent_with(mailer, *mails(1))
        assert isinstance(box.outcome, means)
        assert down is None
        box, down = await sent_with(mailer, *mails(1))
    assert isinstance(box.outcome, Sent)
    assert second.recipients == ["user0@example.com"]


@on_both_loops
async def test_one_mail_that_upsets_the_first_among_others_changes_nothing(
    first: ScriptedRelay, second: ScriptedRelay
) -> None:
    first.script("rcpt", "421 4.3.2 not you", recipient="user7@example.com", always=True)
    async with mailer_for(first, second, connections=CONNECTIONS) as mailer:
        await sent_with(mailer, *mails(30))
        await sent_with(mailer, *mails(30, start=30))
    assert len(first.accepted) == 59
    assert second.connections == 0


@on_both_loops
async def test_a_first_that_has_gone_without_a_word_is_found_out_though_all_connections_wait_for_it(
    first: ScriptedRelay, second: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, its host lost power. The mails in flight may wait long for their verdicts, but no others may."""
    monkeypatch.setattr(mailer_module, "HASTE_SECONDS", 0.2)
    async with mailer_for(first, second, connections=CONNECTIONS) as mailer:
        stuck = await all_held(first, mailer)
        first.script("greeting", Do.SILENCE, always=True)
        _, down = await sent_with(mailer, *mails(30, start=CONNECTIONS))
        assert down is None
        assert len(second.accepted) == 30
        assert first.holding == CONNECTIONS
        first.release()
        assert [await run.result() for run in stuck] == [None] * CONNECTIONS
    assert len(first.accepted) == CONNECTIONS


@pytest.mark.parametrize("greeting", [Do.USUAL, "421 4.7.0 too many connections"])
@on_both_loops
async def test_a_first_that_is_only_slow_is_waited_for(
    first: ScriptedRelay, second: ScriptedRelay, greeting: Answer
) -> None:
    async with mailer_for(first, second, connections=CONNECTIONS) as mailer:
        slow = await all_held(first, mailer)
        first.script("greeting", greeting)
        asked = first.connections
        others = Box(mails(30, start=CONNECTIONS))
        run = mailer.start(others, others.report)
        await until(lambda: first.connections > asked and first.open_connections == CONNECTIONS)
        assert others.taken == []
        first.release()
        assert [await each.result() for each in slow] == [None] * CONNECTIONS
        mailer.wake()
        assert await run.result() is None
    assert len(first.accepted) == CONNECTIONS + 30
    assert second.connections == 0


# The first limits us


@on_both_loops
async def test_a_first_that_allows_few_connections_is_used_with_those(
    first: ScriptedRelay, second: ScriptedRelay
) -> None:
    first.decide = lambda stage, _: (
        "421 4.7.0 too many connections" if stage == "greeting" and first.open_connections > 2 else None
    )
    async with mailer_for(first, second, connections=5) as mailer:
        for number in range(3):
            _, down = await sent_with(mailer, *mails(100, start=100 * number))
            assert down is None
    assert len(first.accepted) == 300
    assert second.connections == 0


@on_both_loops
async def test_a_first_whose_connections_are_all_in_use_elsewhere_is_not_down(
    first: ScriptedRelay, second: ScriptedRelay
) -> None:
    """An earlier run still waits for a verdict on the only connection that the relay allows."""
    async with mailer_for(first, second, connections=CONNECTIONS) as mailer:
        await OneByOne(mails(5)).sent_with(mailer)
        first.script("dot", Do.HOLD)
        first.script("greeting", "421 4.7.0 too many connections", always=True)
        slow = Box(mails(1, start=5))
        run = mailer.start(slow, slow.report)
        await until(lambda: first.holding == 1)
        _, down = await sent_with(mailer, *mails(10, start=6))
        assert down is not None
        first.release()
        assert await run.result() is None
    assert isinstance(slow.outcome, Sent)
    assert second.connections == 0


@pytest.mark.parametrize("stage", ["mail", "rcpt", "dot"])
@on_both_loops
async def test_a_first_that_finds_us_too_fast_is_not_down(
    first: ScriptedRelay, second: ScriptedRelay, stage: StageName
) -> None:
    first.script(stage, "450 4.7.28 too fast", always=True)
    async with mailer_for(first, second, connections=CONNECTIONS) as mailer:
        for _ in range(2):
            _, down = await sent_with(mailer, *mails(20))
            assert down is not None
            assert down.is_too_fast
    assert second.connections == 0


# The first is back


@on_both_loops
async def test_the_first_is_used_again_when_it_is_back_and_the_second_let_go(
    first: ScriptedRelay, second: ScriptedRelay
) -> None:
    clock = Clock()
    first.decide = is_away
    limits = Limits(mails=1000, age=1e6, idle=5)
    with capture_logs() as logs:
        async with mailer_for(first, second, connections=CONNECTIONS, clock=clock, limits=limits) as mailer:
            await sent_with(mailer, *mails(30))
            assert mailer.relay_in_use.port == second.port
            first.decide = None
            await sent_with(mailer, *mails(30, start=30))
            assert len(second.accepted) == 60, "its pause is not over"
            clock.now += PAUSES[0]
            await sent_with(mailer, *mails(1, start=60))
            await until(lambda: mailer.relay_in_use.port == first.port)
            told = len(second.accepted)
            await sent_with(mailer, *mails(30, start=61))
            assert len(second.accepted) == told
            assert len(first.accepted) == 91 - told
            clock.now += 6
            await mailer.close_idle()
            await until(lambda: second.open_connections == 0)
    assert said(logs, "relay.failed_over", "relay.back") == ["relay.failed_over", "relay.back"]
    assert logs[0]["log_level"] == "warning"


@on_both_loops
async def test_nobodys_mail_waits_while_the_first_is_asked_by_one_connection(
    first: ScriptedRelay, second: ScriptedRelay
) -> None:
    clock = Clock()
    first.decide = is_away
    async with mailer_for(first, second, connections=CONNECTIONS, clock=clock) as mailer:
        await sent_with(mailer, *mails(30))
        asked = first.connections
        first.decide = lambda stage, _: Do.HOLD if stage == "greeting" else None
        clock.now += PAUSES[0]
        await sent_with(mailer, *mails(30, start=30))
        await sent_with(mailer, *mails(30, start=60))
        assert len(second.accepted) == 90
        await until(lambda: first.holding == 1)
        assert first.connections == asked + 1
        first.release()
        await until(lambda: mailer.relay_in_use.port == first.port)


@on_both_loops
async def test_an_asking_is_broken_off_at_the_end(first: ScriptedRelay, second: ScriptedRelay) -> None:
    clock = Clock()
    first.decide = is_away
    async with mailer_for(first, second, clock=clock) as mailer:
        await sent_with(mailer, *mails(1))
        first.decide = lambda stage, _: Do.SILENCE if stage == "greeting" else None
        clock.now += PAUSES[0]
        asked = first.connections
        await sent_with(mailer, *mails(1, start=1))
        await until(lambda: first.connections > asked)
    await until(lambda: first.open_connections == 0)


@on_both_loops
async def test_that_the_first_stays_down_for_another_reason_is_said_once(
    first: ScriptedRelay, second: ScriptedRelay
) -> None:
    clock = Clock()
    first.decide = is_away
    with capture_logs() as logs:
        async with mailer_for(first, second, clock=clock) as mailer:
            await sent_with(mailer, *mails(1))
            first.decide = lambda stage, _: "554 5.3.0 not you" if stage == "greeting" else None
            for number in range(1, 4):
                clock.now += PAUSES[1]
                asked = first.connections
                await sent_with(mailer, *mails(1, start=number))
                await until(lambda asked=asked: first.connections > asked)  # type: ignore[misc] # bound to the turn
                await until(lambda: first.open_connections == 0)
    assert said(logs, "relay.still_down") == ["relay.still_down"]


@on_both_loops
async def test_the_second_fails_and_the_first_is_asked_at_once(first: ScriptedRelay, second: ScriptedRelay) -> None:
    first.decide = is_away
    async with mailer_for(first, second, connections=CONNECTIONS) as mailer:
        await sent_with(mailer, *mails(30))
        await mailer.close()
        first.decide, second.decide = None, is_away
        box, down = await sent_with(mailer, *mails(30, start=30))
    assert down is None
    assert {type(outcome) for outcome in box.outcomes} == {Sent}
    assert len(first.accepted) == 30


# The probe


@on_both_loops
async def test_a_probe_asks_them_in_order_and_one_is_enough(first: ScriptedRelay, second: ScriptedRelay) -> None:
    async with mailer_for(first, second, connections=CONNECTIONS) as mailer:
        assert await mailer.probe(mail_from=True) is None
        assert (first.connections, second.connections) == (1, 0)
        first.script("mail", "550 5.7.26 sender not allowed", always=True)
        assert await mailer.probe(mail_from=True) is None
        assert (first.connections, second.connections) == (2, 1)
        await sent_with(mailer, *mails(10))
        assert len(second.accepted) == 10
        second.decide = is_away
        down = await mailer.probe(mail_from=True)
    assert down is not None
    assert (down.scope, down.stage) == (Scope.RELAY, Stage.GREETING)


# The whole line


def status_counts(shop: Shop) -> dict[str, int]:
    return Counter(row.status for row in shop.rows())


async def told_all(shop: Shop, first: ScriptedRelay, second: ScriptedRelay, **settings: Any) -> None:
    async with line_of(shop, first, others=[second], connections=CONNECTIONS, **settings) as line:
        await serve_until_done(line, shop)
        # The mails that were with the first relay when it left are in back-off for a moment.
        shop.change("UPDATE request SET not_before = NULL WHERE attempts = 0")
        await serve_until_done(line, shop)


@pytest.mark.parametrize("trouble", ["away", "wrong password", "dies"])
def test_the_breaker_stays_closed_and_no_try_is_spent(
    shop: Shop, first: ScriptedRelay, second: ScriptedRelay, trouble: str
) -> None:
    shop.waiting(60)
    first.users = {"shop": "secret"}
    after = {"away": 0, "wrong password": 0, "dies": 20}[trouble]
    if trouble != "wrong password":
        first.decide = lambda stage, _: (
            Do.DROP if stage in ("connect", "mail") and len(first.accepted) >= after else None
        )
    password = WRONG if trouble == "wrong password" else "secret"
    with capture_logs() as logs:
        asyncio.run(told_all(shop, first, second, claim_size=20, user="shop", password=password))
    assert status_counts(shop) == {SENT: 60}
    assert taken_by(first, second) == Counter(row.email for row in shop.rows())
    assert {row.attempts for row in shop.rows()} == {0}
    assert shop.breaker().state == "closed"
    assert said(logs, "relay.failed_over", "breaker.opened") == ["relay.failed_over"]
    assert WRONG not in str(logs)


def test_the_only_customer_is_told_by_the_second(shop: Shop, first: ScriptedRelay, second: ScriptedRelay) -> None:
    shop.waiting(1)
    first.script("rcpt", "421 4.3.2 not now", always=True)
    asyncio.run(told_all(shop, first, second))
    assert status_counts(shop) == {SENT: 1}
    assert {row.attempts for row in shop.rows()} == {0}
    assert shop.breaker().state == "closed"


@pytest.mark.parametrize("claim_size", [2, 20])
def test_a_first_whose_verdicts_never_come_is_left_without_the_breaker(
    shop: Shop, first: ScriptedRelay, second: ScriptedRelay, claim_size: int
) -> None:
    shop.waiting(40)
    first.script("dot", Do.DROP, always=True)
    asyncio.run(told_all(shop, first, second, claim_size=claim_size))
    tried = [row for row in shop.rows() if row.attempts]
    assert len(tried) <= 4 * CONNECTIONS, "their backoff is not over"
    assert status_counts(shop) == {SENT: 40 - len(tried), RECEIVED: len(tried)}
    assert taken_by(second) == Counter(row.email for row in shop.rows() if row.status == SENT)
    assert shop.breaker().state == "closed"


def test_where_none_can_be_used_the_breaker_opens_and_closes_with_the_first_that_can(
    shop: Shop, first: ScriptedRelay, second: ScriptedRelay
) -> None:
    waiting = shop.waiting(30)
    first.decide = second.decide = is_away

    async def run() -> None:
        async with line_of(shop, first, others=[second], connections=CONNECTIONS) as line:
            await deliver(line, [shop.list_id(MUG)])
            assert shop.breaker().state == "open"
            assert status_counts(shop) == {RECEIVED: 30}
            shop.change("UPDATE relay SET probe_at = stockbell_now(-1)")
            assert not await probe(line)
            second.decide = None
            shop.change("UPDATE relay SET probe_at = stockbell_now(-1)")
            assert await probe(line)
            asked = first.connections
            await serve_until_done(line, shop)
            assert first.connections == asked

    asyncio.run(run())
    assert status_counts(shop) == {SENT: 30}
    assert {shop.row(request).attempts for request in waiting} == {0}
    assert len(second.accepted) == 30


def test_a_mailer_with_one_relay_asks_for_no_other(first: ScriptedRelay) -> None:
    mailer = Mailer(relay_of(first), sender="shop@shop.example", connections=1)
    assert [str(relay) for relay in mailer.relays] == [str(mailer.relay_in_use)]
