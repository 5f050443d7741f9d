"""What only a pipelined session has: commands that go out together, and replies known by their order alone.

The tests of what both sessions have in common are in test_mailer and test_mailer_pool. Here is also a proof that both
agree.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.settings import Settings
from tests.contract.mailing import (
    IMPATIENT,
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
from worker.domain.outcomes import NotSent, Outcome, Rejected, RelayDown, Scope, Sent, Unknown
from worker.domain.replies import Stage
from worker.mail.message import dot_stuffed
from worker.processes.bootstrap import Parts
from worker.smtp import pipeline as smtp_pipeline
from worker.smtp.mailer import Mail
from worker.smtp.pipeline import PipelinedSession

REPLIES_TO_COMMANDS: Final = [b"250 2.1.0 ok\r\n", b"250 2.1.5 ok\r\n", b"354 go ahead\r\n"]
REPLIES_TO_A_MAIL: Final = [*REPLIES_TO_COMMANDS, b"250 2.0.0 ok\r\n"]
OFFERS: Final = [b"relay.test", b"SIZE 10485760", b"ENHANCEDSTATUSCODES", b"PIPELINING"]
STAGES: Final = (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT)


@pytest.fixture
def server() -> Iterator[ScriptedRelay]:
    with ScriptedRelay(pipelining=True) as relay:
        yield relay


def commands_for(mail: Mail) -> bytes:
    return f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{mail.recipient}>\r\nDATA\r\n".encode()


def packets_of_mails(server: ScriptedRelay) -> list[bytes]:
    return [packet for packet in server.packets if not packet.startswith((b"EHLO", b"AUTH", b"STARTTLS", b"QUIT"))]


def kinds(box: Box) -> list[type[Outcome]]:
    return [type(outcome) for outcome in box.outcomes]


# One round trip for each mail


@on_both_loops
async def test_the_content_goes_out_with_the_commands_for_the_next(server: ScriptedRelay) -> None:
    first, second, third = letters = mails(3)
    async with mailer_for(server) as mailer:
        box, _ = await sent_with(mailer, *letters)
    assert kinds(box) == [Sent] * 3
    assert packets_of_mails(server) == [
        commands_for(first),
        first.content + commands_for(second),
        second.content + commands_for(third),
        third.content,
    ]


@on_both_loops
async def test_no_content_waits_for_the_next_mail(server: ScriptedRelay) -> None:
    async with mailer_for(server) as mailer:
        box = OneByOne(mails(3))
        assert await box.sent_with(mailer) is None
    assert kinds(box) == [Sent] * 3
    assert server.connections == 1


@on_both_loops
async def test_a_slow_relay_gets_no_mail_ahead(server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp_pipeline, "_SLOW", 0.0)
    first, *others = letters = mails(4)
    async with mailer_for(server) as mailer:
        await sent_with(mailer, *letters)
    expected = [commands_for(first), first.content + commands_for(others[0]), others[0].content]
    for mail in others[1:]:
        expected += [commands_for(mail), mail.content]
    assert packets_of_mails(server) == expected


@pytest.mark.parametrize("how", ["not offered", "off"])
@on_both_loops
async def test_without_pipelining_every_reply_is_waited_for(how: str) -> None:
    with ScriptedRelay(pipelining=how == "off") as server:
        async with mailer_for(server, pipelining=how != "off") as mailer:
            await sent_with(mailer, *mails(2))
    assert [packet.split()[0] for packet in packets_of_mails(server)] == [b"MAIL", b"RCPT", b"DATA", b"Message-ID:"] * 2


@pytest.mark.parametrize("setting", ["auto", "off"])
def test_the_setting_decides(server: ScriptedRelay, setting: Any) -> None:
    options = Settings(smtp=(relay_of(server),), mail_from="Shop <shop@shop.example>", smtp_pipelining=setting)

    async def run() -> None:
        mailer = Parts(options).mailer
        await sent_with(mailer, *mails(1))
        await mailer.close()

    asyncio.run(run())
    assert len(packets_of_mails(server)) == (2 if setting == "auto" else 4)


@pytest.mark.parametrize("security", ["starttls", "tls"])
@on_both_loops
async def test_encrypted_too(security: Any) -> None:
    letters = mails(30)
    with ScriptedRelay(pipelining=True, security=security, users={"shop": "secret"}) as server:
        async with mailer_for(server, relay=relay_of(server, "shop")) as mailer:
            await sent_with(mailer, *letters[:20])
            box, _ = await sent_with(mailer, *letters[20:])
        assert kinds(box) == [Sent] * 10
    assert [mail.content for mail in server.accepted] == [as_taken(mail) for mail in letters]
    assert server.connections == 1
    assert len(packets_of_mails(server)) < 4 * len(letters)


@pytest.mark.parametrize("security", ["plain", "tls"])
@on_both_loops
async def test_mails_larger_than_any_buffer(security: Any) -> None:
    letters = [
        Mail(mail.request_id, mail.recipient, dot_stuffed(as_taken(mail) + (b"x" * 998 + b"\r\n") * 20_000))
        for mail in mails(3)
    ]
    with ScriptedRelay(pipelining=True, security=security) as server:
        async with mailer_for(server) as mailer:
            box, _ = await sent_with(mailer, *letters)
    assert kinds(box) == [Sent] * 3
    assert [mail.content for mail in server.accepted] == [as_taken(mail) for mail in letters]


@on_both_loops
async def test_nothing_is_added_to_what_the_transport_can_not_get_rid_of(
    server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[PipelinedSession] = []
    heard: list[bytes] = []
    original = PipelinedSession.data_received

    def hooked(session: PipelinedSession, data: bytes) -> None:
        if not sessions:
            session.pause_writing()
        sessions.append(session)
        original(session, data)
        heard.append(data)

    monkeypatch.setattr(PipelinedSession, "data_received", hooked)
    async with mailer_for(server) as mailer:
        sending = asyncio.create_task(sent_with(mailer, *mails(2)))
        await until(lambda: heard)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(packets_of_mails(server)) == 1
        sessions[0].resume_writing()
        box, _ = await sending
    assert kinds(box) == [Sent] * 2


# Replies cut and joined


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 20])
@on_both_loops
async def test_replies_may_come_in_pieces(server: ScriptedRelay, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    original = PipelinedSession.data_received

    def in_pieces(session: PipelinedSession, data: bytes) -> None:
        for start in range(0, len(data), piece):
            original(session, data[start : start + piece])

    monkeypatch.setattr(PipelinedSession, "data_received", in_pieces)
    server.script("rcpt", "550-5.1.1 no\r\n550 5.1.1 such user", recipient="user3@example.com")
    server.script("dot", "452-4.2.2 over\r\n452 4.2.2 quota", recipient="user5@example.com")
    async with mailer_for(server) as mailer:
        box, _ = await sent_with(mailer, *mails(10))
    assert [mail.recipient for mail, outcome in box.reports if not isinstance(outcome, Sent)] == [
        "user3@example.com",
        "user5@example.com",
    ]
    refused = box.outcomes[3]
    assert isinstance(refused, Rejected)
    assert refused.reason == "550 5.1.1 no 5.1.1 such user"
    assert server.connections == 1


@on_both_loops
async def test_a_server_may_send_them_octet_by_octet(server: ScriptedRelay) -> None:
    server.piece = 1
    async with mailer_for(server, connections=3) as mailer:
        box, _ = await sent_with(mailer, *mails(30))
    assert kinds(box) == [Sent] * 30


# The end of a connection, anywhere


def expected_when_cut(complete: int) -> tuple[list[type[Outcome]], Stage | None]:
    """Returns the outcomes of two mails when `complete` of their eight replies came, and the stage of a RelayDown."""
    if complete < 3:
        return [RelayDown], STAGES[complete]
    if complete == 3:
        return [Unknown, Sent], None
    if complete in (5, 6):
        return [Sent, RelayDown], STAGES[complete - 4]
    return [Sent, Unknown] if complete == 7 else [Sent, Sent], None


@on_both_loops
async def test_a_drop_after_each_octet_of_the_replies(server: ScriptedRelay) -> None:
    greetings = sum(map(len, (b"220 relay.test ESMTP\r\n", *(b"250-" + offer + b"\r\n" for offer in OFFERS))))
    replies = REPLIES_TO_A_MAIL * 2
    ends = [sum(map(len, replies[: number + 1])) for number in range(8)]
    for octets in range(ends[-1] + 1):
        server.connections, server.cut_after = 0, greetings + octets
        server.accepted.clear()
        complete = sum(octets >= end for end in ends)
        outcomes, stage = expected_when_cut(complete)
        async with mailer_for(server) as mailer:
            box, down = await sent_with(mailer, *mails(2))
        assert kinds(box) == outcomes, octets
        assert [outcome.stage for outcome in box.outcomes if isinstance(outcome, RelayDown)] == [stage] * bool(stage)
        assert (down is not None) == (outcomes[-1] is RelayDown)
        sent = [mail.recipient for mail, outcome in box.reports if isinstance(outcome, Sent)]
        assert set(sent) <= set(server.recipients)
        assert_nobody_got_two(server)
        assert len(server.accepted) <= outcomes.count(Sent) + outcomes.count(Unknown)


@pytest.mark.parametrize("nth", [0, 1])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize(
    "trouble",
    ["421 4.3.2 closing down", Do.DROP, Do.SILENCE, "what?", "999 what?", "x" * 50_000],
    ids=["421", "drop", "silence", "no reply", "no code", "too long"],
)
@on_both_loops
async def test_trouble_at_each_command(server: ScriptedRelay, nth: int, stage: StageName, trouble: Answer) -> None:
    server.script(stage, *[Do.USUAL] * nth, trouble)
    async with mailer_for(server, timeouts=IMPATIENT) as mailer:
        box, _ = await sent_with(mailer, *mails(2))
        server.script(stage, Do.USUAL, always=True)
        rest, _ = await sent_with(mailer, *mails(1, start=2))
    is_421 = trouble == "421 4.3.2 closing down"
    if nth == 1 and stage == "mail" and (is_421 or trouble is Do.DROP):
        assert kinds(box) == [Sent, Sent]
    elif stage == "dot" and not is_421:
        assert kinds(box) == ([Unknown, Sent] if nth == 0 else [Sent, Unknown])
    else:
        down = box.outcomes[nth]
        assert isinstance(down, RelayDown)
        assert (down.scope, down.stage) == (Scope.RELAY, stage)
        # There is one connection, so one trouble ends the run. The mail that was taken ahead is put back.
        assert kinds(box) == [*[Sent] * nth, RelayDown]
    assert kinds(rest) == [Sent]
    assert_nobody_got_two(server)


# Refused recipients


@pytest.mark.parametrize("nth", [0, 1])
@pytest.mark.parametrize("takes_mail_for_nobody", [False, True])
@on_both_loops
async def test_nobodys_mail_is_not_delivered(server: ScriptedRelay, takes_mail_for_nobody: bool, nth: int) -> None:
    server.takes_mail_for_nobody = takes_mail_for_nobody
    server.script("rcpt", *[Do.USUAL] * nth, "550 5.1.1 no such user")
    async with mailer_for(server) as mailer:
        box, down = await sent_with(mailer, *mails(3))
    assert down is None
    assert [type(outcome) for _, outcome in sorted(box.reports, key=lambda report: report[0].request_id)] == [
        Rejected if number == nth else Sent for number in range(3)
    ]
    assert server.for_nobody == [b""] * takes_mail_for_nobody
    assert server.connections == 1
    assert server.commands.count("RSET") == (0 if takes_mail_for_nobody else 1)
    assert [mail.content for mail in server.accepted] == [
        as_taken(mail) for number, mail in enumerate(mails(3)) if number != nth
    ]


# Replies without a command


@pytest.mark.parametrize("extra", ["250 2.0.0 ok", "354 go ahead", "550 5.1.1 no", "25", "what?"])
@on_both_loops
async def test_more_than_a_go_ahead_is_none(server: ScriptedRelay, extra: str) -> None:
    server.script("data", f"354 go ahead\r\n{extra}")
    async with mailer_for(server) as mailer:
        box, _ = await sent_with(mailer, *mails(1))
        after, _ = await sent_with(mailer, *mails(1, start=1))
    assert isinstance(box.outcome, RelayDown)
    assert (box.outcome.scope, box.outcome.stage) == (Scope.RELAY, Stage.DATA)
    assert kinds(after) == [Sent]
    assert server.recipients == ["user1@example.com"]
    assert server.connections == 2


@on_both_loops
async def test_a_reply_too_many_ends_the_connection_before_a_mail_is_lost_by_it(server: ScriptedRelay) -> None:
    server.script("dot", "250 2.0.0 ok\r\n250 2.0.0 ok")
    async with mailer_for(server) as mailer:
        box, _ = await sent_with(mailer, *mails(2))
        after, _ = await sent_with(mailer, *mails(1, start=1))
    assert kinds(box) == [Sent, RelayDown]
    assert kinds(after) == [Sent]
    assert server.recipients == ["user0@example.com", "user1@example.com"]


@pytest.mark.parametrize("extra", ["250 2.0.0 ok", "421 4.4.2 idle for too long", "25"])
@on_both_loops
async def test_what_comes_while_idle_ends_the_connection(server: ScriptedRelay, extra: str) -> None:
    server.script("dot", f"250 2.0.0 ok\r\n{extra}")
    async with mailer_for(server) as mailer:
        box, _ = await sent_with(mailer, *mails(1))
        after, _ = await sent_with(mailer, *mails(1, start=1))
    assert kinds(box) + kinds(after) == [Sent, Sent]
    assert server.connections == 2


@pytest.mark.parametrize("pipelining", [True, False])
@on_both_loops
async def test_what_comes_along_with_the_last_reply_before_the_mails_is_not_taken_for_a_reply(pipelining: bool) -> None:
    with ScriptedRelay(pipelining=pipelining) as server:
        server.script("ehlo", "250-relay.test\r\n250 PIPELINING\r\n550 5.7.26 no")
        async with mailer_for(server) as mailer:
            _, down = await sent_with(mailer, *mails(1))
            after, _ = await sent_with(mailer, *mails(1, start=1))
    assert isinstance(down, RelayDown)
    assert (down.scope, down.stage) == (Scope.RELAY, Stage.EHLO)
    assert kinds(after) == [Sent]


# Mails that are no longer wanted


@on_both_loops
async def test_a_mail_that_is_not_wanted_any_more_when_its_turn_comes_is_not_sent(server: ScriptedRelay) -> None:
    class Choosy(Box):
        def is_wanted(self, mail: Mail) -> bool:
            return mail.recipient != "user1@example.com"

    async with mailer_for(server) as mailer:
        box = Choosy(mails(3))
        assert await mailer.run(box, box.report) is None
        box.assert_each_reported_once()
    assert kinds(box) == [Sent, NotSent, Sent]
    assert server.recipients == ["user0@example.com", "user2@example.com"]


# Both sessions agree

REFUSALS: Final = [
    "451 4.3.0 later",
    "550 5.5.0 no",
    "550 5.7.1 policy",
    "503 5.5.1 what?",
    "552-5.2.2 full\r\n552 box",
    "555 5.5.4 parameters not recognized",
    "501 5.1.3 bad address",
]
TROUBLES: Final = ["421 4.3.2 closing down", "what?", "999 what?", Do.DROP]
ANYWHERE = st.sampled_from([*REFUSALS, *TROUBLES])
SCRIPTS = st.fixed_dictionaries(
    {
        # MAIL and RSET are known by their position, the others by the recipient.
        "mail": st.dictionaries(st.sampled_from(["1.1", "1.2", "1.3", "1.4", "2.1", "2.2", "3.1", "3.2"]), ANYWHERE),
        "rcpt": st.dictionaries(st.sampled_from([mail.recipient for mail in mails(6)]), ANYWHERE),
        "data": st.dictionaries(st.sampled_from([mail.recipient for mail in mails(6)]), ANYWHERE),
        "dot": st.dictionaries(
            st.sampled_from([mail.recipient for mail in mails(6)]),
            ANYWHERE | st.sampled_from(["354 what?", Do.TAKE_AND_DROP, Do.LEAVE, "250-ok\r\n250 4711"]),
        ),
    }
)


def outcomes_by(server: ScriptedRelay, *, pipelining: bool) -> tuple[dict[str, object], list[str]]:
    """Sends six mails, and again those that are NotSent. Returns how each ended, and the recipients that got one."""
    server.pipelining = pipelining
    server.connections = 0
    server.accepted.clear()
    ended: dict[str, object] = {}

    async def run() -> None:
        async with mailer_for(server) as mailer:
            for _ in range(6):
                letters = [replace(mail, token="5e" * 23) for mail in mails(6) if mail.recipient not in ended]
                box, _ = await sent_with(mailer, *letters)
                ended.update(
                    (mail.recipient, essence(outcome))
                    for mail, outcome in box.reports
                    if not isinstance(outcome, NotSent)
                )

    asyncio.run(run())
    return ended, server.recipients


def essence(outcome: Outcome) -> object:
    """Returns all of an outcome except what the libraries say about broken connections."""
    match outcome:
        case RelayDown(scope, stage, _, reply):
            return scope, stage, reply if reply and reply.code > 0 else None
        case Unknown():
            return Unknown
        case _:
            return outcome


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    scripts=SCRIPTS,
    takes_mail_for_nobody=st.booleans(),
    piece=st.none() | st.integers(1, 20),
    dsn=st.booleans(),
)
def test_each_mail_ends_as_in_a_plain_session(
    server: ScriptedRelay,
    scripts: dict[str, dict[str, Answer]],
    takes_mail_for_nobody: bool,
    piece: int | None,
    dsn: bool,
) -> None:
    server.dsn = dsn
    server.takes_mail_for_nobody = takes_mail_for_nobody
    server.piece = piece
    server.decide = lambda stage, which: scripts.get(stage, {}).get(which or "")
    assert outcomes_by(server, pipelining=True) == outcomes_by(server, pipelining=False)
