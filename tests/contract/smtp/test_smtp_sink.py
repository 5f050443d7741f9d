"""Both sessions against a server that is not ours: Postfix's smtp-sink, which misbehaves in its own ways."""

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.contract.mailing import NO_LIMITS, PATIENT, SENDER, as_taken, mails, sent_with
from tests.polling import eventually
from tests.ports import free_port
from tests.relay import HOST
from worker.domain.outcomes import Deferred, NotSent, Outcome, Rejected, RelayDown, Sent, Unknown
from worker.domain.relays import Relay
from worker.domain.replies import Stage
from worker.smtp.mailer import Mailer

PROGRAM = shutil.which("smtp-sink", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/lib/postfix"]))
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no smtp-sink here (Debian and Ubuntu: postfix)")

Ends = list[tuple[type[Outcome], Stage | None]]


@contextmanager
def sink(*options: str) -> Iterator[Relay]:
    """Yields a smtp-sink on a free port. As root it needs the name of another user to run as."""
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    process = subprocess.Popen([str(PROGRAM), *user, *options, f"{HOST}:{port}", "100"])
    try:
        eventually(lambda: answers(port))
        yield Relay(HOST, port, "plain")
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port)).close()
    except OSError:
        return False
    return True


def ends(relay: Relay, count: int, *, pipelining: bool, connections: int = 1) -> Ends:
    """Sends `count` mails. Returns how each ended, and at which stage if it was refused."""

    async def run() -> Ends:
        mailer = Mailer(
            relay,
            sender=SENDER,
            connections=connections,
            timeouts=PATIENT,
            limits=NO_LIMITS,
            pipelining=pipelining,
        )
        box, _ = await sent_with(mailer, *mails(count))
        await mailer.close()
        return [(type(outcome), getattr(outcome, "stage", None)) for outcome in box.outcomes]

    return asyncio.run(run())


@pytest.mark.parametrize("offered", [True, False])
@pytest.mark.parametrize("pipelining", [True, False])
def test_every_mail_arrives_whole(pipelining: bool, offered: bool) -> None:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        with sink("-d", f"{folder}/mail.", *([] if offered else ["-p"])) as relay:
            outcomes = ends(relay, 200, pipelining=pipelining, connections=5)
        assert outcomes == [(Sent, None)] * 200
        # The sink writes the envelope before each mail and a line end after it.
        arrived = [path.read_bytes().replace(b"\r\n", b"\n").rstrip() for path in Path(folder).iterdir()]
    contents = [as_taken(mail).replace(b"\r\n", b"\n").rstrip() for mail in mails(200)]
    assert sorted(text[text.index(b"Message-ID: ") :] for text in arrived) == sorted(contents)


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-f", "RCPT"], [(Rejected, Stage.RCPT)] * 3),
        (["-f", "RCPT", "-B", "550 5.7.1 policy"], [(Deferred, Stage.RCPT)] * 3),
        (["-r", "RCPT"], [(RelayDown, Stage.RCPT)]),
        (["-r", "DATA", "-b", "451 later"], [(Deferred, Stage.DATA)] * 3),
        (["-f", "DATA"], [(Rejected, Stage.DATA)] * 3),
        (["-r", "."], [(RelayDown, Stage.DOT)]),
        (["-f", "."], [(Rejected, Stage.DOT)] * 3),
        (["-r", "MAIL"], [(RelayDown, Stage.MAIL)]),
        (["-q", "MAIL"], [(RelayDown, Stage.MAIL)]),
        (["-q", "RCPT"], [(RelayDown, Stage.RCPT)]),
        (["-q", "DATA"], [(RelayDown, Stage.DATA)]),
        (["-q", "."], [(Unknown, None)] * 3),
        (["-Q", "MAIL"], [(RelayDown, Stage.MAIL)]),
        (["-Q", "RCPT"], [(RelayDown, Stage.RCPT)]),
        (["-Q", "DATA"], [(RelayDown, Stage.DATA)]),
        (["-Q", "."], [(RelayDown, Stage.DOT)]),
        (["-q", "EHLO"], []),  # no mail is taken before a connection is open
        (["-f", "CONNECT"], []),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else "",
)
def test_what_it_refuses_is_understood(options: list[str], expected: Ends, pipelining: bool) -> None:
    with sink(*options) as relay:
        outcomes = ends(relay, 3, pipelining=pipelining)
    assert [outcome for outcome in outcomes if outcome[0] is not NotSent] == expected


@pytest.mark.parametrize("pipelining", [True, False])
def test_a_refusal_that_does_not_wait_for_the_content_makes_nothing_sent(pipelining: bool) -> None:
    with sink("-A", "0") as relay:
        outcomes = ends(relay, 3, pipelining=pipelining)
    assert {kind for kind, _ in outcomes} <= {Rejected, RelayDown, NotSent, Unknown}
