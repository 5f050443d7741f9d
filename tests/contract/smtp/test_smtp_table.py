"""Every kind of trouble at every stage of the SMTP session, and what happens to the request that is being sent.

The whole line works: claim, render, send, record. The relay is in trouble for one slice, and then well again.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from uuid import UUID

import pytest

from tests.contract.lines import letters_of, line_of, serve
from tests.contract.shop import Shop
from tests.relay import Answer, Do, ScriptedRelay, trusting_context
from worker.delivery.deliver import probe
from worker.models import Status
from worker.smtp import pipeline as smtp_pipeline
from worker.smtp import session as smtp_session
from worker.smtp.mailer import Timeouts

KINDS: Final[dict[str, Answer]] = {
    "421": "421 4.3.2 closing down",
    "4xx": "451 not now",
    "5xx": "554 no",
    "dead": "550 5.1.1 no such user",
    "reset": Do.RESET,
    "silence": Do.SILENCE,
    "garbage": "what?",
    "too-long": "\r\n".join([f"250-{'x' * 500}"] * 100 + ["250 ok"]),
    "half-close": Do.HALF_CLOSE,
}

TABLE: Final = """
            421    4xx    5xx      dead       reset    silence  garbage  too-long  half-close
  greeting  down   down   down     down       down     down     down     down      down
  ehlo      down   down   down     down       down     down     down     down      down
  starttls  down   down   down     down       down     down     down     down      down
  tls       down   down   down     down       down     down     down     down      down
  auth      down   down   ours     ours       down     down     down     down      down
  mail      down   down   ours     ours       down     down     down     down      down
  rcpt      alone  later  perhaps  recipient  alone    alone    alone    alone     alone
  data      alone  later  maybe    recipient  alone    alone    alone    alone     alone
  dot       alone  later  maybe    recipient  unknown  unknown  unknown  unknown   unknown
  quit      told   told   told     told       told     told     told     told      told
"""


class Ends(NamedTuple):
    """A row after the trouble, and the breaker: "closed", or the scope of the fault."""

    status: Status
    attempts: int
    unknowns: int
    failure_code: str | None
    waits: bool
    """Whether the request is in back-off."""
    breaker: str


WORDS: Final = {
    # The relay or our settings are at fault. No request loses a try.
    "down": Ends(Status.RECEIVED, 0, 0, None, False, "relay"),
    "ours": Ends(Status.RECEIVED, 0, 0, None, False, "configuration"),
    # Asked again without this mail, the relay is well. No other request has to wait.
    "alone": Ends(Status.RECEIVED, 0, 0, None, True, "closed"),
    # The trouble is about this mail.
    "later": Ends(Status.RECEIVED, 1, 0, None, True, "closed"),
    "recipient": Ends(Status.FAILED, 1, 0, "RECIPIENT_REJECTED", False, "closed"),
    # These words may mean us, and the relay has taken nothing yet.
    "perhaps": Ends(Status.RECEIVED, 1, 0, "RECIPIENT_REJECTED", True, "closed"),
    "maybe": Ends(Status.RECEIVED, 1, 0, "MESSAGE_REJECTED", True, "closed"),
    "unknown": Ends(Status.RECEIVED, 1, 1, "OUTCOME_UNKNOWN", True, "closed"),
    "told": Ends(Status.NOTIFICATION_SENT, 0, 0, None, False, "closed"),
}
CASES: Final = {
    (stage, kind): word
    for stage, *words in map(str.split, TABLE.strip().splitlines()[1:])
    for kind, word in zip(KINDS, words, strict=True)
}
ONE_OF_EACH: Final = {word: case for case, word in reversed(CASES.items())}
PERSONAL: Final = {"rcpt", "data", "dot"}
"""The stages at which the relay knows a mail by its recipient."""
BEFORE_PIPELINING: Final = {"greeting", "ehlo", "starttls", "tls", "auth"}
SOON: Final = 0.75
"""How long these tests wait in silence, in seconds."""


@pytest.fixture(scope="module")
def relay() -> Iterator[ScriptedRelay]:
    with ScriptedRelay(security="starttls", users={"shop": "secret"}) as relay:
        yield relay


@pytest.fixture
def server(relay: ScriptedRelay, *, pipelining: bool) -> Iterator[ScriptedRelay]:
    relay.pipelining = pipelining
    relay.accepted.clear()
    yield relay
    relay.decide = None


@pytest.fixture(scope="module")
def line() -> dict[str, Any]:
    """The arguments that all lines here have in common."""
    trusting, letters = trusting_context(), letters_of()
    return {"user": "shop", "connections": 1, "claim_size": 1, "tls_context": trusting, "letters": letters}


@pytest.fixture(autouse=True)
def times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits in silence."""
    for module in (smtp_session, smtp_pipeline):
        monkeypatch.setattr(module, "QUIT_TIMEOUT", SOON)


def patience(stage: str, kind: str) -> Timeouts:
    if kind != "silence":
        return Timeouts(connect=60, command=60, final=60)
    return Timeouts(connect=60, command=60, final=SOON) if stage == "dot" else Timeouts(SOON, SOON, final=60)


def assert_ends(shop: Shop, server: ScriptedRelay, line: dict[str, Any], stage: str, kind: str) -> None:
    """Asserts that the trouble ends as the table says. Afterwards all but the failed are told, if possible once."""
    upset, other = shop.waiting(2)
    ends = WORDS[CASES[stage, kind]]

    email = shop.row(upset).email
    server.decide = lambda at, whom: KINDS[kind] if at == stage and (at not in PERSONAL or whom == email) else None
    serve(shop, server, timeouts=patience(stage, kind), **line)
    assert ends_of(shop, upset) == ends
    assert len(shop.attempts(upset)) == ends.attempts
    assert shop.row(other).attempts == 0

    server.decide = None
    if ends.breaker != "closed":
        close_breaker(shop, server, line)
    shop.change("UPDATE request SET not_before = NULL")
    serve(shop, server, **line)
    failed = ends.status is Status.FAILED
    assert shop.status(upset) is (Status.FAILED if failed else Status.NOTIFICATION_SENT)
    assert shop.status(other) is Status.NOTIFICATION_SENT
    mails = Counter(server.recipients)
    assert mails.pop(email, 0) in ({0} if failed else {1, 2} if ends.unknowns else {1})
    assert list(mails.values()) == [1]


def ends_of(shop: Shop, request: UUID) -> Ends:
    row, breaker = shop.row(request), shop.breaker()
    waits = row.not_before is not None
    return Ends(row.status, row.attempts, row.unknowns, row.failure_code, waits, str(breaker.scope or breaker.state))


def close_breaker(shop: Shop, server: ScriptedRelay, line: dict[str, Any]) -> None:
    async def run() -> None:
        async with line_of(shop, server, **line) as made:
            assert await probe(made)

    shop.change("UPDATE relay SET probe_at = stockbell_now(-1)")
    asyncio.run(run())


@pytest.mark.parametrize(
    ("stage", "kind", "pipelining"),
    [(*case, pipelining) for case in CASES for pipelining in (False, True)[: 1 if case[0] in BEFORE_PIPELINING else 2]],
)
@pytest.mark.parametrize("shop_url", ["sqlite"], indirect=True)
def test_each_trouble_ends_as_the_table_says(
    shop: Shop,
    server: ScriptedRelay,
    line: dict[str, Any],
    stage: str,
    kind: str,
) -> None:
    assert_ends(shop, server, line, stage, kind)


@pytest.mark.parametrize(("stage", "kind"), ONE_OF_EACH.values(), ids=ONE_OF_EACH)
@pytest.mark.parametrize("pipelining", [True])
@pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)
def test_on_postgresql_too(shop: Shop, server: ScriptedRelay, line: dict[str, Any], stage: str, kind: str) -> None:
    assert_ends(shop, server, line, stage, kind)
