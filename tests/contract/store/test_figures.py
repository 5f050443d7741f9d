"""What `status` counts as due is what can be claimed. On SQLite and PostgreSQL."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

import pytest

from tests.contract.shop import CUP, MUG, Shop, ref
from worker.domain.outcomes import INTERVAL
from worker.store import admin, breaker, claims, figures, pauses, resting, sweep

JAR, PEN, FREE = ref("jar-1"), ref("pen-1"), ref("free-1")


def due(shop: Shop) -> int:
    return shop.database.read(figures.read, 60.0).due


def claimable(shop: Shop) -> int:
    """Claims all that there is, and counts it."""
    owner, count = shop.owner(), 0
    while with_work := list(shop.with_work()):
        count += len(shop.write(claims.claim, owner, 60.0, with_work, 100, first=False).claims)
    return count


def test_due_is_who_can_be_claimed_whatever_else_waits(shop: Shop) -> None:
    shop.waiting(7, MUG)
    shop.sign_up_many(2, MUG)  # after the event
    shop.waiting(5, CUP)
    shop.tell(CUP, in_stock=False)  # sold out
    shop.waiting(3, JAR)
    shop.write(pauses.pause, JAR)
    ordered = shop.sign_up_many(4, PEN)  # never in stock
    shop.write(admin.report, ordered[:2])
    backing_off, *_ = shop.waiting(3, FREE)
    shop.change("UPDATE request SET not_before = stockbell_now(60) WHERE id = :id", id=backing_off)
    assert due(shop) == 7 + 2 + 2
    shop.write(breaker.trip, "535 wrong password", "configuration")
    assert due(shop) == 7 + 2 + 2
    shop.change("UPDATE relay SET state = 'closed'")
    assert claimable(shop) == 7 + 2 + 2
    assert due(shop) == 0


def _rest(shop: Shop) -> None:
    shop.change(f"UPDATE request SET failure_code = '{INTERVAL}'")


def _end_rest(shop: Shop, _: UUID) -> None:
    _rest(shop)
    shop.write(sweep.put_in_line)


def _switch_rest_off(shop: Shop, _: UUID) -> None:
    _rest(shop)
    shop.write(resting.shorten, None)


def _retry(shop: Shop, request: UUID) -> None:
    shop.change("UPDATE request SET status = 'FAILED', failure_code = 'BOUNCED', not_before = NULL")
    shop.write(admin.retry, [request], ordered=False, force=False)


BACK: Final[dict[str, Callable[[Shop, UUID], object]]] = {
    "a backoff is over": lambda shop, _: shop.write(sweep.put_in_line),
    "a rest is over": _end_rest,
    "the interval is off": _switch_rest_off,
    "a retry": _retry,
}


@pytest.mark.parametrize("back", BACK)
def test_who_comes_in_line_again_is_due_since_then_and_not_since_the_restock(shop: Shop, back: str) -> None:
    (request,) = shop.waiting(1)
    shop.change("UPDATE waiting_list SET woken_at = stockbell_now(-7200), last_in_stock_at = stockbell_now(-7200)")
    shop.change("UPDATE request SET not_before = stockbell_now(-1), created_date = stockbell_now(-9000)")
    BACK[back](shop, request)
    oldest = shop.database.read(figures.read, 60.0).oldest_due_seconds
    assert oldest is not None
    assert oldest < 3600
    shop.change("UPDATE request SET in_line_at = stockbell_now(-1800)")
    oldest = shop.database.read(figures.read, 60.0).oldest_due_seconds
    assert oldest is not None
    assert 1800 <= oldest < 3600, "if nobody tells them then"
