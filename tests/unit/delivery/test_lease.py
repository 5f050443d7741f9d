"""How far a worker trusts its lease, with a clock and a database that the test controls."""

import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar, cast
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection

from tests.clock import Clock
from worker.delivery import lease as lease_module
from worker.delivery.lease import Heartbeat, Lease, boot_time
from worker.domain.errors import DatabaseAway, OwnerLost, SchemaOutdated
from worker.store import owners
from worker.store.database import Database

P = ParamSpec("P")
T = TypeVar("T")

SECONDS = 60.0
MARGIN = 10.0


class OwnerTable(Database):
    """A database that knows only owners. The test decides what keeps it from answering."""

    def __init__(self, clock: Clock, lease: float = SECONDS) -> None:
        self._clock = clock
        self._lease = lease
        self.alive: set[UUID] = set()
        self.registered: list[UUID] = []
        self.error: Exception | None = None
        self.answer_takes = 0.0
        self.meanwhile: Callable[[], object] = lambda: None

    def write(self, work: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._clock.now += self.answer_takes
        self.meanwhile()
        if self.error:
            raise self.error
        owner = args[0]
        assert isinstance(owner, UUID)
        match work:
            case owners.register:
                self.registered.append(owner)
                self.alive.add(owner)
            case owners.renew:
                assert args[1:] == (self._lease,)
                if owner not in self.alive:
                    raise OwnerLost("the lease ended")
            case owners.sign_off:
                self.alive.discard(owner)
        return cast(T, None)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease_module, "boot_time", clock)
    return clock


@pytest.fixture
def table(clock: Clock) -> OwnerTable:
    return OwnerTable(clock)


@pytest.fixture
def lease(table: OwnerTable) -> Lease:
    return Lease(table, SECONDS)


def is_trusted(lease: Lease) -> bool:
    return lease.is_trusted(lease.owner)


def test_a_lease_that_was_never_renewed_is_not_trusted(lease: Lease) -> None:
    assert not is_trusted(lease)


def test_the_first_beat_registers_and_trusts(lease: Lease, table: OwnerTable) -> None:
    lease.beat()
    lease.beat()
    assert is_trusted(lease)
    assert table.registered == [lease.owner]


def test_every_process_is_a_new_owner(table: OwnerTable) -> None:
    assert Lease(table, SECONDS).owner != Lease(table, SECONDS).owner


def test_trust_ends_a_margin_before_the_lease(lease: Lease, clock: Clock) -> None:
    lease.beat()
    clock.now += SECONDS - MARGIN - 0.001
    assert is_trusted(lease)
    clock.now += 0.001
    assert not is_trusted(lease)


def test_a_short_lease_has_a_short_margin(clock: Clock) -> None:
    lease = Lease(OwnerTable(clock), 4.0)
    lease.renewed(lease.owner, clock.now)
    clock.now += 2.999
    assert is_trusted(lease)
    clock.now += 0.001
    assert not is_trusted(lease)


def test_trust_counts_from_before_the_renewal_was_sent_however_long_the_answer_takes(
    lease: Lease, table: OwnerTable, clock: Clock
) -> None:
    lease.ensure_registered()
    began = clock.now
    table.answer_takes = 30.0
    lease.beat()
    clock.now = began + SECONDS - MARGIN - 0.001
    assert is_trusted(lease)
    clock.now = began + SECONDS - MARGIN
    assert not is_trusted(lease)


def test_an_answer_that_comes_after_all_trust_is_gone_gives_none(lease: Lease, table: OwnerTable, clock: Clock) -> None:
    table.answer_takes = SECONDS
    lease.beat()
    assert not is_trusted(lease)


def test_an_older_renewal_that_is_heard_of_late_takes_no_trust_away(lease: Lease, clock: Clock) -> None:
    lease.renewed(lease.owner, clock.now)
    lease.renewed(lease.owner, clock.now - 40)
    clock.now += SECONDS - MARGIN - 0.001
    assert is_trusted(lease)


def test_a_database_that_is_away_leaves_the_trust_there_is(lease: Lease, table: OwnerTable, clock: Clock) -> None:
    lease.beat()
    owner = lease.owner
    table.error = DatabaseAway("connection refused")
    clock.now += 40
    with pytest.raises(DatabaseAway):
        lease.beat()
    assert is_trusted(lease)
    clock.now += 10
    assert not is_trusted(lease)
    assert lease.owner == owner


def test_an_owner_that_could_not_register_tries_again(lease: Lease, table: OwnerTable) -> None:
    table.error = DatabaseAway("connection refused")
    with pytest.raises(DatabaseAway):
        lease.ensure_registered()
    table.error = None
    lease.ensure_registered()
    lease.ensure_registered()
    assert table.registered == [lease.owner]


def test_an_owner_whose_lease_ended_is_finished_and_a_new_one_begins_without_trust(
    lease: Lease, table: OwnerTable
) -> None:
    lease.beat()
    old = lease.owner
    table.alive.clear()
    lease.beat()
    assert lease.owner != old
    assert not is_trusted(lease)
    lease.beat()
    assert is_trusted(lease)
    assert table.registered == [old, lease.owner]


def test_the_trust_of_a_new_owner_is_not_the_old_ones(lease: Lease, table: OwnerTable) -> None:
    lease.beat()
    old = lease.owner
    lease.lost(old)
    lease.beat()
    assert is_trusted(lease)
    assert not lease.is_trusted(old)


def test_news_of_an_old_owner_is_no_news_of_the_new_one(lease: Lease, clock: Clock) -> None:
    old = lease.owner
    lease.lost(old)
    new = lease.owner
    lease.renewed(old, clock.now)
    assert not is_trusted(lease)
    lease.renewed(new, clock.now)
    lease.lost(old)
    lease.lost(uuid4())
    assert lease.owner == new
    assert is_trusted(lease)


def test_a_beat_that_is_overtaken_by_a_loss_renews_nobody(lease: Lease, table: OwnerTable) -> None:
    lease.beat()
    old = lease.owner
    table.meanwhile = lambda: lease.lost(old)
    lease.beat()
    assert lease.owner != old
    assert not is_trusted(lease)


def test_signing_off_forgets_the_owner_and_minds_no_absence(lease: Lease, table: OwnerTable) -> None:
    lease.beat()
    table.error = DatabaseAway("connection refused")
    lease.sign_off()
    table.error = None
    lease.sign_off()
    assert table.alive == set()


def test_the_clock_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "clock_gettime", {time.CLOCK_BOOTTIME: 7.0}.__getitem__)
    assert boot_time() == 7.0


# The heartbeat thread


@pytest.mark.parametrize("error", [DatabaseAway("connection refused"), SchemaOutdated("run `stockbell migrate`")])
def test_the_heartbeat_outlives_trouble_until_it_is_stopped(clock: Clock, error: Exception) -> None:
    often = 0.004  # a beat every millisecond
    table = OwnerTable(clock, often)
    lease = Lease(table, often)
    heartbeat = Heartbeat(lease)
    answers = iter([None, error, error, None, None])

    def answer() -> None:
        try:
            table.error = next(answers)
        except StopIteration:
            heartbeat.stop()

    table.meanwhile = answer
    heartbeat.start()
    heartbeat.join(30)
    assert not heartbeat.is_alive()
    assert table.alive == {lease.owner}
    assert is_trusted(lease)
