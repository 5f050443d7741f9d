"""What names a mail on its way back: return path, delivery status notifications (RFC 3461), and the provider's header.

Both sessions and the probe say the same.
"""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from config.settings import Settings
from tests.contract.mailing import PATIENT, as_taken, mailer_for, mails, on_both_loops, relay_of, sent_with
from tests.ports import free_port
from tests.relay import HOST, Answer, Do, ScriptedRelay, StageName
from worker.domain.outcomes import Outcome, Rejected, RelayDown, Scope, Sent
from worker.domain.relays import Relay
from worker.domain.replies import Reply, Stage
from worker.domain.return_path import ReturnPath
from worker.domain.tokens import Tokens
from worker.processes.bootstrap import NOBODY, Parts
from worker.smtp.mailer import Mail, Mailer

KEY = "k" * 32
TOKENS = Tokens([KEY.encode()])
PATH = ReturnPath("bounces+", "@shop.example")
SAMPLE = TOKENS.for_return(NOBODY, 0)
PROBE = f"MAIL FROM:<bounces+{SAMPLE}@shop.example>"


def named(count: int) -> list[Mail]:
    """Returns mails that have tokens."""
    return [
        Mail(mail.request_id, mail.recipient, mail.content, token_of(mail), TOKENS.for_mail(UUID(int=9)))
        for mail in mails(count)
    ]


def token_of(mail: Mail) -> str:
    return TOKENS.for_return(mail.request_id, 1)


def sender(mail: Mail, *, parameters: bool) -> str:
    command = f"MAIL FROM:<bounces+{mail.token}@shop.example>"
    return f"{command} RET=HDRS ENVID={mail.token}-{mail.contact_token}" if parameters else command


def recipient(mail: Mail, *, parameters: bool) -> str:
    command = f"RCPT TO:<{mail.recipient}>"
    return f"{command} NOTIFY=FAILURE ORCPT=rfc822;{mail.recipient}" if parameters else command


def envelopes(server: ScriptedRelay) -> list[str]:
    return [command for command in server.commands if command.startswith(("MAIL", "RCPT"))]


@pytest.fixture(params=[True, False], ids=["pipelined", "plain"])
def pipelining(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def server(*, pipelining: bool) -> Iterator[ScriptedRelay]:
    with ScriptedRelay(pipelining=pipelining, dsn=True) as relay:
        yield relay


@pytest.mark.parametrize("dsn", [True, False])
@on_both_loops
async def test_every_mail_is_named_where_the_relay_offers_it(server: ScriptedRelay, dsn: bool) -> None:
    server.dsn = dsn
    letters = named(3)
    async with mailer_for(server, sender=PATH) as mailer:
        box, _ = await sent_with(mailer, *letters)
    assert [type(outcome) for outcome in box.outcomes] == [Sent] * 3
    assert envelopes(server) == [
        line for mail in letters for line in (sender(mail, parameters=dsn), recipient(mail, parameters=dsn))
    ]
    assert [mail.content for mail in server.accepted] == [as_taken(mail) for mail in letters]


@on_both_loops
async def test_what_counts_is_what_is_offered_once_encrypted(pipelining: bool) -> None:
    with ScriptedRelay(pipelining=pipelining, security="starttls", dsn=True) as server:
        # Before STARTTLS this relay offers no DSN, and what it offered then does not count.
        server.script("ehlo", "250-relay.test\r\n250 STARTTLS")
        async with mailer_for(server, sender=PATH) as mailer:
            await sent_with(mailer, *named(1))
    assert "ENVID" in envelopes(server)[0]


@on_both_loops
async def test_a_mail_without_a_token_is_told_as_ever(server: ScriptedRelay) -> None:
    async with mailer_for(server) as mailer:
        await sent_with(mailer, *mails(1))
    assert envelopes(server) == ["MAIL FROM:<shop@shop.example>", "RCPT TO:<user0@example.com>"]


# Relays that offer parameters and refuse them

REFUSED = ["555 5.5.4 parameters not recognized", "501 5.5.4 invalid arguments", "504 not implemented", "501 what?"]


@pytest.mark.parametrize("stage", ["mail", "rcpt"])
@pytest.mark.parametrize("reply", REFUSED)
@on_both_loops
async def test_refused_parameters_are_left_out_on_the_same_connection(
    server: ScriptedRelay, stage: StageName, reply: str
) -> None:
    first, second = letters = named(2)
    server.script(stage, reply)
    async with mailer_for(server, sender=PATH) as mailer:
        box, down = await sent_with(mailer, *letters)
        after, _ = await sent_with(mailer, *named(1))
    assert down is None
    assert [type(outcome) for outcome in (*box.outcomes, *after.outcomes)] == [Sent] * 3
    assert server.connections == 1
    said = envelopes(server)
    assert said[0] == sender(first, parameters=True)
    assert said[-6:] == [
        line
        for mail in (first, second, first)
        for line in (sender(mail, parameters=False), recipient(mail, parameters=False))
    ]
    assert len(set(server.recipients)) == 2


@on_both_loops
async def test_a_relay_that_refuses_parameters_is_remembered_for_later_connections(server: ScriptedRelay) -> None:
    server.script("mail", REFUSED[0])
    async with mailer_for(server, sender=PATH) as mailer:
        await sent_with(mailer, *named(1))
        server.drop_connections()
        await sent_with(mailer, *named(1))
    assert server.connections == 2
    assert [line for line in envelopes(server) if "ENVID" in line] == [sender(named(1)[0], parameters=True)]


@on_both_loops
async def test_an_address_that_is_refused_in_the_same_words_fails_alone(server: ScriptedRelay) -> None:
    letters = named(3)
    server.script("rcpt", "501 5.1.3 bad address", recipient=letters[1].recipient, always=True)
    async with mailer_for(server, sender=PATH) as mailer:
        box, _ = await sent_with(mailer, *letters)
    assert [type(outcome) for outcome in box.outcomes] == [Sent, Rejected, Sent]
    assert sender(letters[1], parameters=False) in envelopes(server)
    assert envelopes(server)[-2] == sender(letters[2], parameters=True)  # the relay takes parameters
    assert server.connections == 1


@on_both_loops
async def test_a_sender_that_is_refused_in_the_same_words_is_our_configuration(server: ScriptedRelay) -> None:
    server.script("mail", "501 5.1.7 bad sender", always=True)
    async with mailer_for(server, sender=PATH) as mailer:
        box, down = await sent_with(mailer, *named(2))
    assert isinstance(down, RelayDown)
    assert (down.scope, down.stage) == (Scope.CONFIGURATION, Stage.MAIL)
    assert not [outcome for outcome in box.outcomes if isinstance(outcome, Rejected)]
    assert len(envelopes(server)) == len(set(envelopes(server)))


@pytest.mark.parametrize("takes_mail_for_nobody", [True, False])
@on_both_loops
async def test_nobodys_mail_is_not_delivered_meanwhile(server: ScriptedRelay, takes_mail_for_nobody: bool) -> None:
    server.takes_mail_for_nobody = takes_mail_for_nobody
    server.script("rcpt", REFUSED[0])
    letters = named(3)
    async with mailer_for(server, sender=PATH) as mailer:
        box, _ = await sent_with(mailer, *letters)
    assert [type(outcome) for outcome in box.outcomes] == [Sent] * 3
    assert server.recipients == [mail.recipient for mail in letters]
    assert set(server.for_nobody) <= {b""}


@pytest.mark.parametrize("end", [Do.DROP, "421 4.3.2 closing down", "550 no"])
@on_both_loops
async def test_a_relay_that_ends_the_connection_over_parameters_is_not_asked_for_ever(
    server: ScriptedRelay, end: Answer
) -> None:
    server.script("mail", REFUSED[0])
    server.script("rset", end)
    async with mailer_for(server, sender=PATH) as mailer:
        box, _ = await sent_with(mailer, *named(1))
        again, _ = await sent_with(mailer, *named(1))
    assert not [outcome for outcome in box.outcomes if isinstance(outcome, Rejected)]
    assert [type(outcome) for outcome in again.outcomes] == [Sent]
    assert [line for line in envelopes(server) if "ENVID" in line] == [sender(named(1)[0], parameters=True)]


# The probe


@on_both_loops
async def test_a_probe_says_what_a_mail_says(server: ScriptedRelay) -> None:
    async with mailer_for(server, sender=PATH, sample=SAMPLE) as mailer:
        assert await mailer.probe(mail_from=True) is None
    assert envelopes(server) == [f"{PROBE} RET=HDRS ENVID={SAMPLE}"]


@on_both_loops
async def test_a_probe_finds_that_the_relay_refuses_such_senders(server: ScriptedRelay) -> None:
    server.decide = lambda stage, _: "550 5.1.8 sender rejected" if stage == "mail" else None
    async with mailer_for(server, sender=PATH, sample=SAMPLE) as mailer:
        down = await mailer.probe(mail_from=True)
    assert isinstance(down, RelayDown)
    assert down.stage is Stage.MAIL


@on_both_loops
async def test_a_probe_does_not_mistake_refused_parameters_for_a_refused_sender(server: ScriptedRelay) -> None:
    server.script("mail", REFUSED[0])
    async with mailer_for(server, sender=PATH, sample=SAMPLE) as mailer:
        assert await mailer.probe(mail_from=True) is None
        box, _ = await sent_with(mailer, *named(1))
    assert [type(outcome) for outcome in box.outcomes] == [Sent]
    assert envelopes(server)[1:3] == [PROBE, sender(named(1)[0], parameters=False)]


# The provider's header


@on_both_loops
async def test_the_header_goes_only_to_the_provider(server: ScriptedRelay) -> None:
    (letter,) = named(1)
    for provider in ("mailgun", "auto", "none"):
        async with mailer_for(server, sender=PATH, provider=provider) as mailer:
            await sent_with(mailer, letter)
    header = f'X-Mailgun-Variables: {{"stockbell":"{letter.token}"}}\r\n'.encode()
    assert [mail.content for mail in server.accepted] == [header + as_taken(letter), as_taken(letter), as_taken(letter)]


@on_both_loops
async def test_the_header_survives_pipelining(server: ScriptedRelay) -> None:
    letters = named(20)
    async with mailer_for(server, sender=PATH, provider="ses", connections=3) as mailer:
        await sent_with(mailer, *letters)
    for mail in letters:
        (taken,) = (each for each in server.accepted if each.recipient == mail.recipient)
        assert taken.content == f"X-SES-MESSAGE-TAGS: stockbell={mail.token}\r\n".encode() + as_taken(mail)


# The settings


@pytest.mark.parametrize(
    ("bounce_address", "key"),
    [
        ("bounces+{token}@shop.example", KEY),
        ("bounces@shop.example", KEY),
        ("bounces@shop.example", None),
        (None, KEY),
        (None, None),
    ],
)
def test_the_settings_decide(server: ScriptedRelay, bounce_address: str | None, key: str | None) -> None:
    given: dict[str, Any] = {"secret_key": key, "bounce_address": bounce_address}
    options = Settings(
        smtp=(relay_of(server),),
        mail_from="Shop <shop@shop.example>",
        provider="postmark",
        **{name: value for name, value in given.items() if value},
    )
    (letter,) = named(1)

    async def run() -> None:
        mailer = Parts(options).mailer
        assert await mailer.probe(mail_from=True) is None
        await sent_with(mailer, letter)
        await mailer.close()

    asyncio.run(run())
    path = bounce_address or "shop@shop.example"
    probe, mail, _ = envelopes(server)
    envid = f" RET=HDRS ENVID={SAMPLE}" if key else ""
    assert probe == f"MAIL FROM:<{path.replace('{token}', SAMPLE)}>{envid}"
    assert mail.startswith(f"MAIL FROM:<{path.replace('{token}', letter.token)}> RET=HDRS ENVID={letter.token}-")
    assert server.accepted[0].content.startswith(b"X-PM-KeepID: true\r\nX-PM-Metadata-stockbell: ")


# A server that is not ours


class WithDsn(SMTP):
    """aiosmtpd knows no parameters of RFC 3461 and refuses them. This one notes and ignores them."""

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802 - aiosmtpd's name
        await super().smtp_MAIL(self._noted(arg))

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802 - aiosmtpd's name
        await super().smtp_RCPT(self._noted(arg))

    def _noted(self, arg: str | None) -> str:
        path, _, parameters = (arg or "").partition(" ")
        self.event_handler.noted.append(parameters)
        return path


class Keeper:
    """A handler of aiosmtpd that offers DSN and keeps what it was told."""

    def __init__(self) -> None:
        self.noted: list[str] = []
        self.senders: list[str | None] = []

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, session: Session, _envelope: Envelope, host_name: str, offers: list[str]
    ) -> list[str]:
        session.host_name = host_name
        return [*offers[:-1], "250-DSN", offers[-1]]

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.senders.append(envelope.mail_from)
        return "250 2.0.0 Ok: queued as 4711"


@pytest.mark.parametrize("kind", [SMTP, WithDsn])
def test_a_server_that_is_not_ours_takes_parameters_or_gets_the_mail_without(kind: type[SMTP]) -> None:
    class Server(Controller):
        def factory(self) -> SMTP:
            return kind(self.handler, enable_SMTPUTF8=False)

    keeper, port, letters = Keeper(), free_port(), named(2)
    controller = Server(keeper, hostname=HOST, port=port)

    async def run() -> list[Outcome]:
        mailer = Mailer(Relay(HOST, port, "plain"), sender=PATH, connections=1, timeouts=PATIENT)
        box, _ = await sent_with(mailer, *letters)
        await mailer.close()
        return list(box.outcomes)

    controller.start()
    try:
        outcomes = asyncio.run(run())
    finally:
        controller.stop()
    assert outcomes == [Sent(Reply(250, "2.0.0 Ok: queued as 4711"))] * 2
    assert keeper.senders == [f"bounces+{mail.token}@shop.example" for mail in letters]
    told = [(sender(mail, parameters=True), recipient(mail, parameters=True)) for mail in letters]
    expected = [command.partition("> ")[2] for commands in told for command in commands]
    assert keeper.noted == (expected if kind is WithDsn else [])
