"""What is being mailed, and how far it has come. On SQLite and PostgreSQL."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from tests.contract.shop import CUP, LEASE, MUG, Shop, ref
from worker.store import admin, pauses, progress
from worker.store.progress import Progress, Settled

PEN = ref("pen-1", colour="Red")


def mailing(shop: Shop, settled: dict[UUID, Settled] | None = None) -> dict[str, Progress]:
    found: Sequence[Progress] = shop.database.read(progress.of_lists, {} if settled is None else settled)
    return {each.catalog_item_id: each for each in found}


def tell_customers(shop: Shop, ids: Sequence[UUID], ago: float) -> None:
    shop.change(
        """UPDATE request SET status = 'NOTIFICATION_SENT', auto_notified = true, notified_date = stockbell_now(:ago)
        WHERE id IN ROWS(id uuid)""",
        ago=-ago,
        rows=[{"id": id_} for id_ in ids],
    )


def test_an_item_is_mailed_from_its_restock_until_nobody_is_left(shop: Shop) -> None:
    customers = shop.waiting(9, MUG)
    shop.sign_up_many(3, CUP)  # sold out
    shop.change("UPDATE waiting_list SET woken_at = stockbell_now(-100) WHERE woken_at IS NOT NULL")
    tell_customers(shop, customers[:1], 150)  # by the restock before
    tell_customers(shop, customers[1:4], 50)
    tell_customers(shop, customers[4:6], 5)
    (mug,) = mailing(shop).values()
    assert (mug.told, mug.due, mug.sending, mug.left, mug.is_paused) == (5, 3, 0, 3, False)
    assert mug.rate == pytest.approx(0.2)
    assert mug.seconds_left == pytest.approx(15)
    shop.claim(shop.owner(), most=2)
    assert (mailing(shop)["mug-1"].due, mailing(shop)["mug-1"].sending) == (1, 2)
    tell_customers(shop, customers, 5)
    assert mailing(shop) == {}


def test_what_was_counted_once_is_not_counted_again(shop: Shop) -> None:
    customers = shop.waiting(6, MUG)
    shop.change("UPDATE waiting_list SET woken_at = stockbell_now(-100)")
    settled: dict[UUID, Settled] = {}
    tell_customers(shop, customers[:2], 50)
    tell_customers(shop, customers[2:3], 5)
    assert mailing(shop, settled)["mug-1"].told == 3
    assert [each.told for each in settled.values()] == [2]
    tell_customers(shop, customers[:1], 500)  # it was counted, and is not looked at any more
    tell_customers(shop, customers[3:4], 1)
    assert mailing(shop, settled)["mug-1"].told == 4
    shop.change("UPDATE waiting_list SET woken_at = stockbell_now(-90)")  # a new restock
    assert mailing(shop, settled)["mug-1"].told == 3
    tell_customers(shop, customers, 1)
    assert mailing(shop, settled) == {}
    assert settled == {}


def test_ordered_ones_and_paused_ones_are_shown_too(shop: Shop) -> None:
    shop.write(admin.report, shop.sign_up_many(2, PEN)[:1])
    shop.waiting(2, MUG)
    shop.write(pauses.pause, MUG)
    found = mailing(shop)
    assert (found["pen-1"].due, dict(found["pen-1"].options), found["pen-1"].is_paused) == (1, {"colour": "Red"}, False)
    assert (found["mug-1"].due, found["mug-1"].is_paused) == (2, True)


def test_ten_are_shown_those_with_the_most_left_in_the_order_of_their_restocks(shop: Shop) -> None:
    for number in range(12):
        shop.waiting(1 + number, ref(f"item-{number}"))
    found = list(mailing(shop).values())
    assert [each.due for each in found] == list(range(3, 13))
    assert [each.since for each in found] == sorted(each.since for each in found)


def test_failures_are_counted_by_code_the_most_first(shop: Shop) -> None:
    ids = shop.sign_up_many(5)
    codes = ("SUPPRESSED", "INVALID_ADDRESS", "INVALID_ADDRESS", "EXPIRED")
    for id_, code, ago in zip(ids, codes, (10, 20, 30, 5000), strict=False):
        shop.change(
            """UPDATE request SET status = 'FAILED', failure_code = :code, failed_at = stockbell_now(:ago)
            WHERE id = :id""",
            id=id_,
            code=code,
            ago=-ago,
        )
    found = shop.database.read(progress.failed_by_code, 3600.0)
    assert list(found.items()) == [("INVALID_ADDRESS", 2), ("SUPPRESSED", 1)]


def test_workers_are_counted_by_machine_and_the_dead_are_not(shop: Shop) -> None:
    alive, dead = shop.owner(), shop.owner()
    shop.die(dead)
    (host,) = shop.database.read(progress.hosts, LEASE)
    assert host.workers == 1
    assert shop.database.read(progress.sweep_seconds) is None
    shop.change("UPDATE sweep SET swept_at = stockbell_now(-30)")
    assert shop.database.read(progress.sweep_seconds) == pytest.approx(30, abs=5)
    assert alive != dead
