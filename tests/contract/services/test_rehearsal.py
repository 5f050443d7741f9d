"""A dry run tells what then happens, and leaves no trace: not in any table, and not in what others do meanwhile."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from config.settings import SHIPPED_TEMPLATES
from tests.contract.mailing import SENDER
from tests.contract.shop import CUP, LEASE, MUG, Shop, ref, shop_at, somebody_waits
from tests.examples import examples
from tests.polling import eventually
from worker.domain.catalog import CatalogReference
from worker.domain.events import Event
from worker.domain.policies import NO_POLICIES, Policies
from worker.domain.relays import Mailbox
from worker.domain.send_window import parse_send_window
from worker.domain.tokens import Tokens
from worker.domain.verdicts import Tries
from worker.mail.letter import LetterWriter
from worker.mail.render import Renderer
from worker.mail.sources import Sources
from worker.mail.ways_out import ways_out
from worker.models import Status
from worker.services import rehearsal
from worker.services.rehearsal import Acted, of_event, of_verb, rehearse
from worker.services.rehearsal_words import lines
from worker.services.rehearsed import Rehearsal
from worker.store import admin, breaker, claims, contact_intervals, lists, pauses, rehearsing, requests, stock
from worker.store.claims import Claim
from worker.store.database import Database
from worker.store.requests import Filter

HOUR: Final = 3600.0
TWO: Final = Policies(per_unit=2, wave_seconds=HOUR)
RED, BLUE = ref(colour="red"), ref(colour="blue")
TOKENS: Final = Tokens([b"k" * 32])
WRITER: Final = LetterWriter(
    Renderer(Sources(SHIPPED_TEMPLATES), "Shop"),
    Mailbox("Shop", SENDER),
    None,
    tokens=TOKENS,
    ways=ways_out(TOKENS, None, "https://stockbell.example"),
)


def came_in(shop: Shop, quantity: int | None = 3, about: CatalogReference = MUG) -> Event:
    return replace(shop.event(about), quantity=quantity, in_stock=True if quantity is None else None)


def of_stock(
    shop: Shop, quantity: int | None = 3, policies: Policies = NO_POLICIES, about: CatalogReference = MUG
) -> Rehearsal:
    return of_event(shop.database, WRITER, came_in(shop, quantity, about), policies)


def of_report(shop: Shop, ids: Sequence[UUID], policies: Policies = NO_POLICIES) -> Rehearsal:
    return of_verb(shop.database, WRITER, policies, admin.report, ids)


def of_retry(shop: Shop, ids: Sequence[UUID], policies: Policies = NO_POLICIES) -> Rehearsal:
    retry = partial(admin.retry, ordered=False, force=False)
    return of_verb(shop.database, WRITER, policies, retry, ids)


def ids_of(found: Rehearsal, wave: int = 0) -> list[UUID]:
    return [told.row.id for told in found.waves[wave].first]


def places(found: Rehearsal) -> dict[UUID, tuple[int, int]]:
    """The wave and the place of each who is named."""
    return {told.row.id: (wave.number, told.place) for wave in found.waves for told in wave.first}


def said(found: Rehearsal, *, names_items: bool = False) -> list[str]:
    return list(lines(found, names_items=names_items))


def everything(c: Connection) -> dict[str, list[str]]:
    """All rows of all tables, and what the sequences would give next."""
    is_sqlite = c.dialect.name == "sqlite"
    found = text(
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        if is_sqlite
        else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    )
    tables = {name: sorted(map(repr, c.execute(text(f"SELECT * FROM {name}")).all())) for (name,) in c.execute(found)}
    if not is_sqlite:
        tables["sequences"] = sorted(map(repr, c.execute(text("SELECT * FROM pg_sequences")).all()))
    return tables


# --- it changes nothing ---


@pytest.mark.parametrize("what", ["event", "report", "retry"])
def test_it_changes_nothing(shop: Shop, what: str) -> None:
    policies = Policies(per_unit=1, settle_seconds=60)
    waiting = shop.sign_up_many(4)
    shop.sign_up_many(2, RED)
    shop.write(stock.apply, [came_in(shop, 1)], policies)
    shop.change("UPDATE request SET status = 'FAILED', failed_at = stockbell_now(0) WHERE id = :id", id=waiting[0])
    shop.write(lists.ring, [shop.list_id()])
    before = shop.database.read(everything)
    assert {"request", "stock", "waiting_list", "owner", "tally_entry", "contact"} <= before.keys()
    found = {
        "event": lambda: of_stock(shop, 5, policies),
        "report": lambda: of_report(shop, waiting, policies),
        "retry": lambda: of_retry(shop, waiting, policies),
    }[what]()
    assert found.told > 0
    assert shop.database.read(everything) == before


def test_of_an_item_that_nobody_waits_for_it_tells_nobody(shop: Shop) -> None:
    found = of_stock(shop)
    assert (found.waves, found.waiting, found.mail, shop.database.read(lists.with_work)) == ([], {}, None, [])
    assert said(found) == ["now       nobody"]


def test_a_claim_that_waits_for_a_dry_run_gets_what_it_would_have_got(shop: Shop) -> None:
    """The trial has locked the item. Whoever claims meanwhile waits, and finds all as it was."""
    waiting = shop.sign_up_many(4)
    shop.write(stock.apply, [came_in(shop, 1)], TWO)
    owner, list_id = shop.owner(), shop.list_id()
    with shop_at(shop.url) as other, ThreadPoolExecutor(1) as pool:
        claiming: list[Future[Any]] = []

        def act(c: Connection) -> Acted:
            admin.report(c, waiting)
            rehearsing.lock(c, waiting, TWO)
            claiming.append(pool.submit(other.write, claims.claim, owner, LEASE, [list_id], 100, TWO, first=True))
            if c.dialect.name == "postgresql":
                eventually(lambda: somebody_waits(shop))
            return Acted([list_id], waiting)

        found = rehearse(shop.database, WRITER, TWO, act)
        claimed = claiming[0].result()
    assert ids_of(found) == waiting
    assert [claim.id for claim in claimed.claims] == waiting[:2]


# --- it comes true ---


@dataclass(frozen=True)
class Case:
    """A shop, and what is done in it."""

    policies: Policies
    requests: Sequence[tuple[CatalogReference, str]]
    """each with its state"""
    before: int | None
    """what an event said before they signed up or were put off; None: nothing"""
    act: str
    quantity: int | None
    about: CatalogReference


STATES: Final = ("waits", "waits", "waits", "ordered", "failed", "suspect", "later")
REFERENCES: Final = (MUG, RED, BLUE)
cases = st.builds(
    Case,
    policies=st.builds(
        Policies,
        per_unit=st.sampled_from([None, 1, 2]),
        wave_seconds=st.sampled_from([600.0, HOUR]),
        settle_seconds=st.sampled_from([0.0, 0.0, 60.0]),
    ),
    requests=st.lists(st.tuples(st.sampled_from(REFERENCES), st.sampled_from(STATES)), min_size=1, max_size=12),
    before=st.sampled_from([None, 0, 1, 3]),
    act=st.sampled_from(["event", "report", "retry"]),
    quantity=st.sampled_from([None, 0, 1, 2, 4]),
    about=st.sampled_from(REFERENCES),
)


def test_what_it_tells_is_what_happens_then(shop: Shop) -> None:
    @examples(12)
    @given(cases)
    def try_it(case: Case) -> None:
        shop.empty()
        _comes_true(shop, case)

    try_it()


def _comes_true(shop: Shop, case: Case) -> None:
    ids = [shop.sign_up(reference) for reference, _ in case.requests]
    if case.before is not None:
        shop.write(stock.apply, [came_in(shop, case.before)], case.policies)
    _set_states(shop, ids, [state for _, state in case.requests])
    event = came_in(shop, case.quantity, case.about)
    act: dict[str, Callable[[Connection], Any]] = {
        "event": lambda c: stock.apply(c, [event], case.policies),
        "report": lambda c: admin.report(c, ids),
        "retry": lambda c: admin.retry(c, ids, ordered=False, force=False),
    }
    before = shop.database.read(everything)
    if case.act == "event":
        found = of_event(shop.database, WRITER, event, case.policies)
    else:
        found = {"report": of_report, "retry": of_retry}[case.act](shop, ids, case.policies)
    assert shop.database.read(everything) == before
    changed = shop.write(act[case.act])
    concerned = ids if case.act == "event" else changed.ids
    waves = [[id_ for id_ in wave if id_ in concerned] for wave in _waves(shop, case.policies)]
    assert [ids_of(found, number) for number in range(len(found.waves))] == [wave for wave in waves if wave]
    left = [id_ for id_ in concerned if shop.status(id_) is Status.RECEIVED]
    assert found.waiting == _counts(shop, left)


def _set_states(shop: Shop, ids: Sequence[UUID], states: Sequence[str]) -> None:
    words = {
        "ordered": "ordered_at = stockbell_now(0)",
        "failed": "status = 'FAILED', failed_at = stockbell_now(0), failure_code = 'RETRIES_EXHAUSTED'",
        "suspect": "rescues = 2",
        "later": "not_before = stockbell_now(1000)",
    }
    for id_, state in zip(ids, states, strict=True):
        if state in words:
            shop.change(f"UPDATE request SET {words[state]} WHERE id = :id", id=id_)


def _waves(shop: Shop, policies: Policies) -> Iterator[list[UUID]]:
    """Claims until nobody can be, lets the time pass that the doors are closed for, and so on, as workers would."""
    owner = shop.owner()
    list_ids = [row.id for row in shop.ask("SELECT id FROM waiting_list", id="uuid")]
    while True:
        told = list(_told(shop, owner, policies))
        if told:
            yield told
        opening = shop.database.read(rehearsing.next_opening, list_ids)
        if opening is None:
            return
        shop.write(rehearsing.let_pass, list_ids, opening.at - opening.now, policies)


def _told(shop: Shop, owner: UUID, policies: Policies) -> Iterator[UUID]:
    while due := shop.database.read(lists.with_work):
        claimed = shop.write(claims.claim, owner, LEASE, due, 500, policies, first=True)
        yield from (claim.id for claim in claimed.claims)


def _counts(shop: Shop, ids: Sequence[UUID]) -> dict[str, int]:
    reasons = [str(shop.waiting_for(id_)) for id_ in ids]
    return {reason: reasons.count(reason) for reason in reasons}


# --- waves ---


def test_the_first_wave_is_told_now_and_the_next_ones_an_interval_later(shop: Shop) -> None:
    waiting = shop.sign_up_many(7)
    found = of_stock(shop, 1, TWO)
    assert [(wave.number, wave.requests, wave.is_exact) for wave in found.waves] == [
        (1, 2, True),
        (2, 2, False),
        (3, 2, False),
        (4, 1, False),
    ]
    assert places(found) == {id_: (place // 2 + 1, place + 1) for place, id_ in enumerate(waiting)}
    assert found.waves[0].at == found.at
    spans = [(wave.at - found.at).total_seconds() / HOUR for wave in found.waves]
    assert [round(span) for span in spans] == [0, 1, 2, 3]
    assert all(span >= round(span) for span in spans)
    assert (found.waiting, found.later, found.is_bounded) == ({}, None, False)


def test_more_waves_are_told_by_count_and_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "MOST_WAVES", 2)
    shop.sign_up_many(13)
    found = of_stock(shop, 1, TWO)
    later = found.later
    assert later is not None
    assert (len(found.waves), later.requests, later.each, later.seconds, later.waves) == (2, 9, 2, HOUR, 5)
    assert later.at > found.waves[1].at
    assert later.until == later.at + timedelta(hours=4)
    assert found.waiting == {"wave": 9}
    at, until = f"{later.at:%Y-%m-%d %H:%M:%S} UTC", f"{later.until:%Y-%m-%d %H:%M:%S} UTC"
    assert f"then      about 2 every 1 h from {at} until {until} (9 requests)" in said(found)


def test_one_more_wave_is_told_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "MOST_WAVES", 1)
    shop.sign_up_many(3)
    found = of_stock(shop, 1, TWO)
    assert found.later is not None
    assert f"then      about 1 request at {found.later.at:%Y-%m-%d %H:%M:%S} UTC" in said(found)


def test_an_item_may_have_waves_of_its_own(shop: Shop) -> None:
    shop.sign_up_many(2)
    shop.change("UPDATE item SET per_unit = 1, wave_seconds = 60")
    found = of_stock(shop, 1, TWO)
    assert [wave.requests for wave in found.waves] == [1, 1]
    assert 60 <= (found.waves[1].at - found.at).total_seconds() < HOUR


def test_who_settles_is_told_after_that_and_who_does_not_is_told_now(shop: Shop) -> None:
    policies = Policies(settle_seconds=600)
    red = shop.sign_up(RED)
    shop.write(stock.apply, [came_in(shop, 1, RED)], NO_POLICIES)
    blue = shop.sign_up(BLUE)
    found = of_stock(shop, 1, policies, BLUE)
    assert places(found) == {red: (1, 1), blue: (2, 2)}
    assert (found.waves[1].at - found.at).total_seconds() == pytest.approx(600, abs=60)


def test_who_has_many_lists_is_told_in_shares(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "_LISTS", 2)
    ids = [shop.sign_up(ref(size=str(size))) for size in range(5)]
    assert set(ids_of(of_stock(shop))) == set(ids)


# --- quiet hours ---


def quiet(shop: Shop, hours: float, *, length: float = 1.0) -> Policies:
    """Policies by which mails go out in so many hours from now, for so long."""
    opens = (shop.now() + timedelta(hours=hours)).astimezone(UTC)
    closes = opens + timedelta(hours=length)
    return replace(TWO, window=parse_send_window(f"{opens:%H:%M}-{closes:%H:%M} UTC"))


def test_in_quiet_hours_the_first_wave_comes_with_the_opening(shop: Shop) -> None:
    waiting = shop.sign_up_many(3)
    found = of_stock(shop, 1, quiet(shop, 3, length=12))
    assert [ids_of(found, 0), ids_of(found, 1)] == [waiting[:2], waiting[2:]]
    spans = [(wave.at - found.at) / timedelta(hours=1) for wave in found.waves]
    assert spans == pytest.approx([3, 4], abs=0.1)
    assert found.waves[0].is_exact


def test_a_wave_that_comes_in_quiet_hours_waits_for_their_end(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "MOST_WAVES", 2)
    shop.sign_up_many(7)
    found = of_stock(shop, 1, quiet(shop, -1 / 4, length=1 / 2))
    day = timedelta(days=1)
    assert [round((wave.at - found.at) / day) for wave in found.waves] == [0, 1]
    later = found.later
    assert later is not None
    assert later.until is not None
    assert [round((at - found.at) / day) for at in (later.at, later.until)] == [2, 3]
    monkeypatch.setattr(rehearsal, "MOST_RECKONED", 1)
    later = of_stock(shop, 1, quiet(shop, -1 / 4, length=1 / 2)).later
    assert later is not None
    assert later.until is None


def test_a_shop_whose_connections_know_its_quiet_hours_tells_waves_as_well(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "MOST_WAVES", 1)
    policies = quiet(shop, 3)
    shop.sign_up_many(3)
    event = came_in(shop, 1)
    with closing(Database(shop.url, window=policies.window)) as database:
        found = of_event(database, WRITER, event, policies)
        assert found.waiting == {"wave": 1}
        shop.write(stock.apply, [event], policies)
        assert database.read(lambda c: [row.waiting for row in requests.find(c, Filter())]) == ["quietHours"] * 3


# --- bounds ---


def test_a_long_line_is_looked_at_as_far_as_the_bound(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "MOST", 3)
    monkeypatch.setattr("worker.services.rehearsal_words.MOST", 3)
    waiting = shop.sign_up_many(5)
    found = of_stock(shop)
    assert ids_of(found) == waiting[:3]
    assert (found.told, found.waiting, found.is_bounded) == (3, {"queued": 2}, True)
    assert said(found)[4:6] == [
        "held      2 requests: in line behind those above",
        "bounded   a dry run goes through the first 3 in line",
    ]


def test_of_many_the_first_are_looked_at(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "MOST", 3)
    waiting = shop.sign_up_many(5)
    found = of_report(shop, waiting)
    assert (ids_of(found), found.left_out, found.is_bounded) == (waiting[:3], 2, False)
    assert any(line.startswith("left out  2 younger ones") for line in said(found, names_items=True))


def test_exactly_as_many_as_the_bound_are_all(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "MOST", 3)
    shop.sign_up_many(3)
    assert not of_stock(shop).is_bounded


# --- report and retry ---


def test_of_a_report_those_are_shown_who_were_asked_for_with_their_places_among_all(shop: Shop) -> None:
    waiting = shop.waiting(5)
    found = of_report(shop, [waiting[1], waiting[4]])
    assert set(places(found)) == {waiting[1], waiting[4]}
    assert (found.told, found.waves[0].all) == (2, 5)
    assert sorted(place for _, place in places(found).values()) != [1, 2]
    assert said(found)[0].endswith("2 requests, of 5 in all")


def test_places_are_counted_for_each_item(shop: Shop) -> None:
    mugs, cups = shop.waiting(2), shop.waiting(2, CUP)
    found = of_report(shop, [*mugs, *cups])
    assert [places(found)[id_] for id_ in (*mugs, *cups)] == [(1, 1), (1, 2), (1, 1), (1, 2)]
    names = [line.split()[-3] for line in said(found, names_items=True)[1:5]]
    assert sorted(names) == ["cup-1", "cup-1", "mug-1", "mug-1"]


def test_who_is_retried_waits_for_a_seat_behind_those_who_have_waited_longer(shop: Shop) -> None:
    first, *waiting = shop.sign_up_many(6)
    late = waiting[-1]
    for id_ in (first, late):
        shop.change("UPDATE request SET status = 'FAILED', failed_at = stockbell_now(0) WHERE id = :id", id=id_)
    shop.write(stock.apply, [came_in(shop, 1)], TWO)
    found = of_retry(shop, [first, late], TWO)
    assert places(found) == {first: (1, 1), late: (3, 6)}
    assert [wave.all for wave in found.waves] == [2, 2]


def test_who_is_not_told_is_named_with_the_reason(shop: Shop) -> None:
    one, two = shop.sign_up_many(2)
    for id_ in (one, two):
        shop.change("UPDATE request SET status = 'FAILED', failed_at = stockbell_now(0) WHERE id = :id", id=id_)
    found = of_retry(shop, [one, two])
    assert (found.told, found.waiting, found.mail) == (0, {"noStock": 2}, None)
    text_ = said(found, names_items=True)
    assert text_[:2] == [
        "now       nobody",
        "held      2 requests: no event has said that it is in stock since they signed up",
    ]
    assert [str(id_) in line for id_, line in zip((one, two), text_[2:], strict=True)] == [True, True]


def test_of_many_who_are_held_some_are_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "NAMED", 1)
    waiting = shop.sign_up_many(3)
    shop.write(pauses.pause, MUG)
    found = of_report(shop, waiting)
    assert said(found, names_items=True)[1] == "held      3 requests: paused; see `stockbell resume`"
    assert said(found, names_items=True)[-1] == "      and 2 more"


def test_nobody_is_told_while_the_relay_is_down(shop: Shop) -> None:
    shop.sign_up_many(2)
    shop.write(breaker.trip, "no answer", "relay")
    found = of_stock(shop)
    assert (found.waves, found.waiting, found.mail) == ([], {"relayDown": 2}, None)
    assert said(found)[1] == "held      2 requests: told when the relay takes mail again"


def test_who_waits_for_a_later_wave_than_those_shown_learns_the_earliest_time(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "MOST_WAVES", 1)
    *_, late = shop.sign_up_many(4)
    shop.write(stock.apply, [came_in(shop, 1)], TWO)
    shop.change("UPDATE request SET status = 'FAILED', failed_at = stockbell_now(0) WHERE id = :id", id=late)
    found = of_retry(shop, [late], TWO)
    assert (found.told, found.waiting, found.later) == (0, {"wave": 1}, None)
    assert found.next_at is not None
    at = f"{found.next_at:%Y-%m-%d %H:%M:%S} UTC"
    assert said(found, names_items=True)[1] == f"held      1 request: wait for a seat, not before {at}"


# --- the first mail ---


def test_the_first_mail_is_that_of_the_first_who_is_told(shop: Shop) -> None:
    shop.sign_up(locale="de")
    shop.sign_up(locale="en")
    event = replace(came_in(shop), details={"name": "Blaue Tasse"})
    found = of_event(shop.database, WRITER, event, NO_POLICIES)
    assert found.mail is not None
    assert "Blaue Tasse" in found.mail.subject
    assert "https://shop.example/p/mug-1" in found.mail.text
    text_ = said(found)
    assert f"mail      subject: {found.mail.subject}" in text_
    assert "      https://shop.example/p/mug-1" in text_


def test_with_a_digest_the_first_mail_is_about_all_that_goes_in_it(shop: Shop) -> None:
    shop.sign_up(CUP, "ann@example.com", item_url="https://shop.example/p/cup-1")
    shop.tell(CUP)
    own = shop.sign_up(MUG, "ann@example.com")
    for found in (of_stock(shop, policies=Policies(digest=True)), of_report(shop, [own], Policies(digest=True))):
        assert found.mail is not None
        assert "https://shop.example/p/cup-1" in found.mail.text
        assert "https://shop.example/p/mug-1" in found.mail.text


def test_what_goes_along_in_a_digest_is_named_with_its_item(shop: Shop) -> None:
    shop.sign_up(CUP, "ann@example.com")
    shop.tell(CUP)
    shop.sign_up(MUG, "ann@example.com")
    wave, cup, mug, *_ = said(of_stock(shop, policies=Policies(digest=True)))
    assert wave.endswith("2 requests, with what goes along in digests")
    assert cup.endswith("ann@example.com  cup-1 no options")
    assert mug.endswith("ann@example.com  mug-1 no options")


def test_the_first_mail_has_no_way_out_of_a_customer(shop: Shop) -> None:
    id_ = shop.sign_up()
    found = of_stock(shop)
    assert found.mail is not None
    claim = Claim(id_, 1, id_, id_, shop.row(id_).contact_id, "x@example.com", None, None, Tries())
    (own,) = WRITER._tokens_of(claim.contact_id)  # what the mail itself would have
    assert "https://stockbell.example" in found.mail.text
    assert own not in found.mail.text


def test_it_says_why_the_first_mail_can_not_be_made(shop: Shop, tmp_path: Path) -> None:
    shop.sign_up(item_url=None)
    found = of_stock(shop)
    assert said(found)[-1] == "mail      can't be made: MISSING_ITEM_URL: no itemUrl in request or event"
    assert found.as_json()["mail"] == {"problem": "MISSING_ITEM_URL: no itemUrl in request or event"}
    templates = tmp_path / "templates"
    shutil.copytree(SHIPPED_TEMPLATES, templates)
    (templates / "back_in_stock" / "body.txt").write_text("{{ nothing.here }}")
    broken = LetterWriter(
        Renderer(Sources(templates), "Shop"), Mailbox("Shop", SENDER), "https://shop.example/{catalogItemId}"
    )
    held = of_event(shop.database, broken, came_in(shop), NO_POLICIES)
    assert held.mail is not None
    assert "body.txt" in held.mail.problem


def test_as_json_it_has_no_address(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "MOST_WAVES", 2)
    waiting = shop.sign_up_many(7)
    found = of_stock(shop, 1, TWO).as_json()
    assert "@" not in repr(found)
    assert [(wave["wave"], wave["requests"], wave["all"], wave["exact"]) for wave in found["waves"]] == [
        (1, 2, 2, True),
        (2, 2, 2, False),
    ]
    assert found["waves"][0]["at"] == found["at"]
    assert found["waves"][1]["places"] == {str(waiting[2]): 3, str(waiting[3]): 4}
    assert found["first"] == [str(id_) for id_ in waiting[:4]]
    assert (found["waiting"], found["bounded"], found["leftOut"]) == ({"wave": 3}, False, 0)
    assert (found["later"]["requests"], found["later"]["waves"], found["later"]["each"]) == (3, 2, 2)
    assert found["mail"]["subject"]


# --- contact intervals ---

REST: Final = Policies(contact_interval=HOUR)


def _mailed(shop: Shop, request_id: UUID, ago: float) -> None:
    contact = shop.row(request_id).contact_id
    shop.change("UPDATE contact SET mailed_at = stockbell_now(-:ago) WHERE id = :id", ago=ago, id=contact)


def test_whoever_had_a_mail_a_while_ago_is_told_when_that_is_over(shop: Shop) -> None:
    anns, bobs = shop.sign_up_many(2)
    _mailed(shop, anns, HOUR - 600)
    found = of_stock(shop, 5, REST)
    assert places(found) == {bobs: (1, 1), anns: (2, 2)}
    assert (found.waves[1].at - found.at).total_seconds() == pytest.approx(600, abs=30)
    assert shop.row(anns).not_before is None


def test_who_rests_on_is_said_to_with_the_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "MOST_WAVES", 1)
    anns, _ = shop.sign_up_many(2)
    _mailed(shop, anns, 600)
    found = of_stock(shop, 5, REST)
    assert (found.told, found.waiting) == (1, {"interval": 1})
    assert found.next_at is not None
    words = f"1 request: the customer has had another mail by then, not before {found.next_at:%Y-%m-%d %H:%M:%S} UTC"
    assert f"held      {words}" in said(found)


def test_of_what_a_customer_waits_for_one_is_told_and_the_other_an_interval_later(shop: Shop) -> None:
    first, second = shop.sign_up(MUG, "ann@example.com"), shop.sign_up(CUP, "ann@example.com")
    shop.change("UPDATE request SET status = 'FAILED', failure_code = 'RETRIES_EXHAUSTED'")
    for about in (MUG, CUP):
        shop.tell(about)
    found = of_retry(shop, [first, second], REST)
    assert [ids_of(found, wave) for wave in range(2)] == [[first], [second]]
    assert (found.waves[1].at - found.at).total_seconds() == pytest.approx(HOUR, abs=30)
    both = of_retry(shop, [first, second], replace(REST, digest=True))
    assert [ids_of(both)] == [[first, second]]


def test_what_a_customer_rests_for_beside_the_item_is_in_the_digest(shop: Shop) -> None:
    mugs, cups = (shop.sign_up(about, "ann@example.com", item_url="https://shop.example/") for about in (MUG, CUP))
    bobs = shop.sign_up(CUP, "bob@example.com")
    digest = replace(REST, digest=True)
    for id_ in (mugs, bobs):
        _mailed(shop, id_, 600)
    for about in (MUG, CUP):
        shop.tell(about)
    shop.write(claims.claim, shop.owner(), LEASE, shop.database.read(lists.with_work), 500, digest, first=False)
    assert shop.row(cups).failure_code == shop.row(bobs).failure_code == "INTERVAL"
    found = of_stock(shop, policies=digest)
    assert (ids_of(found), found.waves[0].requests) == ([mugs, cups], 2)
    assert found.mail is not None
    assert found.mail.subject == "Back in stock: 2 items you asked about"
    alone = of_stock(shop, policies=REST)
    assert (ids_of(alone), alone.waves[0].requests) == ([mugs], 1)


def test_whoever_is_ordered_is_told_at_once(shop: Shop) -> None:
    (anns,) = shop.sign_up_many(1)
    _mailed(shop, anns, 600)
    assert ids_of(of_report(shop, [anns], REST)) == [anns]


def test_more_than_one_claim_looks_at_may_rest(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_intervals, "ROUNDS", 1)
    monkeypatch.setattr(rehearsal, "_EACH", 2)
    waiting = shop.sign_up_many(9)
    for id_ in waiting[:8]:
        _mailed(shop, id_, 600)
    found = of_stock(shop, 5, REST)
    assert ids_of(found) == waiting[8:]
    assert found.waves[1].requests == 8
