"""The page "Why?", and the page of one request. On PostgreSQL."""

import pytest

from tests.contract.reporting import told_together
from tests.contract.shop import CUP, MUG, Shop, ref
from tests.contract.web.site import Site
from worker.domain.admins import Role
from worker.store import admin

LARGE = ref("mug-1", Size="L")
JANE = "jane@example.com"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


@pytest.fixture
def viewer(site: Site) -> Site:
    site.log_in(Role.VIEWER)
    return site


def ask(site: Site, **fields: str) -> tuple[int, str]:
    answer = site.client.post("/admin/why", data=fields, follow_redirects=False)
    return answer.status_code, answer.headers.get("location") or answer.text


def test_an_address_and_an_item_lead_to_the_request_and_not_into_a_url(viewer: Site) -> None:
    request_id = viewer.shop.sign_up(LARGE, JANE)
    viewer.shop.sign_up(CUP, JANE)
    assert ask(viewer, q=f" Jane <{JANE}> ", item="mug-1") == (303, f"/admin/requests/{request_id}")
    assert ask(viewer, q=str(request_id)) == (303, f"/admin/requests/{request_id}")
    found = viewer.client.get(f"/admin/why?q={request_id}")
    assert "has not come back in stock since" in found.text


def test_all_that_a_customer_asked_for_is_listed(viewer: Site) -> None:
    ids = [viewer.shop.sign_up(reference, JANE) for reference in (LARGE, CUP)]
    code, text = ask(viewer, q=JANE)
    assert code == 200
    assert all(f"/admin/requests/{each}" in text for each in ids)
    assert f"stockbell why {JANE}" in text


def test_what_was_not_asked_for_and_other_spellings_are_said(viewer: Site) -> None:
    viewer.shop.sign_up(LARGE, JANE)
    assert "asked for Size: L, not for Size: S" in ask(viewer, q=JANE, item="mug-1", option="Size=S")[1]
    code, text = ask(viewer, q="jane+x@example.com")
    assert (code, "Nobody with this address" in text, "Another spelling" in text) == (200, True, True)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"q": "jane"}, "Email has no @."),
        ({"q": "", "item": "mug-1"}, "Type an address, or the id of a request."),
        ({"q": JANE, "option": "Size=L"}, "Options and an app belong to an item."),
        ({"q": JANE, "item": "x" * 40}, "catalogItemId must have 1 to 36 characters."),
        ({"q": JANE, "item": "mug-1", "app": "x" * 40}, "appId must have 1 to 36 characters."),
        ({"q": JANE, "item": "mug-1", "option": "Size"}, "Write options like Size=L, Color=Blue."),
    ],
)
def test_nonsense_is_shown_back_with_what_is_wrong(viewer: Site, fields: dict[str, str], says: str) -> None:
    code, text = ask(viewer, **fields)
    assert code == 400
    assert says in text
    assert 'aria-invalid="true"' in text
    assert all(f'value="{value}"' in text for value in fields.values())


@pytest.mark.parametrize("request_id", ["01900000-0000-7000-8000-000000000000", "no-id", "%00"])
def test_a_request_that_is_gone_has_a_page_that_says_so(viewer: Site, request_id: str) -> None:
    answer = viewer.client.get(f"/admin/requests/{request_id}")
    assert answer.status_code == 404
    assert "<h1>" in answer.text


def test_the_page_tells_the_story_and_the_command_line(viewer: Site) -> None:
    request_id = viewer.shop.sign_up(LARGE, JANE, locale="de")
    text = viewer.client.get(f"/admin/requests/{request_id}").text
    assert "Waits since" in text
    assert "The only one in line" in text
    assert 'class="timeline"' in text
    assert 'aria-label="Now it is waiting."' in text
    assert f"stockbell requests show {request_id}" in text
    assert "/admin/mail?item=mug-1&amp;locale=de" in text
    assert f"/admin/contacts/{viewer.shop.row(request_id).contact_id}" in text


def test_the_diagram_shows_the_way_that_was_gone(viewer: Site, shop: Shop) -> None:
    request_id = shop.sign_up(MUG)
    shop.write(admin.mark_sent, [request_id])
    text = viewer.client.get(f"/admin/requests/{request_id}").text
    assert text.count('class="taken" d=') == 1
    assert "On the way: it was marked as told." in text


@pytest.mark.parametrize(
    ("status", "verbs"),
    [
        ("RECEIVED", ["report", "mark-sent", "delete"]),
        ("FAILED", ["retry", "retry", "mark-sent", "delete"]),
        ("PROCESSING", ["delete"]),
        ("NOTIFICATION_SENT", ["delete"]),
    ],
)
def test_admins_have_the_verbs_of_its_state_and_viewers_none(site: Site, status: str, verbs: list[str]) -> None:
    request_id = site.shop.sign_up(MUG, JANE)
    site.shop.change(
        "UPDATE request SET status = CAST(:status AS varchar(20)), failed_at = created_date", status=status
    )
    site.log_in(Role.VIEWER)
    assert 'name="verb"' not in site.client.get(f"/admin/requests/{request_id}").text
    site.log_in(Role.ADMIN)
    text = site.client.get(f"/admin/requests/{request_id}").text
    assert [part.partition('"')[0] for part in text.split('name="verb" value="')[1:]] == verbs
    assert text.count(f'name="id" value="{request_id}"') == len(verbs)


def test_what_others_wrote_is_text_and_long_words_are_folded(viewer: Site) -> None:
    shop = viewer.shop
    request_id = shop.sign_up(ref("mug-1", **{HOSTILE: HOSTILE}), JANE)
    shop.change("UPDATE item SET name = :name", name=HOSTILE)
    shop.change(
        """UPDATE request SET status = 'FAILED', failure_code = 'MESSAGE_REJECTED', failure_reason = :said,
        failed_at = created_date, receipt = :said""",
        said=HOSTILE + "x" * 10_000,
    )
    for text in (viewer.client.get(f"/admin/requests/{request_id}").text, ask(viewer, q=HOSTILE)[1]):
        assert "<script>alert" not in text
        assert "<img" not in text
        assert "&lt;script&gt;" in text
    text = viewer.client.get(f"/admin/requests/{request_id}").text
    assert "<details><summary>" in text


def test_an_address_is_not_in_the_log(viewer: Site, capsys: pytest.CaptureFixture[str]) -> None:
    viewer.shop.sign_up(MUG, JANE)
    ask(viewer, q=JANE)
    written = capsys.readouterr()
    assert JANE not in written.out + written.err


def test_a_request_that_was_told_in_the_mail_of_another_one_leads_to_it(viewer: Site) -> None:
    first, other = told_together(viewer.shop, 2)
    text = viewer.client.get(f"/admin/requests/{other.id}").text
    assert f"It was told in the same mail as 1 other: that of request {first.id}." in text
    assert f'<a href="/admin/requests/{first.id}">' in text
    text = viewer.client.get(f"/admin/requests/{first.id}").text
    assert "Its mail told of 1 other request as well." in text
    assert "In the mail of" not in text
