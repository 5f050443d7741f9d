"""The tally: what was counted is read back, in steps of time."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

import pytest

from tests.contract.shop import Shop
from worker.store import tally
from worker.store.sql import Sql

_PUT: Final = Sql(
    """INSERT INTO tally (minute, owner, kind, n) SELECT minute, owner, kind, n
    FROM ROWS(minute timestamptz, owner uuid, kind text, n bigint)"""
)


def put(shop: Shop, at: datetime, counts: Mapping[str, int], owner: UUID | None = None) -> None:
    """Writes counts of a minute, as of a process of its own."""
    by = owner or uuid4()
    rows = [{"minute": at, "owner": by, "kind": kind, "n": n} for kind, n in counts.items()]
    shop.write(lambda c: _PUT(c, rows=rows))


def now() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


def test_totals_add_up_all_owners_and_minutes(shop: Shop) -> None:
    put(shop, now(), {"told": 3, "failed:RECIPIENT_UNKNOWN": 1})
    put(shop, now(), {"told": 4})
    put(shop, now() - timedelta(minutes=30), {"told": 100})
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
