"""A mail that is broken off ends its connection: no replies or content of other mails follow on it.

A connection that went on would be out of step. The late reply to one mail would count for the next, and the relay would
take a command for content.
"""

import asyncio
import random
from collections.abc import Iterator
from itertools import dropwhile
from typing import Final

import pytest

from tests.contract.mailing import Box, as_taken, assert_nobody_got_two, mailer_for, mails, on_both_loops, until
from tests.relay import ScriptedRelay
from worker.domain.outcomes import NotSent, Outcome, Sent, Unknown
from worker.smtp.mailer import Mailer

CANCELLATIONS: Final = 1000
MAILS: Final = 10
"""The number of mails in each run."""


@pytest.fixture(params=["pipelined", "plain"])
def server(request: pytest.FixtureRequest) -> Iterator[ScriptedRelay]:
    with ScriptedRelay(pipelining=request.param == "pipelined") as relay:
        yield relay


async def cancelled_run(mailer: Mailer, number: int, chance: random.Random) -> Box:
    """Cancels a run at a random moment. Asserts that each mail it took is reported once."""
    box = Box(mails(MAILS, start=MAILS * number))
    running = asyncio.create_task(mailer.run(box, box.report))
    done = chance.randrange(3)
    await until(lambda: len(box.reports) >= done)
    for _ in range(chance.randrange(40)):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    box.assert_each_reported_once()
    return box


@on_both_loops
async def test_cancelled_1000_times_the_relay_sees_whole_mails_or_none(server: ScriptedRelay) -> None:
    chance = random.Random(2920)
    async with mailer_for(server, connections=3) as mailer:
        boxes = [await cancelled_run(mailer, number, chance) for number in range(CANCELLATIONS)]
    outcomes = {mail.recipient: outcome for box in boxes for mail, outcome in box.reports}
    assert {type(outcome) for outcome in outcomes.values()} == {Sent, NotSent, Unknown}

    await until(lambda: not server.open_connections)
    assert_nobody_got_two(server)
    recipients = server.recipients
    assert {whom for whom, outcome in outcomes.items() if isinstance(outcome, Sent)} <= set(recipients)
    assert not [whom for whom in recipients if isinstance(outcomes[whom], NotSent)]
    contents = {mail.recipient: as_taken(mail) for mail in mails(MAILS * CANCELLATIONS)}
    assert all(mail.content == contents[mail.recipient] for mail in server.accepted)
    assert {command.split()[0] for command in server.commands} <= {"EHLO", "MAIL", "RCPT", "DATA", "QUIT"}
    # With pipelining the relay may have heard of one more mail when the first is broken off.
    most = 2 if server.pipelining else 1
    for conversation in server.conversations.values():
        assert len(after_the_first_broken_off(conversation, outcomes)) <= most


def after_the_first_broken_off(conversation: list[str], outcomes: dict[str, Outcome]) -> list[Outcome]:
    """Returns the outcomes on one connection, from the first that is not Sent. Asserts that none after it is Sent."""
    ended = [outcomes[line[9:-1]] for line in conversation if line.startswith("RCPT TO:<")]
    rest = list(dropwhile(lambda outcome: isinstance(outcome, Sent), ended))
    assert not any(isinstance(outcome, Sent) for outcome in rest)
    return rest
