"""The pages Failed and Actions: what is selected there is what is previewed, confirmed, done and undone."""

import asyncio
import re
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from tests.contract.services.test_acting import fail, get, run, state_of
from tests.contract.shop import CUP
from tests.contract.web.site import Site
from tests.polling import eventually
from worker.domain.admins import Role
from worker.models import Action, Status
from worker.services import acting, failing
from worker.services.selection import Selection
from worker.store import actions, failures
from worker.web.acting import Actor

HOSTILE = '550 5.1.1 <script>alert("x")</script> \u202e & <img src=x onerror=y> {{ 7*7 }}'


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs in the background: the test says when."""

    async def nothing(self: Actor) -> float:
        await asyncio.sleep(0.01)
        return 0.01

    monkeypatch.setattr(Actor, "_work", nothing)


def post(site: Site, path: str, **fields: object) -> str:
    """Posts a form that is answered with another page. Returns the page's path."""
    answer = site.client.post(path, data=fields, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


def preview(site: Site, **fields: object) -> str:
    return post(site, "/admin/actions", **{"verb": "retry", "status": "FAILED", **fields})


ODD = [("itme", "mug-1"), ("item", " "), ("code", ""), ("since", ""), ("id", ""), ("ID", "x"), ("Status", "RECEIVED")]


@pytest.mark.parametrize(("name", "text"), ODD)
def test_a_field_that_is_empty_or_misspelled_does_not_select_more(light: Site, name: str, text: str) -> None:
    fail(light.shop, 2)
    light.log_in()
    form = {"verb": "delete", "status": "FAILED", name: text}
    answer = light.client.post("/admin/actions", data=form)
    assert (answer.status_code, light.shop.count(Action)) == (400, 0)
    assert name in answer.text
    files = light.client.post("/admin/actions", data={"verb": "delete", "status": "FAILED"}, files={"item": b"mug-1"})
    assert (files.status_code, light.shop.count(Action)) == (400, 0)


def id_of(path: str) -> UUID:
    return UUID(path.split("/")[3].partition("?")[0])


def test_the_failed_are_grouped_and_a_group_is_what_its_link_selects(site: Site) -> None:
    shop = site.shop
    one, two, three = fail(shop, 3)
    for id_, words in ((one, "550 5.1.1 no user (id 17)"), (two, "550 5.1.1 no user (id 4711)"), (three, HOSTILE)):
        shop.change("UPDATE request SET failure_reason = :reason WHERE id = :id", id=id_, reason=words)
    site.log_in(Role.VIEWER)
    page = site.client.get("/admin/failed").text
    assert "<script>alert" not in page
    assert "<img" not in page
    assert 'no user (id \u2026)</bdi></a></td><td class="n">2</td>' in page
    assert "RETRIES_EXHAUSTED" in page
    assert "<button name" not in page  # a viewer can't do anything
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="(/admin/failed\?words=[^"]*)"', page)]
    found = [set(re.findall(r"/admin/requests/([0-9a-f-]{36})", site.client.get(link).text)) for link in links]
    assert {frozenset(each) for each in found} == {frozenset({str(one), str(two)}), frozenset({str(three)})}


@pytest.mark.parametrize("verb", ["retry", "report", "mark-sent", "delete"])
@pytest.mark.parametrize("about", ["ids", "item"])
def test_a_preview_is_shown_whatever_was_picked(site: Site, verb: str, about: str) -> None:
    [failed] = fail(site.shop)
    waiting = site.shop.sign_up()
    picked = (
        {"id": [str(failed), str(waiting)]}
        if about == "ids"
        else {"status": "FAILED" if verb == "retry" else "RECEIVED", "item": "mug-1"}
    )
    site.log_in()
    answer = site.client.post("/admin/actions", data={"verb": verb, **picked})
    assert answer.status_code == 200
    assert "Nothing has been changed yet." in answer.text


@pytest.mark.parametrize("ordered", [{}, {"ordered": "1"}], ids=["when in stock", "now"])
def test_who_is_sent_again_by_id_waits_for_stock_unless_it_is_said_otherwise(
    site: Site, ordered: dict[str, str]
) -> None:
    [failed] = fail(site.shop)
    site.log_in()
    page = site.client.post("/admin/actions", data={"verb": "retry", "id": str(failed), **ordered}).text
    assert ("Mails are sent even if the item is sold out." in page) == bool(ordered)
    assert ("Mails are sent when the item is in stock." in page) != bool(ordered)
    assert re.search(r'name="ordered" value="1"( checked)?', page)[1] == (" checked" if ordered else None)  # type: ignore[index]


@pytest.mark.parametrize(
    "query",
    [
        "code=NO_LUCK",
        "since=yesterday",
        "until=%00",
        "option=size",
        "item=" + "x" * 99,
        "words=" + "y" * 501,
        "domain=a b",
    ],
)
def test_nonsense_is_shown_back_beside_its_field(site: Site, query: str) -> None:
    fail(site.shop)
    site.log_in()
    answer = site.client.get(f"/admin/failed?{query}")
    assert answer.status_code == 400
    assert f'id="{query.partition("=")[0]}-about" class="error"' in answer.text
    assert 'name="verb"' not in answer.text


def test_hostile_filters_find_nothing_and_break_nothing(site: Site) -> None:
    fail(site.shop)
    site.log_in()
    for query in (
        "words=%25",
        "words=%27+OR+1=1+--",
        "domain=%25",
        "before=x_y",
        "before=2020-01-01T00:00:00_1",
        "x=1",
    ):
        assert site.client.get(f"/admin/failed?{query}").status_code == 200, query


def test_pages_of_failed_ones_follow_each_other(site: Site) -> None:
    failed = fail(site.shop, 53)
    site.log_in(Role.VIEWER)
    page = site.client.get("/admin/failed").text
    link = re.search(r'rel="next" href="([^"]*)"', page)
    assert link
    both = page + site.client.get(link[1].replace("&amp;", "&")).text
    assert set(re.findall(r"/admin/requests/([0-9a-f-]{36})", both)) == set(map(str, failed))


def test_words_are_looked_for_in_the_newest_and_further_back_by_a_link(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MOST_LOOKED_AT", 2)
    old, older, *_ = [fail(site.shop, ago=ago)[0] for ago in (300, 400, 200, 100)]
    for id_ in (old, older):
        site.shop.change("UPDATE request SET failure_reason = 'an old story' WHERE id = :id", id=id_)
    site.log_in()
    page = site.client.get("/admin/failed?words=story").text
    assert "Nothing that failed matches" in page
    link = re.search(r'href="([^"]*)">Look further back', page)
    assert link
    page = site.client.get(link[1].replace("&amp;", "&")).text
    assert set(re.findall(r"/admin/requests/([0-9a-f-]{36})", page)) == {str(old), str(older)}
    assert "Retry all 2 that match" in page
    assert "Look further back" not in page
    assert "Look further back" not in site.client.get("/admin/failed?code=RETRIES_EXHAUSTED").text


@pytest.mark.parametrize(
    ("query", "many"), [("", "5"), ("code=RETRIES_EXHAUSTED", "4"), ("since=2020-01-01", "3+"), ("words=zzz", "")]
)
def test_so_many_match_as_the_index_says_or_else_at_least_as_are_grouped(
    site: Site, monkeypatch: pytest.MonkeyPatch, query: str, many: str
) -> None:
    monkeypatch.setattr(failures, "MOST_GROUPED", 3)
    monkeypatch.setattr(failing, "PAGE", 2)
    fail(site.shop, 4)
    fail(site.shop, code="OUTCOME_UNKNOWN")
    site.log_in()
    assert re.findall(r"Retry all (\S+?)(?: that match)?…", site.client.get(f"/admin/failed?{query}").text) == (
        [many] if many else []
    )


@pytest.mark.parametrize("page", [1, 50])
def test_groups_are_the_same_whether_all_are_shown_or_not(
    site: Site, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(failing, "PAGE", page)
    for ago in (50, 7200, 200_000):
        fail(site.shop, ago=ago)
    found = site.shop.database.read(failing.look, Selection())
    [words], [domain] = found.words, found.domains
    assert (words.n, domain.n, found.matching, found.is_exact) == (3, 3, 3, True)
    for group in (words, domain):
        assert group.first
        assert group.last
        assert round((group.last - group.first).total_seconds(), -2) == 200_000 - 100
    [code] = found.codes
    assert (code.hour, code.day, code.week, code.total) == (1, 2, 3, 3)


def test_failures_that_an_older_program_did_not_date_are_shown_by_their_sign_up(site: Site) -> None:
    old, new = fail(site.shop, 2)
    site.shop.change("UPDATE request SET failed_at = NULL")
    site.shop.change("UPDATE request SET created_date = stockbell_now(-864000) WHERE id = :id", id=old)
    site.log_in()
    since = (site.shop.now() - timedelta(days=1)).strftime("%Y-%m-%d")
    page = site.client.get(f"/admin/failed?since={since}").text
    assert set(re.findall(r"/admin/requests/([0-9a-f-]{36})", page)) == {str(new)}


def test_a_group_is_previewed_confirmed_and_done(site: Site) -> None:
    fail(site.shop, 3)
    fail(site.shop, code="OUTCOME_UNKNOWN")
    site.log_in()
    path = preview(site)
    page = site.client.get(path).text
    assert "Retry 3</button>" in page
    assert "OUTCOME_UNKNOWN needs --force" in page
    assert "stockbell retry --all --dry-run" in page
    assert post(site, f"{path}/confirm") == path
    eventually(lambda: get(site.shop, id_of(path)).state == "done")
    page = site.client.get(path).text
    assert "Done: <strong>3</strong> retried, 1 refused" in page
    assert "Undo (" in page
    forced = site.client.get(preview(site, force="1")).text
    assert "Retry 1</button>" in forced


def test_ticked_ones_are_what_is_done_and_none_ticked_is_nothing(site: Site, still: None) -> None:
    one, two, three = fail(site.shop, 3)
    site.log_in()
    path = post(site, "/admin/actions", verb="mark-sent", id=[str(one), str(two)])
    post(site, f"{path}/confirm")
    run(site.shop)
    assert [site.shop.status(id_) for id_ in (one, two, three)] == [
        Status.NOTIFICATION_SENT,
        Status.NOTIFICATION_SENT,
        Status.FAILED,
    ]
    answer = site.client.post("/admin/actions", data={"verb": "retry"})
    assert (answer.status_code, "Nothing is picked" in answer.text) == (400, True)
    assert site.shop.count(Action) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"verb": "explode", "status": "FAILED"}, "no such verb"),
        ({"verb": "retry", "status": "RECEIVED"}, "can&#39;t be changed like this"),
        ({"verb": "retry", "since": "yesterday"}, "2026-11-23"),
        ({"verb": "delete", "item": "mug-1"}, "Choose a status"),
        ({"verb": "retry", "id": "1"}, "no id"),
        ({}, "no such verb"),
    ],
)
def test_a_form_with_nonsense_changes_nothing_and_says_why(site: Site, fields: dict[str, str], words: str) -> None:
    fail(site.shop)
    site.log_in()
    answer = site.client.post("/admin/actions", data=fields)
    assert answer.status_code == 400
    assert words in answer.text
    assert site.shop.count(Action) == 0


def test_a_viewer_can_look_and_do_nothing(site: Site, still: None) -> None:
    fail(site.shop, 2)
    site.log_in()
    path = preview(site)
    site.log_in(Role.VIEWER)
    page = site.client.get(path).text
    assert "would retry" in page
    assert "/confirm" not in page
    before = state_of(site.shop)
    for verb in ("/admin/actions", f"{path}/confirm", f"{path}/stop", f"{path}/undo"):
        assert site.client.post(verb, data={"verb": "retry", "status": "FAILED"}).status_code == 403
    assert (get(site.shop, id_of(path)).state, state_of(site.shop)) == ("preview", before)


def test_two_who_confirm_get_the_same_page_with_words(site: Site, still: None) -> None:
    fail(site.shop, 2)
    site.log_in()
    path = preview(site)
    assert post(site, f"{path}/confirm") == path
    site.log_in(name="bob")
    second = post(site, f"{path}/confirm")
    assert second.startswith(path)
    assert "confirmed before" in site.client.get(second).text
    run(site.shop)
    assert get(site.shop, id_of(path)).changed == 2


def test_a_large_number_has_to_be_typed(site: Site, still: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "TYPED_FROM", 1)
    fail(site.shop, 2)
    site.log_in()
    path = preview(site)
    assert 'name="number"' in site.client.get(path).text
    wrong = post(site, f"{path}/confirm", number="20")
    assert "the number is not the one above" in site.client.get(wrong).text
    assert get(site.shop, id_of(path)).state == "preview"
    assert post(site, f"{path}/confirm", number="2") == path


def test_it_is_stopped_undone_and_told_in_words(site: Site, still: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "CHUNK", 1)
    fail(site.shop, 3)
    before = state_of(site.shop)
    site.log_in()
    path = preview(site)
    post(site, f"{path}/confirm")
    answer = site.client.get(path)
    assert "It is about to run" in answer.text
    assert answer.headers["Refresh"].startswith("2;")
    runner = run(site.shop, steps=1)
    assert "1 of 3 done" in site.client.get(path).text
    assert "Stopped." in site.client.get(post(site, f"{path}/stop")).text
    assert "Stopped after <strong>1</strong> retried" in site.client.get(path).text
    assert "had ended" in site.client.get(post(site, f"{path}/stop")).text
    assert "being undone" in site.client.get(post(site, f"{path}/undo")).text
    run(site.shop, runner)
    assert "Undone: <strong>1</strong> is as it was" in site.client.get(path).text
    assert state_of(site.shop) == before
    assert "undone before" in site.client.get(post(site, f"{path}/undo")).text
    assert "Refresh" not in site.client.get(path).headers


def test_an_old_preview_says_so(site: Site, still: None) -> None:
    fail(site.shop)
    site.log_in()
    path = preview(site)
    site.shop.change("UPDATE action SET at = stockbell_now(-4000)")
    page = site.client.get(path).text
    assert "more than an hour old" in page
    assert "/confirm" not in page
    assert "nothing was done" in site.client.get(post(site, f"{path}/confirm")).text


def test_a_request_that_was_deleted_meanwhile_is_shown_as_such(site: Site, still: None) -> None:
    fail(site.shop)
    site.log_in()
    path = preview(site)
    site.shop.change("DELETE FROM request")
    assert "deleted since" in site.client.get(path).text
    post(site, f"{path}/confirm")
    run(site.shop)
    assert "1 that the preview had was not there any more" in site.client.get(path).text


def test_an_action_that_is_not_there_is_a_page_that_says_so(site: Site) -> None:
    site.log_in()
    assert site.client.get(f"/admin/actions/{uuid4()}").status_code == 404
    assert site.client.get("/admin/actions/1").status_code == 400
    assert site.client.post(f"/admin/actions/{uuid4()}/confirm").status_code == 404


def test_the_audit_log_is_filtered_and_paged(site: Site) -> None:
    shop = site.shop
    for number in range(60):
        shop.write(actions.note, "ada" if number % 2 else "<b>bob</b>", "pause", {"item": f"mug-{number}"}, changed=1)
    site.log_in(Role.VIEWER)
    page = site.client.get("/admin/actions").text
    assert "mug-59" in page
    assert "mug-5<" not in page
    assert "<b>bob" not in page
    link = re.search(r'rel="next" href="([^"]*)"', page)
    assert link
    assert "mug-5<" in site.client.get(link[1].replace("&amp;", "&")).text
    assert "mug-58" not in site.client.get("/admin/actions?who=ada").text
    assert "No action matches" in site.client.get("/admin/actions?verb=retry").text
    for query in ("state=bored", "since=yesterday", "who=%00", "before=1"):
        assert site.client.get(f"/admin/actions?{query}").status_code == 400
    row = shop.ask("SELECT id FROM action ORDER BY id LIMIT 1", id="uuid")[0]
    assert "mug-0" in site.client.get(f"/admin/actions/{row.id}").text


def test_what_waits_is_ordered_by_its_item(site: Site, still: None) -> None:
    one = site.shop.sign_up(CUP)
    site.log_in()
    path = post(site, "/admin/actions", verb="report", item="cup-1")
    assert "Send now 1</button>" in site.client.get(path).text
    post(site, f"{path}/confirm")
    run(site.shop)
    assert site.shop.row(one).ordered_at is not None
