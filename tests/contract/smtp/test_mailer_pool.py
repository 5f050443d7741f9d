"""How the mailer keeps its connections, when it gives up on a relay, and what a cancellation leaves."""

import asyncio
import random
from collections.abc import Iterator

import pytest
from aiosmtplib.protocol import SMTPProtocol

from tests.clock import Clock
from tests.contract.mailing import (
    SENDER,
    Box,
    OneByOne,
    as_taken,
    assert_nobody_got_two,
    mailer_for,
    mails,
    on_both_loops,
    relay_of,
    sent_with,
    until,
)
from tests.relay import Answer, Do, ScriptedRelay, StageName
from worker.domain.outcomes import NotSent, Outcome, RelayDown, Scope, Sent, Unknown
from worker.domain.replies import Stage
from worker.smtp.mailer import Limits, Mail, Mailer
from worker.smtp.pipeline import PipelinedSession
from worker.smtp.pool import WIDEN_SECONDS


@pytest.fixture
def server(pipelining: bool) -> Iterator[ScriptedRelay]:
    with ScriptedRelay(pipelining=pipelining) as relay:
        yield relay


# Keeping connections


@on_both_loops
async def test_a_connection_is_kept_from_run_to_run(server: ScriptedRelay) -> None:
    async with mailer_for(server) as mailer:
        for number in range(5):
            await sent_with(mailer, *mails(3, start=3 * number))
    assert len(server.accepted) == 15
    assert server.connections == 1


@on_both_loops
async def test_a_trickle_uses_one_connection(server: ScriptedRelay) -> None:
    async with mailer_for(server, connections=5) as mailer:
        await OneByOne(mails(20)).sent_with(mailer)
    assert len(server.accepted) == 20
    assert server.connections == 1


@on_both_loops
async def test_connections_never_exceed_the_limit(server: ScriptedRelay) -> None:
    async with mailer_for(server, connections=3, limits=Limits(mails=5)) as mailer:
        for number in range(3):
            await sent_with(mailer, *mails(50, start=50 * number))
    assert len(server.accepted) == 150
    assert server.most_connections == 3
    assert server.connections >= 150 / 5


@on_both_loops
async def test_a_connection_is_used_for_so_many_mails(server: ScriptedRelay) -> None:
    async with mailer_for(server, limits=Limits(mails=3)) as mailer:
        await sent_with(mailer, *mails(7))
        await sent_with(mailer, *mails(3))
    assert [mail.connection for mail in server.accepted] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    assert server.most_connections == 1
    assert server.commands.count("QUIT") == 4


@pytest.mark.parametrize(
    ("limits", "seconds", "connections"),
    [
        (Limits(age=300, idle=1000), 299, 1),
        (Limits(age=300, idle=1000), 301, 2),
        (Limits(age=1000, idle=5), 4, 1),
        (Limits(age=1000, idle=5), 6, 2),
    ],
)
@on_both_loops
async def test_a_connection_that_is_too_old_is_replaced(
    server: ScriptedRelay, limits: Limits, seconds: float, connections: int
) -> None:
    clock = Clock()
    async with mailer_for(server, limits=limits, clock=clock) as mailer:
        await sent_with(mailer, *mails(1))
        clock.now += seconds
        await sent_with(mailer, *mails(1))
    assert server.connections == connections
    assert server.most_connections == 1


@on_both_loops
async def test_close_idle_closes_what_was_idle_for_too_long(server: ScriptedRelay) -> None:
    clock = Clock()
    async with mailer_for(server, limits=Limits(idle=5), clock=clock) as mailer:
        await sent_with(mailer, *mails(1))
        await mailer.close_idle()
        assert "QUIT" not in server.commands
        clock.now += 6
        await mailer.close_idle()
        assert server.commands[-1] == "QUIT"
        await until(lambda: server.open_connections == 0)


@on_both_loops
async def test_connections_that_the_relay_refuses_are_tried_again_one_by_one(server: ScriptedRelay) -> None:
    clock = Clock()
    server.script("greeting", Do.USUAL, Do.USUAL, "421 4.7.0 too many connections", always=True)
    async with mailer_for(server, connections=5, clock=clock) as mailer:
        tried = []
        for pause in (0.0, 0.0, 0.0, WIDEN_SECONDS, 0.0):
            clock.now += pause
            before = server.connections
            box, down = await sent_with(mailer, *mails(50))
            assert down is None
            assert len(box.outcomes) == 50
            tried.append(server.connections - before)
    assert tried[0] <= 5
    assert tried[2:] == [0, 1, 0]


@on_both_loops
async def test_close_takes_leave(server: ScriptedRelay) -> None:
    async with mailer_for(server, connections=3) as mailer:
        await sent_with(mailer, *mails(30))
        opened = server.connections
        await mailer.close()
        assert server.commands.count("QUIT") == opened
        await until(lambda: server.open_connections == 0)


@pytest.mark.parametrize("trouble", [Do.DROP, "500 no", "what?", "421 no", "250 odd"])
@on_both_loops
async def test_closing_never_raises(server: ScriptedRelay, trouble: Answer) -> None:
    server.script("quit", trouble)
    async with mailer_for(server) as mailer:
        await sent_with(mailer, *mails(1))
        await mailer.close()
        await until(lambda: server.open_connections == 0)


@on_both_loops
async def test_closing_does_not_need_the_relay(pipelining: bool) -> None:
    with ScriptedRelay(pipelining=pipelining) as server:
        mailer = Mailer(relay_of(server), sender=SENDER, connections=1)
        await sent_with(mailer, *mails(1))
    await mailer.close()


@pytest.mark.parametrize("trouble", [Do.DROP, "421 4.4.2 idle for too long"])
@on_both_loops
async def test_a_connection_that_ended_while_idle_is_replaced(server: ScriptedRelay, trouble: Answer) -> None:
    server.script("mail", Do.USUAL, trouble)
    async with mailer_for(server) as mailer:
        await sent_with(mailer, *mails(1))
        box, down = await sent_with(mailer, *mails(1, start=1))
    assert down is None
    assert isinstance(box.outcome, Sent)
    assert server.recipients == ["user0@example.com", "user1@example.com"]
    assert server.connections == 2


@on_both_loops
async def test_a_restart_of_the_relay_is_not_noticed(server: ScriptedRelay) -> None:
    async with mailer_for(server, connections=3) as mailer:
        await sent_with(mailer, *mails(30))
        server.stop()
        server.start()
        box, down = await sent_with(mailer, *mails(30, start=30))
    assert down is None
    assert all(isinstance(outcome, Sent) for outcome in box.outcomes)


@on_both_loops
async def test_it_is_replaced_only_once(server: ScriptedRelay) -> None:
    server.script("mail", Do.USUAL, Do.DROP, Do.DROP)
    async with mailer_for(server) as mailer:
        await sent_with(mailer, *mails(1))
        box, down = await sent_with(mailer, *mails(2))
    assert isinstance(down, RelayDown)
    assert (down.scope, down.stage) == (Scope.RELAY, Stage.MAIL)
    assert box.outcomes == [down]
    assert server.connections == 2


@pytest.mark.parametrize("trouble", [Do.DROP, "421 4.3.2 no", "503 5.5.1 what?", "550 no"])
@on_both_loops
async def test_a_connection_that_can_not_be_reset_is_replaced(server: ScriptedRelay, trouble: Answer) -> None:
    server.script("rcpt", "550 5.1.1 no")
    server.script("rset", trouble)
    async with mailer_for(server) as mailer:
        await sent_with(mailer, *mails(1))
        box, _ = await sent_with(mailer, *mails(1, start=1))
    assert isinstance(box.outcome, Sent)
    assert server.connections == 2


# Giving up


@on_both_loops
async def test_a_relay_that_takes_fewer_connections_is_used_with_those(
    server: ScriptedRelay,
) -> None:
    server.decide = lambda stage, _: (
        "421 4.7.0 too many connections" if stage == "greeting" and server.open_connections > 2 else None
    )
    async with mailer_for(server, connections=5) as mailer:
        box, down = await sent_with(mailer, *mails(100))
    assert down is None
    assert box.waiting == []
    assert [type(outcome) for outcome in box.outcomes] == [Sent] * 100


@on_both_loops
async def test_one_mail_is_enough_to_see_that_nobody_can_be_mailed(server: ScriptedRelay) -> None:
    server.script("mail", "451 4.3.0 later")
    async with mailer_for(server, connections=5) as mailer:
        box, down = await sent_with(mailer, *mails(1))
    assert box.outcomes == [down]


@on_both_loops
async def test_as_many_troubles_in_a_row_as_connections_end_the_run(server: ScriptedRelay) -> None:
    server.script("data", *[Do.USUAL] * 10, "421 4.3.2 no", always=True)
    async with mailer_for(server, connections=4) as mailer:
        box, down = await sent_with(mailer, *mails(100))
    assert isinstance(down, RelayDown)
    assert (down.scope, down.stage) == (Scope.RELAY, Stage.DATA)
    assert len(server.accepted) == 10
    assert len(box.waiting) > 70


@on_both_loops
async def test_single_troubles_do_not_end_the_run(server: ScriptedRelay) -> None:
    server.script("data", *[*[Do.USUAL] * 4, Do.DROP] * 10)
    async with mailer_for(server, connections=4) as mailer:
        box, down = await sent_with(mailer, *mails(100))
    assert down is None
    assert box.waiting == []
    assert len(server.accepted) == 90


@on_both_loops
async def test_trouble_with_our_configuration_ends_the_run_at_once(server: ScriptedRelay) -> None:
    server.script("mail", *[Do.USUAL] * 10, "550 5.7.26 unauthenticated", "451 4.3.0 later", always=True)
    async with mailer_for(server, connections=4) as mailer:
        box, down = await sent_with(mailer, *mails(100))
    assert isinstance(down, RelayDown)
    assert down.scope is Scope.CONFIGURATION
    assert len(server.accepted) == 10
    assert len(box.waiting) > 70


@on_both_loops
async def test_the_next_run_tries_anew(server: ScriptedRelay) -> None:
    server.script("greeting", "421 4.3.2 no")
    async with mailer_for(server) as mailer:
        _, down = await sent_with(mailer, *mails(1))
        assert down is not None
        box, down = await sent_with(mailer, *mails(1))
    assert down is None
    assert isinstance(box.outcome, Sent)


@on_both_loops
async def test_a_mail_waits_for_nobody_while_its_connection_is_not_open(server: ScriptedRelay) -> None:
    server.script("greeting", Do.HOLD, always=True)
    async with mailer_for(server, connections=3) as mailer:
        box = Box(mails(5))
        run = mailer.start(box, box.report)
        await until(lambda: server.holding == 3)
        assert box.taken == []
        box.waiting.clear()  # another run has sent them
        server.release()
        assert await run.result() is None
    assert box.reports == []


@on_both_loops
async def test_where_nobody_can_be_connected_to_no_mail_is_taken(server: ScriptedRelay) -> None:
    server.script("greeting", "421 4.3.2 no", always=True)
    async with mailer_for(server, connections=3) as mailer:
        box, down = await sent_with(mailer, *mails(5))
    assert isinstance(down, RelayDown)
    assert box.taken == []
    assert server.connections == 3


@on_both_loops
async def test_a_run_that_is_over_leaves_its_slow_connection_to_itself(server: ScriptedRelay) -> None:
    """The next run uses the other connections."""
    server.script("dot", Do.HOLD)
    async with mailer_for(server, connections=2) as mailer:
        slow, other = Box(mails(1)), Box(mails(20, start=1))
        run = mailer.start(slow, slow.report)
        await until(lambda: server.holding == 1)
        assert await mailer.run(other, other.report) is None
        assert len(server.accepted) == 20
        assert server.connections == 2
        assert slow.reports == []
        server.release()
        assert await run.result() is None
    assert isinstance(slow.outcome, Sent)


@pytest.mark.parametrize("stage", ["rcpt", "dot"])
@on_both_loops
async def test_finish_waits_only_so_long(server: ScriptedRelay, stage: StageName) -> None:
    server.script(stage, Do.HOLD)
    async with mailer_for(server) as mailer:
        box = Box(mails(1))
        mailer.start(box, box.report)
        await until(lambda: server.holding == 1)
        await mailer.finish(0.05)
        assert isinstance(box.outcome, Unknown if stage == "dot" else NotSent)
        server.release()


# Cancellation and errors


async def cancelled_while_held(server: ScriptedRelay, mailer: Mailer, stage: StageName) -> list[Outcome]:
    """Cancels a run of one mail while it waits for the reply at `stage`. Returns the outcomes that were reported."""
    server.script(stage, Do.HOLD)
    box = Box(mails(1))
    running = asyncio.create_task(mailer.run(box, box.report))
    await until(lambda: server.holding == 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    server.release()
    await until(lambda: server.holding == 0)
    box.assert_each_reported_once()
    return box.outcomes


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail", "rcpt", "data"])
@on_both_loops
async def test_what_is_cancelled_before_its_dot_is_not_sent(server: ScriptedRelay, stage: StageName) -> None:
    async with mailer_for(server) as mailer:
        outcomes = await cancelled_while_held(server, mailer, stage)
        after, _ = await sent_with(mailer, *mails(1, start=1))
    assert all(isinstance(outcome, NotSent) for outcome in outcomes)
    assert len(outcomes) == (stage in {"mail", "rcpt", "data"})
    assert isinstance(after.outcome, Sent)
    assert server.recipients == ["user1@example.com"]
    assert server.connections == 2


@on_both_loops
async def test_what_is_cancelled_after_its_dot_is_unknown(server: ScriptedRelay) -> None:
    async with mailer_for(server) as mailer:
        (outcome,) = await cancelled_while_held(server, mailer, "dot")
        after, _ = await sent_with(mailer, *mails(1, start=1))
    assert isinstance(outcome, Unknown)
    assert isinstance(after.outcome, Sent)
    assert server.connections == 2
    assert server.accepted[-1].content == as_taken(mails(1, start=1)[0])


@on_both_loops
async def test_cancelled_while_waiting_for_mails(server: ScriptedRelay) -> None:
    class Paused(Box):
        is_paused = is_over = False

        @property
        def available(self) -> int:
            return 0 if self.is_paused else super().available

        def next_now(self) -> Mail | None:
            return None if self.is_paused else super().next_now()

    async with mailer_for(server, connections=3) as mailer:
        box = Paused(mails(4))
        box.waiting += mails(1, start=4)
        running = asyncio.create_task(mailer.run(box, box.report))
        await until(lambda: box.taken)
        box.is_paused = True
        await until(lambda: len(box.reports) == len(box.taken))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    box.assert_each_reported_once()
    assert all(isinstance(outcome, Sent) for outcome in box.outcomes)


@on_both_loops
async def test_cancelled_at_any_time_each_mail_has_its_true_outcome(server: ScriptedRelay) -> None:
    chance = random.Random(2026)
    seen: set[type[Outcome]] = set()
    async with mailer_for(server, connections=3) as mailer:
        for number in range(150):
            box = Box(mails(30, start=30 * number))
            running = asyncio.create_task(mailer.run(box, box.report))
            done = chance.randrange(4)
            await until(lambda box=box, done=done: len(box.reports) >= done)  # type: ignore[misc] # bound to the turn
            for _ in range(chance.randrange(60)):
                await asyncio.sleep(0)
            taken = len(box.taken)
            running.cancel()
            await asyncio.wait([running])
            box.assert_each_reported_once()
            assert len(box.taken) <= taken + 6  # connections soon take no more mails
            for mail, outcome in box.reports:
                seen.add(type(outcome))
                if isinstance(outcome, Sent):
                    assert mail.recipient in server.recipients
                elif isinstance(outcome, NotSent):
                    assert mail.recipient not in server.recipients
    assert {Sent, NotSent} <= seen <= {Sent, NotSent, Unknown}
    await until(lambda: not server.open_connections)
    assert_nobody_got_two(server)
    contents = {mail.recipient: as_taken(mail) for mail in mails(30 * 150)}
    assert all(mail.content == contents[mail.recipient] for mail in server.accepted)
    assert {command.split()[0] for command in server.commands} <= {"EHLO", "MAIL", "RCPT", "DATA", "QUIT"}


@pytest.mark.parametrize(
    ("hook", "heard", "silent"),
    [("connection_made", "", "greeting"), ("data_received", "b'250 2.1.0 ", "rcpt")],
)
@on_both_loops
async def test_a_cancellation_is_not_lost_if_it_comes_together_with_something_else(
    server: ScriptedRelay,
    monkeypatch: pytest.MonkeyPatch,
    pipelining: bool,
    hook: str,
    heard: str,
    silent: StageName,
) -> None:
    protocol_class = PipelinedSession if pipelining and hook == "data_received" else SMTPProtocol
    original = getattr(protocol_class, hook)
    running: asyncio.Task[RelayDown | None]
    turns = 0

    def cancel_after(turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(cancel_after, turns - 1)
        else:
            running.cancel()

    def hooked(protocol: asyncio.Protocol, value: object) -> None:
        original(protocol, value)
        if repr(value).startswith(heard):
            cancel_after(turns)

    monkeypatch.setattr(protocol_class, hook, hooked)
    server.script(silent, Do.SILENCE, always=True)
    async with asyncio.timeout(60), mailer_for(server) as mailer:
        for turns in range(10):  # noqa: B007 - for `hooked`
            box = Box(mails(1))
            running = asyncio.create_task(mailer.run(box, box.report))
            await asyncio.wait([running])
            box.assert_each_reported_once()
            assert all(isinstance(outcome, NotSent) for outcome in box.outcomes)


@on_both_loops
async def test_an_error_of_the_source_or_the_report_is_not_hidden(server: ScriptedRelay) -> None:
    class FaultySource(Box):
        def next_now(self) -> Mail | None:
            if len(self.taken) == 5:
                raise LookupError("source")
            return super().next_now()

    class FaultyReport(Box):
        def report(self, mail: Mail, outcome: Outcome) -> None:
            super().report(mail, outcome)
            if len(self.reports) >= 2:
                raise ArithmeticError("report")

    async with mailer_for(server, connections=3) as mailer:
        box: Box = FaultySource(mails(10))
        with pytest.raises(LookupError):
            await mailer.run(box, box.report)
        box.assert_each_reported_once()

        box = FaultyReport(mails(10))
        with pytest.raises(ArithmeticError):
            await mailer.run(box, box.report)
        box.assert_each_reported_once()


# Probing


@on_both_loops
async def test_a_probe_uses_a_connection_of_its_own_and_sends_nothing(
    server: ScriptedRelay,
) -> None:
    async with mailer_for(server) as mailer:
        assert await mailer.probe(mail_from=False) is None
        assert [command.split()[0] for command in server.commands] == ["EHLO", "QUIT"]
        server.commands.clear()
        assert await mailer.probe(mail_from=True) is None
        assert [one.split()[0] for one in server.commands] == ["EHLO", "MAIL", "RSET", "QUIT"]
        await until(lambda: server.open_connections == 0)
    assert server.accepted == []


@pytest.mark.parametrize("mail_from", [True, False])
@on_both_loops
async def test_a_probe_asks_about_the_sender_only_if_told_to(server: ScriptedRelay, mail_from: bool) -> None:
    server.script("mail", "550 5.7.26 unauthenticated")
    async with mailer_for(server) as mailer:
        down = await mailer.probe(mail_from=mail_from)
    assert (down is not None) == mail_from
    assert down is None or (down.scope, down.stage) == (Scope.CONFIGURATION, Stage.MAIL)


@pytest.mark.parametrize("trouble", [Do.DROP, "421 4.3.2 no", "what?", "354 what?"])
@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail"])
@on_both_loops
async def test_a_probe_sees_trouble(server: ScriptedRelay, stage: StageName, trouble: Answer) -> None:
    server.script(stage, trouble)
    async with mailer_for(server) as mailer:
        down = await mailer.probe(mail_from=True)
        assert down is not None
        assert (down.scope, down.stage) == (Scope.RELAY, stage)
        await until(lambda: server.open_connections == 0)


@on_both_loops
async def test_a_wrong_password_is_seen_by_a_probe() -> None:
    with ScriptedRelay(users={"shop": "secret"}) as server:
        async with mailer_for(server, relay=relay_of(server, "shop", "wrong")) as mailer:
            down = await mailer.probe(mail_from=False)
    assert down is not None
    assert (down.scope, down.stage) == (Scope.CONFIGURATION, Stage.AUTH)
