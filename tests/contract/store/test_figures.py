"""What `status` counts as due is what can be claimed. On SQLite and PostgreSQL."""

from tests.contract.shop import CUP, MUG, Shop, ref
from worker.store import admin, breaker, claims, figures, pauses

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
