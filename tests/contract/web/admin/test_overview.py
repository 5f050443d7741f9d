"""The page "Overview". On PostgreSQL."""

import json
import re
from datetime import timedelta

import pytest

from tests.contract.shop import MUG, Shop, ref
from tests.contract.web.site import Site, pages_over
from worker.domain.admins import Role
from worker.domain.errors import DatabaseAway
from worker.models import Action, Pause

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def page(site: Site) -> str:
    answer = site.client.get("/admin/")
    assert answer.status_code == 200, answer.text
    return answer.text


def test_an_empty_database_is_told_how_to_begin(site: Site) -> None:
    site.log_in(Role.VIEWER)
    text = page(site)
    assert "All is well, and nobody has signed up yet." in text
    assert "stockbell requests create you@shop.example mug-1" in text
    assert "stockbell publish mug-1 --quantity 5" in text


def test_it_says_how_it_goes_and_what_is_being_mailed(site: Site) -> None:
    site.shop.sign_up_many(3, ref("cup-1"))
    site.shop.waiting(1204, MUG)
    site.shop.tell(MUG, name=HOSTILE)
    site.shop.owner()
    site.shop.change("UPDATE sweep SET swept_at = stockbell_now(0)")
    site.log_in()
    text = page(site)
    assert "Mails are being sent: 1,204 left." in text
    assert re.search(r"Waiting</a></dt>\s*<dd>1,207", text)
    assert '<progress max="1204" value="0"' in text
    assert HOSTILE not in text
    assert "<script>alert" not in text
    assert "onerror=alert(2)&gt;" in text


def test_each_chart_has_its_numbers_in_a_table_of_the_same_figure(site: Site) -> None:
    site.shop.sign_up()
    site.log_in()
    figures = re.findall(r"<figure.*?</figure>", page(site), re.DOTALL)
    assert len(figures) == 3
    for figure in figures:
        (kind, label) = re.findall(r'<canvas data-chart="(\w+)" data-labelledby="([\w-]+)">', figure)[0]
        assert kind in {"line", "bar", "stacked"}
        assert f'<h2 id="{label}">' in figure
        assert "<figcaption>" in figure
        heads = re.findall(r'<th scope="col"[^>]*>', figure)
        assert all("data-tone=" in head for head in heads[1:])
        rows = re.findall(r"<tr>(.*?)</tr>", figure.split("<tbody>")[1], re.DOTALL)
        assert rows
        assert all(row.count('<th scope="row"') == 1 and row.count("<td") == len(heads) - 1 for row in rows)


def test_sending_is_paused_and_goes_on_and_the_trail_says_who_did_it(site: Site) -> None:
    site.shop.waiting(2)
    site.log_in(Role.ADMIN, "ada")
    assert "Pause all sending" in page(site)
    for verb, again, said in (
        ("pause", "was-paused", "Nothing is sent: everything is paused. 2 are due."),
        ("resume", "was-not-paused", "no worker runs"),
    ):
        first = site.client.post(f"/admin/{verb}", follow_redirects=False)
        assert first.status_code == 303
        assert said in site.client.get(first.headers["Location"]).text
        assert site.client.post(f"/admin/{verb}", follow_redirects=False).headers["Location"].endswith(again)
    rows = [site.shop.read_one(Action, row.id) for row in site.shop.ask("SELECT id FROM action ORDER BY id", id="uuid")]
    assert [(row.who, row.verb, row.changed, row.command) for row in rows] == [
        ("ada", "pause", 1, "stockbell pause"),
        ("ada", "resume", 1, "stockbell resume"),
    ]
    assert json.loads(rows[0].about) == {}


def test_a_viewer_changes_nothing_and_sees_no_button_for_it(site: Site) -> None:
    site.shop.sign_up()
    site.log_in(Role.VIEWER)
    assert "Pause all sending" not in page(site)
    assert site.client.post("/admin/pause").status_code == 403
    assert site.shop.count(Pause) == 0


def test_what_comes_from_redis_is_not_known_while_it_is_away_and_the_rest_is(shop: Shop) -> None:
    with pages_over(shop) as site:
        shop.sign_up_many(7)
        site.log_in()
        text = page(site)
    assert "Redis is away" in text
    assert re.search(r"Waiting</a></dt>\s*<dd>7", text)
    assert re.search(r"<dt>Bells queued</dt><dd>–", text)


def test_a_database_that_is_away_is_said_on_a_page_that_tries_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.log_in()

    def away(*_: object) -> None:
        raise DatabaseAway("127.0.0.1:5432: connection refused")

    monkeypatch.setattr("worker.services.overview.Watcher.look", away)
    answer = site.client.get("/admin/")
    assert (answer.status_code, answer.headers["Refresh"]) == (503, "5")
    assert "The database is away" in answer.text


def test_a_stream_without_a_session_ends_at_once_and_says_so(site: Site) -> None:
    answer = site.client.get("/admin/live")
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.text == "event: ended\ndata: \n\n"


def test_quiet_hours_are_shown_there_and_on_the_page_of_who_waits_for_their_end(shop: Shop) -> None:
    opening = shop.now() + timedelta(days=3)
    window = f"{opening:%a}".lower() + " 12:00-12:01 UTC"
    with pages_over(shop, send_window=window) as site:
        (due,) = site.shop.waiting(1)
        site.log_in(Role.VIEWER)
        text = page(site)
        assert re.search(
            rf"<dt>Send window</dt><dd><span[^>]*>closed</span> until .*{opening:%Y-%m-%d}.*{window}", text
        )
        request = site.client.get(f"/admin/requests/{due}").text
        assert re.search(rf"quietHours until .*{opening:%Y-%m-%d}", request)
        listed = site.client.get("/admin/requests?waiting=quietHours").text
        assert str(due) in listed
        settings = site.client.get("/admin/system").text
        assert window in settings
