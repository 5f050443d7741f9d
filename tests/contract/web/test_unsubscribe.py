"""The link in every mail: looking changes nothing, one POST ends all mail, and the customer can take it back."""

from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from typing import Any
from uuid import UUID, uuid4

import pytest
from starlette.testclient import TestClient

from tests.contract.shop import CUP, MUG, Shop, ref
from tests.contract.web.site import SECRET, Site, site_over
from worker.domain.outcomes import UNCONFIRMED
from worker.domain.returned import Cause
from worker.domain.tokens import Tokens
from worker.models import Contact, Status
from worker.services.signing_up import Desk, OptIn, SignUp
from worker.store import admin, confirmations, erasure, requests, suppression
from worker.store.requests import NewRequest
from worker.web.app import Part, create_app

TOKENS = Tokens([SECRET.encode()])
ANNE = "anne@example.com"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


def link_of(shop: Shop, request_id: UUID) -> str:
    return f"/u/{TOKENS.for_link(shop.row(request_id).contact_id)}"


def list_of(shop: Shop, request_id: UUID) -> str:
    return str(shop.row(request_id).waiting_list_id)


def how(shop: Shop, request_id: UUID) -> tuple[str, str | None]:
    row = shop.row(request_id)
    return row.status.value, row.failure_code


def why(shop: Shop, request_id: UUID) -> str | None:
    cause: str | None = shop.read_one(Contact, shop.row(request_id).contact_id).suppressed_why
    return cause


def everything(shop: Shop) -> list[Any]:
    tables = ("request", "contact", "waiting_list", "item", "report", "attempt")
    return [sorted(map(repr, shop.ask(f"SELECT * FROM {table}"))) for table in tables]


WAITS = ("RECEIVED", None)
LEFT = ("FAILED", "SUPPRESSED")


def test_looking_changes_nothing_however_often(site: Site) -> None:
    link = link_of(site.shop, site.shop.sign_up(MUG, ANNE))
    before = everything(site.shop)
    for _ in range(333 if site.shop.database.dialect == "postgresql" else 33):
        assert site.client.get(link).status_code == 200
        assert site.client.head(link).status_code == 200
        assert site.client.get(link, headers={"Sec-Purpose": "prefetch", "Purpose": "prefetch"}).status_code == 200
    assert everything(site.shop) == before


CLICKS: Mapping[str, Mapping[str, Any]] = {
    "urlencoded": {"data": ONE_CLICK},
    "multipart": {"files": {"List-Unsubscribe": (None, "One-Click")}},
    "empty": {},
    "text": {"content": b"List-Unsubscribe=One-Click", "headers": {"Content-Type": "text/plain"}},
    "no type": {"content": b"List-Unsubscribe=One-Click"},
    "no boundary": {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
    "no form": {"content": b"\xff\x00", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
    "charset": {
        "content": b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--b--\r\n',
        "headers": {"Content-Type": "multipart/form-data; charset=nonsense; boundary=b"},
    },
    "many fields": {"content": b"&".join([b"a=b"] * 400)},
    "json": {"content": b"{}", "headers": {"Content-Type": "application/json"}},
    "another scope": {"data": {**ONE_CLICK, "scope": "undo"}},
    "another origin": {
        "data": ONE_CLICK,
        "headers": {"Origin": "https://mail.google.com", "Sec-Fetch-Site": "cross-site"},
    },
}


def test_one_click_ends_all_mail_whatever_the_mail_program_sends(site: Site) -> None:
    other = site.shop.sign_up(MUG, "other@example.com")
    for name, post in CLICKS.items():
        mug, cup = (
            site.shop.sign_up(item, f"{name[:2]}{name[-2:]}@example.com".replace(" ", "")) for item in (MUG, CUP)
        )
        for _ in range(2):
            reply = site.client.post(link_of(site.shop, mug), **post)
            assert (name, reply.status_code) == (name, 200)
            assert {"location", "set-cookie"} & set(reply.headers) == set()
        assert [name, how(site.shop, mug), how(site.shop, cup)] == [name, LEFT, LEFT]
        assert why(site.shop, mug) == "unsubscribed"
    assert how(site.shop, other) == WAITS


def test_in_the_middle_of_a_run_the_next_claim_leaves_the_customer_out(site: Site) -> None:
    ids = site.shop.waiting(6)
    owner = site.shop.owner()
    site.shop.claim(owner, most=2)
    site.client.post(link_of(site.shop, ids[3]), data=ONE_CLICK)
    assert [claim.id for claim in site.shop.claim(owner).claims] == [ids[2], ids[4], ids[5]]


def test_who_comes_back_waits_again(site: Site) -> None:
    mug, cup = site.shop.sign_up(MUG, ANNE), site.shop.sign_up(CUP, ANNE)
    link = link_of(site.shop, mug)
    assert "Take that back" in site.client.post(link).text
    assert "Done. Everything is as it was" in site.client.post(link, data={"scope": "undo"}).text
    assert [how(site.shop, mug), how(site.shop, cup), why(site.shop, mug)] == [WAITS, WAITS, None]
    site.shop.tell(MUG)
    assert [claim.id for claim in site.shop.claim(site.shop.owner()).claims] == [mug]


@pytest.mark.parametrize("opt_in", ["on", "first"])
@pytest.mark.parametrize(("is_signed_up_first", "is_one_item"), [(True, True), (True, False), (False, False)])
def test_who_comes_back_has_not_confirmed_by_that(
    shop: Shop, opt_in: OptIn, is_signed_up_first: bool, is_one_item: bool
) -> None:
    """A link in a mail may have been sent on. It lets nobody sign its customer up who must confirm."""
    with site_over(shop) as site:
        cup = shop.sign_up(CUP, ANNE)
        link, desk = link_of(shop, cup), Desk(shop.database, TOKENS, opt_in)
        new = SignUp(NewRequest(ANNE, MUG, "https://shop.example/p"), "k", is_public=True)
        mug = desk.sign_up(new).request_id if is_signed_up_first else None
        item = {"item": list_of(shop, mug)} if is_one_item and mug else {}
        site.client.post(link, data={"scope": "item" if item else "all", **item})
        mug = mug or desk.sign_up(new).request_id
        assert mug
        assert how(shop, mug) == LEFT
        assert shop.write(admin.retry, [mug], ordered=False, force=True).refused
        assert "Done. Everything is as it was" in site.client.post(link, data={"scope": "undo", **item}).text
        assert [how(shop, cup), how(shop, mug)] == [WAITS, ("RECEIVED", UNCONFIRMED)]
        shop.tell(MUG)
        assert shop.claim(shop.owner()).claims == []
        # She is asked, and can confirm.
        assert shop.write(confirmations.claim)
        assert shop.write(confirmations.confirm, shop.row(cup).contact_id, TOKENS)
        assert how(shop, mug) == WAITS


def test_who_is_erased_is_not_asked_again_for_a_month(site: Site) -> None:
    """Else each sign-up by a stranger, and each erasure after it, would send one more mail."""
    shop, desk = site.shop, Desk(site.shop.database, TOKENS, "on")
    new = SignUp(NewRequest(ANNE, MUG, "https://shop.example/p"), "k", is_public=True)

    def asked() -> bool:
        mug = desk.sign_up(new).request_id
        assert mug
        due = shop.write(confirmations.claim)
        if due:
            shop.write(confirmations.sent, due)
        site.client.post(link_of(shop, mug), data={"scope": "erase", "sure": "yes"})
        return due is not None

    assert [asked() for _ in range(3)] == [True, False, False]
    shop.change("UPDATE confirmation SET sent_at = stockbell_now(-:month)", month=31 * 86_400)
    assert asked()


def test_who_comes_back_after_being_erased_stays(site: Site) -> None:
    shop = site.shop
    site.client.post(link_of(shop, shop.sign_up(MUG, ANNE)), data={"scope": "erase", "sure": "yes"})
    new = NewRequest(ANNE, MUG, "https://shop.example/p")
    (mug,) = shop.write(requests.create, [new], TOKENS)
    site.client.post(link_of(shop, mug), data={"scope": "undo"})
    (cup,) = shop.write(requests.create, [replace(new, reference=CUP)], TOKENS)
    assert [how(shop, mug), how(shop, cup), why(shop, mug)] == [WAITS, WAITS, None]


def test_who_complained_and_was_erased_twice_has_still_complained(site: Site) -> None:
    shop = site.shop
    for cause in (Cause.COMPLAINED, Cause.UNSUBSCRIBED, Cause.COMPLAINED, Cause.UNSUBSCRIBED):
        (mug,) = shop.write(requests.create, [NewRequest(ANNE, MUG, "https://shop.example/p")], TOKENS)
        contact_id = shop.row(mug).contact_id
        shop.change("UPDATE contact SET suppressed_why = :why WHERE id = :id", why=cause.value, id=contact_id)
        shop.write(suppression.suppress, [contact_id], cause, "test")
        shop.write(erasure.erase, contact_id, TOKENS)
    (mug,) = shop.write(requests.create, [NewRequest(ANNE, MUG, "https://shop.example/p")], TOKENS)
    assert why(shop, mug) == Cause.COMPLAINED.value


def test_coming_back_does_not_lift_what_was_not_the_customers_wish(site: Site) -> None:
    mug = site.shop.sign_up(MUG, ANNE)
    contact = site.shop.row(mug).contact_id
    for cause in (Cause.BOUNCED, Cause.COMPLAINED, Cause.MANUAL):
        site.shop.write(suppression.lift, [ANNE], TOKENS)
        site.shop.write(suppression.suppress, [contact], cause, "test")
        assert "Take that back" not in site.client.get(link_of(site.shop, mug)).text
        assert "Done" not in site.client.post(link_of(site.shop, mug), data={"scope": "undo"}).text
        assert why(site.shop, mug) == cause.value


def test_one_item_can_be_left_and_taken_back(site: Site) -> None:
    mug, cup, other = (site.shop.sign_up(item, who) for item, who in ((MUG, ANNE), (CUP, ANNE), (MUG, "b@example.com")))
    link, item = link_of(site.shop, mug), list_of(site.shop, mug)
    for _ in range(2):
        assert "no mail about this item" in site.client.post(link, data={"scope": "item", "item": item}).text
        assert [how(site.shop, each) for each in (mug, cup, other)] == [LEFT, WAITS, WAITS]
    assert why(site.shop, mug) is None
    assert site.shop.row(mug).version == 1  # whoever is told of changes is told of this one, once
    assert "Wait for \u2068mug-1\u2069 again" in site.client.get(link).text
    site.client.post(link, data={"scope": "undo", "item": item})
    assert how(site.shop, mug) == WAITS


def test_what_was_left_stays_so_for_admins_and_imports_but_not_for_a_new_sign_up(site: Site) -> None:
    at = site.shop.now()
    mug = site.shop.sign_up(MUG, ANNE, created=at)
    item = list_of(site.shop, mug)
    site.client.post(link_of(site.shop, mug), data={"scope": "item", "item": item})

    refused = site.shop.write(admin.retry, [mug], ordered=False, force=True).refused
    assert refused == {mug: "the customer left this item, and only they can take that back"}
    assert site.shop.write(requests.create, [NewRequest(ANNE, MUG, created_date=at)]) == []
    (again,) = site.shop.write(requests.create, [NewRequest(ANNE, MUG)])
    assert "no longer wait for" not in site.client.get(link_of(site.shop, mug)).text
    site.client.post(link_of(site.shop, mug), data={"scope": "undo", "item": item})
    assert (how(site.shop, mug), how(site.shop, again)) == (LEFT, WAITS)


def test_another_customers_item_is_out_of_reach(site: Site) -> None:
    mug, cup = site.shop.sign_up(MUG, ANNE), site.shop.sign_up(CUP, "b@example.com")
    before = everything(site.shop)
    for scope in ("item", "undo"):
        site.client.post(link_of(site.shop, mug), data={"scope": scope, "item": list_of(site.shop, cup)})
        site.client.post(link_of(site.shop, mug), data={"scope": scope, "item": str(uuid4())})
    assert everything(site.shop) == before


def test_what_is_not_understood_changes_nothing(site: Site) -> None:
    mug = site.shop.sign_up(MUG, ANNE)
    wrong = {"scope": "everything"}, {"scope": "item"}, {"scope": "item", "item": "mug"}, {"scope": "undo", "item": ""}
    for fields in wrong:
        reply = site.client.post(link_of(site.shop, mug), data=fields)
        assert (reply.status_code, how(site.shop, mug)) == (400, WAITS)
        assert "changed nothing" in reply.text


def test_what_is_being_sent_is_not_said_to_be_stopped(site: Site) -> None:
    _, (claim,) = site.shop.claimed()
    link = link_of(site.shop, claim.id)
    reply = site.client.post(link, data={"scope": "item", "item": list_of(site.shop, claim.id)})
    assert "being sent right now" in reply.text
    assert "Done" not in reply.text
    assert site.shop.status(claim.id) is Status.PROCESSING


def test_erasing_asks_once_more_and_leaves_a_mark_that_nobody_can_read(site: Site) -> None:
    mug = site.shop.sign_up(MUG, ANNE)
    link = link_of(site.shop, mug)
    assert "can&#39;t be undone" in site.client.post(link, data={"scope": "erase"}).text
    assert how(site.shop, mug) == WAITS
    for _ in range(2):
        reply = site.client.post(link, data={"scope": "erase", "sure": "yes"})
        assert (reply.status_code, "We hold nothing about you" in reply.text) == (200, True)
    assert ANNE not in repr(everything(site.shop))
    for reply in (site.client.get(link), site.client.post(link), site.client.post(link, data={"scope": "undo"})):
        assert "We hold nothing about you" in reply.text
    site.shop.write(requests.create, [NewRequest(ANNE, CUP)], TOKENS)
    (cup,) = [row for row in site.shop.rows() if row.id != mug]
    assert how(site.shop, cup.id) == LEFT


def test_the_link_outlives_the_request_and_the_key(shop: Shop) -> None:
    mug, cup = shop.sign_up(MUG, ANNE), shop.sign_up(CUP, ANNE)
    link = link_of(shop, mug)
    shop.write(requests.remove, mug)
    with site_over(shop, secret_key=f"{'n' * 32},{SECRET}") as site:
        assert site.client.post(link, data=ONE_CLICK).status_code == 200
    assert how(shop, cup) == LEFT


def test_nobody_learns_why_a_token_is_not_one(site: Site) -> None:
    mug = site.shop.sign_up(MUG, ANNE)
    contact = site.shop.row(mug).contact_id
    good = TOKENS.for_link(contact)
    before = everything(site.shop)
    wrong = [
        "x",
        good[:-1],
        good[1:],
        good[:-1] + ("A" if good[-1] != "A" else "E"),
        good.swapcase(),
        good + "A",
        f"{good}/more",
        "%00%ff",
        "é" * 20,
        "a" * 8000,
        TOKENS.for_mail(contact),
        TOKENS.for_return(mug, 1),
        str(contact),
        Tokens([b"other" * 8]).for_link(contact),
    ]
    replies = [getattr(site.client, verb)(f"/u/{token}") for token in wrong for verb in ("get", "post")]
    assert {(reply.status_code, reply.text) for reply in replies} == {(404, replies[0].text)}
    assert "location" not in replies[0].headers
    assert everything(site.shop) == before


def test_marks_around_a_link_do_no_harm(site: Site) -> None:
    mug = site.shop.sign_up(MUG, ANNE)
    for after in ("/", ".", ")", "%3E"):
        assert site.client.get(link_of(site.shop, mug) + after).status_code == 200


def test_without_a_key_no_link_is_known(shop: Shop) -> None:
    link = link_of(shop, shop.sign_up(MUG, ANNE))
    with site_over(shop, secret_key=()) as site:
        assert site.client.get(link).status_code == 404


def test_while_the_database_is_away_nothing_is_said_to_be_done(shop: Shop) -> None:
    link = f"/u/{TOKENS.for_link(uuid4())}"
    with site_over(Shop("postgresql://127.0.0.1:1/none", shop.database)) as site:
        for reply in (site.client.get(link), site.client.post(link, data=ONE_CLICK)):
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
            assert "That did not work" in reply.text


def test_a_long_body_is_refused(site: Site) -> None:
    mug = site.shop.sign_up(MUG, ANNE)
    assert site.client.post(link_of(site.shop, mug), content=b"a" * 2049).status_code == 413
    assert site.client.post(link_of(site.shop, mug), content=iter([b"a" * 1500] * 2)).status_code == 413
    assert how(site.shop, mug) == WAITS


def test_no_page_may_be_kept_framed_or_told_to_others(site: Site) -> None:
    mug = site.shop.sign_up(MUG, ANNE)
    for reply in (site.client.get(link_of(site.shop, mug)), site.client.get("/u/x"), site.client.post("/u/x")):
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["x-robots-tag"] == "noindex"
        assert "frame-ancestors 'none'" in reply.headers["content-security-policy"]


def test_hostile_names_are_shown_as_text_and_no_address_is(site: Site) -> None:
    name, size = "<script>alert(1)</script>\u202e{{7*7}}{date.__class__}", '"><img src=x>'
    mug = site.shop.sign_up(ref("mug-1", Size=size, variantId="v-17"), ANNE)
    site.shop.tell(MUG, name=name)
    page = site.client.get(link_of(site.shop, mug)).text
    assert "<script" not in page
    assert "<img" not in page
    assert name in unescape(page)
    assert size in unescape(page)
    assert "v-17" not in page
    assert ANNE not in page


def test_the_page_speaks_the_language_of_the_sign_up_then_the_browsers(site: Site) -> None:
    def language(locale: str | None, accepts: str) -> str:
        mug = site.shop.sign_up(MUG, f"{uuid4()}@example.com", locale=locale)
        reply = site.client.get(link_of(site.shop, mug), headers={"Accept-Language": accepts})
        return str(reply.headers["content-language"])

    wanted = ("de-AT", "pl"), ("tr", "pl"), (None, "fr-CA,en;q=0.5"), ("ar", "en"), (None, ""), ("pt_BR", "en")
    assert [language(*each) for each in wanted] == ["de", "pl", "fr", "ar", "en", "pt-BR"]


def test_behind_a_path_of_the_shop_the_page_finds_its_style_and_its_forms_stay_there(shop: Shop) -> None:
    link = link_of(shop, shop.sign_up(MUG, ANNE))
    with site_over(shop, public_url="https://shop.example/bell") as site:
        page = site.client.get(link).text
    assert 'href="/bell/static/page.css"' in page
    assert "action=" not in page


def test_this_part_alone_is_enough_and_serves_nothing_else(site: Site) -> None:
    mug = site.shop.sign_up(MUG, ANNE)
    alone = TestClient(create_app(site.context, {Part.UNSUBSCRIBE}), base_url="https://notify.shop.example")
    assert alone.post(link_of(site.shop, mug), data=ONE_CLICK).status_code == 200
    assert how(site.shop, mug) == LEFT
    for path in ("/hooks/postmark/x", "/v1/back-in-stock-notification-requests"):
        assert alone.post(path).status_code == 404
