"""How it goes, at a glance, from the rows and the tally. On SQLite and PostgreSQL."""

from datetime import timedelta

import pytest

from tests.contract.shop import LEASE, Shop
from worker.domain.policies import Policies
from worker.services.charts import read_charts
from worker.services.overview import Overview, Rates, Watcher, overview_of
from worker.services.status import Queues


def look(shop: Shop, watcher: Watcher | None = None, *, told: bool = False) -> Overview:
    return overview_of(shop.database.read((watcher or Watcher(LEASE, told=told)).look), Queues())


def count(shop: Shop, n: int, minutes_ago: int = 0, kind: str = "told") -> None:
    """Adds to the tally. A row that is there gets `n` instead."""
    minute = shop.now().replace(second=0, microsecond=0) - timedelta(minutes=minutes_ago)
    shop.change(
        """INSERT INTO tally (minute, kind, n) SELECT minute, kind, n
        FROM ROWS(minute timestamptz, kind text, n int) WHERE true
        ON CONFLICT (minute, kind) DO UPDATE SET n = excluded.n""",
        rows=[{"minute": minute, "kind": kind, "n": n}],
    )


def test_rates_are_those_of_the_last_seconds() -> None:
    rates = Rates()
    assert rates.over(10) is None
    for second in range(100):
        rates.add(1000.0 + second, 50 * second if second < 90 else 50 * 90)
    assert rates.over(10) == pytest.approx(5)
    assert rates.over(60) == pytest.approx(50 * 51 / 60)
    rates.add(1100.0, 0)  # counting began anew
    assert rates.over(10) is None


def test_what_was_told_today_is_brought_up_to_date_without_counting_the_day_again(shop: Shop) -> None:
    watcher = Watcher(LEASE)
    count(shop, 5)
    count(shop, 3, kind="failed:EXPIRED")
    assert look(shop, watcher).seen.told_today == 5
    count(shop, 9)
    assert look(shop, watcher).seen.told_today == 9


def test_the_policies_of_the_shop_are_told(shop: Shop) -> None:
    seen = shop.database.read(Watcher(LEASE).look)
    assert overview_of(seen, Queues()).policy_words == []
    found = overview_of(seen, Queues(), Policies(per_unit=2, settle_seconds=60.0, request_ttl_days=90))
    assert len(found.policy_words) == 3
    assert found.as_json()["policies"] == {
        "minQuantity": 1,
        "perUnit": 2,
        "waveSeconds": 3600.0,
        "settleSeconds": 60.0,
        "assumedQuantity": None,
        "digest": False,
        "contactInterval": None,
        "requestTtlDays": 90,
        "keepToldDays": None,
        "keepFailedDays": None,
    }


def test_a_first_look_takes_the_rate_of_this_minute_and_the_one_before(shop: Shop) -> None:
    assert look(shop).seen.minute_rate == 0
    count(shop, 60_000)
    rate = look(shop).seen.minute_rate
    assert rate is not None
    assert 60_000 / 125 < rate <= 60_000 / 60


def test_the_whole_table_is_counted_for_a_look_by_hand_only(shop: Shop) -> None:
    told = shop.sign_up_many(3)[:2]
    shop.change(
        "UPDATE request SET status = 'NOTIFICATION_SENT' WHERE id IN ROWS(id uuid)", rows=[{"id": id_} for id_ in told]
    )
    assert look(shop).status.requests.by_status["NOTIFICATION_SENT"] == 0
    assert look(shop, told=True).status.requests.by_status["NOTIFICATION_SENT"] == 2
    assert look(shop).waiting == 1


def test_the_sentence_and_the_new_keys_are_beside_the_old_ones(shop: Shop) -> None:
    assert look(shop).sentence.words == "All is well, and nobody has signed up yet."
    shop.waiting(2)
    shop.change("UPDATE sweep SET swept_at = stockbell_now(0)")
    shop.owner()
    found = look(shop)
    assert found.sentence.words == "Mails are being sent: 2 left."
    told = found.as_json()
    assert found.status.as_json().items() <= told.items()
    assert told["sentence"] == {"text": "Mails are being sent: 2 left.", "tone": "info"}
    (mug,) = told["mailing"]
    assert (mug["catalogItemId"], mug["told"], mug["left"], mug["paused"]) == ("mug-1", 0, 2, False)
    assert told["failedLastHour"] == {}
    assert found.seen.backlog[-1][1] == 2


def test_the_charts_have_every_step_and_all_outcomes(shop: Shop) -> None:
    count(shop, 600, 5)
    count(shop, 60, 5, "failed:EXPIRED")
    count(shop, 30, 5, "failed:BOUNCED")
    count(shop, 120, 5, "deferred")
    count(shop, 99, 5, "le:1")  # no outcome of its own
    charts = shop.database.read(read_charts)
    assert (len(charts.hour), len(charts.day)) == (60, 48)
    step = charts.hour[-6]
    assert (step.told, step.failed, step.put_off) == pytest.approx((10, 1.5, 2))
    assert sum(each.told * each.seconds for each in charts.hour) == pytest.approx(600)
    assert sum(each.told * each.seconds for each in charts.day) == pytest.approx(600)
