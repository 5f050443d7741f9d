"""What a selection finds, on both databases."""

from datetime import timedelta
from uuid import UUID

from tests.contract.shop import CUP, MUG, Shop, ref
from worker.models import Status
from worker.services.selection import Selection
from worker.store import requests


def found(shop: Shop, **fields: str) -> set[UUID]:
    selection, errors = Selection.read(fields.items())
    assert errors == {}
    return shop.database.read(lambda c: {row.id for row in requests.find(c, selection.filter(c))})


def failed(shop: Shop, email: str, reason: str, *, hours: int = 0) -> UUID:
    request = shop.sign_up(MUG, email, locale="de-AT")
    shop.change(
        """UPDATE request SET status = 'FAILED', failure_code = 'RECIPIENT_REJECTED', failure_reason = :reason,
        failed_at = stockbell_now(:ago) WHERE id = :id""",
        id=request,
        reason=reason,
        ago=-3600 * hours,
    )
    return request


def test_words_are_a_part_of_the_reason_and_the_ellipsis_is_any_text(shop: Shop) -> None:
    one = failed(shop, "one@example.com", "550 5.1.1 User <\u2026> unknown (id 17)")
    two = failed(shop, "two@example.com", "550 5.1.1 user unknown 100%")
    assert found(shop, words="USER") == {one, two}
    assert found(shop, words="user\u2026unknown") == {one, two}
    assert found(shop, words='"550 5.1.1 user unknown 100%"') == {two}
    assert found(shop, words='"user unknown"') == set()
    for hostile in ("100%_", "_", "user%unknown", "' OR 1=1 --", "!"):
        assert found(shop, words=hostile) == set(), hostile
    assert found(shop, words="100%") == {two}


def test_a_domain_is_the_whole_one(shop: Shop) -> None:
    one = failed(shop, "one@example.com", "no")
    two = failed(shop, "two@mail.example.com", "no")
    assert found(shop, domain="Example.com") == {one}
    assert found(shop, domain="mail.example.com") == {two}
    assert found(shop, domain="%") == found(shop, domain="ample.com") == set()


def test_times_are_those_of_the_failure_for_failed_ones_and_else_of_the_sign_up(shop: Shop) -> None:
    old, new = failed(shop, "one@example.com", "no", hours=5), failed(shop, "two@example.com", "no")
    waits = shop.sign_up(CUP)
    line = (shop.now() - timedelta(hours=1)).isoformat()
    assert found(shop, status="FAILED", since=line) == {new}
    assert found(shop, status="FAILED", until=line) == {old}
    assert found(shop, since=line) == {old, new, waits}
    before = shop.now() - timedelta(hours=1)
    which = shop.database.read(lambda c: Selection(status=Status.FAILED).filter(c, before=before))
    assert shop.database.read(lambda c: [row.id for row in requests.find(c, which)]) == [old]


def test_a_language_comes_with_its_regions(shop: Shop) -> None:
    failed_one = failed(shop, "one@example.com", "no")
    dutch = shop.sign_up(CUP, locale="nl_BE")
    assert found(shop, locale="de") == found(shop, locale="DE-at") == {failed_one}
    assert found(shop, locale="nl-BE") == {dutch}
    assert found(shop, locale="d") == set()


def test_a_reason_to_wait_an_item_and_a_customer_select(shop: Shop) -> None:
    blue = shop.sign_up(ref("mug-2", color="blue"), "jane@example.com")
    other = shop.sign_up(CUP)
    shop.tell(CUP)
    assert found(shop, waiting="noStock") == {blue}
    assert found(shop, waiting="queued") == {other}
    assert found(shop, item="mug-2") == found(shop, email="Jane@example.com") == {blue}
    assert found(shop, contact=str(shop.row(blue).contact_id)) == {blue}
    read = shop.database.read
    kept = read(Selection(email="jane@example.com").without_address)
    assert kept.as_json() == {"contact": str(shop.row(blue).contact_id)}
    assert read(Selection(email="nobody@example.com").without_address).contact == UUID(int=0)
