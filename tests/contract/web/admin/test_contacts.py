"""The page "Contacts". On PostgreSQL."""

import json
from uuid import UUID, uuid4

import pytest

from tests.contract.shop import CUP, MUG, Shop, ref
from tests.contract.web.admin.trail import trail
from tests.contract.web.site import Site
from worker.domain.admins import Role
from worker.domain.returned import Cause
from worker.models import Status
from worker.store import contacts, requests, suppression
from worker.store.requests import NewRequest

PAGE = "/admin/contacts"
ANNE = "anne@example.com"
HOSTILE = "<script>alert(1)</script>"


def contact_of(shop: Shop, address: str = ANNE) -> UUID:
    return shop.database.read(contacts.find, [address])[address].id


def body(text: str) -> str:
    return text.partition("<main")[2].partition('<section class="same"')[0]


def test_a_customer_is_found_by_a_form_and_shown_at_an_address_without_theirs(site: Site, shop: Shop) -> None:
    signup = json.dumps({"page": HOSTILE, "consent": "v2"})
    shop.write(requests.create, [NewRequest(ANNE, ref("mug-1", Engraving=HOSTILE), signup=signup)])
    shop.sign_up(CUP, ANNE, "bob@example.com")
    site.log_in(Role.VIEWER)
    answer = site.client.post(PAGE, data={"address": " Anne@Example.COM "}, follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"{PAGE}/{contact_of(shop)}"
    page = site.client.get(answer.headers["Location"]).text
    assert ANNE in page
    assert "bob@example.com" not in page
    assert "cup-1" in page
    assert "gets mail" in page
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;") >= 2
    assert "<form" not in body(page)


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        ("nobody@example.com", 200, "Nobody with the address"),
        ("", 400, "Email has no @"),
        (f"{HOSTILE}@x", 400, "is not a valid address"),
        ("a@b.example, c@d.example", 400, "several addresses"),
    ],
)
def test_an_unknown_address_is_answered_honestly(site: Site, shop: Shop, address: str, status: int, words: str) -> None:
    site.log_in()
    answer = site.client.post(PAGE, data={"address": address})
    assert (answer.status_code, words in answer.text) == (status, True)
    assert HOSTILE not in answer.text
    assert shop.ask("SELECT id FROM contact") == []


def test_a_customer_is_suppressed_and_gets_mail_again(site: Site, shop: Shop) -> None:
    request = shop.sign_up(MUG, ANNE)
    id_ = contact_of(shop)
    site.log_in()
    page = site.client.post(f"{PAGE}/{id_}/suppress").text
    assert "gets no mail" in page
    assert "because: manual; by <bdi>ada</bdi>" in page
    assert shop.status(request) is Status.FAILED
    page = site.client.post(f"{PAGE}/{id_}/lift").text
    assert "<span" in page
    assert "gets mail again" in page
    assert "Nothing was changed" in site.client.post(f"{PAGE}/{id_}/lift").text
    done = trail(shop)
    assert [(each.verb, each.who, each.contact_id) for each in done] == [
        ("contacts suppress", "ada", id_),
        ("contacts unsuppress", "ada", id_),
    ]
    assert all("anne" not in each.everything for each in done)


def test_an_unknown_address_can_be_suppressed(site: Site, shop: Shop) -> None:
    site.log_in()
    page = site.client.post(f"{PAGE}/suppress", data={"address": ANNE}).text
    assert "gets no mail" in page
    assert trail(shop)[0].contact_id == contact_of(shop)
    assert site.client.post(f"{PAGE}/suppress", data={"address": "nonsense"}).status_code == 400


def test_an_export_is_a_file_and_is_noted(site: Site, shop: Shop) -> None:
    shop.sign_up(MUG, ANNE)
    id_ = contact_of(shop)
    site.log_in()
    answer = site.client.post(f"{PAGE}/{id_}/export")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="contact-{id_}.json"'
    assert answer.json()["contact"]["address"] == ANNE
    assert len(answer.json()["requests"]) == 1
    assert [(done.verb, done.contact_id) for done in trail(shop)] == [("contacts export", id_)]


def test_a_customer_is_erased_once_it_was_typed(site: Site, shop: Shop) -> None:
    shop.sign_up(MUG, ANNE)
    id_ = contact_of(shop)
    site.log_in()
    wrong = site.client.post(f"{PAGE}/{id_}/erase", data={"sure": HOSTILE})
    assert wrong.status_code == 400
    assert 'aria-invalid="true"' in wrong.text
    assert HOSTILE not in wrong.text
    assert ANNE in wrong.text
    page = site.client.post(f"{PAGE}/{id_}/erase", data={"sure": "erase"}).text
    assert "Erased customer" in page
    assert ANNE not in page
    assert "<form" not in body(page)
    [done] = trail(shop)
    assert (done.verb, done.contact_id, done.result) == ("contacts erase", id_, {"requests": 1, "ended": 1})
    assert "Nothing was changed" in site.client.post(f"{PAGE}/{id_}/erase", data={"sure": "erase"}).text


def test_an_address_that_was_erased_while_it_got_no_mail_is_recognised(site: Site, shop: Shop) -> None:
    shop.sign_up(MUG, ANNE)
    id_ = contact_of(shop)
    shop.write(suppression.suppress, [id_], Cause.COMPLAINED, "imap")
    site.log_in()
    assert "A keyed hash" in site.client.post(f"{PAGE}/{id_}/erase", data={"sure": "erase"}).text
    assert "erased while it got no mail (complained)" in site.client.post(PAGE, data={"address": ANNE}).text


@pytest.mark.parametrize("verb", ["suppress", "lift", "export", "erase"])
def test_viewers_change_nothing_and_unknown_contacts_are_named(site: Site, shop: Shop, verb: str) -> None:
    shop.sign_up(MUG, ANNE)
    site.log_in(Role.VIEWER)
    assert site.client.post(f"{PAGE}/{contact_of(shop)}/{verb}", data={"sure": "erase"}).status_code == 403
    assert site.client.post(f"{PAGE}/suppress", data={"address": ANNE}).status_code == 403
    site.log_in(Role.ADMIN, "bob")
    for nonsense in (str(uuid4()), "nonsense", "%00"):
        assert site.client.post(f"{PAGE}/{nonsense}/{verb}", data={"sure": "erase"}).status_code == 404
        assert site.client.get(f"{PAGE}/{nonsense}").status_code == 404
    assert not trail(shop)


def test_all_requests_of_a_customer_are_found_without_reading_others(shop: Shop) -> None:
    waits = shop.sign_up(MUG, ANNE)
    shop.sign_up(CUP, "bob@example.com")
    shop.change("UPDATE request SET status = 'NOTIFICATION_SENT' WHERE id = :id", id=waits)
    again = shop.sign_up(MUG, ANNE)
    id_ = contact_of(shop)
    assert shop.database.read(requests.of_contact, id_) == [again, waits]
    assert shop.database.read(requests.of_contact, id_, 1) == [again]
