"""What others are told of changes: every change, in order, signed, once at least, and nobody held up by another."""

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from uuid import UUID

import jwt
import pytest
from standardwebhooks import Webhook

from tests.contract.shop import MUG, Shop, somebody_waits
from tests.contract.web.receiver import Call, Office, Reply, id_of, pem, receiver
from tests.polling import eventually
from worker.domain import webhooks
from worker.domain.errors import BadSetting, DatabaseAway
from worker.domain.tokens import Tokens
from worker.domain.webhooks import DELAYS, Format
from worker.store import admin, deliveries, endpoints, erasure, outbox, recording, requests, suppression
from worker.store.database import Connection
from worker.store.recording import Ends
from worker.web import posting, telling
from worker.web.signing import JwtKey

DAY = 86_400.0


@pytest.fixture
def office(shop: Shop) -> Iterator[Office]:
    opened = Office(shop)
    yield opened
    opened.close()


def flagged(shop: Shop) -> int:
    """Returns how many changes are not handed out yet."""
    return len(shop.ask("SELECT 1 FROM request WHERE news"))


def kinds(calls: list[Call]) -> list[str]:
    return [json.loads(call.body)["type"].rpartition(".")[2] for call in calls]


def test_what_happens_to_a_request_is_told_in_order(office: Office, shop: Shop) -> None:
    with receiver() as got:
        endpoint = office.add(got.url)
        _, (claim,) = shop.claimed()
        office.tell()
        shop.write(recording.record, Ends(told=[claim]))
        office.tell()
        shop.write(requests.remove, claim.id)
        office.tell()
    assert got.ids == [id_of(claim.id, number) for number in (1, 2, 3)]
    assert kinds(got.calls) == ["created", "updated", "deleted"]
    told = json.loads(got.calls[1].body)["data"]
    assert told == {
        "id": str(claim.id),
        "catalogReference": {"catalogItemId": "mug-1", "appId": MUG.item.app_id},
        "contactId": str(claim.contact_id),
        "status": "NOTIFICATION_SENT",
        "autoNotified": True,
        "sequence": 2,
    }
    for call in got.calls:
        Webhook(endpoint.secrets[0]).verify(call.body, dict(call.headers))


def test_nobody_is_told_and_nothing_is_written_without_an_endpoint(office: Office, shop: Shop) -> None:
    _, (claim,) = shop.claimed()
    shop.write(recording.record, Ends(told=[claim]))
    office.tell()
    assert not shop.row(claim.id).news
    assert shop.row(claim.id).version == 1
    assert not shop.ask("SELECT 1 FROM webhook_delivery")


def test_a_request_that_is_being_sent_is_told_when_that_has_ended(office: Office, shop: Shop) -> None:
    with receiver() as got:
        office.add(got.url)
        request_id = shop.sign_up()
        shop.tell()
        office.tell()
        shop.write(admin.mark_sent, [request_id])
        shop.change("UPDATE request SET status = 'FAILED'")
        shop.write(admin.retry, [request_id], ordered=True, force=True)
        (claim,) = shop.claim(shop.owner()).claims
        office.tell()
        assert len(got.calls) == 1
        shop.write(recording.record, Ends(released=[claim]))
        office.tell()
    assert [json.loads(call.body)["data"]["status"] for call in got.calls] == ["RECEIVED", "RECEIVED"]
    assert got.ids[1] == id_of(request_id, 3)


def test_while_the_cpu_is_short_no_more_is_handed_out_than_endpoints_need(
    office: Office, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "FEW_ROWS", 1)
    with receiver() as got:
        office.add(got.url)
        _, claimed = shop.claimed(4)
        office.tell()
        shop.write(recording.record, Ends(told=claimed))
        shop.write(outbox.hand_out, 1)
        office.is_cpu_short = True
        office.round()
        assert flagged(shop) == 3, "one waits to be told"
        office.round()
        assert flagged(shop) == 2, "there was nothing else to tell"
        office.tell()
    assert flagged(shop) == 0
    assert sorted(got.ids[4:]) == sorted(id_of(claim.id, 2) for claim in claimed)


def test_addresses_are_told_only_to_who_asked_for_them(office: Office, shop: Shop) -> None:
    with receiver() as got:
        office.add(f"{got.url}/thin")
        office.add(f"{got.url}/full", is_full=True)
        shop.sign_up(MUG, "jane@example.com")
        office.tell()
    bodies = {call.path: call.body for call in got.calls}
    assert "jane@example.com" not in bodies["/hook/thin"]
    data = json.loads(bodies["/hook/full"])["data"]
    assert data["email"] == "jane@example.com"
    assert data["itemUrl"] == "https://shop.example/p/mug-1"
    assert not shop.ask("SELECT 1 FROM webhook_delivery WHERE body LIKE '%jane%'")


def test_an_erased_customer_is_told_as_deleted(office: Office, shop: Shop) -> None:
    with receiver() as got:
        office.add(got.url, is_full=True)
        request_id = shop.sign_up(MUG, "jane@example.com")
        shop.write(erasure.erase, shop.row(request_id).contact_id, Tokens([b"k" * 32]))
        office.tell()
    assert kinds(got.calls) == ["deleted"]
    assert json.loads(got.calls[0].body)["data"]["triggeredByAnonymizeRequest"] is True
    assert "jane@example.com" not in got.calls[0].body


def test_wix_gets_a_jwt_that_our_public_key_verifies(office: Office, shop: Shop) -> None:
    key_id = shop.write(endpoints.add_key, pem())
    with receiver() as got:
        endpoint = office.add(got.url, Format.WIX)
        request_id = shop.sign_up()
        office.tell()
    (call,) = got.calls
    key = JwtKey.of(*shop.database.read(endpoints.keys)[0])
    assert jwt.get_unverified_header(call.body)["kid"] == key_id
    claims = jwt.decode(call.body, key.public_pem, ["RS256"])
    assert claims["exp"] - claims["iat"] == 300
    told = json.loads(claims["data"])
    assert told["eventType"] == "wix.ecom.v1.back_in_stock_notification_request_created"
    event = json.loads(told["data"])
    assert event["entityId"] == event["createdEvent"]["entity"]["id"] == str(request_id)
    assert event["entityEventSequence"] == "1"
    assert json.loads(told["identity"])["identityType"] == "APP"
    Webhook(endpoint.secrets[0]).verify(call.body, dict(call.headers), json_parse=False)


def test_without_a_key_wix_waits_and_says_why(office: Office, shop: Shop) -> None:
    with receiver() as got:
        endpoint = office.add(got.url, Format.WIX)
        shop.sign_up()
        office.tell()
        (row,) = office.deliveries(endpoint)
        assert "keygen" in row.why
        shop.write(endpoints.add_key, pem())
        office.later(60)
        office.tell()
    assert len(got.calls) == 1


def test_both_secrets_sign_until_the_next_rotation(office: Office, shop: Shop) -> None:
    with receiver() as got:
        endpoint = office.add(got.url)
        new = shop.write(endpoints.rotate, endpoint.id)
        shop.sign_up()
        office.tell()
    assert new
    for secret in (new, endpoint.secrets[0]):
        Webhook(secret).verify(got.calls[0].body, dict(got.calls[0].headers))


def test_the_next_change_waits_for_the_one_before(office: Office, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "DELAYS", (0, 300, 300))
    replies = {"": 500}
    with receiver(lambda _call: Reply(replies[""])) as got:
        office.add(got.url)
        first, other = shop.sign_up(), shop.sign_up()
        office.tell()
        shop.write(admin.mark_sent, [first])
        office.tell()
        assert sorted(got.ids) == sorted([id_of(first, 1), id_of(other, 1)])
        replies[""] = 204
        office.later(400)
        office.tell()
    mine = [id_ for id_ in got.ids if id_.startswith(str(first))]
    assert mine == [id_of(first, 1), id_of(first, 1), id_of(first, 2)]


def test_a_receiver_that_is_down_for_long_is_tried_by_the_schedule_then_given_up(office: Office, shop: Shop) -> None:
    with receiver(lambda _call: Reply(500)) as got:
        endpoint = office.add(got.url)
        request_id = shop.sign_up()
        for number in range(len(DELAYS)):
            office.tell()
            assert len(got.calls) == number + 1
            if number:  # the first delay may be over on a busy machine
                office.tell()
                assert len(got.calls) == number + 1, "nothing is due"
            shop.change("UPDATE webhook_endpoint SET failing_since = stockbell_now(-10)")
            if number + 1 < len(DELAYS):
                (row,) = office.deliveries(endpoint)
                wait = (row.due_at - shop.now()).total_seconds()
                assert DELAYS[number + 1] - 60 < wait <= DELAYS[number + 1] * 1.2
            office.later(2 * DAY)
    (row,) = office.deliveries(endpoint)
    assert (row.due_at, row.tries, row.status, row.why) == (None, 10, 500, "it answered 500")
    assert set(got.ids) == {id_of(request_id, 1)}


def test_what_follows_a_change_that_was_given_up_is_told(office: Office, shop: Shop) -> None:
    replies = {"": 500}
    with receiver(lambda _call: Reply(replies[""])) as got:
        office.add(got.url)
        request_id = shop.sign_up()
        office.tell()
        shop.change("UPDATE webhook_delivery SET tries = 9")
        office.later(10)
        office.tell()
        shop.write(admin.mark_sent, [request_id])
        replies[""] = 200
        office.tell()
    assert got.ids[-1] == id_of(request_id, 2)


def test_three_days_without_a_success_disable_an_endpoint(office: Office, shop: Shop) -> None:
    with receiver(lambda _call: Reply(503)) as got:
        endpoint = office.add(got.url)
        shop.sign_up()
        office.tell()
        shop.change("UPDATE webhook_endpoint SET failing_since = stockbell_now(-:ago)", ago=3 * DAY + 60)
        office.later(10)
        office.tell()
        assert office.row(endpoint).disabled_why == endpoints.FAILING
        shop.sign_up()
        office.later(DAY)
        office.tell()
    assert len(got.calls) == 2
    shop.write(deliveries.tidy)
    assert not [row for row in office.deliveries(endpoint) if row.due_at]


def test_what_a_disabled_endpoint_misses_begins_with_what_was_not_handed_out(office: Office, shop: Shop) -> None:
    with receiver() as got:
        endpoint = office.add(got.url)
        _, claimed = shop.claimed()
        office.tell()
    shop.write(recording.record, Ends(told=claimed))
    shop.write(endpoints.disable, endpoint.id, "it was tired")
    assert shop.write(endpoints.enable, endpoint.id) <= shop.row(claimed[0].id).notified_date


def test_a_success_ends_the_time_without_one(office: Office, shop: Shop) -> None:
    with receiver() as got:
        endpoint = office.add(got.url)
        shop.change("UPDATE webhook_endpoint SET failing_since = stockbell_now(-:ago)", ago=4 * DAY)
        shop.sign_up()
        office.tell()
    assert office.row(endpoint).failing_since is None


def test_who_answers_410_is_told_nothing_more(office: Office, shop: Shop) -> None:
    with receiver(lambda _call: Reply(410)) as got:
        endpoint = office.add(got.url)
        shop.sign_up()
        office.tell()
        shop.sign_up()
        office.tell()
    assert len(got.calls) == 1
    assert office.row(endpoint).disabled_why == endpoints.GONE


def test_a_redirect_is_a_failure_and_not_followed(office: Office, shop: Shop) -> None:
    with receiver() as other, receiver(lambda _call: Reply(302, {"Location": other.url})) as got:
        endpoint = office.add(got.url)
        shop.sign_up()
        office.tell()
    assert (len(got.calls), other.calls) == (1, [])
    assert "redirects (302)" in office.deliveries(endpoint)[0].why


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        ("120", 60, 120),
        ("in 9 hours", 3500, 3600),
        ("999999", 3500, 3600),
        ("nonsense", 30, 90),
        (None, 30, 90),
    ],
)
def test_who_asks_for_a_pause_gets_one_and_that_costs_no_try(
    office: Office, shop: Shop, monkeypatch: pytest.MonkeyPatch, retry_after: str | None, least: float, most: float
) -> None:
    monkeypatch.setattr(webhooks, "SLOW_SECONDS", (90.0, 3600.0))
    if retry_after == "in 9 hours":
        retry_after = format_datetime(datetime.now(UTC) + timedelta(hours=9))
    given = {"Retry-After": retry_after} if retry_after else {}
    with receiver(lambda _call: Reply(429, given)) as got:
        endpoint = office.add(got.url)
        shop.sign_up()
        office.tell()
        shop.sign_up()
        office.tell()
    assert len(got.calls) == 1
    pause = (office.row(endpoint).slow_until - shop.now()).total_seconds()
    assert least < pause <= most
    assert office.deliveries(endpoint)[0].tries == 0


def test_a_slow_endpoint_holds_up_no_other(office: Office, shop: Shop) -> None:
    let_go, others_are_told = threading.Event(), threading.Event()

    def slow(_call: Call) -> Reply:
        let_go.wait(10)
        return Reply()

    def quick(_call: Call) -> Reply:
        if len(fast.calls) >= 40:
            let_go.set()
            others_are_told.set()
        return Reply()

    with receiver(slow) as stuck, receiver(quick) as fast:
        both = office.add(stuck.url), office.add(fast.url)
        shop.sign_up_many(40)
        office.tell()
        assert others_are_told.is_set()
    assert {row.why for endpoint in both for row in office.deliveries(endpoint)} == {None}
    assert len(set(fast.ids)) == len(set(stuck.ids)) == 40


def test_no_answer_is_a_failure(office: Office, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "ANSWER_SECONDS", 0.2)
    let_go = threading.Event()

    def never(_call: Call) -> Reply:
        let_go.wait(10)
        return Reply()

    with receiver(never) as got:
        endpoint = office.add(got.url)
        shop.sign_up()
        office.tell()
        let_go.set()
    assert "no answer" in office.deliveries(endpoint)[0].why


def test_a_host_that_refuses_is_a_failure(office: Office, shop: Shop) -> None:
    with receiver() as got:
        url = got.url
    endpoint = office.add(url)
    shop.sign_up()
    office.tell()
    (row,) = office.deliveries(endpoint)
    assert row.why
    assert row.due_at


def test_a_private_address_is_refused_at_the_connection(office: Office, shop: Shop) -> None:
    with receiver() as got:
        endpoint = shop.write(endpoints.add, got.url, Format.STANDARD, is_full=False, allows_private=False)
        shop.sign_up()
        office.tell()
    assert got.calls == []
    assert "not a public one" in office.deliveries(endpoint)[0].why


def test_a_long_reply_is_read_no_further_than_needed(office: Office, shop: Shop) -> None:
    with receiver(lambda _call: Reply(200, {}, b"x" * 10_000_000)) as got:
        endpoint = office.add(got.url)
        shop.sign_up()
        office.tell()
    assert office.deliveries(endpoint)[0].why is None


def test_what_was_under_way_when_the_process_ends_is_told_by_the_next(office: Office, shop: Shop) -> None:
    has_begun, let_go = threading.Event(), threading.Event()

    def stuck(_call: Call) -> Reply:
        has_begun.set()
        let_go.wait(10)
        return Reply()

    with receiver(stuck) as got:
        endpoint = office.add(got.url)
        shop.sign_up()
        office.begin_and_stop(has_begun)
        let_go.set()
        (row,) = office.deliveries(endpoint)
        assert (row.done_at, row.tries) == (None, 0)
        office.tell()
    assert len(got.calls) == 2
    assert len(set(got.ids)) == 1


def test_a_process_that_was_killed_leaves_a_delivery_that_is_told_after_its_lease(office: Office, shop: Shop) -> None:
    with receiver() as got:
        endpoint = office.add(got.url)
        shop.sign_up()
        shop.write(outbox.hand_out)
        (taken,) = shop.write(deliveries.take, endpoint, 10)
        office.tell()
        assert got.calls == []
        office.later(deliveries.LEASE_SECONDS + 1)
        office.tell()
        assert len(got.calls) == 1
        # The one that was killed had hung only. What it says now comes too late.
        shop.write(deliveries.settle, [deliveries.Ended(taken, 1, 5.0, 500, "late")])
    assert office.deliveries(endpoint)[0].why is None


def test_results_that_can_not_be_recorded_are_kept(office: Office, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    settle = deliveries.settle_endpoint

    def away(c: Connection, endpoint_id: UUID, ended: Sequence[deliveries.Ended], answers: deliveries.Answers) -> None:
        if ended:
            monkeypatch.setattr(deliveries, "settle_endpoint", settle)
            raise DatabaseAway("away")

    monkeypatch.setattr(deliveries, "settle_endpoint", away)
    with receiver() as got:
        endpoint = office.add(got.url)
        shop.sign_up()
        with pytest.raises(DatabaseAway):
            office.tell()
        office.tell()
    assert len(got.calls) == 1
    assert office.deliveries(endpoint)[0].done_at


def test_two_processes_take_each_delivery_once(office: Office, shop: Shop) -> None:
    with receiver() as got:
        endpoint = office.add(got.url)
        shop.sign_up_many(30)
        one = shop.write(deliveries.take, endpoint, 16)
        other = shop.write(deliveries.take, endpoint, 16)
    assert len({each.id for each in [*one, *other]}) == 30


def test_an_endpoint_that_is_too_far_behind_is_disabled(office: Office, shop: Shop) -> None:
    endpoint = office.add("https://example.com/hook")
    shop.sign_up_many(3)
    assert shop.write(deliveries.tidy, 3) == []
    assert shop.write(deliveries.tidy, 2) == [endpoint.id]
    assert office.row(endpoint).disabled_why == endpoints.BEHIND


def test_old_deliveries_are_deleted(office: Office, shop: Shop) -> None:
    with receiver() as got:
        endpoint = office.add(got.url)
        shop.sign_up_many(3)
        office.tell()
    ids = [row.id for row in office.deliveries(endpoint)]
    shop.change("UPDATE webhook_delivery SET done_at = stockbell_now(-90000)")
    shop.change("UPDATE webhook_delivery SET why = 'x' WHERE id = :id", id=ids[0])
    shop.change("UPDATE webhook_delivery SET done_at = stockbell_now(-80000) WHERE id = :id", id=ids[1])
    shop.write(deliveries.tidy)
    assert [row.id for row in office.deliveries(endpoint)] == ids[:2]


def test_a_removed_endpoint_leaves_nothing(office: Office, shop: Shop) -> None:
    endpoint = office.add("https://example.com/hook")
    shop.sign_up()
    assert shop.write(endpoints.remove, endpoint.id)
    assert not shop.write(endpoints.remove, endpoint.id)
    assert not shop.ask("SELECT 1 FROM webhook_delivery")


def test_resync_tells_what_changed_since_and_no_more(office: Office, shop: Shop) -> None:
    _old, told, young = shop.sign_up(), shop.sign_up(), shop.sign_up()
    shop.change("UPDATE request SET created_date = stockbell_now(-7200) WHERE id <> :id", id=young)
    shop.write(admin.mark_sent, [told])
    with receiver() as got:
        endpoint = office.add(got.url)
        since = shop.now() - timedelta(hours=1)
        found = shop.write(outbox.changed_since, since, UUID(int=0), 100)
        assert set(found) == {told, young}
        shop.write(outbox.tell_again, endpoint.id, found)
        office.tell()
        shop.write(outbox.tell_again, endpoint.id, found)
        office.tell()
    assert sorted(got.ids) == sorted([id_of(told, 2), id_of(young, 1)] * 2)


def test_a_change_while_the_one_before_is_under_way_waits_for_its_end_only(office: Office, shop: Shop) -> None:
    with receiver() as got:
        endpoint = office.add(got.url)
        request_id = shop.sign_up()
        (taken,) = shop.write(deliveries.take, endpoint, 10)
        shop.write(admin.mark_sent, [request_id])
        shop.write(outbox.hand_out)
        office.tell()
        assert got.calls == []
        shop.write(deliveries.settle, [deliveries.Ended(taken, 1, None, 200)])
        office.tell()
    assert got.ids == [id_of(request_id, 2)]


def test_an_erasure_does_not_overtake_what_is_under_way(office: Office, shop: Shop) -> None:
    with receiver() as got:
        endpoint = office.add(got.url, is_full=True)
        request_id = shop.sign_up()
        shop.write(deliveries.take, endpoint, 10)
        shop.write(erasure.erase, shop.row(request_id).contact_id, Tokens([b"k" * 32]))
        assert [row.kind for row in office.deliveries(endpoint)] == ["deleted"]
        office.tell()
        assert got.calls == []
        office.later(deliveries.LEASE_SECONDS + 1)
        office.tell()
    assert kinds(got.calls) == ["deleted"]


def test_an_erasure_waits_no_longer_than_a_lease_for_a_receiver_that_was_down(office: Office, shop: Shop) -> None:
    endpoint = office.add("https://example.com/hook")
    request_id = shop.sign_up()
    shop.change("UPDATE webhook_delivery SET due_at = stockbell_now(80000), tries = 8")
    shop.write(erasure.erase, shop.row(request_id).contact_id, Tokens([b"k" * 32]))
    (row,) = office.deliveries(endpoint)
    assert (row.due_at - shop.now()).total_seconds() <= deliveries.LEASE_SECONDS


def test_of_an_erased_customer_nothing_else_is_told_later(office: Office, shop: Shop) -> None:
    with receiver() as got:
        office.add(got.url, is_full=True)
        _, (claim,) = shop.claimed()
        office.tell()
        shop.write(erasure.erase, claim.contact_id, Tokens([b"k" * 32]))
        office.tell()
        shop.write(recording.record, Ends(told=[claim]))
        office.tell()
    assert kinds(got.calls) == ["created", "deleted", "deleted"]
    assert all(json.loads(call.body)["data"]["triggeredByAnonymizeRequest"] for call in got.calls[1:])


def test_resync_tells_who_was_erased_left_an_item_or_is_being_sent(office: Office, shop: Shop) -> None:
    erased, left = shop.sign_up(), shop.sign_up()
    row = shop.row(left)
    shop.write(suppression.leave_item, row.contact_id, row.waiting_list_id)
    shop.write(erasure.erase, shop.row(erased).contact_id, Tokens([b"k" * 32]))
    _, (claim,) = shop.claimed()
    shop.change("UPDATE request SET created_date = stockbell_now(-7200) WHERE id <> :id", id=claim.id)
    shop.change("UPDATE contact SET suppressed_at = stockbell_now(-7200) WHERE suppressed_at IS NOT NULL")
    with receiver() as got:
        endpoint = office.add(got.url)
        found = shop.write(outbox.changed_since, shop.now() - timedelta(hours=1), UUID(int=0), 100)
        shop.write(outbox.tell_again, endpoint.id, found)
        office.tell()
    told = {json.loads(call.body)["data"]["id"]: call for call in got.calls}
    assert set(told) == {str(erased), str(left), str(claim.id)}
    assert kinds([told[str(each)] for each in (erased, left, claim.id)]) == ["deleted", "updated", "created"]
    assert json.loads(told[str(claim.id)].body)["data"]["status"] == "RECEIVED"


def test_what_is_imported_again_after_it_was_deleted_is_told_with_a_higher_sequence(office: Office, shop: Shop) -> None:
    at = shop.now() - timedelta(days=30)
    with receiver() as got:
        office.add(got.url)
        request_id = shop.sign_up(MUG, "jane@example.com", created=at)
        office.tell()
        shop.write(requests.remove, request_id)
        assert shop.sign_up(MUG, "jane@example.com", created=at) == request_id
        office.tell()
    assert kinds(got.calls) == ["created", "deleted", "created"]
    assert got.ids == [id_of(request_id, number) for number in (1, 2, 3)]


@pytest.mark.parametrize("fault", [BadSetting("no right"), ValueError("a fault")])
def test_nothing_that_goes_wrong_ends_the_telling(
    office: Office, shop: Shop, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    monkeypatch.setattr(telling, "AWAY_SECONDS", 0.01)
    waiting = endpoints.waiting

    def bad(_c: Connection) -> endpoints.Waiting:
        monkeypatch.setattr(endpoints, "waiting", waiting)
        raise fault

    monkeypatch.setattr(endpoints, "waiting", bad)
    has_come = threading.Event()

    def taken(_call: Call) -> Reply:
        has_come.set()
        return Reply()

    with receiver(taken) as got:
        office.add(got.url)
        shop.sign_up()
        office.run_until(has_come)
    assert len(got.calls) == 1


@pytest.mark.parametrize("shop_url", ["postgresql"], indirect=True)
def test_a_resync_during_an_erasure_tells_nothing_but_that(office: Office, shop: Shop) -> None:
    request_id = shop.sign_up()
    contact_id = shop.row(request_id).contact_id
    endpoint = office.add("https://example.com/hook")
    with ThreadPoolExecutor(1) as pool:

        def erase(c: Connection) -> "Future[None]":
            erasure.erase(c, contact_id, Tokens([b"k" * 32]))
            telling = pool.submit(shop.write, outbox.tell_again, endpoint.id, [request_id])
            eventually(lambda: telling.done() or somebody_waits(shop))
            return telling

        shop.write(erase).result()
    assert [row.kind for row in office.deliveries(endpoint)] == ["deleted"]
