"""What the commands do to the database, on SQLite and PostgreSQL. Redis is not used; it is only away at times."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO
from itertools import permutations
from typing import Any
from uuid import RFC_4122, UUID, uuid4

import pytest
from sqlalchemy import Pool, event

from tests.contract.shop import CUP, LONG_AGO, MUG, Shop, ref
from worker.domain.catalog import WIX_STORES, CatalogReference
from worker.domain.errors import DatabaseAway, RedisAway, Refused, SchemaOutdated
from worker.domain.outcomes import TEMPLATE_ERROR, FailureCode
from worker.domain.verdicts import Tries
from worker.models import Contact, Status, WaitingList
from worker.queue.bell import Bell, celery_app
from worker.services import importing, requests, verbs
from worker.services.import_file import Entry, Rejected, read_requests
from worker.services.importing import Imported, import_requests
from worker.services.intake import take_events
from worker.services.schema_check import check_schema
from worker.services.status import read_status
from worker.services.verbs import Summary, Verbs, waiting_lists
from worker.services.wire import attempts_json, request_json, timestamp
from worker.store import breaker, pauses, recording
from worker.store.database import Database
from worker.store.recording import Ended, Ends, Try
from worker.store.requests import Filter, NewRequest, find, lists_of
from worker.stream.event_stream import Stream
from worker.stream.figures import Figures
from worker.stream.recent import Recent


class RecordingBell(Bell):
    """A bell that only remembers for which lists it was rung. With `is_away` it behaves as if Redis were away."""

    def __init__(self) -> None:
        super().__init__(celery_app(lambda: "redis://localhost:1/0"))
        self.rung: list[UUID] = []
        self.is_away = False

    def ring(self, lists: Sequence[UUID]) -> None:
        self._check()
        self.rung += lists

    def queued(self) -> int:
        self._check()
        return len(self.rung)

    def _check(self) -> None:
        if self.is_away:
            raise RedisAway("no answer")


class StandingStream(Stream):
    """A stream with fixed figures."""

    def __init__(self) -> None:
        super().__init__("redis://localhost:1/0", "inventory:events")
        self.is_away = False
        self.recent = Recent()

    def figures(self) -> Figures:
        if self.is_away:
            raise RedisAway("no answer")
        return Figures(length=7, lag=2, pending=1, dead_letters=3, recent=self.recent)


@pytest.fixture
def bell() -> RecordingBell:
    return RecordingBell()


@pytest.fixture
def admin(shop: Shop, bell: RecordingBell) -> Verbs:
    return Verbs(shop.database, bell)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "CHUNK", 2)
    monkeypatch.setattr(importing, "BATCH", 2)


def fail(shop: Shop, number: int = 1, code: FailureCode = FailureCode.RECIPIENT_REJECTED) -> list[UUID]:
    """Makes `number` new requests for the mug that are FAILED. Returns them, oldest first."""
    _, held = shop.claimed(number)
    ends = Ends(failed=[Ended(claim, Tries(1), code, "550 no") for claim in held])
    ends.log = [Try(claim, "rejected", 550, "5.1.1", "550 5.1.1 no") for claim in held]
    shop.write(recording.record, ends)
    shop.tell(MUG, in_stock=False)
    assert {shop.status(claim.id) for claim in held} == {Status.FAILED}
    return [claim.id for claim in held]


def entries_of(*lines: str) -> Iterator[Entry]:
    return read_requests(BytesIO("\n".join(lines).encode()), "requests.csv")


def import_lines(shop: Shop, *lines: str) -> tuple[Imported, list[Rejected]]:
    refused: list[Rejected] = []
    return import_requests(shop.database, entries_of(*lines), refused.append), refused


# Import


def test_an_import_creates_what_is_new_and_counts_the_rest(shop: Shop) -> None:
    shop.sign_up(MUG, "known@example.com")
    done, refused = import_lines(
        shop,
        "email,catalogItemId",
        "new@example.com,mug-1",
        "Known@Example.com,mug-1",
        "not an address,mug-1",
        "new@example.com,mug-1",
        "new@example.com,cup-1",
    )
    assert done == Imported(created=2, duplicate=2, rejected=1)
    assert [line.line for line in refused] == [4]
    assert len(shop.rows()) == 3


def test_an_import_may_be_repeated(shop: Shop, small_chunks: None) -> None:
    lines = ["email,catalogItemId", *(f"customer{number}@example.com,mug-1" for number in range(5))]
    assert import_lines(shop, *lines)[0] == Imported(created=5)
    assert import_lines(shop, *lines)[0] == Imported(duplicate=5)


@pytest.mark.parametrize("batch", [1, 1000])
def test_a_trial_counts_what_the_import_then_does_and_writes_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(importing, "BATCH", batch)
    shop.sign_up(MUG, "known@example.com")
    import_lines(shop, "email,sku,createdDate", "told@example.com,mug-1,2020-01-01T00:00:00Z")
    shop.change("UPDATE request SET status = 'NOTIFICATION_SENT' WHERE email = 'told@example.com'")
    lines = (
        "email,sku,createdDate,status",
        "Known@example.com,mug-1,2019-01-01T00:00:00Z,",
        "known@example.com,new-item,2019-01-01T00:00:00Z,",
        "told@example.com,mug-1,2020-01-01T00:00:00Z,",
        "told@example.com,mug-1,2021-01-01T00:00:00Z,",
        "new@example.com,mug-1,,waiting",
        "New@example.com,mug-1,,waiting",
        "old@example.com,mug-1,,sent",
        "nobody,mug-1,,",
    )
    before = shop.rows()
    refused: list[Rejected] = []
    tried = importing.try_import(shop.database, entries_of(*lines), refused.append)
    assert shop.rows() == before
    assert tried == Imported(created=3, duplicate=3, rejected=1, skipped=1)
    assert import_lines(shop, *lines) == (tried, refused)


HISTORY = (
    "email,catalogItemId,appId,options,createdDate",
    "jane@example.com,mug-1,,,2020-01-01T00:00:00Z",
    "jane@example.com,mug-1,other-app,,2020-01-01T00:00:00Z",
    'jane@example.com,mug-1,,"{""size"":""L"",""color"":""red""}",2020-01-01T00:00:00Z',
    "joe@example.com,mug-1,,,2020-01-01T00:00:00.000001Z",
    "joe@example.com,cup-1,,,1970-01-01T00:00:00Z",
)
SAME_HISTORY = (
    HISTORY[0],
    "Jane@Example.com,mug-1,1380B703-ce81-ff05-f115-39571d94dfcd,,2020-01-01T01:00:00+01:00",
    "jane@example.com,mug-1,other-app,{},2020-01-01T00:00:00.000Z",
    'jane@example.com,mug-1,,"{""color"":""red"",""options"":{""size"":""L""},""x"":null}",2020-01-01T00:00:00Z',
    *HISTORY[4:],
)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("again", [HISTORY, SAME_HISTORY], ids=["the same", "in other words"])
def test_an_import_with_dates_changes_nothing_when_repeated(
    shop: Shop, small_chunks: None, status: Status, again: tuple[str, ...]
) -> None:
    assert import_lines(shop, *HISTORY)[0] == Imported(created=5)
    shop.change("UPDATE request SET status = :status", status=status.value)
    before = shop.rows()
    assert import_lines(shop, *again)[0] == Imported(duplicate=5)
    assert shop.rows() == before


DATED = "email,catalogItemId,createdDate"


def jane(year: int | str) -> str:
    return f"jane@example.com,mug-1,{year}-01-01T00:00:00Z" if year else "jane@example.com,mug-1,"


@pytest.mark.parametrize("batch", [1, 2, 1000])
@pytest.mark.parametrize("years", [*permutations([2019, 2020, 2021]), (2021, "", 2019), ("", 2019, 2021)])
def test_of_duplicates_the_oldest_date_counts_in_whatever_order_and_batches_they_come(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, batch: int, years: tuple[int | str, ...]
) -> None:
    monkeypatch.setattr(importing, "BATCH", batch)
    lines = DATED, *map(jane, years)
    assert import_lines(shop, *lines)[0] == Imported(created=1, duplicate=2)
    assert [row.created_date.year for row in shop.rows()] == [2019]
    before = shop.rows()
    assert import_lines(shop, *lines)[0].created == 0
    assert import_lines(shop, DATED, jane(""))[0] == Imported(duplicate=1)
    assert shop.rows() == before


def test_an_older_date_makes_who_signed_up_after_the_event_due_and_keeps_the_rest(shop: Shop) -> None:
    shop.tell(MUG)
    request = shop.sign_up(MUG, "Jane@example.com", item_url="https://shop.example/p/1", locale="de")
    before = shop.row(request)
    assert shop.waiting_for(request) == "noStock"
    assert shop.with_work() == set()
    assert import_lines(shop, DATED, jane(2019))[0] == Imported(duplicate=1)
    assert shop.waiting_for(request) == "queued"
    assert shop.with_work() == {shop.list_id(MUG)}
    after = shop.row(request)
    assert after.created_date == datetime(2019, 1, 1, tzinfo=UTC)
    assert after == (*(after.created_date if name == "created_date" else value for name, value in pairs(before)),)
    found = read_status(shop.database, StandingStream(), RecordingBell(), 60).as_json()
    assert 0 <= found["oldestDueSeconds"] < 60  # counted from when it could first be sent, not from its date
    assert [claim.id for claim in shop.claim(shop.owner()).claims] == [request]


def pairs(row: Any) -> Iterator[tuple[str, object]]:
    return zip(row._fields, row, strict=True)


@pytest.mark.parametrize("status", ["PROCESSING", "NOTIFICATION_SENT", "FAILED"])
def test_an_older_date_changes_nobody_who_does_not_wait(shop: Shop, status: str) -> None:
    request = shop.sign_up(MUG, "jane@example.com")
    shop.change("UPDATE request SET status = :status", status=status)
    before = shop.row(request)
    import_lines(shop, DATED, jane(2019))
    assert shop.row(request) == before


def test_who_was_told_and_waits_again_is_not_made_older_by_the_line_that_was_told(shop: Shop) -> None:
    import_lines(shop, DATED, jane(2020))
    shop.change("UPDATE request SET status = 'NOTIFICATION_SENT'")
    again = shop.sign_up(MUG, "jane@example.com")
    before = shop.row(again)
    assert import_lines(shop, DATED, jane(2020))[0] == Imported(duplicate=1)
    assert shop.row(again) == before


def test_nobody_is_told_again_when_an_import_is_repeated(shop: Shop) -> None:
    shop.tell(MUG)
    import_lines(shop, *HISTORY[:2])
    (claim,) = shop.claim(shop.owner()).claims
    shop.write(recording.record, Ends(told=[claim]))
    import_lines(shop, *HISTORY[:2])
    assert shop.claim(shop.owner()).claims == []


def test_who_was_told_and_asked_again_later_is_imported_again(shop: Shop) -> None:
    import_lines(shop, *HISTORY[:2])
    shop.change("UPDATE request SET status = 'NOTIFICATION_SENT'")
    header, line, *_ = HISTORY
    assert import_lines(shop, header, line, line.replace("2020", "2021"))[0] == Imported(created=1, duplicate=1)


def test_an_import_by_a_clock_that_is_ahead_changes_nothing_when_repeated_and_is_woken(shop: Shop) -> None:
    ahead = (datetime.now(UTC) + timedelta(minutes=4)).isoformat()
    lines = "email,catalogItemId,createdDate", f"jane@example.com,mug-1,{ahead}"
    assert import_lines(shop, *lines)[0] == Imported(created=1)
    shop.tell(MUG)
    assert shop.with_work() == {shop.list_id(MUG)}
    shop.change("UPDATE request SET status = 'NOTIFICATION_SENT'")
    assert import_lines(shop, *lines)[0] == Imported(duplicate=1)


def test_a_deleted_request_may_be_imported_again(shop: Shop) -> None:
    import_lines(shop, *HISTORY[:2])
    requests.delete(shop.database, shop.rows()[0].id)
    assert import_lines(shop, *HISTORY[:2])[0] == Imported(created=1)


def test_an_imported_request_has_the_id_of_its_time(shop: Shop) -> None:
    import_lines(shop, *HISTORY)
    for row in shop.rows():
        assert (row.id.version, row.id.variant) == (7, RFC_4122)
        assert row.id.int >> 80 == int(row.created_date.timestamp() * 1000)
    assert len({row.id.int & (2**62 - 1) for row in shop.rows()}) == 5


def test_two_spellings_of_an_address_are_one_contact(shop: Shop) -> None:
    import_lines(shop, "email,catalogItemId", "Jane@Example.com,mug-1", "jane@example.com,cup-1")
    assert shop.count(Contact) == 1
    assert {row.email for row in shop.rows()} == {"Jane@example.com", "jane@example.com"}


def test_what_a_line_says_is_kept_and_sign_ups_stay_in_order(shop: Shop) -> None:
    import_lines(
        shop,
        "email;catalogItemId;options;itemUrl;locale;createdDate",
        'jane@example.com;mug-1;"{""size"":""L""}";https://shop.example/p/1;de-AT;2020-01-01T01:00:00+01:00',
        "joe@example.com;mug-1;;;;",
        "jim@example.com;mug-1;;;;",
    )
    jane, joe, jim = shop.rows()
    assert [joe.email, jim.email] == ["joe@example.com", "jim@example.com"]
    assert jane.created_date == LONG_AGO
    assert (jane.item_url, jane.locale) == ("https://shop.example/p/1", "de-AT")
    assert jane.waiting_list_id == shop.list_id(ref(size="L"))
    assert joe.created_date < jim.created_date <= shop.now()


def test_an_import_gives_priorities_and_says_nothing_with_an_empty_cell(shop: Shop) -> None:
    header, jane = "email,catalogItemId,createdDate,priority", "jane@example.com,mug-1,2020-01-01T00:00:00Z"
    assert import_lines(shop, header, f"{jane},4", "joe@example.com,mug-1,,")[0] == Imported(created=2)
    for given, is_now in (("", 4), ("9", 9), ("0", 0)):
        assert import_lines(shop, header, f"{jane},{given}", "joe@example.com,mug-1,,")[0] == Imported(duplicate=2)
        assert [row.priority for row in shop.rows()] == [is_now, 0]


def test_an_export_has_the_priority_that_an_import_reads(shop: Shop) -> None:
    import_lines(shop, "email,sku,priority", "jane@example.com,mug-1,4", "joe@example.com,mug-1,")
    as_json = [json.dumps(request_json(requests.show(shop.database, row.id).request)) for row in shop.rows()]
    assert ["priority" in line for line in as_json] == ["jane" in line for line in as_json]
    shop.change("UPDATE request SET priority = 1")
    assert import_lines(shop, *as_json)[0] == Imported(duplicate=2)
    assert {row.email.partition("@")[0]: row.priority for row in shop.rows()} == {"jane": 4, "joe": 1}


def test_those_who_signed_up_before_an_event_are_woken_when_imported_after_it(shop: Shop) -> None:
    shop.tell(MUG)
    import_lines(shop, "email,catalogItemId,createdDate", "jane@example.com,mug-1,2020-01-01T00:00:00Z")
    assert shop.waiting_for(shop.rows()[0].id) == "queued"


def test_good_lines_before_the_database_went_away_are_kept(shop: Shop, small_chunks: None) -> None:
    def until_it_is_gone() -> Iterator[NewRequest]:
        for number in range(4):
            yield NewRequest(f"customer{number}@example.com", MUG)
        raise DatabaseAway("gone")

    with pytest.raises(DatabaseAway):
        import_requests(shop.database, until_it_is_gone(), lambda _line: None)
    assert len(shop.rows()) == 4


# Single requests


def test_who_waits_already_gets_the_id_of_that_request(shop: Shop) -> None:
    new = NewRequest("jane@example.com", MUG)
    is_new, first = requests.create(shop.database, new)
    assert is_new
    assert requests.create(shop.database, NewRequest("JANE@example.com", MUG)) == (False, first)
    assert requests.create(shop.database, NewRequest("jane@example.com", CUP))[0]


def test_who_was_told_may_sign_up_again(shop: Shop) -> None:
    _, first = requests.create(shop.database, NewRequest("jane@example.com", MUG))
    Verbs(shop.database, RecordingBell()).mark_sent([first])
    is_new, second = requests.create(shop.database, NewRequest("jane@example.com", MUG))
    assert is_new
    assert second != first


def test_a_deleted_request_is_gone_with_its_history(shop: Shop) -> None:
    [failed] = fail(shop)
    requests.delete(shop.database, failed)
    assert shop.count() == 0
    with pytest.raises(Refused, match=f"no such request: {failed}"):
        requests.delete(shop.database, failed)
    with pytest.raises(Refused, match="no such request"):
        requests.show(shop.database, failed)


def test_a_new_request_looks_as_in_wix(shop: Shop) -> None:
    created = datetime(2020, 11, 23, 9, 0, 0, 123456, tzinfo=UTC)
    request = shop.sign_up(ref(size="L"), "jane@example.com", created=created, item_url=None)
    shown = requests.show(shop.database, request)
    row, attempts = shown.request, shown.attempts
    assert request_json(row) == {
        "id": str(request),
        "catalogReference": {
            "catalogItemId": "mug-1",
            "appId": "215238eb-22a5-4c36-9e7b-e7c08025e04e",
            "options": {"size": "L"},
        },
        "email": "jane@example.com",
        "contactId": str(row.contact_id),
        "status": "RECEIVED",
        "createdDate": "2020-11-23T09:00:00.123Z",
        "attempts": 0,
        "failureCode": None,
        "failureReason": None,
        "waiting": "noStock",
    }
    assert attempts_json(attempts) == []


def test_a_failed_request_tells_why_and_what_was_tried(shop: Shop) -> None:
    [failed] = fail(shop)
    shown = requests.show(shop.database, failed)
    row, attempts = shown.request, shown.attempts
    found = request_json(row)
    assert (found["status"], found["autoNotified"], found["attempts"]) == ("FAILED", True, 1)
    assert (found["failureCode"], found["failureReason"]) == ("RECIPIENT_REJECTED", "550 no")
    assert found["itemUrl"] == "https://shop.example/p/mug-1"
    assert "waiting" not in found
    assert "options" not in str(found["catalogReference"])
    [attempt] = attempts_json(attempts)
    assert (attempt["event"], attempt["smtpCode"], attempt["enhancedCode"]) == ("rejected", 550, "5.1.1")


def test_a_request_that_backs_off_tells_until_when(shop: Shop) -> None:
    request = shop.sign_up()
    shop.change("UPDATE request SET not_before = stockbell_now(60)")
    found = request_json(requests.show(shop.database, request).request)
    assert found["waiting"] == "backoff"
    assert found["notBefore"] == found["waitingUntil"] == timestamp(shop.row(request).not_before)


@pytest.mark.parametrize(("column", "reason"), [("settles_at", "settling"), ("opens_at", "wave")])
def test_a_request_that_waits_for_its_turn_tells_until_when(shop: Shop, column: str, reason: str) -> None:
    [request] = shop.waiting(1)
    shop.change(f"UPDATE waiting_list SET {column} = stockbell_now(60)")
    found = request_json(requests.show(shop.database, request).request)
    assert (found["waiting"], found["waitingUntil"]) == (reason, timestamp(getattr(shop.list_row(), column)))
    shop.change(f"UPDATE waiting_list SET {column} = stockbell_now(-60)")
    assert "waitingUntil" not in request_json(requests.show(shop.database, request).request)


def test_a_marked_request_has_a_date_and_was_not_told_by_us(shop: Shop, admin: Verbs) -> None:
    request = shop.sign_up()
    admin.mark_sent([request])
    found = request_json(requests.show(shop.database, request).request)
    assert (found["status"], found["autoNotified"]) == ("NOTIFICATION_SENT", False)
    assert str(found["notifiedDate"]).endswith("Z")


def test_requests_are_listed_oldest_first_and_all_parts_of_a_filter_must_hold(shop: Shop) -> None:
    first, second, third = shop.sign_up_many(3)
    cup = shop.sign_up(CUP, "jane@example.com")
    shown: list[UUID] = []
    each = partial(requests.each, shop.database, limit=0, show=lambda row: shown.append(row.id))
    assert requests.each(shop.database, Filter(), 2, lambda row: shown.append(row.id)) == 2
    assert shown == [first, second]
    shown.clear()
    assert each(Filter()) == 4
    assert shown == [first, second, third, cup]
    shown.clear()
    each(Filter(email="Jane@example.com", lists=waiting_lists(shop.database, CUP), status=Status.RECEIVED))
    assert shown == [cup]
    shown.clear()
    assert each(Filter(email="jane@example.com", lists=waiting_lists(shop.database, MUG))) == 0
    assert each(Filter(lists=waiting_lists(shop.database, ref("unknown")))) == 0
    assert shown == []


def test_an_item_means_all_its_variants_and_a_variant_only_itself(shop: Shop) -> None:
    shop.sign_up(ref(size="L"))
    shop.sign_up(ref(size="M"))
    assert len(waiting_lists(shop.database, MUG) or ()) == 2
    assert waiting_lists(shop.database, ref(size="L")) == [shop.list_id(ref(size="L"))]
    assert waiting_lists(shop.database, None) is None


# Verbs on many


def test_a_retry_by_id_sends_whatever_the_stock(shop: Shop, admin: Verbs, bell: RecordingBell) -> None:
    [failed] = fail(shop)
    done = admin.retry([failed], ordered=True, force=False)
    assert (done.changed, done.refused) == (1, {})
    assert shop.waiting_for(failed) == "queued"
    assert bell.rung == [shop.list_id()]


def test_a_retry_by_filter_waits_for_stock(shop: Shop, admin: Verbs, bell: RecordingBell) -> None:
    failed = fail(shop, 3)
    done = admin.retry(Filter(status=Status.FAILED), ordered=False, force=False)
    assert done.changed == 3
    assert {shop.waiting_for(request) for request in failed} == {"soldOut"}
    assert bell.rung == []


def test_a_retry_since_a_time_goes_by_the_failure_and_not_by_the_sign_up(shop: Shop, admin: Verbs) -> None:
    before, after = fail(shop, 2)
    shop.change("UPDATE request SET created_date = stockbell_now(-7200)")
    shop.change("UPDATE request SET failed_at = stockbell_now(-3600) WHERE id = :id", id=before)
    shown: list[UUID] = []
    which = Filter(status=Status.FAILED, failed_since=shop.now() - timedelta(minutes=30))
    admin.would_retry(which, force=False, seen=shown.extend)
    assert shown == [after]


def test_a_retry_since_a_time_goes_by_the_sign_up_where_an_older_program_did_not_say(shop: Shop, admin: Verbs) -> None:
    old, new = fail(shop, 2)
    shop.change("UPDATE request SET failed_at = NULL")
    shop.change("UPDATE request SET created_date = stockbell_now(-3600) WHERE id = :id", id=old)
    which = Filter(status=Status.FAILED, failed_since=shop.now() - timedelta(minutes=30))
    assert admin.retry(which, ordered=False, force=False).changed == 1
    assert shop.status(new) is Status.RECEIVED


def test_a_verb_on_many_works_in_chunks(shop: Shop, admin: Verbs, small_chunks: None) -> None:
    failed = fail(shop, 5)
    assert admin.retry(Filter(status=Status.FAILED), ordered=True, force=False).changed == 5
    assert admin.mark_sent([*failed, *failed]).changed == 5


@pytest.mark.parametrize("code", [FailureCode.OUTCOME_UNKNOWN, FailureCode.SUPPRESSED])
def test_what_may_have_been_told_or_is_not_wanted_is_retried_only_by_force(
    shop: Shop, admin: Verbs, code: FailureCode
) -> None:
    [failed] = fail(shop, code=code)
    done = admin.retry([failed], ordered=True, force=False)
    assert done.changed == 0
    assert "--force" in done.refused[failed]
    assert admin.retry([failed], ordered=True, force=True).changed == 1


def test_what_has_a_younger_request_waiting_is_not_retried(shop: Shop, admin: Verbs) -> None:
    [failed] = fail(shop)
    email = shop.row(failed).email
    _, younger = requests.create(shop.database, NewRequest(email, MUG))
    assert admin.retry([failed], ordered=True, force=False).refused == {failed: f"superseded by {younger}"}


def fail_twice(shop: Shop) -> tuple[UUID, UUID]:
    """Makes two FAILED requests of one customer for one item. Returns the older one first."""
    [older] = fail(shop)
    younger = shop.sign_up(MUG, shop.row(older).email)
    shop.change("UPDATE request SET status = 'FAILED' WHERE id = :id", id=younger)
    return older, younger


@pytest.mark.parametrize("chunk", [1, 1000])
def test_only_the_oldest_of_one_customer_is_retried(
    shop: Shop, admin: Verbs, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(verbs, "CHUNK", chunk)
    older, younger = fail_twice(shop)
    shown: list[UUID] = []
    which = Filter(status=Status.FAILED)
    would = admin.would_retry(which, force=False, seen=shown.extend)
    assert shown == [older]
    assert shop.status(older) is Status.FAILED
    done = admin.retry(which, ordered=False, force=False)
    assert would.refused == done.refused == {younger: f"superseded by {older}"}
    assert would.changed == done.changed == 1


def test_a_report_orders_those_who_wait_but_a_pause_wins(shop: Shop, admin: Verbs, bell: RecordingBell) -> None:
    one, two = shop.sign_up_many(2)
    shop.write(pauses.pause, MUG)
    which = Filter(is_unresolved=True, lists=waiting_lists(shop.database, MUG))
    assert admin.report(which).changed == 2
    assert {shop.waiting_for(one), shop.waiting_for(two)} == {"paused"}
    assert bell.rung == []
    assert admin.resume(MUG)
    assert {shop.waiting_for(one), shop.waiting_for(two)} == {"queued"}
    assert bell.rung == [shop.list_id()]


def test_a_report_of_an_item_names_those_who_are_being_told(shop: Shop, admin: Verbs) -> None:
    _, [held] = shop.claimed()
    [waiting] = shop.sign_up_many(1)
    shop.sign_up(CUP)
    done = admin.report(Filter(is_unresolved=True, lists=waiting_lists(shop.database, MUG)))
    assert (done.changed, done.refused) == (1, {held.id: "being sent"})
    assert [row.id for row in shop.rows() if row.ordered_at] == [waiting]


MANY = 40_000
"""More parameters than SQLite takes (32,766). Twice this number is more than PostgreSQL takes (65,535)."""


@pytest.fixture
def usual_sqlite() -> Iterator[None]:
    """SQLite with its default limit on the number of parameters. Some systems raise that limit."""

    def limit(connection: object, *_: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)

    event.listen(Pool, "connect", limit)
    yield
    event.remove(Pool, "connect", limit)


@pytest.fixture
def many_lists(usual_sqlite: None, shop: Shop) -> Sequence[UUID]:
    """The waiting lists of an item with very many variants. One request has failed."""
    first = shop.sign_up(ref(variantId="0"))
    rows = [{"id": uuid4(), "options": f'{{"variantId":"{number}"}}'} for number in range(1, MANY)]
    shop.change(
        """INSERT INTO waiting_list (id, item_id, options, in_stock)
        SELECT rows.id, w.item_id, rows.options, false FROM ROWS(id uuid, options text) CROSS JOIN waiting_list AS w""",
        rows=rows,
    )
    words = "UPDATE request SET status = 'FAILED', waiting_list_id = :last WHERE id = :id"
    shop.change(words, last=rows[-1]["id"], id=first)
    found = waiting_lists(shop.database, MUG)
    assert found is not None
    assert len(found) == MANY
    return found


def test_verbs_and_lists_of_an_item_work_with_very_many_waiting_lists(
    shop: Shop, admin: Verbs, many_lists: Sequence[UUID]
) -> None:
    twice = [*many_lists, *many_lists]
    [request] = [row.id for row in shop.rows()]
    failed, unresolved = Filter(status=Status.FAILED, lists=twice), Filter(is_unresolved=True, lists=twice)
    shown: list[UUID] = []
    assert requests.each(shop.database, failed, 0, lambda row: shown.append(row.id)) == 1
    assert admin.would_retry(failed, force=False, seen=shown.extend).changed == 1
    assert admin.retry(failed, ordered=False, force=False).changed == 1
    assert admin.report(unresolved).changed == 1
    assert shown == [request, request]
    assert (admin.pause(MUG), admin.resume(MUG)) == (True, True)


def test_very_many_of_very_many_waiting_lists_are_found(shop: Shop, many_lists: Sequence[UUID]) -> None:
    shop.change(
        """INSERT INTO request (id, waiting_list_id, contact_id, email, status, created_date, claim_no, attempts,
            unknowns, policy_refusals, rescues, version, news)
        SELECT rows.id, rows.list_id, contact_id, email, status, created_date, 0, 0, 0, 0, 0, 0, news
        FROM ROWS(id uuid, list_id uuid) CROSS JOIN request""",
        rows=[{"id": uuid4(), "list_id": list_id} for list_id in many_lists[:20_000]],
    )
    shop.change("ANALYZE")  # with its figures PostgreSQL compares more rows with the lists
    failed = Filter(status=Status.FAILED, lists=many_lists)
    assert requests.each(shop.database, failed, 0, lambda _row: None) == 20_001


def test_requests_are_found_by_very_many_ids(usual_sqlite: None, shop: Shop) -> None:
    request = shop.sign_up()
    which = Filter(ids=[request, *(uuid4() for _ in range(70_000))])
    assert requests.each(shop.database, which, 0, lambda _row: None) == 1


@pytest.mark.parametrize("verb", ["retry", "report", "mark_sent"])
def test_what_is_being_sent_and_what_is_unknown_is_refused(shop: Shop, admin: Verbs, verb: str) -> None:
    _, [held] = shop.claimed()
    unknown = uuid4()
    calls = {
        "retry": lambda ids: admin.retry(ids, ordered=True, force=True),
        "report": admin.report,
        "mark_sent": admin.mark_sent,
    }
    done: Summary = calls[verb]([held.id, unknown])
    assert done.changed == 0
    assert done.refused == {held.id: "being sent", unknown: "no such request"}


def test_a_redis_that_is_away_stops_no_verb(shop: Shop, admin: Verbs, bell: RecordingBell) -> None:
    bell.is_away = True
    request = shop.sign_up()
    assert admin.report([request]).changed == 1
    assert admin.pause(None)
    assert admin.resume(None)


def test_pausing_twice_and_resuming_twice_change_nothing(admin: Verbs) -> None:
    assert [admin.pause(MUG), admin.pause(MUG), admin.resume(MUG), admin.resume(MUG)] == [True, False, True, False]


# Status


def test_the_status_has_the_names_that_scripts_rely_on(shop: Shop, bell: RecordingBell) -> None:
    fail(shop)
    shop.waiting(2)
    shop.write(pauses.pause, CUP)
    shop.owner()
    found = read_status(shop.database, StandingStream(), bell, 60).as_json()
    oldest = found.pop("oldestDueSeconds")
    assert 0 <= oldest < 60
    assert found == {
        "requests": {"RECEIVED": 2, "PROCESSING": 0, "NOTIFICATION_SENT": 0, "FAILED": 1},
        "toldIsEstimated": False,
        "events": {
            "stream": 7,
            "lag": 2,
            "pending": 1,
            "deadLetters": 3,
            "unattended": False,
            "deadShare": None,
            "deadReason": None,
        },
        "unheard": {"items": 0, "example": None},
        "queue": {"bells": 0},
        "due": 2,
        "unconfirmed": 0,
        "overdueClaims": 0,
        "held": 0,
        "heldReasons": {},
        "workers": 2,
        "breaker": {"state": "closed", "since": None, "reason": None, "nextProbe": None},
        "relay": {"refusals": 0, "refusedSince": None, "reply": None, "putOff": 0},
        "sendWindow": None,
        "paused": {"all": False, "items": ["cup-1"]},
        "cameBack": {
            "dead": 0,
            "failed": 0,
            "complaints": 0,
            "unsubscribes": 0,
            "delays": 0,
            "autoReplies": 0,
            "feedback": 0,
            "delivered": 0,
            "unmatched": 0,
        },
        "suppressed": {"unsubscribed": 0, "complained": 0, "bounced": 0, "manual": 0},
    }


def test_what_only_redis_knows_is_null_while_it_is_away(shop: Shop, bell: RecordingBell) -> None:
    stream = StandingStream()
    stream.is_away = True
    found = read_status(shop.database, stream, bell, 60)
    assert found.redis_trouble == "no answer"
    assert set(found.as_json()["events"].values()) == {None}
    assert found.troubles == [found.redis_trouble] == ["no answer"]
    assert found.as_json()["queue"] == {"bells": None}


def test_an_open_breaker_is_told_with_its_reason(shop: Shop, bell: RecordingBell) -> None:
    shop.write(breaker.trip, "535 wrong password", "configuration")
    found = read_status(shop.database, StandingStream(), bell, 60).as_json()["breaker"]
    assert (found["state"], found["reason"]) == ("open", "535 wrong password")
    assert found["since"].endswith("Z")


def test_it_is_not_well_when_somebody_due_waits_over_a_minute_or_a_claim_is_overdue(
    shop: Shop, bell: RecordingBell
) -> None:
    look = partial(read_status, shop.database, StandingStream(), bell, 60)
    assert look().troubles == []
    owner, _ = shop.claimed()
    assert look().troubles == []
    shop.die(owner)
    assert look().troubles == ["claims are overdue: 1"]
    shop.rescue()
    assert look().troubles == []
    shop.change("UPDATE request SET created_date = stockbell_now(-90)")
    shop.change("UPDATE waiting_list SET woken_at = stockbell_now(-61), last_in_stock_at = stockbell_now(-61)")
    assert look().troubles == ["requests are due for over 60 s"]


def test_it_is_not_well_when_mails_cant_be_made_and_the_reasons_are_told(shop: Shop, bell: RecordingBell) -> None:
    _, held = shop.claimed(3)
    reasons = ["template a.html: line 3", "template a.html: line 3", "template b.txt: empty"]
    pairs = zip(held, reasons, strict=True)
    ends = Ends(deferred=[Ended(claim, Tries(), TEMPLATE_ERROR, why, delay=60) for claim, why in pairs])
    shop.write(recording.record, ends)
    found = read_status(shop.database, StandingStream(), bell, 60)
    assert found.troubles == ["requests are held, their mail can't be made: 3"]
    assert found.as_json()["held"] == 3
    assert found.as_json()["heldReasons"] == {reasons[0]: 2, reasons[2]: 1}


def test_it_is_not_well_when_most_of_the_last_events_were_dead_letters(shop: Shop, bell: RecordingBell) -> None:
    stream = StandingStream()
    stream.recent = Recent(20, 11, "catalogItemId is missing")
    found = read_status(shop.database, stream, bell, 60)
    assert found.troubles == [
        "11 of the last 20 events could not be understood, mostly because: catalogItemId is missing; "
        "see `stockbell dead-letters list`"
    ]
    assert found.as_json()["events"]["deadShare"] == 0.55
    assert found.as_json()["events"]["deadReason"] == "catalogItemId is missing"
    stream.recent = Recent(20, 10, "catalogItemId is missing")
    assert read_status(shop.database, stream, bell, 60).troubles == []


SMALL, LARGE, RED = ref(size="S"), ref(size="L"), ref(color="red")


def unheard(shop: Shop) -> tuple[int, list[str]]:
    found = read_status(shop.database, StandingStream(), RecordingBell(), 60)
    assert found.troubles == []
    return found.requests.unheard_items, found.warnings


def come(shop: Shop, *references: CatalogReference) -> None:
    take_events(shop.database, [shop.event(reference) for reference in references])


def test_an_event_that_woke_nobody_though_people_wait_is_told_with_its_cause(shop: Shop) -> None:
    shop.sign_up_many(2, LARGE)
    shop.sign_up(RED)
    assert unheard(shop) == (0, [])
    come(shop, SMALL)
    assert unheard(shop) == (
        1,
        [
            "1 item came back in stock in the last 24 h and woke nobody, though people wait under other options. "
            'Like mug-1: 2 wait for size="L", the event was about size="s" (they want size="L", the event says "s")'
        ],
    )
    example = read_status(shop.database, StandingStream(), RecordingBell(), 60).as_json()["unheard"]["example"]
    assert example.pop("at").endswith("Z")
    assert example == {
        "catalogItemId": "mug-1",
        "appId": MUG.item.app_id,
        "options": {"size": "s"},
        "waitingFor": {"size": "L"},
        "requests": 2,
    }


@pytest.mark.parametrize("is_paused", [False, True])
def test_an_event_that_woke_somebody_is_not_told(shop: Shop, is_paused: bool) -> None:
    shop.sign_up(LARGE)
    shop.sign_up(SMALL)
    if is_paused:
        shop.write(pauses.pause, None)
    come(shop, SMALL)
    assert unheard(shop) == (0, [])


@pytest.mark.parametrize("later", [(LARGE,), (MUG,)], ids=["their variant", "the whole item"])
def test_who_was_woken_later_is_told_no_more(shop: Shop, later: tuple[CatalogReference, ...]) -> None:
    shop.sign_up(LARGE)
    come(shop, SMALL)
    assert unheard(shop)[0] == 1
    come(shop, *later)
    assert unheard(shop) == (0, [])


def test_who_signed_up_later_or_was_told_since_is_not_told_of(shop: Shop) -> None:
    shop.list_id(LARGE)
    come(shop, SMALL)
    shop.sign_up(LARGE)
    assert unheard(shop) == (0, [])
    come(shop, SMALL)
    assert unheard(shop)[0] == 1
    shop.change("UPDATE request SET status = 'NOTIFICATION_SENT'")
    assert unheard(shop) == (0, [])


def test_who_was_passed_over_more_than_a_day_ago_is_told_no_more(shop: Shop) -> None:
    shop.sign_up(LARGE)
    shop.change("UPDATE request SET created_date = stockbell_now(-90000)")
    come(shop, SMALL)
    assert unheard(shop)[0] == 1
    shop.change("UPDATE item SET unheard_at = stockbell_now(-86401)")
    assert unheard(shop) == (0, [])


def test_an_event_that_says_out_of_stock_or_sells_out_again_passes_nobody_over(shop: Shop) -> None:
    shop.sign_up(LARGE)
    gone = shop.event(SMALL, in_stock=False)
    take_events(shop.database, [gone])
    take_events(shop.database, [shop.event(SMALL), shop.event(SMALL, in_stock=False)])
    assert unheard(shop) == (0, [])


def test_each_item_is_told_once_and_the_newest_is_the_example(shop: Shop) -> None:
    for item in ("mug-1", "cup-1"):
        shop.sign_up(ref(item, size="L"))
        come(shop, ref(item, size="S"))
        shop.change("UPDATE item SET unheard_at = stockbell_now(-61) WHERE catalog_item_id = :item", item=item)
        come(shop, ref(item, size="M"))
        come(shop, ref(item, size="XS"))  # within a minute
    count, (words,) = unheard(shop)
    assert count == 2
    assert "2 items came back" in words
    assert 'Like cup-1: 1 waits for size="L", the event was about size="m"' in words


# Schema


def test_a_database_that_is_not_migrated_names_the_command(any_empty_database_url: str) -> None:
    database = Database(any_empty_database_url)
    with pytest.raises(SchemaOutdated, match="run `stockbell migrate`"):
        check_schema(database)
    database.close()


# Catalog references as they are written


GIVEN: list[dict[str, object]] = [
    {"catalogItemId": "mug-1", "appId": "1380b703-ce81-ff05-f115-39571d94dfcd", "options": {"Size": "L"}},
    {"catalogItemId": "mug-1", "appId": WIX_STORES, "options": {"SIZE": "l "}},
    {"catalogItemId": "mug-1", "appId": WIX_STORES, "options": {"variantId": "V1", "options": {"gift": "Yes"}}},
    {"catalogItemId": "mug-1", "appId": WIX_STORES, "options": {"Size": 38, "customTextFields": {"engraving": "ü"}}},
    {"catalogItemId": 4711, "appId": WIX_STORES, "options": {"Size": 38.0, "Sold": True}},
    {"catalogItemId": "mu\u0308tze", "appId": "Other", "options": {}},
    {"catalogItemId": "mug-1", "appId": WIX_STORES, "options": {"size": "L"}},
    {"catalogItemId": "mug-1", "appId": WIX_STORES},
]


def test_a_reference_comes_back_as_it_was_given(shop: Shop) -> None:
    lines = [
        json.dumps({"email": f"customer{place}@example.com", **reference}) for place, reference in enumerate(GIVEN)
    ]
    assert import_lines(shop, *lines)[0] == Imported(created=len(GIVEN))
    found = shop.database.read(lambda c: [request_json(row) for row in find(c, Filter())])
    told = {row["email"]: row["catalogReference"] for row in found}
    for place, reference in enumerate(GIVEN):
        assert json.dumps(told[f"customer{place}@example.com"]) == json.dumps(reference)


def test_only_what_its_list_does_not_tell_is_kept_with_a_request(shop: Shop) -> None:
    for size in ("L", "L", "l"):
        shop.sign_up(ref(Size=size))
    given = [row.given and json.loads(row.given)["options"] for row in shop.rows()]
    assert given == [None, None, {"Size": "l"}]
    assert shop.count(WaitingList) == 1


def test_mails_have_the_options_as_the_first_request_had_them(shop: Shop) -> None:
    for color in ("Dark\u00a0 Blue ", "dark blue"):
        shop.sign_up(ref(Color=color))
    shop.tell(ref(COLOR="DARK BLUE"))
    claimed = shop.claim(shop.owner(), ref(color="dark blue"))
    assert len(claimed.claims) == 2
    assert [item.options for item in claimed.items.values()] == ['{"Color":"Dark Blue"}']


def test_requests_of_an_item_are_found_however_its_options_are_written(shop: Shop) -> None:
    request = shop.sign_up(ref(Color="Blue", Size="L"))
    which = Filter(lists=shop.database.read(lists_of, MUG.item, ref(color="BLUE").options))
    assert [row.id for row in shop.database.read(lambda c: list(find(c, which)))] == [request]


def test_a_relay_that_takes_nothing_is_told_with_its_words(shop: Shop, bell: RecordingBell) -> None:
    look = partial(read_status, shop.database, StandingStream(), bell, 60)
    for _ in range(3):
        shop.write(breaker.note_refusals, 1, "451 try again later")
    assert look().troubles == [], "it has only just begun"
    shop.change("UPDATE relay SET refused_since = stockbell_now(-61)")
    assert look().troubles == ["the relay takes no mail, it refused 3, the last with: 451 try again later"]
    found = look().as_json()["relay"]
    assert (found["refusals"], found["reply"]) == (3, "451 try again later")
    shop.write(breaker.note_sign_of_life)
    assert look().troubles == []
    shop.write(breaker.trip, "550 quota", "quota", lately=0.0)
    assert look().troubles == []
    shop.change("UPDATE relay SET since = stockbell_now(-61)")
    assert look().troubles == ["nothing is sent, the relay is down: 550 quota"]
    assert look().as_json()["breaker"]["nextProbe"].endswith("Z")
