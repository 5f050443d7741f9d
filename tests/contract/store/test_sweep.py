"""The rescue of what dead workers held, and the end of back-off. On SQLite and PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Connection, select, text

from tests.bench.servers import plain
from tests.contract.shop import FRESH, LEASE, Shop, may_rescue, shop_at, somebody_waits, statuses
from tests.polling import eventually
from worker.domain.outcomes import INTERVAL, TEMPLATE_ERROR
from worker.domain.verdicts import Tries
from worker.models import Owner, Status, Sweep
from worker.store import claims, owners, recording, requests, sweep
from worker.store.recording import Ended, Ends

# When a sweep may rescue: it trusts heartbeats only if there were sweeps lately


def stamp(shop: Shop) -> bool:
    return shop.write(sweep.stamp, LEASE, FRESH)


def swept(shop: Shop, seconds_ago: float) -> None:
    """Moves the time of the last sweep to `seconds_ago`."""
    shop.change("UPDATE sweep SET swept_at = stockbell_now(-:ago)", ago=seconds_ago)


def lease_is_over(shop: Shop) -> None:
    shop.change("UPDATE sweep SET rescue_from = stockbell_now(-1)")


def test_the_first_sweep_of_all_waits_one_lease(shop: Shop) -> None:
    assert not stamp(shop)
    assert not stamp(shop)
    lease_is_over(shop)
    assert stamp(shop)


def test_sweeps_that_follow_each_other_rescue(shop: Shop) -> None:
    stamp(shop)
    lease_is_over(shop)
    swept(shop, FRESH - 1)
    assert stamp(shop)
    assert stamp(shop)


def test_after_a_gap_a_sweep_waits_one_lease_since_everybody_looks_dead(shop: Shop) -> None:
    stamp(shop)
    lease_is_over(shop)
    swept(shop, FRESH + 1)
    assert not stamp(shop)
    assert not stamp(shop)  # the stamp after the gap did not end the wait
    lease_is_over(shop)
    assert stamp(shop)


def test_the_wait_lasts_one_lease_from_the_gap(shop: Shop) -> None:
    stamp(shop)
    wait = shop.database.read(lambda c: c.execute(select(Sweep)).one()).rescue_from - shop.now()
    assert timedelta(seconds=LEASE / 2) < wait <= timedelta(seconds=LEASE)


def test_a_clock_that_was_set_back_delays_rescue_by_one_lease_and_no_more(shop: Shop) -> None:
    stamp(shop)
    lease_is_over(shop)
    swept(shop, -3600)
    assert not stamp(shop)
    lease_is_over(shop)
    assert stamp(shop)
    shop.change("UPDATE sweep SET rescue_from = stockbell_now(3600)")
    assert not stamp(shop)
    lease_is_over(shop)
    assert stamp(shop)


def test_nobody_is_rescued_if_the_database_was_away_since_the_stamp(shop: Shop) -> None:
    owner, held = shop.claimed(3)
    stamp(shop)
    lease_is_over(shop)
    assert stamp(shop)
    shop.die(owner)  # as everybody looks when the database is back
    swept(shop, LEASE + 1)
    assert shop.write(sweep.rescue, LEASE, FRESH).back_in_line == 0
    assert not stamp(shop)  # another scheduler's
    assert shop.write(sweep.rescue, LEASE, FRESH).back_in_line == 0
    lease_is_over(shop)
    assert shop.write(sweep.rescue, LEASE, FRESH).back_in_line == len(held)


# rescue: PROCESSING -> RECEIVED or FAILED


def test_what_a_dead_owner_held_is_received_again(shop: Shop) -> None:
    owner, held = shop.claimed(3)
    shop.die(owner)
    assert shop.rescue() == sweep.Rescued(back_in_line=3, failed=[])
    for claim in held:
        row = shop.row(claim.id)
        assert row.status == Status.RECEIVED
        assert (row.owner, row.claimed_at, row.handed_at, row.not_before) == (None, None, None, None)
        assert (row.rescues, row.attempts, row.claim_no) == (1, 0, 1)
        assert row.auto_notified is None
        assert [attempt.event for attempt in shop.attempts(claim.id)] == ["rescued"]
    assert shop.with_work() == {shop.list_id()}


def test_what_a_forgotten_owner_held_is_received_again(shop: Shop) -> None:
    owner, _ = shop.claimed(1)
    shop.change("DELETE FROM owner WHERE id = :id", id=owner)
    assert shop.rescue().back_in_line == 1


def test_what_an_owner_held_who_died_before_the_clock_was_set_back_is_received_again(shop: Shop) -> None:
    owner, _ = shop.claimed(1)
    shop.change("UPDATE owner SET seen_at = stockbell_now(3600) WHERE id = :id", id=owner)
    assert shop.rescue().back_in_line == 1


def test_what_a_living_owner_holds_is_left_alone(shop: Shop) -> None:
    owner, held = shop.claimed(2)
    shop.change("UPDATE owner SET seen_at = stockbell_now(-:ago)", ago=LEASE - 5)
    before = shop.rows()
    assert shop.rescue() == sweep.Rescued(0, [])
    assert shop.rows() == before
    assert {row.owner for row in before} == {owner}
    assert len(held) == 2


def test_a_claim_of_over_15_minutes_is_taken_also_from_the_living(shop: Shop) -> None:
    _, (old, young) = shop.claimed(2)
    shop.change("UPDATE request SET claimed_at = stockbell_now(-901) WHERE id = :id", id=old.id)
    shop.change("UPDATE request SET claimed_at = stockbell_now(-890) WHERE id = :id", id=young.id)
    assert shop.rescue().back_in_line == 1
    assert shop.status(old.id) == Status.RECEIVED
    assert shop.status(young.id) == Status.PROCESSING


@pytest.mark.parametrize("rescues", range(7))
def test_after_five_rescues_it_fails_as_unknown(shop: Shop, rescues: int) -> None:
    owner, (claim,) = shop.claimed(1)
    shop.change("UPDATE request SET rescues = :rescues", rescues=rescues)
    shop.die(owner)
    rescued = shop.rescue()
    row = shop.row(claim.id)
    assert row.rescues == rescues + 1
    assert row.owner is None
    if rescues < 5:
        assert rescued == sweep.Rescued(1, [])
        assert row.status == Status.RECEIVED
    else:
        assert rescued == sweep.Rescued(0, [claim.id])
        assert (row.status, row.auto_notified, row.failure_code) == (Status.FAILED, True, "OUTCOME_UNKNOWN")
        assert row.failure_reason == "its workers died too often"


def test_what_was_handed_over_fails_as_unknown(shop: Shop) -> None:
    owner, (handed, kept) = shop.claimed(2)
    shop.write(claims.hand_over, [handed])
    shop.die(owner)
    assert shop.rescue() == sweep.Rescued(1, [handed.id])
    row = shop.row(handed.id)
    assert (row.status, row.auto_notified, row.failure_code) == (Status.FAILED, True, "OUTCOME_UNKNOWN")
    assert (row.owner, row.handed_at, row.claimed_at) == (None, None, None)
    assert shop.status(kept.id) == Status.RECEIVED


def test_a_rescue_keeps_the_tries_that_were_spent(shop: Shop) -> None:
    owner, (claim,) = shop.claimed(1)
    tries = Tries(attempts=3, unknowns=1, policy_refusals=1)
    shop.write(recording.record, Ends(deferred=[Ended(claim, tries, None, "450 later")]))
    shop.change("UPDATE request SET not_before = NULL")
    shop.claim(owner)
    shop.die(owner)
    shop.rescue()
    (again,) = shop.claim(shop.owner()).claims
    assert again.tries == tries


def test_what_is_not_processing_is_never_rescued(shop: Shop) -> None:
    shop.waiting(4)
    for row, status in zip(shop.rows(), Status, strict=True):
        # The row has no owner and an old claim. Only its status says that nobody holds it.
        words = "UPDATE request SET status = :status, claimed_at = stockbell_now(-9999) WHERE id = :id"
        if status != Status.PROCESSING:
            shop.change(words, status=status.value, id=row.id)
    before = shop.rows()
    assert shop.rescue() == sweep.Rescued(0, [])
    assert shop.rows() == before


def test_a_sweep_moves_a_limited_number_of_rows(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "MOST_ROWS", 3)
    owner, _ = shop.claimed(5)
    shop.die(owner)
    assert [shop.rescue().back_in_line for _ in range(3)] == [3, 2, 0]
    shop.change("UPDATE request SET not_before = stockbell_now(-1)")
    assert [shop.write(sweep.put_in_line) for _ in range(3)] == [3, 2, 0]


def test_the_oldest_is_first_again_after_a_rescue(shop: Shop) -> None:
    waiting = shop.waiting(3)
    dead = shop.owner()
    shop.claim(dead, most=2)
    shop.die(dead)
    shop.rescue()
    assert [claim.id for claim in shop.claim(shop.owner()).claims] == waiting


# put in line: requests whose back-off is over


def test_who_is_due_waits_in_line_again(shop: Shop) -> None:
    due, later, never = shop.waiting(3)
    shop.change("UPDATE request SET not_before = stockbell_now(-1) WHERE id = :id", id=due)
    shop.change("UPDATE request SET not_before = stockbell_now(60) WHERE id = :id", id=later)
    assert shop.write(sweep.put_in_line) == 1
    assert shop.row(due).not_before is None
    assert shop.row(later).not_before is not None
    assert [claim.id for claim in shop.claim(shop.owner()).claims] == [due, never]


# forget: owners that left long ago


def test_owners_long_gone_are_forgotten_unless_they_hold_something(shop: Shop) -> None:
    holder, (claim,) = shop.claimed(1)
    idle, alive = shop.owner(), shop.owner()
    for owner in (holder, idle):
        shop.change("UPDATE owner SET seen_at = stockbell_now(-3601) WHERE id = :id", id=owner)
    assert shop.write(owners.forget, 3600.0) == 1
    assert _owners(shop) == {holder, alive}
    shop.write(recording.record, Ends(released=[claim]))
    assert shop.write(owners.forget, 3600.0) == 1
    assert _owners(shop) == {alive}


def test_two_sweeps_at_once_rescue_each_row_once(shop_url: str) -> None:
    with shop_at(shop_url) as shop:
        owner, held = shop.claimed(40)
        shop.die(owner)

        def rescue(_number: int) -> int:
            with shop_at(shop_url) as scheduler:
                return scheduler.rescue().back_in_line

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(rescue, range(4))) == len(held)
        assert {row.rescues for row in shop.rows()} == {1}
        assert statuses(shop.rows()) == [Status.RECEIVED] * 40
        assert shop.count() == 40


def test_a_slow_sweep_takes_nothing_from_who_claimed_meanwhile(postgres_url: str) -> None:
    with shop_at(postgres_url) as shop, shop_at(postgres_url) as slow, psycopg.connect(plain(postgres_url)) as gate:
        shop.change(GATE)
        shop.change("CREATE TRIGGER gate BEFORE UPDATE ON request FOR EACH ROW EXECUTE FUNCTION gate()")
        dead, _ = shop.claimed(4)
        shop.die(dead)
        gate.execute("SELECT pg_advisory_lock(1)")

        def rescue(c: Connection) -> sweep.Rescued:
            c.execute(text("SET LOCAL application_name = 'slow'"))
            return sweep.rescue(c, LEASE, FRESH)

        shop.write(may_rescue)
        with ThreadPoolExecutor(1) as pool:
            rescuing = pool.submit(slow.write, rescue)
            eventually(lambda: somebody_waits(shop), until="the slow one has locked its first row")
            assert shop.rescue().back_in_line == 3
            owner = shop.owner()
            assert len(shop.claim(owner).claims) == 3
            gate.execute("SELECT pg_advisory_unlock(1)")
            assert rescuing.result().back_in_line == 1
        assert sorted(row.owner == owner for row in shop.rows()) == [False, True, True, True]


GATE = """CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF current_setting('application_name') = 'slow' THEN
        PERFORM pg_advisory_xact_lock(1);
    END IF;
    RETURN NEW; END $$"""


def test_a_deleted_request_is_not_rescued(shop: Shop) -> None:
    owner, (claim,) = shop.claimed(1)
    assert shop.write(requests.remove, claim.id)
    shop.die(owner)
    assert shop.rescue() == sweep.Rescued(0, [])


def _owners(shop: Shop) -> set[UUID]:
    return {row.id for row in shop.database.read(lambda c: c.execute(select(Owner)).all())}


@pytest.mark.parametrize("code", [TEMPLATE_ERROR, INTERVAL])
def test_what_is_in_line_again_tells_no_code_of_what_held_it(shop: Shop, code: str) -> None:
    request, refused = shop.waiting(2)
    held = (
        "UPDATE request SET not_before = stockbell_now(-1), failure_code = :code, failure_reason = :why WHERE id = :id"
    )
    shop.change(held, code=code, why="no such name", id=request)
    shop.change(held, code=None, why="450 later", id=refused)
    assert shop.write(sweep.put_in_line) == 2
    assert (shop.row(request).failure_code, shop.row(request).failure_reason) == (None, None)
    assert shop.row(refused).failure_reason == "450 later"
