"""Wix's Back In Stock Notification Requests API: create, get, delete, mark, report and count."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from httpx2 import Response

from tests.contract.shop import ref
from tests.contract.web.site import Site
from tests.contract.web.wix import DETAILS, MUG, NOBODY, STORES, STORES_V3, R, Wix, code_of, packed, violations_of
from worker.domain.api_keys import Scope
from worker.domain.errors import DatabaseAway
from worker.domain.relays import Mailbox
from worker.domain.verdicts import Tries
from worker.mail.letter import LetterWriter
from worker.mail.render import Renderer
from worker.mail.sources import Sources
from worker.models import Contact, Request, Status
from worker.smtp.mailer import Mail
from worker.store import admin, reach, recording
from worker.store.claims import Claim

EXISTS = (409, "BACK_IN_STOCK_NOTIFICATION_REQUEST_ALREADY_EXISTS")
NOT_FOUND_TO_MARK = (428, "BACK_IN_STOCK_NOTIFICATION_REQUEST_NOT_FOUND")


@pytest.fixture
def wix(site: Site) -> Wix:
    """A server of the shop."""
    return Wix(site)


def test_a_created_request_is_wixs_object(wix: Wix) -> None:
    reply = wix.create(itemUrl="https://shop.example/p/mug-1", id=NOBODY, status="FAILED", contactId="x")
    found = reply.json()["request"]
    assert reply.status_code == 200
    assert UUID(found["id"]) != UUID(NOBODY)
    assert str(UUID(found["contactId"])) == found["contactId"]
    assert found["createdDate"].endswith("Z")
    assert {name: found[name] for name in ("email", "status", "itemUrl", "catalogReference")} == {
        "email": "jane@example.com",
        "status": "RECEIVED",
        "itemUrl": "https://shop.example/p/mug-1",
        "catalogReference": MUG,
    }
    assert "autoNotified" not in found
    assert wix.call("GET", f"/{found['id']}?id={found['id']}").json()["request"] == found


def test_both_prefixes_serve_the_same(wix: Wix) -> None:
    created = wix.created()
    reply = wix.site.client.get(f"/back-in-stock-service{R}/{created}", headers=wix.headers)
    assert reply.json()["request"]["id"] == created


def test_a_duplicate_is_refused_with_the_id_of_the_first(wix: Wix) -> None:
    first = wix.created()
    again = wix.create("JANE@example.com", {**MUG, "appId": STORES_V3})
    assert code_of(again) == EXISTS
    assert again.json()["details"]["applicationError"]["data"] == {"requestId": first}


def create_with(wix: Wix, priority: object) -> Response:
    request = {"email": "jane@example.com", "catalogReference": MUG}
    return wix.call("POST", body={"request": request, "itemDetails": DETAILS, "stockbell": {"priority": priority}})


@pytest.mark.parametrize("given", [7, "7.0"])
def test_a_server_gives_a_priority_and_gives_another_to_who_waits_already(wix: Wix, given: object) -> None:
    assert "priority" not in wix.create("joe@example.com").json()["request"]["stockbell"]
    created = create_with(wix, given).json()["request"]
    assert created["stockbell"]["priority"] == 7
    assert code_of(wix.create()) == EXISTS
    assert code_of(create_with(wix, 3)) == EXISTS
    assert wix.call("GET", f"/{created['id']}").json()["request"]["stockbell"]["priority"] == 3
    assert wix.query()["requests"][0]["stockbell"]["priority"] == 3


@pytest.mark.parametrize("given", [10, -1, 1.5, True, "high", [], {}])
def test_another_priority_is_refused(wix: Wix, given: object) -> None:
    assert violations_of(create_with(wix, given)) == {"stockbell.priority": "FORMAT"}
    assert wix.site.shop.count(Request) == 0


def test_a_publishable_key_gives_none(site: Site) -> None:
    page = Wix(site, Scope.CREATE)
    assert create_with(page, 9).status_code == 200
    assert [row.priority for row in site.shop.rows()] == [0]
    site.shop.change("UPDATE request SET priority = 5")
    assert create_with(page, 9).status_code == 200
    assert [row.priority for row in site.shop.rows()] == [5]


OPTIONS: list[dict[str, Any]] = [
    {"options": {"Size": "M", "Color": "Red"}},
    {"variantId": NOBODY, "options": {"a": "b"}, "customTextFields": {"Engraving": "  Für  Jane  "}},
    {"variantId": "b7c2", "n": 1, "f": 1.5, "on": True, "nothing": None},
    {},
]


def test_a_reference_comes_back_as_it_was_given(wix: Wix) -> None:
    for number, options in enumerate(OPTIONS):
        reference = {"catalogItemId": "Mug 1", "appId": STORES_V3, "options": options}
        created = wix.created(f"customer{number}@example.com", reference)
        assert wix.call("GET", f"/{created}").json()["request"]["catalogReference"] == reference
        assert wix.query()["requests"][0]["catalogReference"] == reference


def test_a_reference_as_given_still_matches_events(wix: Wix) -> None:
    given = {"catalogItemId": "mug-1", "appId": STORES_V3, "options": {"options": {"Size": "L"}}}
    created = wix.created(reference=given)
    wix.site.shop.tell(ref(size="l"))
    assert wix.call("GET", f"/{created}").json()["request"]["stockbell"]["waiting"] == "queued"


def test_all_that_is_wrong_is_named_at_once(wix: Wix) -> None:
    body = {
        "request": {
            "email": "jane",
            "itemUrl": "javascript:alert(1)",
            "catalogReference": {"catalogItemId": "x" * 37, "options": []},
        },
        "itemDetails": {"price": "$12"},
    }
    assert violations_of(wix.call("POST", body=body)) == {
        "request.email": "EMAIL",
        "request.itemUrl": "WEB_URL",
        "request.catalogReference.catalogItemId": "MAX_LENGTH",
        "request.catalogReference.appId": "REQUIRED_FIELD",
        "request.catalogReference.options": "FORMAT",
        "itemDetails.name": "REQUIRED_FIELD",
        "itemDetails.price": "DECIMAL_GTE",
    }
    assert wix.site.shop.count(Contact) == 0


@pytest.mark.parametrize(
    ("price", "is_good"), [("0", True), ("12.5", True), ("-1", False), ("1e3", False), (12, False)]
)
def test_a_price_is_a_decimal_text(wix: Wix, price: object, is_good: bool) -> None:
    request = {"email": "jane@example.com", "catalogReference": MUG}
    reply = wix.call("POST", body={"request": request, "itemDetails": {"name": "Mug", "price": price}})
    assert (reply.status_code == 200) is is_good


def test_refused_options_and_pictures_have_codes_of_their_own(wix: Wix) -> None:
    bad = wix.create(reference={**MUG, "options": {"a": {"b": 1}}})
    assert code_of(bad) == (400, "INVALID_CATALOG_REFERENCE_OPTIONS")
    request = {"email": "jane@example.com", "catalogReference": MUG}
    picture = {"request": request, "itemDetails": {**DETAILS, "image": {"url": "ftp://x"}}}
    assert code_of(wix.call("POST", body=picture)) == (400, "INVALID_ITEM_IMAGE_URL")


def test_details_of_a_sign_up_fill_gaps_and_never_replace_what_events_said(wix: Wix) -> None:
    wix.site.shop.tell(name="Mug of the event")
    picture = {"url": "wix:image://v1/abc_1.jpg/mug.jpg#originWidth=1"}
    request = {"email": "jane@example.com", "catalogReference": MUG}
    wix.call("POST", body={"request": request, "itemDetails": {**DETAILS, "image": picture}})
    item = wix.site.shop.ask("SELECT name, price, image_url FROM item")[0]
    assert (item.name, item.price) == ("Mug of the event", "12.50")
    assert item.image_url == "https://static.wixstatic.com/media/abc_1.jpg"


def test_publishable_keys_learn_nothing_and_change_no_item(site: Site) -> None:
    page = Wix(site, Scope.CREATE)
    first = page.create(itemUrl="https://shop.example/p")
    again = page.create(itemUrl="https://shop.example/p")
    assert first.content == again.content
    assert first.json() == {
        "request": {
            "email": "jane@example.com",
            "catalogReference": MUG,
            "status": "RECEIVED",
            "itemUrl": "https://shop.example/p",
        }
    }
    assert site.shop.ask("SELECT name FROM item")[0].name is None


def test_an_unknown_id_is_404_and_no_guid_a_violation(wix: Wix) -> None:
    for method in ("GET", "DELETE"):
        assert code_of(wix.call(method, f"/{NOBODY}")) == (404, "NOT_FOUND")
        assert violations_of(wix.call(method, "/42")) == {"id": "GUID"}


def test_delete_answers_an_object(wix: Wix) -> None:
    created = wix.created()
    reply = wix.call("DELETE", f"/{created}?id={created}")
    assert (reply.status_code, reply.json()) == (200, {})
    assert wix.site.shop.count(Request) == 0


def test_marking_ends_a_request_once(wix: Wix) -> None:
    created = wix.created()
    path = f"/{created}/mark-as-notification-sent"
    found = wix.call("PUT", path, {"id": created}).json()["request"]
    assert (found["status"], found["autoNotified"]) == ("NOTIFICATION_SENT", False)
    assert wix.call("PUT", path).json()["request"] == found


def test_marking_refuses_what_is_being_sent_and_what_is_not_there(wix: Wix) -> None:
    _, (claim,) = wix.site.shop.claimed()
    being_sent = wix.call("PUT", f"/{claim.id}/mark-as-notification-sent")
    assert code_of(being_sent) == (428, "BACK_IN_STOCK_NOTIFICATION_REQUEST_BEING_SENT")
    assert code_of(wix.call("PUT", f"/{NOBODY}/mark-as-notification-sent")) == NOT_FOUND_TO_MARK


def test_a_report_reaches_whom_an_event_would_reach(wix: Wix) -> None:
    small, any_size = wix.created(reference={**MUG, "options": {"Size": "S"}}), wix.created("any@example.com")
    large = wix.created("large@example.com", {**MUG, "options": {"Size": "L"}})
    body = {"itemDetails": {"name": "New name", "price": "9"}, "catalogReference": {**MUG, "options": {"size": "s"}}}
    reply = wix.call("POST", "/report-items-back-in-stock", body)
    assert (reply.status_code, reply.json()) == (200, {})
    ordered = [wix.site.shop.row(UUID(each)).ordered_at is not None for each in (small, any_size, large)]
    assert ordered == [True, True, False]
    assert wix.site.shop.ask("SELECT name FROM item")[0].name == "New name"


def test_a_report_by_ids_ignores_unknown_ones_and_keeps_what_its_mails_shall_say(wix: Wix) -> None:
    created, other = wix.created(), wix.created("other@example.com")
    extras = {"product.buyNowUrl": "https://shop.example/buy"}
    body = {"itemDetails": DETAILS, "requestIds": [created, NOBODY], "extraAutomationTemplateParameters": extras}
    assert wix.call("POST", "/report-items-back-in-stock", body).json() == {}
    assert wix.site.shop.row(UUID(created)).extras == '{"product.buyNowUrl":"https://shop.example/buy"}'
    assert wix.site.shop.row(UUID(other)).ordered_at is None


def test_the_mails_of_a_report_say_what_it_gave_for_them_and_later_ones_do_not(wix: Wix, tmp_path: Path) -> None:
    template = "[{{ extra.discount }}|{{ extra['product.name'] }}]"
    (tmp_path / "back_in_stock").mkdir()
    for file in ("subject.txt", "body.txt", "body.html"):
        (tmp_path / "back_in_stock" / file).write_text(template)
    writer = LetterWriter(
        Renderer(Sources(tmp_path), "Shop"), Mailbox("", "shop@shop.example"), "https://shop.example/"
    )
    shop, created, owner = wix.site.shop, UUID(wix.created()), wix.site.shop.owner()

    def claimed() -> tuple[Claim, bytes]:
        found = shop.claim(owner, ref())
        mail = writer.write(found.claims[0], found.items[found.claims[0].list_id])
        assert isinstance(mail, Mail)
        return found.claims[0], mail.content

    extras = {"discount": "5 off", "product.name": "Mug"}
    body = {"itemDetails": DETAILS, "requestIds": [str(created)], "extraAutomationTemplateParameters": extras}
    wix.call("POST", "/report-items-back-in-stock", body)
    claim, content = claimed()
    assert content.count(b"[5 off|Mug]") == 3
    shop.write(recording.record, recording.Ends(deferred=[recording.Ended(claim, Tries(1), None, "450 later")]))
    shop.end_back_offs()
    claim, content = claimed()
    assert content.count(b"[5 off|Mug]") == 3  # the same order
    shop.write(recording.record, recording.Ends(failed=[recording.Ended(claim, Tries(1), "MESSAGE_REJECTED", "550")]))
    shop.write(admin.retry, [created], ordered=True, force=False)
    assert claimed()[1].count(b"[|]") == 3


@pytest.mark.parametrize("ends", ["told", "marked"])
def test_what_a_report_gave_for_its_mails_is_not_kept_after_them(wix: Wix, ends: str) -> None:
    created = UUID(wix.created())
    body = {"itemDetails": DETAILS, "requestIds": [str(created)], "extraAutomationTemplateParameters": {"a": "b"}}
    wix.call("POST", "/report-items-back-in-stock", body)
    if ends == "told":
        claims = wix.site.shop.claim(wix.site.shop.owner(), ref()).claims
        wix.site.shop.write(recording.record, recording.Ends(told=list(claims)))
    else:
        wix.site.shop.write(admin.mark_sent, [created])
    row = wix.site.shop.row(created)
    assert (row.status, row.extras) == (Status.NOTIFICATION_SENT, None)


def test_a_report_needs_one_of_both(wix: Wix) -> None:
    both = {"itemDetails": DETAILS, "catalogReference": MUG, "requestIds": [NOBODY]}
    code = "REQUEST_CONTAINS_BOTH_CATALOG_REFERENCE_AND_REQUEST_IDS"
    assert code_of(wix.call("POST", "/report-items-back-in-stock", both)) == (400, code)
    neither = wix.call("POST", "/report-items-back-in-stock", {"itemDetails": DETAILS, "requestIds": []})
    assert violations_of(neither) == {"catalogReference": "REQUIRED_FIELD"}
    many = {"itemDetails": DETAILS, "requestIds": [NOBODY] * 1001}
    assert violations_of(wix.call("POST", "/report-items-back-in-stock", many)) == {"requestIds": "MAX_SIZE"}


def test_later_events_win_over_a_report_and_earlier_ones_do_not(wix: Wix) -> None:
    wix.created()
    wix.site.shop.tell(name="Old")
    wix.call("POST", "/report-items-back-in-stock", {"itemDetails": DETAILS, "catalogReference": MUG})
    wix.site.shop.tell(name="Late, of an event before")
    assert wix.site.shop.ask("SELECT name FROM item")[0].name == "Blue mug"
    wix.site.shop.tell(at=wix.site.shop.now(), name="Newest")
    assert wix.site.shop.ask("SELECT name FROM item")[0].name == "Newest"


def test_counts_match_as_events_do_and_echo_the_references(wix: Wix) -> None:
    wix.created(reference={**MUG, "options": {"variantId": "v1", "customTextFields": {"a": "b"}}})
    wix.created("two@example.com", {**MUG, "options": {"variantId": "v1"}})
    wix.site.shop.claimed()
    references = [
        {"catalogItemId": "mug-1", "appId": STORES_V3, "options": {"variantId": "V1"}},
        {"catalogItemId": "none", "appId": STORES},
    ]
    reply = wix.call("GET", f"/count-by-catalog-reference?.r={packed({'catalogReferences': references})}").json()
    assert reply["countsPerCatalogReference"] == [
        {
            "catalogReference": references[0],
            "count": 3,
            "stockbell": {"byStatus": {"RECEIVED": 2, "PROCESSING": 1, "FAILED": 0}},
        },
        {
            "catalogReference": references[1],
            "count": 0,
            "stockbell": {"byStatus": {"RECEIVED": 0, "PROCESSING": 0, "FAILED": 0}},
        },
    ]


def test_a_count_takes_1_to_100_references(wix: Wix) -> None:
    assert wix.counts(*[{**MUG, "options": {"variantId": f"{n:036}"}} for n in range(100)]) == [0] * 100
    for count, rule in ((0, "REQUIRED_FIELD"), (101, "MAX_SIZE")):
        reply = wix.call("POST", "/count-by-catalog-reference", {"catalogReferences": [MUG] * count})
        assert violations_of(reply) == {"catalogReferences": rule}
    assert violations_of(wix.call("GET", "/count-by-catalog-reference")) == {"catalogReferences": "REQUIRED_FIELD"}


def test_what_a_key_may_not_do_is_refused(site: Site) -> None:
    page, reader = Wix(site, Scope.CREATE), Wix(site, Scope.READ)
    assert code_of(page.call("GET", f"/{NOBODY}")) == (403, "PERMISSION_DENIED")
    assert code_of(reader.create()) == (403, "PERMISSION_DENIED")
    assert code_of(reader.call("DELETE", f"/{NOBODY}")) == (403, "PERMISSION_DENIED")
    assert site.client.post(R, json={}).status_code == 401


def test_a_request_that_has_failed_says_why(wix: Wix) -> None:
    created = wix.created()
    wix.site.shop.change("UPDATE request SET status = 'FAILED', failure_code = 'EXPIRED', failure_reason = 'late'")
    found = wix.call("GET", f"/{created}").json()["request"]
    assert found["status"] == Status.FAILED
    assert found["stockbell"] == {"attempts": 0, "failureCode": "EXPIRED", "failureReason": "late"}


def test_who_is_signed_up_is_told_so_if_the_database_goes_away_then(wix: Wix, monkeypatch: pytest.MonkeyPatch) -> None:
    write, left = wix.site.context.write, [DatabaseAway("gone")]

    async def writes(work: Any, *args: Any) -> Any:
        if work is reach.fill and left:
            raise left.pop()
        return await write(work, *args)

    monkeypatch.setattr(wix.site.context, "write", writes)
    assert wix.create().status_code == 200
    assert not left
    wix.created("joe@example.com")
    assert wix.site.shop.ask("SELECT name FROM item")[0].name == "Blue mug"
