"""A real Postfix takes our mails and reports those that the next server refuses: by their names, to their return paths.

The next server is ours. It refuses some customers and takes everything else, the reports too.
"""

import asyncio
from email import message_from_bytes
from email.message import Message
from typing import cast
from uuid import UUID

import pytest

from tests.contract.mailing import PATIENT, as_taken, mails, sent_with
from tests.polling import eventually
from tests.postfix import MISSING, postfix
from tests.relay import HOST, Accepted, ScriptedRelay
from worker.domain.outcomes import Sent
from worker.domain.relays import Relay
from worker.domain.replies import receipt
from worker.domain.return_path import ReturnPath
from worker.domain.tokens import Sender, Tokens
from worker.smtp.mailer import Mail, Mailer

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

TOKENS = Tokens([b"k" * 32])
CONTACT = UUID(int=9)


def letters() -> list[Mail]:
    return [
        Mail(
            mail.request_id,
            f"jane+{number}=x@example.com",
            mail.content,
            TOKENS.for_return(mail.request_id, 1),
            TOKENS.for_mail(CONTACT),
        )
        for number, mail in enumerate(mails(4, start=1))
    ]


def send(port: int, sender: ReturnPath, chosen: list[Mail], *, pipelining: bool) -> list[str | None]:
    """Sends the mails. Returns the receipts."""

    async def run() -> list[str | None]:
        relay = Relay(HOST, port, "plain")
        mailer = Mailer(relay, sender=sender, connections=1, timeouts=PATIENT, pipelining=pipelining)
        box, _ = await sent_with(mailer, *chosen)
        await mailer.close()
        return [receipt(outcome.reply) for outcome in box.outcomes if isinstance(outcome, Sent)]

    return asyncio.run(run())


def status_of(report: Accepted) -> tuple[Message, Message]:
    """Returns what a report says of the mail, and of its recipient (RFC 3464)."""
    _, status, _ = parts_of(message_from_bytes(report.content))
    of_mail, of_recipient = parts_of(status)
    return of_mail, of_recipient


def parts_of(message: Message) -> list[Message]:
    return cast("list[Message]", message.get_payload())


def test_a_report_names_the_mail_the_customer_and_the_receipt() -> None:
    *refused, taken = letters()
    with ScriptedRelay() as next_hop, postfix(next_hop.port) as port:
        for mail in refused:
            next_hop.script("rcpt", "550 5.1.1 no such user", recipient=mail.recipient)
        personal, plain = ReturnPath("bounces+", "@shop.example"), ReturnPath("bounces@shop.example")
        receipts = [
            *send(port, personal, refused[:1], pipelining=True),
            *send(port, personal, refused[1:2], pipelining=False),
            *send(port, plain, [refused[2], taken], pipelining=True),
        ]
        eventually(lambda: len(next_hop.accepted) == 4)
        came = {mail.recipient: mail for mail in next_hop.accepted if mail.recipient != taken.recipient}
    returned_to = [
        f"bounces+{refused[0].token}@shop.example",
        f"bounces+{refused[1].token}@shop.example",
        "bounces@shop.example",
    ]
    assert sorted(came) == sorted(returned_to)
    for mail, address, said in zip(refused, returned_to, receipts[:3], strict=True):
        of_mail, of_recipient = status_of(came[address])
        token, _, contact = of_mail["Original-Envelope-Id"].partition("-")
        assert TOKENS.sender(token) == Sender(mail.request_id, 1)
        assert TOKENS.contact(contact) == CONTACT
        assert of_recipient["Original-Recipient"] == f"rfc822;{mail.recipient}"
        assert of_recipient["Status"] == "5.1.1"
        assert said == f"2.0.0 Ok: queued as {of_mail['X-Postfix-Queue-ID']}"
        headers, _, body = as_taken(mail).partition(b"\r\n\r\n")
        assert headers in came[address].content
        assert body.split(b"\r\n")[0] not in came[address].content  # RET=HDRS
