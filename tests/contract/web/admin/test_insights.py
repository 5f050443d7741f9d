"""The page "Insights", its CSV files, and the command that shows the same."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from tests.contract.shop import Shop
from tests.contract.store.test_tally import put
from tests.contract.web.site import Site
from worker.domain.admins import Role
from worker.services import insights
from worker.web.admin.insights import PERIODS

NOW: Final = datetime.now(UTC)
HOSTILE: Final = '"><script>alert(1)</script>'


@pytest.fixture
def busy(site: Site) -> Site:
    """A site that has told 95 of 100, an hour ago."""
    counts = {"signup:created": 120, "told": 95, "failed:RECIPIENT_REJECTED": 5, "le:0.5": 90, "le:2.5": 5}
    put(site.shop, NOW - timedelta(hours=1), counts | {"first_le:0.1": 1})
    site.log_in()
    return site


def actions(shop: Shop) -> list[tuple[str, str, object]]:
    return [
        (row.who, row.verb, json.loads(row.about))
        for row in shop.ask("SELECT who, verb, about FROM action ORDER BY id")
    ]


@pytest.mark.parametrize("period", PERIODS)
def test_each_figure_has_a_heading_a_caption_and_its_numbers(busy: Site, period: str) -> None:
    answer = busy.client.get(f"/admin/insights?period={period}")
    assert answer.status_code == 200
    figures = re.findall(r"<figure id=\"([\w-]+)\">(.*?)</figure>", answer.text, re.DOTALL)
    assert tuple(name for name, _ in figures) == ("funnel", "first-latency", "latency", "failures", "signups")
    for name, figure in figures:
        assert f'<h2 id="{name}-title">' in figure
        assert re.search(r"<figcaption>\w", figure)
        assert "<thead>" in figure
        assert f"/admin/insights.csv?period={period}&amp;table={name}" in figure
        if name != "funnel":  # a table with bars, for which no script is needed
            assert f'data-labelledby="{name}-title"></canvas>' in figure
            assert "<details>" in figure
            assert figure.count("<noscript><svg") == 1
            assert " style=" not in figure
    assert "95 of 100 mails left within 500 ms of the restock" not in answer.text  # 94.7 % did
    assert "5.0 % of those whose turn came" in answer.text
    days = PERIODS[period][1].days
    assert f"stockbell insights --days {days}\n" in answer.text


def test_the_caption_says_how_fast_mails_left(busy: Site) -> None:
    text = busy.client.get("/admin/insights").text
    assert re.search(r"95 of 100 mails left within [\d.]+ (ms|s) of the restock, half of them within [\d.]+ ms\.", text)


def test_an_empty_shop_is_told_what_will_appear(site: Site) -> None:
    site.log_in()
    answer = site.client.get("/admin/insights")
    assert answer.status_code == 200
    assert "<canvas" not in answer.text
    for words in ("Nobody signed up and nobody was told", "Nobody failed in this period", "No item came back"):
        assert words in answer.text


@pytest.mark.parametrize("period", ["year", "7", "-1d", HOSTILE, "24h\x00"])
def test_a_period_that_is_none_is_told_and_a_day_is_shown(busy: Site, period: str) -> None:
    answer = busy.client.get("/admin/insights", params={"period": period})
    assert answer.status_code == 400
    assert "There is no such period" in answer.text
    assert "<script>alert" not in answer.text
    assert '<figure id="latency">' in answer.text


def test_codes_that_others_wrote_do_no_harm(site: Site) -> None:
    put(site.shop, NOW, {f"failed:{HOSTILE}": 1, "signup:created": 1})
    site.log_in()
    answer = site.client.get("/admin/insights")
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;" in answer.text


def test_an_export_is_the_table_and_is_recorded(busy: Site) -> None:
    for name in insights.TABLES:
        answer = busy.client.get(f"/admin/insights.csv?period=7d&table={name}")
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert f'filename="insights-{name}-7d-' in answer.headers["Content-Disposition"]
        head, *rows = csv.reader(io.StringIO(answer.text))
        assert len(rows) >= 1
        assert {len(row) for row in rows} == {len(head)}
    about = [{"table": name, "days": 7} for name in insights.TABLES]
    assert actions(busy.shop) == [("ada", "export insights", each) for each in about]


def test_times_in_a_file_are_whole(busy: Site) -> None:
    _, first, *_ = csv.reader(io.StringIO(busy.client.get("/admin/insights.csv?table=failures").text))
    assert datetime.fromisoformat(first[0]) <= datetime.now(UTC) - timedelta(days=1)


@pytest.mark.parametrize("query", ["table=none", "", f"table={HOSTILE}", "table=funnel&period=year"])
def test_a_table_that_is_none_is_not_exported(busy: Site, query: str) -> None:
    answer = busy.client.get(f"/admin/insights.csv?{query}")
    assert answer.status_code == 400
    assert "There is no such" in answer.text
    assert actions(busy.shop) == []


def test_a_viewer_looks_and_exports_nothing(busy: Site) -> None:
    busy.log_in(Role.VIEWER)
    assert "insights.csv" not in busy.client.get("/admin/insights").text
    assert busy.client.get("/admin/insights.csv?table=funnel").status_code == 403
    assert actions(busy.shop) == []
