"""Throughput: one event, many who wait for the item, until the last row is recorded.

The processes are up and idle, and have sent a few mails before. The time runs from just before XADD until a look into
the database, one every 50 ms, finds that the last one was told. After each round `smtp-source` sends as many mails into
the same sink (of the same size, over 20 kept connections). The ratio is that of each such pair. At the end
`smtp-source` also runs with 4 KiB. The usual design (see `usual`) is measured on fewer mails, since its rate does not
depend on their number.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from config.settings import SHIPPED_TEMPLATES
from tests.bench import usual
from tests.bench.figures import Figure, at_least, number, per_mail
from tests.bench.fill import DETAILS, fill
from tests.bench.program import TOLD, Program, spent
from tests.bench.servers import smtp_source
from tests.bench.world import World, progress
from worker.domain.relays import Mailbox
from worker.domain.verdicts import Tries
from worker.mail.letter import LetterWriter
from worker.mail.render import Renderer
from worker.mail.sources import Sources
from worker.models import uuid7
from worker.services.trying import Facts
from worker.smtp.mailer import Mail
from worker.store.claims import Claim

NAME = "throughput"
MAILS = 50_000, 5_000
USUAL_MAILS = 1_000, 150
SYSTEMS = [("PostgreSQL", 2), ("PostgreSQL", 1), ("SQLite", 2), ("SQLite", 1)]
GOAL = at_least(1.0)
"""How many times as fast as smtp-source, on PostgreSQL with two children."""
WARM_UP = 200
SMALL = 4096
MOST_SECONDS = 20.0


@dataclass(slots=True)
class Rounds:
    """The figures of one system, one for each round."""

    rates: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    costs: list[dict[str, float]] = field(default_factory=list)
    """CPU microseconds a mail."""


def run(world: World) -> list[Figure]:
    mails = world.size(*MAILS)
    source: list[float] = []
    found: dict[str, Rounds] = {}
    for kind, children in SYSTEMS:
        found[name_of(kind, children)] = _measure(world, kind, children, mails, source)
    small = [mails / smtp_source(world.sink, mails, SMALL) for _ in world.rounds]
    return [*_figures(found, source, small), *_usual(world)]


def name_of(kind: str, children: int) -> str:
    return f"Stockbell, {kind}, {children} worker {'child' if children == 1 else 'children'}"


@cache
def mail_bytes() -> int:
    """Returns the size of a mail that Stockbell sends here."""
    sender = Mailbox("Shop", "shop@shop.example")
    writer = LetterWriter(
        Renderer(Sources(SHIPPED_TEMPLATES), "Stockbell"), sender, "https://shop.example/p/{catalogItemId}"
    )
    claim = Claim(uuid7(), 1, uuid7(), uuid7(), uuid7(), "hot-0-12345@customer.example", None, None, Tries())
    facts = Facts("hot-0", "{}", "Blue mug, number 0", *DETAILS, None)
    mail = writer.write(claim, facts)
    assert isinstance(mail, Mail)
    return len(mail.content)


def _measure(world: World, kind: str, children: int, mails: int, source: list[float]) -> Rounds:
    rounds = Rounds()
    with world.database(kind) as url:
        fill(url, "warm", waiting=WARM_UP)
        fill(url, "hot", items=len(world.rounds), waiting=mails)
        with world.program(url, "listen", f"work -c {children}", "schedule") as program:
            mail_all(program, "warm-0", WARM_UP)
            for number_ in world.rounds:
                program.until_idle()
                before = program.cpu()
                told, seconds = mail_all(program, f"hot-{number_}", mails)
                cost, rate = spent(before, program.cpu()), told / seconds
                source.append(mails / smtp_source(world.sink, mails, mail_bytes()))
                rounds.rates.append(rate)
                rounds.ratios.append(rate / source[-1])
                rounds.costs.append({role: used * 1e6 / max(told, 1) for role, used in cost.items()})
                progress(NAME, f"{name_of(kind, children)}: {number(rate)} mails/s, smtp-source {number(source[-1])}")
    return rounds


def mail_all(program: Program, item: str, mails: int, *, quantity: int = 5) -> tuple[int, float]:
    """Restocks an item. Returns how many mails were recorded in how many seconds: all, unless that takes too long."""
    last = program.last_of(item)
    began = time.monotonic()
    program.restock(item, quantity=quantity)
    if program.wait_for(item, last, MOST_SECONDS):
        return mails, time.monotonic() - began
    told, seconds = int(program.ask(TOLD, item=item)), time.monotonic() - began
    progress(NAME, f"{item}: only {told:,} of {mails:,} mails in {seconds:.0f} s")
    program.restock(item, quantity=0)
    program.until_idle()
    return told, seconds


def _figures(found: dict[str, Rounds], source: list[float], small: list[float]) -> Iterator[Figure]:
    yield Figure(NAME, "smtp-source (Postfix)", "mails/s", source, note=f"a constant mail of {mail_bytes():,} bytes")
    yield Figure(NAME, "smtp-source, 4 KiB", "mails/s", small)
    for name, rounds in found.items():
        yield Figure(NAME, name, "mails/s", rounds.rates)
    for (kind, children), (name, rounds) in zip(SYSTEMS, found.items(), strict=True):
        goal = GOAL if (kind, children) == SYSTEMS[0] else None
        yield Figure(NAME, f"{name}: ratio", "x smtp-source", rounds.ratios, goal)
    for name, rounds in found.items():
        yield from per_mail(NAME, name.removeprefix("Stockbell, "), rounds.costs)


def _usual(world: World) -> Iterator[Figure]:
    mails = world.size(*USUAL_MAILS)
    with world.database() as url:
        fill(url, "hot", items=len(world.rounds), waiting=mails)
        rates = usual.measure(world.directory, url, world.sink, len(world.rounds))
    for rate in rates:
        progress(NAME, f"the usual design: {number(rate)} mails/s")
    yield Figure(NAME, "Celery, a task a mail, smtplib", "mails/s", rates, note="the usual design, 2 children")
