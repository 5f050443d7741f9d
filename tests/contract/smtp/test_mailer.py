"""What the mailer reports when a relay replies or has trouble, against a real SMTP server.

The mailer reports each mail that it took from the source once, with its own outcome. This holds on asyncio's event loop
and on uvloop. The tests of how it keeps connections are in test_mailer_pool.
"""

import socket
import ssl
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from tests.contract.mailing import (
    IMPATIENT,
    PATIENT,
    SENDER,
    as_taken,
    mailer_for,
    mails,
    on_both_loops,
    relay_of,
    sent_with,
)
from tests.relay import HOST, Answer, Do, Later, ScriptedRelay, StageName, trusting_context
from worker.domain.outcomes import Deferred, FailureCode, Rejected, RelayDown, Scope, Sent, Unknown
from worker.domain.relays import Relay
from worker.domain.replies import Stage
from worker.mail.message import dot_stuffed
from worker.smtp.mailer import Mail, Mailer, Timeouts


@pytest.fixture
def server(pipelining: bool) -> Iterator[ScriptedRelay]:
    with ScriptedRelay(pipelining=pipelining) as relay:
        yield relay


# Sending


@on_both_loops
async def test_mails_are_sent_as_they_are(server: ScriptedRelay) -> None:
    letters = mails(50)
    async with mailer_for(server, connections=5) as mailer:
        box, down = await sent_with(mailer, *letters)
    assert down is None
    assert all(isinstance(outcome, Sent) for outcome in box.outcomes)
    assert {mail.recipient: mail.content for mail in server.accepted} == {
        mail.recipient: as_taken(mail) for mail in letters
    }
    assert len(server.accepted) == 50
    assert server.most_connections <= 5
    assert f"MAIL FROM:<{SENDER}>" in server.commands


@on_both_loops
async def test_nothing_to_send_opens_no_connection(server: ScriptedRelay) -> None:
    async with mailer_for(server, connections=5) as mailer:
        assert await sent_with(mailer)
    assert server.connections == 0


@on_both_loops
async def test_the_reply_is_kept(server: ScriptedRelay) -> None:
    server.script("dot", "250-2.0.0 thank you\r\n250 2.0.0 queued as 4711")
    async with mailer_for(server) as mailer:
        box, _ = await sent_with(mailer, *mails(1))
    assert isinstance(box.outcome, Sent)
    assert box.outcome.reply.code == 250
    assert "queued as 4711" in box.outcome.reply.text


@on_both_loops
async def test_no_content_can_smuggle_a_mail(server: ScriptedRelay) -> None:
    evil = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nhi\r\n.\r\n"
    ends = [b"\r\n.\r\n", b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r.\n"]

    letters = [
        Mail(UUID(int=number), f"user{number}@example.com", dot_stuffed(b"Subject: x\r\n\r\nx" + end + evil))
        for number, end in enumerate(ends)
    ]
    async with mailer_for(server) as mailer:
        await sent_with(mailer, *letters)
    assert server.recipients == [mail.recipient for mail in letters]
    assert not [command for command in server.commands if "evil" in command]
    assert all(b"\r" not in mail.content.replace(b"\r\n", b"") for mail in server.accepted)


@pytest.mark.parametrize(
    "recipient",
    ["", "jane", "jäne@example.com", "a@b> NOTIFY=NEVER", "a@b\r\nRSET", "a@b>\r\nRCPT TO:<c@d"],
)
@on_both_loops
async def test_an_unusable_recipient_is_never_said(server: ScriptedRelay, recipient: str) -> None:
    async with mailer_for(server) as mailer:
        box, down = await sent_with(mailer, Mail(UUID(int=1), recipient, b"x"), *mails(1))
    assert isinstance(box.outcomes[0], Rejected)
    assert box.outcomes[0].code is FailureCode.INVALID_ADDRESS
    assert isinstance(box.outcomes[1], Sent)
    assert down is None
    assert len([one for one in server.commands if one.startswith("RCPT")]) == 1


# Refusals


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize("reply", ["451 later", "550 no", "550 5.7.1 policy"])
@on_both_loops
async def test_a_refusal_is_about_its_own_mail_and_the_connection_goes_on(
    server: ScriptedRelay, stage: StageName, reply: str, pipelining: bool
) -> None:
    expected: dict[tuple[str, bool], object] = {
        ("mail", True): Scope.RELAY,
        ("mail", False): Scope.CONFIGURATION,
        ("rcpt", False): FailureCode.RECIPIENT_REJECTED,
        ("data", False): FailureCode.MESSAGE_REJECTED,
        ("dot", False): FailureCode.MESSAGE_REJECTED,
    }
    for_now = reply.startswith("4")

    server.script(stage, reply)
    async with mailer_for(server) as mailer:
        refused, _ = await sent_with(mailer, *mails(1))
        after, _ = await sent_with(mailer, *mails(1, start=1))
    outcome = refused.outcome
    match outcome:
        case RelayDown():
            assert outcome.scope is expected[stage, for_now]
        case Rejected():
            assert outcome.code is expected[stage, for_now]
            assert "policy" not in reply
        case _:
            assert isinstance(outcome, Deferred)
            assert outcome.policy == ("policy" in reply)
            assert for_now or outcome.policy
    assert outcome.stage == stage
    assert outcome.reply is not None
    assert outcome.reply.code == int(reply[:3])
    assert isinstance(after.outcome, Sent)
    assert server.recipients == ["user1@example.com"]
    assert server.connections == 1
    # A dot ends the transaction, even if it is refused. A pipelined session has begun the next mail by then.
    assert server.commands.count("RSET") == (0 if pipelining and stage == "dot" else 1)


@on_both_loops
async def test_each_recipient_has_its_own_outcome(server: ScriptedRelay) -> None:
    server.decide = lambda stage, recipient: (
        "550 5.1.1 no"
        if stage == "rcpt" and recipient in {"user3@example.com", "user7@example.com"}
        else "452 4.2.2 full"
        if stage == "dot" and recipient == "user5@example.com"
        else None
    )
    async with mailer_for(server, connections=3) as mailer:
        box, down = await sent_with(mailer, *mails(10))
    by_recipient = {mail.recipient: type(outcome) for mail, outcome in box.reports}
    assert by_recipient == {
        f"user{number}@example.com": {3: Rejected, 7: Rejected, 5: Deferred}.get(number, Sent) for number in range(10)
    }
    assert down is None


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "starttls", "auth"])
@on_both_loops
async def test_421_while_connecting_is_the_relays(stage: StageName, pipelining: bool) -> None:
    with ScriptedRelay(pipelining=pipelining, security="starttls", users={"shop": "secret"}) as server:
        server.script(stage, "421 4.3.2 shutting down")
        async with mailer_for(server, relay=relay_of(server, "shop")) as mailer:
            box, down = await sent_with(mailer, *mails(1))
            after, _ = await sent_with(mailer, *mails(1))
    assert isinstance(down, RelayDown)
    assert (down.scope, down.stage, down.reason) == (
        Scope.RELAY,
        stage,
        "421 4.3.2 shutting down",
    )
    assert box.taken == []
    assert isinstance(after.outcome, Sent)


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize("reply", ["421 4.3.2 shutting down", "503 5.5.1 what?"])
@on_both_loops
async def test_after_last_words_the_connection_is_not_used_again(
    server: ScriptedRelay, stage: StageName, reply: str
) -> None:
    server.script(stage, reply)
    async with mailer_for(server) as mailer:
        box, _ = await sent_with(mailer, *mails(1))
        after, _ = await sent_with(mailer, *mails(1, start=1))
    if reply.startswith("421"):
        assert isinstance(box.outcome, RelayDown)
        assert (box.outcome.scope, box.outcome.stage) == (Scope.RELAY, stage)
    assert isinstance(after.outcome, Sent)
    assert server.recipients == ["user1@example.com"]
    assert server.connections == 2


# Broken connections


BEFORE_THE_DOT: list[StageName] = [
    "greeting",
    "ehlo",
    "starttls",
    "auth",
    "mail",
    "rcpt",
    "data",
]


@pytest.mark.parametrize(
    ("stage", "trouble"),
    [
        *((stage, Do.DROP) for stage in ["connect", *BEFORE_THE_DOT]),
        *((stage, Do.SILENCE) for stage in ["connect", *BEFORE_THE_DOT]),
        *((stage, "what?") for stage in BEFORE_THE_DOT),
        *((stage, "999 what?") for stage in BEFORE_THE_DOT),
        *((stage, "x" * 50_000) for stage in BEFORE_THE_DOT),
    ],
)
@on_both_loops
async def test_trouble_before_the_dot_is_the_relays_and_the_mail_is_not_sent(
    stage: StageName, trouble: Answer, pipelining: bool
) -> None:
    with ScriptedRelay(pipelining=pipelining, security="starttls", users={"shop": "secret"}) as server:
        server.script(stage, trouble)
        timeouts = IMPATIENT if trouble is Do.SILENCE else PATIENT
        relay = relay_of(server, "shop")
        async with mailer_for(server, relay=relay, timeouts=timeouts) as mailer:
            box, down = await sent_with(mailer, *mails(1))
            assert server.accepted == []
            server.script(stage, Do.USUAL, always=True)
        async with mailer_for(server, relay=relay) as mailer:
            after, _ = await sent_with(mailer, *mails(1, start=1))
    assert isinstance(down, RelayDown)
    assert box.outcomes == ([down] if stage in {"mail", "rcpt", "data"} else [])
    assert down.scope is Scope.RELAY
    # A relay that says nothing counts as not connected. One that connects and then drops counts as having no greeting.
    silent = trouble is Do.SILENCE and stage in {"connect", "greeting"}
    assert down.stage == ("connect" if silent else "greeting" if stage == "connect" else stage)
    assert len(down.reason) <= 300
    assert isinstance(after.outcome, Sent)
    assert server.recipients == ["user1@example.com"]


@pytest.mark.parametrize("trouble", [Do.DROP, Do.TAKE_AND_DROP, Do.SILENCE, "what?", "354 what?", "999 what?"])
@on_both_loops
async def test_trouble_after_the_dot_leaves_the_outcome_unknown(server: ScriptedRelay, trouble: Answer) -> None:
    server.script("dot", trouble)
    timeouts = Timeouts(60, 60, final=0.5) if trouble is Do.SILENCE else PATIENT
    async with mailer_for(server, timeouts=timeouts) as mailer:
        box, down = await sent_with(mailer, *mails(1))
        after, _ = await sent_with(mailer, *mails(1, start=1))
    assert isinstance(box.outcome, Unknown)
    assert down is None
    assert isinstance(after.outcome, Sent)
    assert server.connections == 2
    assert server.accepted[-1].content == as_taken(mails(1, start=1)[0])


@on_both_loops
async def test_a_late_reply_is_not_taken_for_the_next_mails(server: ScriptedRelay) -> None:
    server.script("mail", Later(1.0, "550 5.1.8 late"))
    async with mailer_for(server, timeouts=IMPATIENT) as mailer:
        box, _ = await sent_with(mailer, *mails(1))
    async with mailer_for(server) as mailer:
        after, _ = await sent_with(mailer, *mails(1))
    assert isinstance(box.outcome, RelayDown)
    assert box.outcome.scope is Scope.RELAY
    assert isinstance(after.outcome, Sent)


@on_both_loops
async def test_no_relay_at_all() -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        relay = Relay(HOST, unused.getsockname()[1], "plain")
        mailer = Mailer(relay, sender=SENDER, connections=3)
        box, down = await sent_with(mailer, *mails(10))
    assert isinstance(down, RelayDown)
    assert (down.scope, down.stage) == (Scope.RELAY, Stage.CONNECT)
    assert str(relay) in down.reason
    assert box.taken == []


@on_both_loops
async def test_an_unknown_host() -> None:
    mailer = Mailer(Relay("relay.invalid", 25, "plain"), sender=SENDER, connections=1)
    _, down = await sent_with(mailer, *mails(1))
    assert isinstance(down, RelayDown)
    assert (down.scope, down.stage) == (Scope.RELAY, Stage.CONNECT)


# Encryption and login


@pytest.mark.parametrize("security", ["starttls", "tls"])
@on_both_loops
async def test_encrypted_with_login(security: Any, pipelining: bool) -> None:
    with ScriptedRelay(pipelining=pipelining, security=security, users={"shop": "secret"}) as server:
        async with mailer_for(server, relay=relay_of(server, "shop"), connections=3) as mailer:
            box, down = await sent_with(mailer, *mails(20))
    assert down is None
    assert all(isinstance(outcome, Sent) for outcome in box.outcomes)
    verbs = [command.split()[0] for command in server.commands]
    assert "AUTH" in verbs
    if security == "starttls":
        assert verbs.index("STARTTLS") < verbs.index("AUTH")


@pytest.mark.parametrize("mechanisms", ["PLAIN", "LOGIN", "XOAUTH2 LOGIN"])
@on_both_loops
async def test_login_by_what_the_relay_offers(mechanisms: str, pipelining: bool) -> None:
    with ScriptedRelay(pipelining=pipelining, users={"shop": "secret"}, mechanisms=mechanisms) as server:
        async with mailer_for(server, relay=relay_of(server, "shop")) as mailer:
            box, _ = await sent_with(mailer, *mails(1))
    assert isinstance(box.outcome, Sent)


@on_both_loops
async def test_a_wrong_password_is_our_configuration_and_is_tried_once_per_connection(pipelining: bool) -> None:
    with ScriptedRelay(pipelining=pipelining, security="tls", users={"shop": "secret"}) as server:
        relay = relay_of(server, "shop", "wrong-password")
        async with mailer_for(server, relay=relay) as mailer:
            box, down = await sent_with(mailer, *mails(10))
    assert isinstance(down, RelayDown)
    assert (down.scope, down.stage) == (Scope.CONFIGURATION, Stage.AUTH)
    assert "wrong-password" not in repr(down)
    assert len(box.waiting) == 10
    assert len([one for one in server.commands if one.startswith("AUTH")]) == 1
    assert server.accepted == []


@on_both_loops
async def test_a_login_that_fails_for_now_is_the_relays(pipelining: bool) -> None:
    with ScriptedRelay(pipelining=pipelining, security="tls", users={"shop": "secret"}) as server:
        server.script("auth", "454 4.7.0 temporary failure")
        async with mailer_for(server, relay=relay_of(server, "shop")) as mailer:
            _, down = await sent_with(mailer, *mails(1))
    assert isinstance(down, RelayDown)
    assert (down.scope, down.stage) == (Scope.RELAY, Stage.AUTH)


@on_both_loops
async def test_no_login_offered_is_our_configuration(server: ScriptedRelay) -> None:
    async with mailer_for(server, relay=relay_of(server, "shop")) as mailer:
        _, down = await sent_with(mailer, *mails(1))
    assert isinstance(down, RelayDown)
    assert (down.scope, down.stage) == (Scope.CONFIGURATION, Stage.AUTH)
    assert not [one for one in server.commands if one.startswith(("AUTH", "MAIL"))]


@on_both_loops
async def test_login_required_is_our_configuration(pipelining: bool) -> None:
    with ScriptedRelay(pipelining=pipelining, users={"shop": "secret"}) as server:
        async with mailer_for(server) as mailer:
            _, down = await sent_with(mailer, *mails(1))
    assert isinstance(down, RelayDown)
    assert (down.scope, down.stage) == (Scope.CONFIGURATION, Stage.MAIL)


@on_both_loops
async def test_without_starttls_nothing_is_said_in_clear_text(pipelining: bool) -> None:
    with ScriptedRelay(pipelining=pipelining, users={"shop": "secret"}) as server:
        relay = Relay(HOST, server.port, "starttls", "shop", SecretStr("secret"))
        async with mailer_for(server, relay=relay, connections=3, tls_context=trusting_context()) as mailer:
            _, down = await sent_with(mailer, *mails(10))
    assert isinstance(down, RelayDown)
    assert (down.scope, down.stage) == (Scope.CONFIGURATION, Stage.STARTTLS)
    assert "STARTTLS" in down.reason
    assert {one.split()[0] for one in server.commands} <= {"EHLO", "QUIT"}


@on_both_loops
async def test_starttls_refused_is_the_relays(pipelining: bool) -> None:
    with ScriptedRelay(pipelining=pipelining, security="starttls", users={"shop": "secret"}) as server:
        server.script("starttls", "454 4.7.0 not now", always=True)
        async with mailer_for(server, relay=relay_of(server, "shop")) as mailer:
            _, down = await sent_with(mailer, *mails(1))
    assert isinstance(down, RelayDown)
    assert (down.scope, down.stage) == (Scope.RELAY, Stage.STARTTLS)
    assert not [one for one in server.commands if one.startswith("AUTH")]


def test_a_password_goes_in_clear_text_to_this_machine_only() -> None:
    assert Relay("127.0.0.1", 25, "plain", "shop", SecretStr("secret")).password is not None
    with pytest.raises(ValueError, match="unencrypted"):
        Relay("192.0.2.1", 25, "plain", "shop", SecretStr("secret"))


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("flaw", ["untrusted", "of another host"])
@on_both_loops
async def test_a_bad_certificate_is_our_configuration(security: Any, flaw: str, pipelining: bool) -> None:
    untrusted = flaw == "untrusted"

    name = HOST if untrusted else "relay.example"
    with ScriptedRelay(
        pipelining=pipelining, security=security, users={"shop": "secret"}, certificate_for=name
    ) as server:
        context = ssl.create_default_context() if untrusted else trusting_context()
        relay = relay_of(server, "shop")
        async with mailer_for(server, relay=relay, tls_context=context) as mailer:
            box, down = await sent_with(mailer, *mails(5))
    assert isinstance(down, RelayDown)
    assert down.scope is Scope.CONFIGURATION
    assert "certificate" in down.reason
    assert box.taken == []
    assert not [one for one in server.commands if one.startswith(("AUTH", "MAIL"))]


@on_both_loops
async def test_tls_with_somebody_who_speaks_none(server: ScriptedRelay) -> None:
    relay = Relay(HOST, server.port, "tls")
    async with mailer_for(server, relay=relay) as mailer:
        _, down = await sent_with(mailer, *mails(1))
    assert isinstance(down, RelayDown)
    assert (down.scope, down.stage) == (Scope.RELAY, Stage.CONNECT)
    assert "TLS" in down.reason
    assert server.accepted == []


@on_both_loops
async def test_what_comes_in_clear_text_after_starttls_is_not_believed() -> None:
    with ScriptedRelay(security="starttls") as server:
        # RFC 3207 section 4.2: an attacker between us and the relay could have added the second reply.
        server.script("starttls", "220 go ahead\r\n421 4.3.2 injected")
        async with mailer_for(server) as mailer:
            box, _ = await sent_with(mailer, *mails(1))
    assert isinstance(box.outcome, Sent)
