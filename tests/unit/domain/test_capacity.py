"""The model of capacity: what holds up the mails, and what a target needs."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.capacity import BUSY, Demand, Installation, Part, plan
from worker.domain.costs import Costs, Cpu, Processes, RoundTrips, Source, Traffic

NOTHING = Cpu(0, 0, 0, 0, 0)
COSTS = Costs(
    Source("2026-11-28", "a machine", "versions", 5000),
    mail=Cpu(worker=100, database=50, redis=1, listener=0, relay=20),
    plain=Cpu(worker=200, database=50, redis=1, listener=0, relay=30),
    tls=Cpu(worker=100, database=0, redis=0, listener=0, relay=10),
    item=Cpu(worker=900, database=450, redis=100, listener=100, relay=0),
    round_trips=RoundTrips(pipelined=1, plain=4, claim=5, record=1, waited=0),
    megabytes=Processes(worker_child=40, worker_parent=100, listener=90, scheduler=80),
    database_connections=Processes(worker_child=3, worker_parent=1, listener=1, scheduler=1),
    bytes=Traffic(relay=5100, database=700, wal=900),
)
DEMAND = Demand(1_000_000, seconds=1000)


def test_near_a_fast_relay_a_child_is_limited_by_its_core() -> None:
    found = plan(Demand(1_000_000), Installation(children=1, database_seconds=0.0), COSTS)
    assert found.limit.part is Part.CHILD_CPU
    assert (found.limit.rate, found.seconds) == pytest.approx((10_000, 100), rel=1e-3)
    assert (found.worker_cores, found.database_cores, found.relay_cores) == pytest.approx((1, 0.5, 0.2), rel=1e-3)


def test_a_far_relay_lets_one_mail_through_in_each_round_trip_of_each_connection() -> None:
    there = Installation(connections=10, relay_seconds=0.0199, children=3)
    found = plan(Demand(1_000_000), there, COSTS)
    assert found.limit.part is Part.RELAY_ANSWERS
    assert found.limit.rate == pytest.approx(3 * 10 / 0.02)
    plain = plan(Demand(1_000_000), replace(there, is_pipelined=False), COSTS)
    assert plain.limit.rate == pytest.approx(3 * 10 / (4 * 0.0199 + 0.0002))


def test_a_far_database_holds_up_what_may_be_uncommitted() -> None:
    found = plan(Demand(1_000_000), Installation(connections=10, database_seconds=0.05, children=1), COSTS)
    assert found.limit.part is Part.DATABASE_ANSWERS
    assert found.limit.rate == pytest.approx(60 / (2 * 0.05))
    claims = plan(Demand(1_000_000), Installation(connections=200, database_seconds=0.5, children=1), COSTS)
    assert claims.limit.rate == pytest.approx(500 / (5 * 0.5))


def test_a_child_waits_for_claims_from_a_far_database() -> None:
    costs = replace(COSTS, round_trips=replace(COSTS.round_trips, waited=100))
    there = Installation(relay_seconds=0.1, children=1)
    near, far = (plan(Demand(1000), replace(there, database_seconds=seconds), costs) for seconds in (0.0, 0.01))
    assert far.limit.part is Part.RELAY_ANSWERS
    assert far.limit.rate == pytest.approx(near.limit.rate / 2)


def test_children_are_planned_with_some_room() -> None:
    found = plan(DEMAND, Installation(relay_seconds=0.0999), COSTS)
    each = 10 / 0.1
    assert (found.demand.rate, found.children) == (1000, 13)
    assert found.children * each * BUSY >= 1000 > (found.children - 1) * each * BUSY
    assert (found.connections, found.database_connections, found.megabytes) == (130, 42, 790)
    assert found.is_enough
    assert found.relay_bytes_a_second == 1000 * 5100
    assert found.wal_bytes == 900e6


@pytest.mark.parametrize(
    ("there", "part", "rate"),
    [
        (Installation(rate_limit=14), Part.RATE_LIMIT, 14),
        (Installation(cores=0.05), Part.CORES, 500),
        (Installation(database_cores=0.02), Part.DATABASE_CORES, 400),
        (Installation(relay_connections=5, relay_seconds=0.0099), Part.RELAY_CONNECTIONS, 500),
    ],
)
def test_what_more_children_do_not_help_is_named(there: Installation, part: Part, rate: float) -> None:
    found = plan(DEMAND, there, COSTS)
    assert found.limit.part is part
    assert found.limit.rate == pytest.approx(rate, rel=1e-3)
    assert not found.is_enough
    assert found.seconds == pytest.approx(1_000_000 / rate, rel=1e-3)
    assert found.children < 20


def test_more_items_and_tls_cost_more() -> None:
    there = Installation(children=1, database_seconds=0.0)
    assert plan(Demand(1000, items=1000), there, COSTS).limit.rate == pytest.approx(1000)
    assert plan(Demand(1000, items=100), there, COSTS).limit.rate == pytest.approx(1e6 / 190)
    assert plan(Demand(1_000_000), replace(there, has_tls=True), COSTS).limit.rate == pytest.approx(5000, rel=0.01)


def test_larger_mails_are_more_traffic() -> None:
    there = Installation(children=1, mail_bytes=25_000, rate_limit=100)
    assert plan(Demand(1000), there, COSTS).relay_bytes_a_second == pytest.approx(100 * 25_100)


@given(
    st.integers(1, 10**8),
    st.floats(1, 1e6),
    st.floats(0, 1),
    st.floats(0, 1),
    st.integers(1, 1000),
    st.booleans(),
    st.none() | st.floats(0.01, 1000),
)
def test_what_the_planned_children_can_do_is_enough_unless_something_else_is_the_limit(
    mails: int, seconds: float, relay: float, database: float, connections: int, pipelined: bool, limit: float | None
) -> None:
    there = Installation(connections, relay, database, pipelined, rate_limit=limit)
    found = plan(Demand(mails, seconds=seconds), there, COSTS)
    assert found.is_enough or found.limit.part is Part.RATE_LIMIT
    assert list(found.bounds) == sorted(found.bounds, key=lambda bound: bound.rate)
    again = plan(Demand(mails), replace(there, children=found.children), COSTS)
    assert again.seconds == pytest.approx(found.seconds)
