"""What reports do: the table of what follows, whom they may be about, each once, early and late."""

import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.reporting import (
    DOMAIN,
    RETIRED,
    TOKENS,
    WORDS,
    contact_of,
    intake_of,
    record_told,
    report,
    return_token,
    take,
    take_one,
    told,
)
from tests.contract.shop import CUP, MUG, Shop
from tests.examples import examples
from worker.domain.recognition import Recognizer
from worker.domain.returned import Clues, Kind, Report, Returned
from worker.domain.tokens import Tokens
from worker.models import Report as ReportRow
from worker.models import Status, uuid7
from worker.services.returning import Intake, Result
from worker.store import admin, erasure, recording, report_log, reports, requests
from worker.store.database import Database
from worker.store.recording import Ends
from worker.store.requests import Filter

ACTED, NOTED, COUNTED, EARLY, UNMATCHED, REPEATED = Result


def why_suppressed(shop: Shop, request_id: UUID) -> str | None:
    why: str | None = contact(shop, contact_of(shop, request_id)).suppressed_why
    return why


def contact(shop: Shop, contact_id: UUID) -> Any:
    rows = shop.ask("SELECT id, suppressed_why, suppressed_by FROM contact", id="uuid")
    return next(row for row in rows if row.id == contact_id)


def nobody_is_suppressed(shop: Shop) -> bool:
    return not shop.ask("SELECT id FROM contact WHERE suppressed_at IS NOT NULL")


def stored(shop: Shop) -> Sequence[Any]:
    return shop.ask("SELECT * FROM report ORDER BY key", request_id="uuid", contact_id="uuid", open_until="time")


# What follows


@pytest.mark.parametrize(
    ("kind", "result", "status", "suppressed"),
    [
        (Kind.DEAD, ACTED, Status.FAILED, "bounced"),
        (Kind.FAILED, ACTED, Status.FAILED, None),
        (Kind.DELAYED, COUNTED, Status.NOTIFICATION_SENT, None),
        (Kind.DELIVERED, COUNTED, Status.NOTIFICATION_SENT, None),
        (Kind.COMPLAINT, ACTED, Status.NOTIFICATION_SENT, "complained"),
        (Kind.UNSUBSCRIBE, ACTED, Status.NOTIFICATION_SENT, "unsubscribed"),
        (Kind.FEEDBACK, COUNTED, Status.NOTIFICATION_SENT, None),
        (Kind.AUTO_REPLY, COUNTED, Status.NOTIFICATION_SENT, None),
        (Kind.OTHER, UNMATCHED, Status.NOTIFICATION_SENT, None),
    ],
)
def test_each_kind_of_report_does_what_the_table_says(
    shop: Shop, kind: Kind, result: Result, status: Status, suppressed: str | None
) -> None:
    claim, bystander = told(shop, 2)
    one = report(kind, return_token(claim))
    (foretold,) = intake_of(shop).judge([("", one)])
    assert not stored(shop)
    taken = take_one(shop, one)
    assert foretold == taken
    assert taken.result is result
    row = shop.row(claim.id)
    assert (row.status, row.auto_notified, why_suppressed(shop, claim.id)) == (status, True, suppressed)
    assert (row.failure_code, row.failure_reason) == (("BOUNCED", WORDS) if status is Status.FAILED else (None, None))
    assert row.notified_date is not None
    assert shop.status(bystander.id) is Status.NOTIFICATION_SENT
    assert why_suppressed(shop, bystander.id) is None


def test_what_is_stored_tells_whom_it_is_about_and_where_it_came_from(shop: Shop) -> None:
    (claim,) = told(shop)
    take(shop, report(Kind.DEAD, return_token(claim)), source="imap")
    (row,) = stored(shop)
    assert (row.kind, row.code, row.status, row.words, row.source) == ("dead", 550, "5.1.1", WORDS, "imap")
    assert (row.request_id, row.contact_id, row.claim_no) == (claim.id, contact_of(shop, claim.id), 1)
    assert row.open_until is None
    assert contact(shop, row.contact_id).suppressed_by == "imap"


def test_other_waiting_requests_of_a_dead_address_end(shop: Shop) -> None:
    (claim,) = told(shop)
    waiting = shop.sign_up(CUP, claim.email)
    assert take_one(shop, report(Kind.DEAD, return_token(claim))).result is ACTED
    assert (shop.status(waiting), shop.row(waiting).failure_code) == (Status.FAILED, "SUPPRESSED")


@pytest.mark.parametrize("kind", [Kind.AUTO_REPLY, Kind.OTHER])
def test_what_people_wrote_is_not_kept(shop: Shop, kind: Kind) -> None:
    (claim,) = told(shop)
    take_one(shop, report(kind, return_token(claim), words="I am at the hospital until May"))
    assert [row.words for row in stored(shop)] == [None]


def test_of_who_was_erased_no_words_are_kept(shop: Shop) -> None:
    (claim,) = told(shop)
    contact_id = contact_of(shop, claim.id)
    shop.write(erasure.erase, contact_id, TOKENS)
    taken = take_one(shop, report(Kind.DEAD, return_token(claim)))
    assert (taken.result, taken.contact_id) == (ACTED, contact_id)
    assert [row.words for row in stored(shop)] == [None]
    assert shop.row(claim.id).failure_reason == "5.1.1 a report said that the mail did not arrive"


def test_addresses_control_characters_and_odd_codes_of_strangers_are_not_stored(shop: Shop) -> None:
    (claim,) = told(shop)
    said = Returned(Kind.FAILED, "5.1.1\x00; drop", 10**12, "550\x00 jane@customer.example\nis away \ud800", "a@\udcff")
    take_one(shop, Report([said], Clues((return_token(claim),)), arrival="\udcff\x00"))
    (row,) = stored(shop)
    assert (row.code, row.status) == (None, None)
    assert shop.row(claim.id).failure_reason == row.words == "550 ***@*** is away"


def test_a_failure_without_words_has_a_reason_all_the_same(shop: Shop) -> None:
    (claim,) = told(shop)
    take_one(shop, report(Kind.FAILED, return_token(claim), words=""))
    assert shop.row(claim.id).failure_reason == "5.1.1 a report said that the mail did not arrive"


def test_whose_mail_came_back_may_be_retried_and_is_told_again(shop: Shop) -> None:
    (claim,) = told(shop)
    take_one(shop, report(Kind.FAILED, return_token(claim)))
    assert shop.write(admin.retry, [claim.id], ordered=True, force=False).ids == [claim.id]
    row = shop.row(claim.id)
    assert (row.status, row.auto_notified, row.notified_date, row.failure_code) == (Status.RECEIVED, None, None, None)
    (again,) = shop.claim(shop.owner()).claims
    record_told(shop, again)
    assert (shop.status(claim.id), again.claim_no) == (Status.NOTIFICATION_SENT, 2)


def test_an_admin_finds_what_came_back_since_a_time(shop: Shop) -> None:
    came_back, other = told(shop, 2)
    take_one(shop, report(Kind.FAILED, return_token(came_back)))
    shop.change("UPDATE request SET created_date = stockbell_now(-7000)")
    shop.change("UPDATE request SET failed_at = stockbell_now(-3600) WHERE failed_at IS NOT NULL")

    def found(since: int) -> list[UUID]:
        at = shop.ask(f"SELECT stockbell_now({since}) AS at", at="time")[0].at
        which = Filter(status=Status.FAILED, failure_code="BOUNCED", failed_since=at)
        return [row.id for row in shop.database.read(lambda c: list(requests.find(c, which)))]

    assert (found(-3700), found(-3500)) == ([came_back.id], [])
    assert shop.status(other.id) is Status.NOTIFICATION_SENT


# Whom it is about


def test_a_report_acts_on_whom_the_mail_went_to_whatever_recipient_it_names(shop: Shop) -> None:
    claim, victim = told(shop, 2)
    take_one(shop, report(Kind.DEAD, return_token(claim), recipient=victim.email))
    assert why_suppressed(shop, claim.id) == "bounced"
    assert why_suppressed(shop, victim.id) is None


@pytest.mark.parametrize("recipient", ["jane@xn--bcher-kva.example", "JANE@B\u00fccher.example"])
def test_our_recipient_is_known_in_every_spelling_of_the_domain(shop: Shop, recipient: str) -> None:
    shop.sign_up(MUG, "Jane@b\u00fccher.example")
    shop.tell()
    (claim,) = shop.claim(shop.owner()).claims
    record_told(shop, claim)
    returned = [
        Returned(Kind.DELIVERED, recipient="list@b\u00fccher.example"),
        Returned(Kind.DEAD, recipient=recipient),
    ]
    assert take_one(shop, Report(returned, Clues((return_token(claim),)))).result is ACTED
    assert why_suppressed(shop, claim.id) == "bounced"


@pytest.mark.parametrize("shop_url", ["sqlite"], indirect=True)
@settings(parent=examples(15), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_nothing_that_strangers_write_stops_the_others(shop: Shop, data: st.DataObject) -> None:
    text = st.text(st.characters(codec=None), max_size=20)
    maybe = st.none() | text
    said = st.builds(Returned, st.sampled_from(Kind), maybe, st.none() | st.integers(), text, maybe)
    clues = st.builds(Clues, st.lists(text, max_size=2), st.lists(text, max_size=2))
    strange = data.draw(st.builds(Report, st.lists(said, max_size=3), clues, text, text))
    (claim,) = told(shop)
    own = Report(strange.returned, Clues((return_token(claim),)), strange.arrival)
    first, second, last = take(shop, strange, own, report(Kind.COMPLAINT, return_token(claim)))
    assert first.result in (UNMATCHED, REPEATED)
    assert second.contact_id in (None, contact_of(shop, claim.id))
    assert last.contact_id == contact_of(shop, claim.id)


@pytest.mark.parametrize("shop_url", ["sqlite", "postgresql"], indirect=True)
def test_who_knows_only_addresses_and_got_one_mail_harms_nobody_else(shop: Shop) -> None:
    """A thousand customers, and one attacker, who has a mail with all its tokens and its Message-ID."""
    (attacker,) = told(shop)
    shop.sign_up_many(1000)
    victims = [row.email for row in shop.rows() if row.id != attacker.id]
    mine, contact_id = return_token(attacker), contact_of(shop, attacker.id)
    forged = Tokens([b"f" * 32])
    claims: list[tuple[Sequence[str], str | None]] = [
        ((), None),
        ((mine,), None),
        ((TOKENS.for_mail(contact_id), TOKENS.for_link(contact_id)), None),
        ((), f"{attacker.id}@{DOMAIN}"),
        ((forged.for_return(uuid7(), 1), forged.for_mail(uuid7())), None),
        ((mine[:-1] + "g", mine[:-2]), f"{uuid4()}@{DOMAIN}"),
        ((), f"{uuid7()}@{DOMAIN}"),
        (("bounces+someone", "\udcff"), "x@y@z"),
    ]
    kinds = (Kind.DEAD, Kind.COMPLAINT, Kind.UNSUBSCRIBE)
    attacks = [
        report(kinds[number % 3], *claims[number % 8][0], message_id=claims[number % 8][1], recipient=email)
        for number, email in enumerate(victims * 2)
    ]
    taken = take(shop, *attacks)
    assert {each.contact_id for each in taken} == {None, contact_id}
    rows = shop.ask("SELECT id FROM contact WHERE suppressed_at IS NOT NULL", id="uuid")
    assert [row.id for row in rows] == [contact_id]
    assert [row.status for row in shop.rows()].count(Status.RECEIVED) == len(victims) == 1000


def test_who_knows_a_request_that_was_never_mailed_has_seen_no_mail(shop: Shop) -> None:
    id_ = shop.sign_up()
    assert take_one(shop, report(Kind.COMPLAINT, message_id=f"{id_}@{DOMAIN}")).result is UNMATCHED
    assert shop.row(id_).status is Status.RECEIVED


@pytest.mark.parametrize("quoted", ["<{id}@shop.example>", "{id}@shop.example", "{ID}@SHOP.EXAMPLE"])
def test_a_quoted_message_id_is_proof(shop: Shop, quoted: str) -> None:
    (claim,) = told(shop)
    quoted = quoted.format(id=claim.id, ID=str(claim.id).upper())
    assert take_one(shop, report(Kind.DEAD, message_id=quoted)).result is ACTED
    assert shop.row(claim.id).failure_code == "BOUNCED"


def test_a_retired_key_and_capital_letters_are_as_good(shop: Shop) -> None:
    first, second = told(shop, 2)
    retired = Tokens([RETIRED]).for_return(first.id, 1)
    taken = take(shop, report(Kind.DEAD, retired), report(Kind.DEAD, return_token(second).upper()))
    assert [each.result for each in taken] == [ACTED, ACTED]


def test_a_token_that_was_cut_or_is_for_something_else_proves_nothing(shop: Shop) -> None:
    (claim,) = told(shop)
    contact_id = contact_of(shop, claim.id)
    wrong = (
        return_token(claim)[:-2],
        TOKENS.for_mail(claim.id),
        TOKENS.for_return(contact_id, 1),
        TOKENS.for_link(contact_id)[:-1],
    )
    taken = take(shop, *(report(Kind.DEAD, each) for each in wrong))
    assert [each.contact_id for each in taken] == [None] * len(wrong)
    assert nobody_is_suppressed(shop)
    assert shop.status(claim.id) is Status.NOTIFICATION_SENT


def test_a_mail_to_the_unsubscribe_address_needs_no_request(shop: Shop) -> None:
    waiting = shop.sign_up()
    contact_id = contact_of(shop, waiting)
    taken = take_one(shop, report(Kind.UNSUBSCRIBE, TOKENS.for_mail(contact_id)))
    assert (taken.result, taken.contact_id, taken.request_id) == (ACTED, contact_id, None)
    assert (shop.status(waiting), why_suppressed(shop, waiting)) == (Status.FAILED, "unsubscribed")


def test_an_unsubscribe_mail_is_about_whom_its_token_names_though_it_quotes_anothers_mail(shop: Shop) -> None:
    quoted, own = told(shop, 2)
    contact_id = contact_of(shop, own.id)
    token = TOKENS.for_mail(contact_id)
    taken = take_one(shop, report(Kind.UNSUBSCRIBE, token, message_id=f"{quoted.id}@{DOMAIN}"))
    assert taken.contact_id == contact_id
    assert why_suppressed(shop, quoted.id) is None


def test_where_the_request_was_deleted_the_contact_is_found_by_its_token(shop: Shop) -> None:
    (claim,) = told(shop)
    contact_id = contact_of(shop, claim.id)
    shop.write(requests.remove, claim.id)
    envid = f"{return_token(claim)}-{TOKENS.for_mail(contact_id)}"
    taken = take_one(shop, report(Kind.DEAD, envid))
    assert (taken.result, taken.contact_id) == (ACTED, contact_id)
    assert "request was deleted" in taken.reason
    assert contact(shop, contact_id).suppressed_why == "bounced"


def test_where_nothing_is_left_of_it_a_signed_report_is_ours_and_a_quoted_one_is_not(shop: Shop) -> None:
    (claim,) = told(shop)
    shop.write(requests.remove, claim.id)
    signed, quoted = take(
        shop, report(Kind.DEAD, return_token(claim)), report(Kind.DEAD, message_id=f"{claim.id}@{DOMAIN}")
    )
    assert (signed.result, signed.contact_id, quoted.result) == (NOTED, None, UNMATCHED)


def test_a_mail_that_an_admin_marked_as_sent_does_not_fail(shop: Shop) -> None:
    _, (claim,) = shop.claimed()
    failed = recording.Ended(claim, claim.tries, "OUTCOME_UNKNOWN", "no reply")
    shop.write(recording.record, Ends(failed=[failed]))
    shop.write(admin.mark_sent, [claim.id])
    taken = take_one(shop, report(Kind.FAILED, return_token(claim)))
    assert (taken.result, shop.status(claim.id)) == (NOTED, Status.NOTIFICATION_SENT)


# Each once


def test_a_report_that_comes_again_is_not_done_again(shop: Shop) -> None:
    (claim,) = told(shop)
    one = report(Kind.FAILED, return_token(claim))
    assert [each.result for each in take(shop, one, one)] == [ACTED, REPEATED]
    shop.write(admin.retry, [claim.id], ordered=True, force=False)
    assert take_one(shop, one).result is REPEATED
    assert [each.result for each in intake_of(shop).judge([("", one)])] == [REPEATED]
    assert shop.count(ReportRow) == 1


def test_two_reports_about_one_mail_are_both_kept_and_act_once(shop: Shop) -> None:
    (claim,) = told(shop)
    token = return_token(claim)
    taken = take(shop, *(report(Kind.DEAD, token, arrival=arrival) for arrival in ("one", "two")))
    assert [each.result for each in taken] == [ACTED, NOTED]
    assert shop.count(ReportRow) == 2


def test_an_unmatched_message_is_unmatched_each_time_and_counted_once(shop: Shop) -> None:
    spam = report(Kind.OTHER, words="buy now")
    for _ in range(2):
        taken = intake_of(shop).take([("1700000000.M1", spam), ("1700000000.M2", spam)], "maildir")
        assert [each.result for each in taken] == [UNMATCHED, UNMATCHED]
    assert take_one(shop, report(Kind.DEAD, "not a token")).result is UNMATCHED
    assert shop.database.read(report_log.count).unmatched == 3


def test_two_readers_of_the_same_reports_at_once_do_each_once(shop: Shop) -> None:
    claims = told(shop, 40)
    found = [("", report(Kind.DEAD if n % 2 else Kind.FAILED, return_token(claim))) for n, claim in enumerate(claims)]
    together = threading.Barrier(4)

    def read(turn: int) -> list[Result]:
        with closing(Database(shop.url)) as database:
            intake = Intake(database, Recognizer(TOKENS, DOMAIN))
            mine = found[::-1] if turn % 2 else found
            together.wait(60)
            return [
                each.result
                for start in range(0, len(mine), 10)
                for each in intake.take(mine[start : start + 10], "mbox")
            ]

    with ThreadPoolExecutor(4) as pool:
        results = [result for each in pool.map(read, range(4)) for result in each]
    assert results.count(ACTED) == len(claims)
    assert results.count(REPEATED) == 3 * len(claims)
    assert {row.failure_code for row in shop.rows()} == {"BOUNCED"}


@pytest.mark.parametrize("shop_url", ["sqlite", "postgresql"], indirect=True)
def test_a_reader_that_is_killed_at_any_step_loses_nothing_and_does_nothing_twice(shop: Shop) -> None:
    claims = told(shop, 3)
    program = [sys.executable, "-m", "tests.contract.killed_reader", shop.url, *(str(claim.id) for claim in claims)]
    done = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60)
    steps = [line.split() for line in done.stdout.splitlines()]
    assert steps == [
        *([step, "SIGKILL", "acted", "acted", "acted"] for step in ("find", "_suppress", "bounce", "apply")),
        ["take", "SIGKILL", "repeated", "repeated", "repeated"],
    ]
    assert [why_suppressed(shop, claim.id) for claim in claims] == ["bounced"] * 3
    assert {shop.row(claim.id).failure_code for claim in claims} == {"BOUNCED"}
    assert shop.count(ReportRow) == 3


# Early and late


def retry_early(shop: Shop) -> set[UUID]:
    return shop.write(reports.retry_early)


@pytest.mark.parametrize("kind", [Kind.DEAD, Kind.FAILED])
def test_a_report_before_the_outcome_is_recorded_waits_for_it(shop: Shop, kind: Kind) -> None:
    _, (claim,) = shop.claimed()
    assert take_one(shop, report(kind, return_token(claim))).result is EARLY
    assert why_suppressed(shop, claim.id) == ("bounced" if kind is Kind.DEAD else None)
    assert retry_early(shop) == set()
    assert shop.status(claim.id) is Status.PROCESSING
    record_told(shop, claim)
    assert retry_early(shop) == {claim.id}
    row = shop.row(claim.id)
    assert (row.status, row.failure_code, row.failure_reason, row.auto_notified) == (
        Status.FAILED,
        "BOUNCED",
        WORDS,
        True,
    )
    assert [each.open_until for each in stored(shop)] == [None]
    assert retry_early(shop) == set()


def test_a_report_before_a_late_success_is_recorded_waits_too(shop: Shop) -> None:
    owner, (claim,) = shop.claimed()
    shop.die(owner)
    shop.rescue()
    assert take_one(shop, report(Kind.FAILED, message_id=f"{claim.id}@{DOMAIN}")).result is EARLY
    record_told(shop, claim)
    assert retry_early(shop) == {claim.id}


def test_an_early_report_is_dropped_when_another_mail_is_sent(shop: Shop) -> None:
    _, (claim,) = shop.claimed()
    take_one(shop, report(Kind.FAILED, return_token(claim)))
    shop.write(recording.record, Ends(released=[claim]))
    (again,) = shop.claim(shop.owner()).claims
    record_told(shop, again)
    assert retry_early(shop) == set()
    assert shop.status(claim.id) is Status.NOTIFICATION_SENT
    assert [each.open_until for each in stored(shop)] == [None]


def test_an_early_report_is_given_up_after_an_hour(shop: Shop) -> None:
    _, (claim,) = shop.claimed()
    take_one(shop, report(Kind.FAILED, return_token(claim)))
    (row,) = stored(shop)
    assert 3590 < (row.open_until - shop.now()).total_seconds() <= 3600
    shop.change("UPDATE report SET open_until = stockbell_now(-1)")
    assert retry_early(shop) == set()
    record_told(shop, claim)
    assert retry_early(shop) == set()
    assert shop.status(claim.id) is Status.NOTIFICATION_SENT


def test_an_early_report_about_a_request_that_is_deleted_is_closed(shop: Shop) -> None:
    _, (claim,) = shop.claimed()
    take_one(shop, report(Kind.FAILED, return_token(claim)))
    shop.write(requests.remove, claim.id)
    assert retry_early(shop) == set()
    assert [each.open_until for each in stored(shop)] == [None]


def test_a_report_about_an_earlier_mail_says_nothing_of_the_later_one(shop: Shop) -> None:
    (claim,) = told(shop)
    take_one(shop, report(Kind.FAILED, return_token(claim)))
    shop.write(admin.retry, [claim.id], ordered=True, force=False)
    (again,) = shop.claim(shop.owner()).claims
    record_told(shop, again)
    late = take_one(shop, report(Kind.DEAD, return_token(claim), arrival="later"))
    assert (late.result, shop.status(claim.id)) == (ACTED, Status.NOTIFICATION_SENT)
    assert "earlier mail" in late.reason
    assert why_suppressed(shop, claim.id) == "bounced"


def test_claim_numbers_are_told_modulo_65536(shop: Shop) -> None:
    (claim,) = told(shop)
    shop.change("UPDATE request SET claim_no = 65537")
    assert take_one(shop, report(Kind.FAILED, return_token(claim))).result is ACTED
    assert [row.claim_no for row in stored(shop)] == [65537]


# What is kept


def test_only_what_nobody_needs_any_more_is_forgotten(shop: Shop) -> None:
    claims = told(shop, 9)
    kinds = [kind for kind in Kind if kind is not Kind.OTHER]
    matched = [report(kind, return_token(claim)) for kind, claim in zip(kinds, claims, strict=False)]
    take(shop, *matched, report(Kind.OTHER), report(Kind.DEAD, "not a token"))
    assert shop.write(reports.forget) == 0
    shop.change("UPDATE report SET at = stockbell_now(-:age)", age=reports.KEEP_SECONDS + 1)
    assert shop.write(reports.forget) == 6
    assert {row.kind for row in stored(shop)} == {"dead", "failed", "complaint", "unsubscribe"}


def test_what_came_back_is_counted_for_a_day(shop: Shop) -> None:
    claims = told(shop, 4)
    kinds = (Kind.DEAD, Kind.DEAD, Kind.COMPLAINT, Kind.AUTO_REPLY)
    take(shop, *(report(kind, return_token(claim)) for kind, claim in zip(kinds, claims, strict=True)))
    take(shop, report(Kind.DEAD, "not a token"))
    counted = shop.database.read(report_log.count)
    assert counted.by_kind == {"dead": 2, "complaint": 1, "auto_reply": 1}
    assert (counted.unmatched, counted.suppressed) == (1, {"bounced": 2, "complained": 1})
    shop.change("UPDATE report SET at = stockbell_now(-86401)")
    counted = shop.database.read(report_log.count)
    assert (counted.by_kind, counted.unmatched) == ({}, 0)
    assert counted.suppressed == {"bounced": 2, "complained": 1}
