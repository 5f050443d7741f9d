"""Cost: what a mail costs each part of the line, for `stockbell capacity`. Writes bench-out/costs.toml.

CPU time is counted, and not seconds, so the figures hold for any number of children and cores. One worker child mails
the people of one item, a round at a time; then the same without pipelining, with TLS, and for many items that one
person each waits for. What an item costs is the difference to a mail. Round trips come from a relay 20 ms away, and
those of the database from the statements that run. Bytes are counted by proxies. `capacity` predicts mails a second
from the table that was just measured, and measures them: near and far relays, few and many connections, a far database.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import trustme
from sqlalchemy.engine import make_url

from tests.bench import machine
from tests.bench.distance import round_trip
from tests.bench.figures import Figure, at_most, number
from tests.bench.fill import fill
from tests.bench.growth import window
from tests.bench.processes import connections_to, private_megabytes, resident_megabytes
from tests.bench.program import Program, spent
from tests.bench.proxy import at_a_distance
from tests.bench.servers import Relay
from tests.bench.sink import timing_sink
from tests.bench.throughput import mail_all, mail_bytes
from tests.bench.world import World, progress
from tests.plans import statements_of
from worker.domain.capacity import Demand, Installation, plan
from worker.domain.costs import Costs, Cpu, Processes, RoundTrips, Source, Traffic
from worker.models import uuid7
from worker.store import claims, owners
from worker.store.database import Database

NAME, CHECK = "cost", "capacity"
OUTPUT = Path("bench-out/costs.toml")
MAILS, FEWER, ITEMS = (20_000, 2_000), (5_000, 500), (2_000, 200)
FAR, DATABASE_FAR = 0.02, 0.01
WARM_UP = 200
WATCH_SECONDS = 3.0, 2.0
MOST_RATE = 15_000
HERE_SECONDS = 0.0005
"""What a commit takes where the database is on the same machine."""
SYSTEM = ("listen", "work -c 1", "schedule")
ROLES = {
    "worker": ("worker child", "Celery parent"),
    "database": ("PostgreSQL",),
    "redis": ("Redis",),
    "listener": ("listener",),
    "relay": ("relay",),
}
OFF = {"STOCKBELL_SMTP_PIPELINING": "off"}
ONE = {"STOCKBELL_SMTP_CONNECTIONS": "1"}
WAL = "SELECT pg_current_wal_lsn() - '0/0'"
CHECKS = (
    # seconds to the relay and back, and to the database; connections; pipelining
    (0.0, 0.0, 10, True),
    (0.005, 0.0, 10, True),
    (0.02, 0.0, 10, True),
    (0.05, 0.0, 10, True),
    (0.05, 0.0, 40, True),
    (0.02, 0.0, 10, False),
    (0.0, 0.005, 10, True),
    (0.02, 0.02, 10, True),
)
MOST_PERCENT_OFF = 30.0


def run(world: World) -> list[Figure]:
    costs = measure(world)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(toml(costs))
    progress(NAME, f"written: {OUTPUT}")
    return [
        Figure(NAME, f"{section.replace('_', ' ')}: {name.replace('_', ' ')}", _UNITS.get(section, "µs CPU"), [value])
        for section, values in asdict(costs).items()
        if section != "source"
        for name, value in values.items()
    ]


_UNITS = {
    "round_trips": "round trips",
    "megabytes": "MB",
    "database_connections": "connections",
    "bytes": "bytes a mail",
}


def measure(world: World) -> Costs:
    """Returns what everything costs here."""
    watch, fewer = Watch(world), world.size(*FEWER)
    mail = watch.mails("a mail", world.size(*MAILS), {})
    plain = watch.mails("a mail without pipelining", fewer, OFF)
    with timing_sink(world.directory, "nobody") as (relay, _):
        clear = watch.mails("a mail to our own sink", fewer, {}, relay)
    with _tls_sink(world) as (relay, settings):
        tls = watch.mails("a mail to our own sink with TLS", fewer, settings, relay)
    item = minus(watch.items(world.size(*ITEMS)), mail)
    trips = RoundTrips(_trips(world, ONE), _trips(world, ONE | OFF), _claim_trips(world), 1.0, _waited(world))
    about = machine.describe(world.postgres.url, world.directory)
    versions = f"PostgreSQL {about['PostgreSQL'].split()[0]}, Python {about['Python']}, Redis {about['Redis']}"
    source = Source(datetime.now(UTC).date().isoformat(), _machine(about["processor"]), versions, float(mail_bytes()))
    added = minus(tls, clear)
    return Costs(source, mail, plain, added, item, trips, watch.megabytes, watch.connections, _bytes(world))


def _machine(processor: str) -> str:
    """Returns the processor, and says if others used it too: then caches are shared, and all costs more."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return processor if load < 1.5 * cores else f"{processor}, busy with other work (load {load:.0f})"


def minus(one: Cpu, other: Cpu) -> Cpu:
    return Cpu(*(max(0.0, getattr(one, part) - getattr(other, part)) for part in Cpu.__slots__))


class Watch:
    """Measures systems with one worker child."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.megabytes = self.connections = Processes(0, 0, 0, 0)

    def mails(self, name: str, mails: int, settings: Mapping[str, str], relay: Relay | None = None) -> Cpu:
        """Returns what a mail costs: the median of the rounds."""
        rounds = self._world.rounds
        with self._world.database() as url:
            fill(url, "warm", waiting=WARM_UP)
            fill(url, "hot", items=len(rounds), waiting=mails)
            with self._world.program(url, *SYSTEM, relay=relay, settings=settings) as program:
                mail_all(program, "warm-0", WARM_UP)
                costs = [_cost(program, mails, lambda n: mail_all(program, f"hot-{n}", mails), n) for n in rounds]
                self._look_at(program, make_url(url).port or 0)
        return _median(name, costs)

    def items(self, items: int) -> Cpu:
        """Returns what a mail costs where one person waits for each item."""
        rounds = self._world.rounds
        with self._world.database() as url:
            for round_ in rounds:
                fill(url, f"shelf{round_}", items=items)
            with self._world.program(url, *SYSTEM) as program:
                costs = [_cost(program, items, lambda n: _restock_all(program, f"shelf{n}", items), n) for n in rounds]
        return _median("an item", costs)

    def _look_at(self, program: Program, port: int) -> None:
        """Notes memory and connections, of which the most seen count."""
        pids = program.pids()
        (child,), parents = pids["worker child"], [*pids["supervisor"], *pids["Celery parent"]]
        others = pids["listener"][0], pids["scheduler"][0]
        parent = sum(map(resident_megabytes, parents))
        memory = Processes(private_megabytes(child), parent, *map(resident_megabytes, others))
        held = Processes(
            *(sum(connections_to(pid, port) for pid in group) for group in ([child], parents, *zip(others)))
        )
        self.megabytes, self.connections = _most(self.megabytes, memory), _most(self.connections, held)


def _most(one: Processes, other: Processes) -> Processes:
    return Processes(*(max(getattr(one, name), getattr(other, name)) for name in Processes.__slots__))


def _cost(program: Program, mails: int, work: Callable[[int], object], round_: int) -> dict[str, float]:
    program.until_idle()
    before = program.cpu()
    work(round_)
    program.until_idle()
    return {role: used * 1e6 / mails for role, used in spent(before, program.cpu()).items()}


def _median(name: str, rounds: list[dict[str, float]]) -> Cpu:
    found = Cpu(
        **{part: median(sum(each.get(role, 0.0) for role in roles) for each in rounds) for part, roles in ROLES.items()}
    )
    progress(NAME, f"{name}: {number(found.worker)} µs in the worker, {number(found.database)} in the database")
    return found


def _restock_all(program: Program, prefix: str, items: int) -> None:
    for place in range(items):
        program.restock(f"{prefix}-{place}")
    for place in range(items):
        program.wait_for(f"{prefix}-{place}", program.last_of(f"{prefix}-{place}"), 60)


def _trips(world: World, settings: dict[str, str]) -> float:
    """Returns how many round trips a mail takes on its connection."""
    with at_a_distance(world.directory, world.sink, FAR) as relay:
        rate = _rate(world, relay, settings)
        return 1 / rate / round_trip(relay)


def _waited(world: World) -> float:
    """Returns how many round trips of a far database a child waits for, for each second in which it sends."""
    with at_a_distance(world.directory, world.sink, FAR) as relay:
        near, far = (_rate(world, relay, {}, seconds) for seconds in (0.0, DATABASE_FAR))
    return max(0.0, near / far - 1) / DATABASE_FAR


def _rate(world: World, relay: Relay, settings: Mapping[str, str], database_seconds: float = 0.0) -> float:
    seconds = world.size_seconds(*WATCH_SECONDS)
    with world.database() as url, ExitStack() as stack:
        fill(url, "hot", items=len(world.rounds), waiting=int(MOST_RATE * seconds))
        far = stack.enter_context(_far_database(world, url, database_seconds)) if database_seconds else url
        with world.program(url, *SYSTEM, relay=relay, settings={**settings, "DATABASE_URL": far}) as program:
            return median(window(program, f"hot-{round_}", seconds) for round_ in world.rounds)


def _claim_trips(world: World) -> float:
    """Returns how many statements a claim takes, with its commit. BEGIN goes with the first of them."""
    with world.database() as url, closing(Database(url)) as database:
        fill(url, "hot")
        owner = uuid7()
        database.write(owners.register, owner, "bench")
        list_id = database.read(lambda c: c.exec_driver_sql("SELECT id FROM waiting_list").scalar_one())
        ran = database.write(lambda c: statements_of(c, claims.claim, owner, 60.0, [list_id], 100, first=False))
    return float(sum("SAVEPOINT" not in words for words, _ in ran) + 1)


def _bytes(world: World) -> Traffic:
    mails = world.size(*FEWER)
    logs = world.directory / "relay-bytes", world.directory / "database-bytes"
    with world.database() as url:
        fill(url, "hot", waiting=mails)
        with (
            at_a_distance(world.directory, world.sink, 0.0, logs[0]) as relay,
            _far_database(world, url, 0.0, logs[1]) as far,
            world.program(url, *SYSTEM, relay=relay, settings={"DATABASE_URL": far}) as program,
        ):
            before = program.ask(WAL)
            mail_all(program, "hot-0", mails)
            written = float(program.ask(WAL) - before)
    to_relay, to_database = (int(log.read_text().split()[-1]) for log in logs)
    return Traffic(to_relay / mails, to_database / mails, written / mails)


@contextmanager
def _far_database(world: World, url: str, round_trip: float, log: Path | None = None) -> Iterator[str]:
    parts = make_url(url)
    with at_a_distance(world.directory, Relay(0, parts.port or 0), round_trip, log) as database:
        yield parts.set(port=database.port).render_as_string(hide_password=False)


@contextmanager
def _tls_sink(world: World) -> Iterator[tuple[Relay, dict[str, str]]]:
    """Yields a sink that speaks TLS, and the settings for it."""
    authority = trustme.CA()
    pem, trusted = world.directory / "sink.pem", world.directory / "authority.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(pem)
    authority.cert_pem.write_to_path(trusted)
    with timing_sink(world.directory, "nobody", pem) as (relay, _):
        yield relay, {"SMTP_URL": f"smtps://localhost:{relay.port}", "SSL_CERT_FILE": str(trusted)}


def toml(costs: Costs) -> str:
    """Returns the table as a file that `Costs.read` reads. Figures have three digits that count."""
    lines = [HEAD]
    for section, values in asdict(costs).items():
        lines += ["", f"[{section}]", *(f"{name} = {_toml_value(value)}" for name, value in values.items())]
    return "\n".join(lines) + "\n"


def _toml_value(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else f"{float(f'{value:.3g}'):g}" if value else "0"


HEAD = """# What a mail costs, as `make bench ARGS="--only cost"` measured it. See worker/domain/costs.py.
# CPU in microseconds, memory in megabytes. `stockbell capacity --costs FILE` takes another such file."""


# What the model says, and what is so


def check(world: World) -> list[Figure]:
    """Compares what the model says of one worker child with what it does."""
    costs = Costs.read(OUTPUT) if OUTPUT.exists() else Costs.read()
    return [figure for each in CHECKS for figure in _check(world, costs, *each)]


def _check(
    world: World, costs: Costs, relay_seconds: float, database_seconds: float, connections: int, pipelined: bool
) -> Iterator[Figure]:
    settings = {"STOCKBELL_SMTP_CONNECTIONS": str(connections)} | ({} if pipelined else OFF)
    with ExitStack() as stack:
        relay, answer = world.sink, 0.0
        if relay_seconds:
            relay = stack.enter_context(at_a_distance(world.directory, relay, relay_seconds))
            answer = round_trip(relay)  # on a busy machine the proxy takes longer than it should
        rate = _rate(world, relay, settings, database_seconds)
    there = Installation(
        connections=connections,
        relay_seconds=answer,
        database_seconds=database_seconds + HERE_SECONDS,
        is_pipelined=pipelined,
        children=1,
    )
    bound = plan(Demand(1_000_000), there, costs).limit
    name = f"relay {1000 * relay_seconds:g} ms, database {1000 * database_seconds:g} ms, {connections} connections"
    name += "" if pipelined else ", no pipelining"
    progress(CHECK, f"{name}: {number(rate)} mails/s, predicted {number(bound.rate)} ({bound.part})")
    yield Figure(CHECK, name, "mails/s", [rate], note=f"predicted {number(bound.rate)}: {bound.part}")
    yield Figure(CHECK, f"{name}: prediction", "% off", [abs(100 * bound.rate / rate - 100)], at_most(MOST_PERCENT_OFF))
