"""One mail about all that a customer can be told of: what becomes of its requests. On SQLite and PostgreSQL."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from tests.contract.lines import FlakyDatabase, deliver_until_held, line_of, serve, serve_until_done
from tests.contract.shop import LONG_AGO, Shop, ref
from tests.polling import eventually
from tests.relay import Accepted, Do, ScriptedRelay
from worker.delivery import in_flight, slice_clock
from worker.delivery.deliver import deliver
from worker.delivery.recorder import Settled
from worker.domain.catalog import CatalogReference
from worker.domain.policies import Policies
from worker.domain.verdicts import Untouched
from worker.models import Status
from worker.store import claims, recording, requests, stock

SENT, FAILED, RECEIVED, PROCESSING = Status.NOTIFICATION_SENT, Status.FAILED, Status.RECEIVED, Status.PROCESSING
ON: Final = Policies(digest=True)
ANN: Final = "ann@example.com"


@pytest.fixture
def server() -> Iterator[ScriptedRelay]:
    with ScriptedRelay() as relay:
        yield relay


def things(number: int) -> list[CatalogReference]:
    return [ref(f"thing-{n}") for n in range(number)]


def wants(shop: Shop, email: str, some: Sequence[CatalogReference], *, days: int = 0) -> list[UUID]:
    """Signs a customer up for these, each a second after the one before. Returns the requests."""
    since = LONG_AGO - timedelta(days=days)
    return [
        shop.sign_up(
            each,
            email,
            created=since + timedelta(seconds=n),
            item_url=f"https://shop.example/p/{each.item.catalog_item_id}",
        )
        for n, each in enumerate(some)
    ]


def come_in(shop: Shop, some: Sequence[CatalogReference]) -> None:
    shop.write(stock.apply, [shop.event(each) for each in some], ON)


def waiting(shop: Shop, number: int) -> list[UUID]:
    """A customer waits for so many items that are back. Returns the requests, the oldest first."""
    some = things(number)
    wanted = wants(shop, ANN, some)
    come_in(shop, some)
    return wanted


def statuses(shop: Shop, some: Sequence[UUID]) -> list[Status]:
    return [shop.status(each) for each in some]


def named_by(mail: Accepted) -> UUID:
    """Returns the request whose id the mail has."""
    return UUID(mail.message_id.strip("<>").partition("@")[0])


def items_of(mail: Accepted) -> list[int]:
    """Returns the numbers of the items that the mail links to, in its order."""
    part = message_from_bytes(mail.content, policy=policy.default).get_body(("plain",))
    assert part is not None
    links = [line for line in str(part.get_content()).split() if line.startswith("https://shop.example/p/thing-")]
    return [int(link.rpartition("-")[2]) for link in links]


def test_twenty_items_are_one_mail_and_twenty_states(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting(shop, 20)
    serve(shop, server, *things(20), policies=ON)
    (mail,) = server.accepted
    assert (mail.recipient, named_by(mail)) == (ANN, wanted[0])
    assert items_of(mail) == list(range(20))
    rows = [shop.row(each) for each in wanted]
    assert {(row.status, row.auto_notified, row.owner) for row in rows} == {(SENT, True, None)}
    assert len({row.receipt for row in rows}) == 1
    assert rows[0].receipt


def test_forty_five_items_are_three_mails(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting(shop, 45)
    serve(shop, server, *things(45), policies=ON)
    assert sorted(len(items_of(mail)) for mail in server.accepted) == [5, 20, 20]
    assert sorted(number for mail in server.accepted for number in items_of(mail)) == list(range(45))
    assert set(statuses(shop, wanted)) == {SENT}


def test_a_bell_for_one_list_tells_of_all(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting(shop, 3)
    serve(shop, server, things(3)[1], policies=ON)
    assert [named_by(mail) for mail in server.accepted] == [wanted[0]]
    assert set(statuses(shop, wanted)) == {SENT}


def test_many_customers_get_one_mail_each_whoever_serves_them(shop: Shop, server: ScriptedRelay) -> None:
    some = things(4)
    for n in range(30):
        wants(shop, f"customer{n}@example.com", some[n % 3 :])
    come_in(shop, some)

    async def run() -> None:
        async with line_of(shop, server, policies=ON) as one, line_of(shop, server, policies=ON) as another:
            await asyncio.gather(serve_until_done(one, shop), serve_until_done(another, shop))

    asyncio.run(run())
    assert {row.status for row in shop.rows()} == {SENT}
    told = Counter((mail.recipient, number) for mail in server.accepted for number in items_of(mail))
    assert set(told.values()) == {1}
    assert len(told) == len(shop.rows())


# What else can become of it


def test_a_refusal_for_good_ends_all_of_them_each_with_its_own_attempt(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting(shop, 3)
    server.script("rcpt", "550 5.1.1 no such user", recipient=ANN)
    serve(shop, server, things(1)[0], policies=ON)
    rows = [shop.row(each) for each in wanted]
    assert {(row.status, row.failure_code, row.auto_notified) for row in rows} == {(FAILED, "RECIPIENT_REJECTED", True)}
    assert [[each.event for each in shop.attempts(id_)] for id_ in wanted] == [["rejected"]] * 3


def test_a_refusal_for_now_brings_them_back_together(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting(shop, 3)
    server.script("rcpt", "452 4.2.2 mailbox full", recipient=ANN)
    serve(shop, server, things(1)[0], policies=ON)
    rows = [shop.row(each) for each in wanted]
    assert {(row.status, row.attempts) for row in rows} == {(RECEIVED, 1)}
    assert _are_at_once([row.not_before for row in rows])
    shop.end_back_offs()
    serve(shop, server, things(3)[2], policies=ON)
    assert [named_by(mail) for mail in server.accepted] == [wanted[0]]
    assert set(statuses(shop, wanted)) == {SENT}


def _are_at_once(times: Sequence[datetime]) -> bool:
    """Whether these are the same moment. SQLite's clock goes on within a statement."""
    return max(times) - min(times) < timedelta(seconds=0.1)


def test_each_is_judged_by_its_own_tries_and_the_rest_comes_back_after_one_delay(
    shop: Shop, server: ScriptedRelay
) -> None:
    wanted = waiting(shop, 3)
    for request_id, attempts in zip(wanted, (9, 3, 0), strict=True):
        shop.change("UPDATE request SET attempts = :n WHERE id = :id", n=attempts, id=request_id)
    server.script("rcpt", "452 4.2.2 mailbox full", recipient=ANN)
    before = shop.now()
    serve(shop, server, things(1)[0], policies=ON)
    assert statuses(shop, wanted) == [FAILED, RECEIVED, RECEIVED]
    assert shop.row(wanted[0]).failure_code == "RETRIES_EXHAUSTED"
    _, second, third = (shop.row(each) for each in wanted)
    assert (second.attempts, third.attempts) == (4, 1)
    assert _are_at_once([second.not_before, third.not_before])
    assert second.not_before - before > timedelta(minutes=40), "the fourth delay, not the first"


def test_a_doubtful_refusal_ends_all_of_them_once_the_relay_takes_another(shop: Shop, server: ScriptedRelay) -> None:
    some = things(2)
    wants(shop, "older@example.com", some[:1], days=1)
    wanted = wants(shop, ANN, some)
    younger = shop.sign_up(some[0], "younger@example.com", created=LONG_AGO + timedelta(days=1))
    come_in(shop, some)
    server.script("rcpt", "550 no", recipient=ANN)
    serve(shop, server, some[0], policies=ON, connections=1)
    assert shop.status(younger) == SENT
    assert statuses(shop, wanted) == [FAILED, FAILED]


def test_a_refusal_with_words_that_may_mean_us_counts_once_for_a_mail(shop: Shop, server: ScriptedRelay) -> None:
    waiting(shop, 20)
    server.script("rcpt", "451 4.3.0 not now", recipient=ANN)
    serve(shop, server, things(1)[0], policies=ON)
    assert shop.breaker().refusals == 1


def test_a_lost_reply_is_unknown_for_all_and_the_mail_comes_again_with_its_id(
    shop: Shop, server: ScriptedRelay
) -> None:
    wanted = waiting(shop, 3)
    server.script("dot", Do.TAKE_AND_DROP)
    serve(shop, server, things(1)[0], policies=ON)
    rows = [shop.row(each) for each in wanted]
    assert {(row.status, row.unknowns, row.failure_code) for row in rows} == {(RECEIVED, 1, "OUTCOME_UNKNOWN")}
    shop.end_back_offs()
    serve(shop, server, things(2)[1], policies=ON)
    assert [named_by(mail) for mail in server.accepted] == [wanted[0]] * 2
    assert set(statuses(shop, wanted)) == {SENT}


def test_what_is_new_is_not_told_under_the_id_of_a_mail_that_may_have_arrived(
    shop: Shop, server: ScriptedRelay
) -> None:
    """A receiver drops a mail whose id it has seen, and with it what it tells beside."""
    mug, cup, pan = things(3)
    wanted = wants(shop, ANN, [mug, cup, pan])
    come_in(shop, [mug, cup])
    server.script("dot", Do.TAKE_AND_DROP)
    serve(shop, server, mug, policies=ON)
    come_in(shop, [pan])
    shop.end_back_offs()
    serve(shop, server, mug, policies=ON)
    first, second = server.accepted
    assert (named_by(first), items_of(first)) == (wanted[0], [0, 1])
    assert (named_by(second), sorted(items_of(second))) == (wanted[2], [0, 1, 2])
    assert set(statuses(shop, wanted)) == {SENT}


def test_apart_each_has_its_own_id_again(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting(shop, 2)
    server.script("rcpt", "452 4.2.2 mailbox full", recipient=ANN)
    serve(shop, server, things(1)[0], policies=ON)
    for request_id, thing in zip(reversed(wanted), reversed(things(2)), strict=True):
        shop.change("UPDATE request SET not_before = NULL WHERE id = :id", id=request_id)
        serve(shop, server, thing, policies=ON)
    assert [named_by(mail) for mail in server.accepted] == wanted[::-1]


def test_a_relay_that_is_down_leaves_all_as_they_were(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting(shop, 3)
    server.script("mail", "421 4.3.0 not now", always=True)
    serve(shop, server, things(1)[0], policies=ON)
    rows = [shop.row(each) for each in wanted]
    assert {(row.status, row.attempts, row.owner) for row in rows} == {(RECEIVED, 0, None)}


# Who is left out


def test_one_without_a_url_fails_and_the_others_go_without_it(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting(shop, 3)
    shop.change("UPDATE request SET item_url = NULL WHERE id = :id", id=wanted[1])
    serve(shop, server, things(1)[0], policies=ON)
    assert statuses(shop, wanted) == [SENT, FAILED, SENT]
    assert shop.row(wanted[1]).failure_code == "MISSING_ITEM_URL"
    assert [items_of(mail) for mail in server.accepted] == [[0, 2]]


def test_if_the_first_has_no_url_the_next_gives_the_mail_its_id(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting(shop, 3)
    shop.change("UPDATE request SET item_url = NULL WHERE id = :id", id=wanted[0])
    serve(shop, server, things(1)[0], policies=ON)
    assert statuses(shop, wanted) == [FAILED, SENT, SENT]
    assert [(named_by(mail), items_of(mail)) for mail in server.accepted] == [(wanted[1], [1, 2])]


def waiting_for_long_links(shop: Shop) -> list[UUID]:
    """A customer waits for 20 items whose links are so long that they don't fit in one mail. Returns the requests."""
    wanted = waiting(shop, 20)
    for n, request_id in enumerate(wanted):
        url = f"https://shop.example/p/thing-{n}?{'x' * 1900}-{n}"
        shop.change("UPDATE request SET item_url = :url WHERE id = :id", url=url, id=request_id)
    for each in things(20):
        shop.tell(each, image_url=f"https://shop.example/{'i' * 1900}.jpg", url=None)
    return wanted


def test_what_does_not_fit_goes_in_the_next_mail(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting_for_long_links(shop)
    serve(shop, server, things(1)[0], policies=ON)
    assert len(server.accepted) > 1
    assert sorted(number for mail in server.accepted for number in items_of(mail)) == list(range(20))
    assert set(statuses(shop, wanted)) == {SENT}


def test_with_a_contact_interval_what_does_not_fit_waits_its_turn(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting_for_long_links(shop)
    serve(shop, server, things(1)[0], policies=Policies(digest=True, contact_interval=3600.0))
    (mail,) = server.accepted
    told = len(items_of(mail))
    assert statuses(shop, wanted) == [SENT] * told + [RECEIVED] * (20 - told)


def test_a_template_that_cannot_render_holds_all_of_them(shop: Shop, server: ScriptedRelay, tmp_path: Path) -> None:
    for name in ("back_in_stock", "back_in_stock_many"):
        (tmp_path / name).mkdir()
        for file in ("subject.txt", "body.txt", "body.html"):
            (tmp_path / name / file).write_text("{{ nothing_of_this_name }}")
    wanted = waiting(shop, 3)
    serve(shop, server, things(1)[0], policies=ON, template_dir=tmp_path)
    rows = [shop.row(each) for each in wanted]
    assert {(row.status, row.failure_code, row.attempts) for row in rows} == {(RECEIVED, "TEMPLATE_ERROR", 0)}
    assert server.accepted == []


def test_one_that_sells_out_while_the_relay_is_slow_is_left_out_of_the_next_mail(
    shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "LATE_SECONDS", 0.0)
    monkeypatch.setattr(in_flight, "RECHECK_SECONDS", 0.05)
    monkeypatch.setattr(slice_clock, "SLICE_SECONDS", 0.1)
    wanted = waiting(shop, 3)
    server.script("rcpt", Do.HOLD, recipient=ANN)

    async def run(database: FlakyDatabase) -> None:
        async with line_of(shop, server, database=database, policies=ON) as line:
            work = await deliver_until_held(line, server, [shop.list_id(things(1)[0])])
            await asyncio.to_thread(shop.tell, things(2)[1], in_stock=False)
            for _ in range(2):  # the first look may have begun before
                looked = asyncio.Event()
                loop = asyncio.get_running_loop()
                database.follows(claims.still_wanted, partial(loop.call_soon_threadsafe, looked.set))
                await asyncio.wait_for(looked.wait(), 60)
            server.release()
            await work
            await serve_until_done(line, shop)

    with closing(FlakyDatabase(shop.url)) as database:
        asyncio.run(run(database))
    assert statuses(shop, wanted) == [SENT, RECEIVED, SENT]
    assert shop.waiting_for(wanted[1]) == "soldOut"
    assert [items_of(mail) for mail in server.accepted] == [[0, 2]]


# With ON_UNKNOWN=fail


def test_all_of_them_are_handed_over_before_the_mail_is_written(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting(shop, 3)
    seen: dict[str, bool] = {}

    def look(stage: str, _recipient: str | None) -> None:
        seen[stage] = all(shop.row(each).handed_at for each in wanted)

    server.decide = look
    serve(shop, server, things(1)[0], policies=ON, on_unknown="fail")
    assert (seen["rcpt"], seen["dot"]) == (True, True)
    assert set(statuses(shop, wanted)) == {SENT}


def test_with_on_unknown_fail_a_lost_reply_ends_all_of_them(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting(shop, 3)
    server.script("dot", Do.TAKE_AND_DROP)
    serve(shop, server, things(1)[0], policies=ON, on_unknown="fail")
    assert {(shop.status(each), shop.row(each).failure_code) for each in wanted} == {(FAILED, "OUTCOME_UNKNOWN")}


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_who_is_gone_at_the_hand_over_is_left_out(shop: Shop, server: ScriptedRelay, gone: int) -> None:
    wanted = waiting(shop, 3)

    async def run(database: FlakyDatabase) -> None:
        async with line_of(shop, server, database=database, policies=ON, on_unknown="fail") as line:
            database.follows(claims.claim, lambda: shop.write(requests.remove, wanted[gone]))
            await deliver(line, [shop.list_id(things(1)[0])])

    with closing(FlakyDatabase(shop.url)) as database:
        asyncio.run(run(database))
    left = [number for number in range(3) if number != gone]
    assert [(named_by(mail), items_of(mail)) for mail in server.accepted] == [(wanted[left[0]], left)]
    assert {row.status for row in shop.rows()} == {SENT}


# A worker that stops, or whose database is away


def test_what_is_in_flight_is_not_released(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting(shop, 3)
    server.script("dot", Do.HOLD)

    async def run() -> None:
        async with line_of(shop, server, policies=ON) as line:
            work = asyncio.create_task(deliver(line, [shop.list_id(things(1)[0])]))
            await asyncio.to_thread(eventually, lambda: line.written == 1)
            await line.release_all()
            assert set(statuses(shop, wanted)) == {PROCESSING}
            server.release()
            await work

    asyncio.run(run())
    assert set(statuses(shop, wanted)) == {SENT}
    assert len(server.accepted) == 1


def test_a_worker_that_stops_releases_all_that_is_unsent(shop: Shop, server: ScriptedRelay) -> None:
    some = things(3)
    for n in range(10):
        wants(shop, f"customer{n}@example.com", some)
    come_in(shop, some)

    async def run() -> None:
        async with line_of(shop, server, policies=ON, connections=1) as line:
            server.on_accept = lambda _accepted: line.stopping.set()
            await deliver(line, [shop.list_id(some[0])])

    asyncio.run(run())
    counts = Counter(row.status for row in shop.rows())
    assert counts == {SENT: 3 * len(server.accepted), RECEIVED: 30 - 3 * len(server.accepted)}
    assert len(server.accepted) < 10


def test_the_bound_of_a_kill_counts_mails(shop: Shop, server: ScriptedRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_clock, "SLICE_SECONDS", 60.0)
    some = things(2)
    for n in range(90):
        wants(shop, f"customer{n}@example.com", some)
    come_in(shop, some)
    most_open = 0

    def look(accepted: int) -> None:
        nonlocal most_open
        most_open = max(most_open, accepted - Counter(row.status for row in shop.rows())[SENT] // 2)

    server.on_accept = look

    async def run(database: FlakyDatabase) -> None:
        async with line_of(shop, server, database=database, policies=ON, claim_size=100) as line:
            commits = database.hangs(recording.record)
            work = asyncio.create_task(deliver(line, [shop.list_id(some[0])]))
            try:
                await asyncio.to_thread(eventually, lambda: len(server.accepted) > line.most_uncommitted)
                await asyncio.to_thread(eventually, lambda: line.written == 0)
            finally:
                commits.set()
            await work
            assert line.most_uncommitted < most_open <= line.most_uncommitted + line.connections

    with closing(FlakyDatabase(shop.url)) as database:
        asyncio.run(run(database))
    assert {row.status for row in shop.rows()} == {SENT}
    assert len(server.accepted) == 90


def test_what_is_left_out_is_waited_for_although_its_mail_is_in_flight(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting(shop, 2)

    async def run(database: FlakyDatabase) -> None:
        async with line_of(shop, server, database=database, policies=ON) as line:
            await line.ensure_registered()
            (mail,) = (
                await line.write(claims.claim, line.lease.owner, 60.0, [shop.list_id(things(1)[0])], 9, ON, first=True)
            ).claims
            line.recorder.add(Settled(mail.others[0], Untouched("left out")))
            assert line.recorder.uncommitted == 0
            await line.recorder.flushed()
            assert statuses(shop, wanted) == [PROCESSING, RECEIVED]

    with closing(FlakyDatabase(shop.url)) as database:
        asyncio.run(run(database))


def test_the_outcomes_of_one_mail_are_committed_together(shop: Shop, server: ScriptedRelay) -> None:
    wanted = waiting(shop, 3)
    found: list[set[Status]] = []

    async def run(database: FlakyDatabase) -> None:
        async with line_of(shop, server, database=database, policies=ON) as line:
            database.follows(recording.record, lambda: found.append(set(statuses(shop, wanted))))
            await deliver(line, [shop.list_id(things(1)[0])])

    with closing(FlakyDatabase(shop.url)) as database:
        asyncio.run(run(database))
    assert found == [{SENT}]
