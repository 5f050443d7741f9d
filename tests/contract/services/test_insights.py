"""Insights: what is read from the tally, and what it says in words."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from tests.contract.shop import Shop
from tests.contract.store.test_tally import put
from worker.services import insights
from worker.services.insights import Insights, Period, lasting
from worker.store import confirmations, tally
from worker.store.books import books

NOW: Final = datetime.now(UTC)


def read(shop: Shop, days: int = 1) -> Insights:
    return shop.database.read(insights.read, Period(days), NOW)


def test_the_funnel_counts_who_came_how_far(shop: Shop) -> None:
    codes = {"failed:RECIPIENT_REJECTED": 6, "failed:SUPPRESSED": 50, "failed:EXPIRED": 7, "bounced": 3}
    left = {"unsubscribed:unsubscribed": 2, "unsubscribed:item": 1, "unsubscribed:bounced": 9, "unsubscribed:manual": 9}
    put(shop, NOW, {"signup:created": 200, "signup:duplicate": 20, "told": 94, **codes, **left})
    found = read(shop)
    # Who was suppressed or too late was never tried; whose mail came back was told.
    assert found.funnel == {"signedUp": 200, "woken": 100, "told": 94, "unsubscribed": 3}
    assert found.failed == 6
    assert found.failed_share == 0.06
    assert list(found.failures) == ["SUPPRESSED", "EXPIRED", "RECIPIENT_REJECTED", "BOUNCED"]
    put(shop, NOW, {"confirmed": 150})
    assert list(read(shop).funnel) == ["signedUp", "confirmed", "woken", "told", "unsubscribed"]


def test_who_confirms_is_counted_once(shop: Shop) -> None:
    request = shop.sign_up()
    shop.write(confirmations.hold, request, None, is_new=True, always=True)
    contact = shop.row(request).contact_id
    for _ in range(2):
        shop.write(confirmations.confirm, contact, None)
    assert shop.database.read(tally.totals)["confirmed"] == 1
    other = shop.sign_up()
    shop.write(confirmations.hold, other, None, is_new=True, always=True)
    shop.write(confirmations.vouch, other)
    assert shop.database.read(tally.totals)["confirmed"] == 2
    assert shop.database.read(books).is_balanced


def test_each_step_has_a_row_and_what_was_before_is_left_out(shop: Shop) -> None:
    start = Period(7).steps(NOW)[0]
    put(shop, start - timedelta(hours=1), {"failed:EXPIRED": 1000})
    put(shop, start, {"failed:EXPIRED": 1})
    put(shop, start + timedelta(hours=12), {"failed:EXPIRED": 2, "failed:MESSAGE_REJECTED": 5})
    rows = read(shop, 7).tables["failures"].rows
    assert len(rows) == 29
    assert rows[0] == (start, 0, 1)
    assert rows[2] == (start + timedelta(hours=12), 5, 2)
    assert sum(sum(row[1:]) for row in rows) == 8


def test_many_codes_become_a_few_columns_and_the_rest(shop: Shop) -> None:
    put(shop, NOW, {f"failed:CODE_{number}": 10 - number for number in range(8)})
    table = read(shop).tables["failures"]
    assert table.columns == ("Time", "CODE_0", "CODE_1", "CODE_2", "CODE_3", "CODE_4", "others")
    assert table.rows[-1][1:] == (10, 9, 8, 7, 6, 5 + 4 + 3)
    assert len(table.tones) == 6


@pytest.mark.parametrize(
    ("days", "number", "length"), [(1, 25, 60), (2, 9, 360), (7, 29, 360), (8, 9, 1440), (30, 31, 1440)]
)
def test_a_period_has_whole_steps_and_the_one_that_goes_on(days: int, number: int, length: int) -> None:
    now = datetime(2026, 11, 29, 10, 30, tzinfo=UTC)
    steps = Period(days).steps(now)
    assert len(steps) == number
    assert steps[-1] <= now < steps[-1] + timedelta(minutes=length)
    assert now - steps[0] >= timedelta(days=days)
    assert (steps[0] - steps[0].replace(hour=0)) % timedelta(minutes=length) == timedelta(0)


def buckets(prefix: str, amounts: Mapping[float | str, int]) -> dict[str, int]:
    return {f"{prefix}{bound}": n for bound, n in amounts.items()}


def test_latencies_are_told_in_words_and_by_bucket(shop: Shop) -> None:
    put(shop, NOW, buckets("le:", {0.5: 50, 1: 0, 2.5: 50}) | {"seconds": 125_000})
    put(shop, NOW, buckets("first_le:", {"+Inf": 1}) | {"first_seconds": 30_000_000, "first": 1})
    found = read(shop)
    mails, first = found.latency(), found.latency(first=True)
    assert mails.words("mails") == "95 of 100 mails left within 2.4 s of the restock, half of them within 500 ms."
    assert mails.mean == 1.25
    assert (mails.mails, first.mails) == (100, 1)
    assert found.tables["latency"].rows == [("500 ms", 50), ("1 s", 0), ("2.5 s", 50)]
    assert first.words("first mails") == "Half of the first mails left over 6 h after the restock."
    put(shop, NOW, buckets("first_le:", {1: 2}))
    words = read(shop).latency(first=True).words("first mails")
    assert words == "Fewer than 95 of 100 first mails left within 6 h of the restock, half of them within 875 ms."


def test_an_empty_shop_has_nothing_to_say_and_no_fault(shop: Shop) -> None:
    found = read(shop)
    assert not any(found.tables.values())
    assert found.latency().words("mails") == ""
    assert found.failed_share is None
    assert found.as_json()["latency"]["p95"] is None
    assert tuple(found.tables) == insights.TABLES


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0004, "0.4 ms"),
        (0.025, "25 ms"),
        (0.34, "340 ms"),
        (0.9996, "1 s"),
        (2.5, "2.5 s"),
        (59.99, "1 min"),
        (90, "1.5 min"),
        (7200, "2 h"),
        (21_599, "6 h"),
        (21_600, "over 6 h"),
    ],
)
def test_a_latency_is_told_in_the_unit_that_suits(seconds: float, words: str) -> None:
    assert lasting(seconds) == words
