"""The tally: what was counted is read back, in steps of time, and added up when it is old."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from tests.contract.shop import Shop
from worker.store import tally, tally_merge
from worker.store.sql import Sql

_PUT: Final = {
    table: Sql(
        f"INSERT INTO {table} (minute, kind, n) SELECT at, kind, n FROM ROWS(at timestamptz, kind text, n bigint)"
    )
    for table in ("tally", "tally_entry")
}


def put(shop: Shop, at: datetime, counts: Mapping[str, int], table: str = "tally_entry") -> None:
    """Writes counts of a minute."""
    rows = [{"at": at, "kind": kind, "n": n} for kind, n in counts.items()]
    shop.write(lambda c: _PUT[table](c, rows=rows))


def now() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


def test_totals_add_up_all_minutes_and_entries(shop: Shop) -> None:
    put(shop, now(), {"told": 3, "failed:RECIPIENT_UNKNOWN": 1})
    put(shop, now(), {"told": 4})
    put(shop, now() - timedelta(minutes=30), {"told": 100}, "tally")
    assert shop.database.read(tally.totals) == {"told": 107, "failed:RECIPIENT_UNKNOWN": 1}
    since = now() - timedelta(minutes=29)
    assert shop.database.read(tally.totals, since) == {"told": 7, "failed:RECIPIENT_UNKNOWN": 1}
    assert shop.database.read(tally.totals, since - timedelta(minutes=1) + timedelta(seconds=59))["told"] == 107


def test_since_an_older_time_means_its_hour_and_then_its_day(shop: Shop) -> None:
    hour = (now() - timedelta(days=2)).replace(minute=0)
    day = (now() - timedelta(days=40)).replace(hour=0, minute=0)
    put(shop, hour, {"told": 1})
    put(shop, day, {"told": 10})
    assert shop.database.read(tally.totals, hour + timedelta(minutes=59)) == {"told": 1}
    assert shop.database.read(tally.totals, hour + timedelta(minutes=60)) == {}
    assert shop.database.read(tally.totals, day + timedelta(hours=23, minutes=59)) == {"told": 11}
    assert shop.database.read(tally.totals, day + timedelta(hours=24)) == {"told": 1}


def test_steps_begin_at_multiples_of_their_length(shop: Shop) -> None:
    start = (now() - timedelta(hours=3)).replace(minute=0)
    for minutes in (0, 4, 5, 61):
        put(shop, start + timedelta(minutes=minutes), {"told": 1, "released": 2})
    found = shop.database.read(tally.by_minute, start, 5)
    assert [(row.at - start, row.n) for row in found if row.kind == "told"] == [
        (timedelta(minutes=0), 2),
        (timedelta(minutes=5), 1),
        (timedelta(minutes=60), 1),
    ]
    assert sum(row.n for row in found if row.kind == "released") == 8
    hours = shop.database.read(tally.by_minute, start, 60)
    assert [(row.at, row.n) for row in hours if row.kind == "told"] == [(start, 3), (start + timedelta(hours=1), 1)]


@pytest.mark.parametrize(
    ("counts", "quantile", "seconds"),
    [
        ({}, 0.5, None),
        ({"le:1": 10}, 0.5, 0.75),  # half way from 0.5 s to 1 s
        ({"le:1": 10}, 1.0, 1.0),
        ({"le:0.025": 50, "le:10": 50}, 0.5, 0.025),
        ({"le:0.025": 50, "le:10": 50}, 0.75, 7.5),
        ({"le:+Inf": 1}, 0.5, 21600),
        ({"first_le:1": 10}, 0.5, None),
    ],
)
def test_a_latency_is_interpolated_within_its_bucket(
    counts: dict[str, int], quantile: float, seconds: float | None
) -> None:
    assert tally.latency(counts, quantile) == (None if seconds is None else pytest.approx(seconds))


def test_latencies_of_first_mails_are_apart(shop: Shop) -> None:
    counts = {"le:1": 3, "seconds": 2400, "first_le:0.5": 1, "first_seconds": 400}
    assert tally.mean(counts) == pytest.approx(0.8)
    assert tally.mean(counts, first=True) == pytest.approx(0.4)
    assert tally.latency(counts, 1.0, first=True) == pytest.approx(0.5)
    assert tally.mean({"told": 3}) is None


# What is old is added up


def test_entries_become_one_row_for_each_minute_and_kind(shop: Shop) -> None:
    minute = now() - timedelta(minutes=20)
    put(shop, minute, {"told": 1, "released": 5})
    put(shop, minute, {"told": 2})
    put(shop, minute + timedelta(minutes=1), {"told": 4})
    before = shop.database.read(tally.totals)
    assert shop.write(tally_merge.merge) == 4
    assert shop.write(tally_merge.merge) == 0
    assert _rows(shop) == [(minute, "released", 5), (minute, "told", 3), (minute + timedelta(minutes=1), "told", 4)]
    assert shop.database.read(tally.totals) == before


def test_what_comes_late_is_added_to_what_was_added_up(shop: Shop) -> None:
    minute = now() - timedelta(minutes=20)
    put(shop, minute, {"told": 1}, "tally")
    put(shop, minute, {"told": 2})
    shop.write(tally_merge.merge)
    assert _rows(shop) == [(minute, "told", 3)]


def test_after_a_day_there_are_hours_and_after_a_month_days(shop: Shop) -> None:
    ages = [timedelta(days=1, hours=2), timedelta(days=1, hours=2, minutes=1), timedelta(days=29)]
    old = [timedelta(days=31), timedelta(days=400), timedelta(days=400, minutes=1)]
    for age in (timedelta(hours=1), *ages, *old):
        put(shop, now() - age, {"told": 1}, "tally")
    before = shop.database.read(tally.totals)
    while shop.write(tally_merge.merge_old):
        pass
    assert shop.database.read(tally.totals) == before
    minutes = [row.minute for row in shop.ask("SELECT minute FROM tally ORDER BY minute", minute="time")]
    assert all(minute.hour == minute.minute == 0 for minute in minutes if minute < now() - timedelta(days=30))
    assert all(minute.minute == 0 for minute in minutes if minute < now() - timedelta(days=1))
    assert minutes[-1] == now() - timedelta(hours=1)


def test_old_entries_go_at_once_to_where_they_belong(shop: Shop) -> None:
    put(shop, now() - timedelta(days=40, minutes=7), {"told": 1})
    shop.write(tally_merge.merge)
    assert shop.write(tally_merge.merge_old) == 0


def test_an_adding_up_is_bounded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally_merge, "MOST_ROWS", 2)
    for minutes in (20, 21, 22):
        put(shop, now() - timedelta(minutes=minutes), {"told": 1})
    assert [shop.write(tally_merge.merge) for _ in range(3)] == [2, 1, 0]


@pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)  # SQLite has one writer at a time
def test_totals_never_go_down_while_two_add_up_and_others_write(shop: Shop) -> None:
    """Some write into minutes and hours that are being added up, as transactions do that began long ago."""
    minutes = [now() - timedelta(days=number % 2, minutes=number % 3) for number in range(60)]
    stop = threading.Event()
    seen: list[int] = []

    def write() -> None:
        for minute in minutes:
            put(shop, minute, {"told": 1, "seconds": 3})

    def add_up() -> None:
        while not stop.is_set():
            shop.write(tally_merge.merge)
            shop.write(tally_merge.merge_old)

    def look() -> None:
        while not stop.is_set():
            seen.append(shop.database.read(tally.totals).get("told", 0))

    with ThreadPoolExecutor(6) as pool:
        others = [pool.submit(work) for work in (add_up, add_up, look)]
        for writing in [pool.submit(write) for _ in range(3)]:
            writing.result()
        stop.set()
        for other in others:
            other.result()
    while shop.write(tally_merge.merge) + shop.write(tally_merge.merge_old):
        pass
    assert seen == sorted(seen)
    assert shop.database.read(tally.totals) == {"told": 180, "seconds": 540}
    assert len({minute for minute, _, _ in _rows(shop)}) <= 5  # three minutes of today, and one or two hours


def test_nothing_is_counted_of_what_did_not_happen(shop: Shop) -> None:
    shop.write(tally.add, {"retried": 2, "rescued": 0})
    assert shop.database.read(tally.totals) == {"retried": 2}


def _rows(shop: Shop) -> list[tuple[datetime, str, int]]:
    rows = shop.ask("SELECT minute, kind, n FROM tally ORDER BY minute, kind", minute="time")
    return [(row.minute, row.kind, row.n) for row in rows]
