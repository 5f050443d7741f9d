"""What admins do with customers. On SQLite and PostgreSQL."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.shop import CUP, MUG, Shop
from worker.domain.errors import BadFile, Refused
from worker.domain.returned import Cause
from worker.domain.tokens import Tokens
from worker.domain.verdicts import Tries
from worker.models import Status
from worker.services import contacts, importing, requests
from worker.services.contacts import Contacts, Given, Suppressing, lines_of
from worker.services.import_file import open_import
from worker.store import recording
from worker.store.recording import Ended, Ends, Try
from worker.store.requests import NewRequest

ANNE = "anne@example.com"
TOKENS = Tokens([b"k" * 32])


def given(*addresses: str) -> list[Given]:
    return [(address, address) for address in addresses]


@pytest.fixture
def customers(shop: Shop) -> Contacts:
    return Contacts(shop.database, TOKENS)


@pytest.fixture
def refused() -> dict[str, str]:
    return {}


def test_any_number_of_addresses_is_suppressed_in_batches_and_bad_ones_are_named(
    shop: Shop, customers: Contacts, refused: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contacts, "CHUNK", 3)
    shop.sign_up(MUG, ANNE)
    file = io.BytesIO(
        b'Anne@Example.com\r\n\r\n"bob@example.com"\nnobody\n<eve@example.com>\nbob@example.com\n\x81@x.example\n'
    )
    done = customers.suppress(lines_of(file), Cause.UNSUBSCRIBED, refused.__setitem__)
    assert done == Suppressing(changed=3, already=1, requests=1, refused=2)
    assert refused.keys() == {"line 4", "line 7"}
    assert "nobody" not in refused["line 4"]
    again = customers.suppress(given(ANNE, "ANNE@example.com"), Cause.BOUNCED, refused.__setitem__)
    assert again == Suppressing(changed=0, already=1)


def test_a_line_that_is_too_long_is_named_and_the_next_one_read(customers: Contacts, refused: dict[str, str]) -> None:
    file = io.BytesIO(b"x" * 200_000 + b"\n" + ANNE.encode())
    assert customers.suppress(lines_of(file), Cause.MANUAL, refused.__setitem__).changed == 1
    assert refused == {"line 1": "is too long"}


def test_a_file_that_is_no_text_is_refused() -> None:
    with pytest.raises(BadFile, match="ZIP"):
        lines_of(io.BytesIO(b"PK\x03\x04"))


def test_who_is_not_suppressed_cant_be_lifted(customers: Contacts, refused: dict[str, str]) -> None:
    customers.suppress(given(ANNE), Cause.COMPLAINED, refused.__setitem__)
    assert customers.unsuppress(given("Anne@example.com", "bob@example.com", "bad"), refused.__setitem__) == 1
    assert refused == {"bob@example.com": "is not suppressed", "bad": "email has no @"}


def test_everything_that_is_held_of_a_customer_is_one_document(shop: Shop, customers: Contacts) -> None:
    _, (claim,) = shop.claimed()
    ended = Ended(claim, Tries(1), "RECIPIENT_REJECTED", "550 no")
    shop.write(recording.record, Ends(failed=[ended], log=[Try(claim, "rejected", 550, "5.1.1", "550 no")]))
    shop.sign_up(CUP, claim.email)
    shop.change("UPDATE request SET receipt = 'queued as 4ABC' WHERE id = :id", id=claim.id)
    shop.change(
        """INSERT INTO report (key, at, kind, status, words, source, request_id)
        VALUES ('k', stockbell_now(0), 'dead', '5.1.1', 'unknown', 'mbox', :id)""",
        id=claim.id,
    )
    found: dict[str, Any] = json.loads(json.dumps(customers.known(claim.email).as_json()))
    assert found["contact"]["address"] == claim.email
    assert (found["contact"]["suppressed"], found["contact"]["since"]) == (False, None)
    first, second = found["requests"]
    assert (first["id"], first["receipt"]) == (str(claim.id), "queued as 4ABC")
    assert [entry["reply"] for entry in first["attemptLog"]] == ["550 no"]
    assert (second["status"], second["attemptLog"]) == ("RECEIVED", [])
    (report,) = found["reports"]
    assert (report["kind"], report["words"], report["requestId"]) == ("dead", "unknown", str(claim.id))


def test_of_a_stranger_nothing_is_held(customers: Contacts, refused: dict[str, str]) -> None:
    with pytest.raises(Refused, match="no such contact"):
        customers.known(ANNE)
    assert customers.erase(given(ANNE), refused.__setitem__) == 0
    assert refused == {ANNE: "no such contact"}


def test_the_list_is_as_long_as_it_may_be(customers: Contacts, refused: dict[str, str]) -> None:
    customers.suppress(given(*(f"c{n}@example.com" for n in range(5))), Cause.BOUNCED, refused.__setitem__)
    rows: list[Any] = []
    assert customers.each_suppressed(Cause.BOUNCED, None, 3, rows.append) == len(rows) == 3
    assert customers.each_suppressed(Cause.MANUAL, None, 0, rows.append) == 0


# Sign-ups, and lines of a file


@pytest.mark.parametrize("cause", Cause)
def test_consent_lifts_what_the_customer_may_lift(
    shop: Shop, customers: Contacts, refused: dict[str, str], cause: Cause
) -> None:
    customers.suppress(given(ANNE), cause, refused.__setitem__)
    _, without = requests.create(shop.database, NewRequest(ANNE, MUG), TOKENS)
    assert requests.create(shop.database, NewRequest(ANNE, MUG), TOKENS) == (False, without)
    _, with_consent = requests.create(shop.database, NewRequest(ANNE, CUP), TOKENS, has_consent=True)
    expected = Status.RECEIVED if cause in {Cause.BOUNCED, Cause.UNSUBSCRIBED} else Status.FAILED
    assert (shop.status(without), shop.status(with_consent)) == (Status.FAILED, expected)


def lines(*emails: str) -> Iterator[Any]:
    file = io.BytesIO("\n".join(["email,catalogItemId", *(f"{email},mug-1" for email in emails)]).encode())
    yield from open_import(file, "x.csv").entries


def test_an_import_counts_who_is_suppressed_as_a_dry_run_does(
    shop: Shop, customers: Contacts, refused: dict[str, str]
) -> None:
    customers.suppress(given(ANNE, "gone@example.com"), Cause.BOUNCED, refused.__setitem__)
    customers.erase(given("gone@example.com"), refused.__setitem__)
    emails = ("Anne@example.com", "bob@example.com", "gone@example.com", ANNE)
    tried = importing.try_import(shop.database, lines(*emails), lambda _: None, TOKENS)
    done = importing.import_requests(shop.database, lines(*emails), lambda _: None, TOKENS)
    assert tried == done == importing.Imported(created=1, duplicate=1, suppressed=2)
    assert [row.email for row in shop.rows() if row.status is Status.RECEIVED] == ["bob@example.com"]
